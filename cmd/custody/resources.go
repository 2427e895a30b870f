// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/resources"
)

func newResourcesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resources [NAME]",
		Short: "List the files to begin with, or print one",
		Long: `Components, configurations and policies to copy into your project.
Without a name they are listed; with one, that file is printed.

Exit status: 0 done; 2 wrong flags, or there is no such file.`,
		Example: `  custody resources
  custody resources components/mcpguard.yaml > resources/mcpguard.yaml`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				text, err := resources.Read(args[0])
				if err != nil {
					return usage(err)
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			names, err := resources.Names()
			for _, name := range names {
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			return err
		},
	}
}
