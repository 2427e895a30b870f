// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"github.com/spf13/cobra"
)

func newWorkflowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workflow",
		Short: "List workflow instances, and show and verify their histories",
		Long: `Reads the histories of Dapr's workflows from the actor state store, whether or
not they use Custody, and verifies the signatures that daprd makes with the
feature WorkflowHistorySigning. Nothing is changed, and no sidecar is asked.

Which stores: those of the Dapr Component files, or folders of them, that
--component names, which may be given several times, else those with
actorStateStore of the runs that "custody ps" lists. --rows FILE takes rows
that "custody-components history" printed, so that they can be looked at where
the store is not.

Exit status: 0 all is well; 1 something is wrong with a history; 2 wrong flags,
or what was named cannot be read.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newWorkflowListCommand(), newWorkflowHistoryCommand())
	usageFlags(cmd)
	return cmd
}
