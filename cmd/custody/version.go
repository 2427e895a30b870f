// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return errors.New("this binary holds no build information")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "custody %s", info.Main.Version)
			for _, setting := range info.Settings {
				if setting.Key == "vcs.revision" {
					fmt.Fprintf(cmd.OutOrStdout(), " (%s)", setting.Value)
				}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), " %s\n", info.GoVersion)
			return err
		},
	}
}
