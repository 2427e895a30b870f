// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/localdomain"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "custody",
		Short: "Identity, policy and proof for agents and tools on Dapr",
		// Errors are printed once, by main; a wrong flag shows its own hint.
		SilenceErrors: true,
		SilenceUsage:  true,
		// Of nested ones cobra takes the innermost; no command has its own.
		PersistentPreRun: tellIfSlow,
		Args:             usageArgs(cobra.NoArgs),
		RunE:             func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		newUpCommand(),
		newDownCommand(),
		newPsCommand(),
		newPolicyCommand(),
		newReceiptsCommand(),
		newWorkflowCommand(),
		newChainCommand(),
		newDBCommand(),
		newResourcesCommand(),
		newVersionCommand(),
	)
	usageFlags(root)
	return root
}

// homeFolder is where the runs of this user are kept.
func homeFolder() (string, error) { return localdomain.DefaultHome(os.Getenv) }

// besideMe gives the path of a binary in the folder of this one.
func besideMe(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own folder: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", fmt.Errorf("find own folder: %w", err)
	}
	return filepath.Join(filepath.Dir(self), name), nil
}
