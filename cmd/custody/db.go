// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
)

// newDBCommand has custody-components do it, which speaks to databases.
func newDBCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "db setup|check|undo|rotate-ca --databases FILE [flags]",
		Short: "Make PostgreSQL the second lock behind the guard, and check that it is",
		// Flags and help are those of custody-components.
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			reader, err := besideMe(componentsBinary)
			if err != nil {
				return usage(err)
			}
			if _, err := os.Stat(reader); err != nil {
				return usage(fmt.Errorf("%s, which speaks to databases, is not beside custody: %w", componentsBinary, err))
			}
			run := exec.CommandContext(cmd.Context(), reader, append([]string{"db"}, args...)...)
			run.Stdin, run.Stdout, run.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			err = run.Run()
			var ended *exec.ExitError
			if errors.As(err, &ended) {
				// A signal has no code of its own.
				return &exitError{code: max(ended.ExitCode(), exitNo), err: fmt.Errorf("%s db ended with status %d, see above", componentsBinary, ended.ExitCode())}
			}
			if err != nil {
				return usage(err)
			}
			return nil
		},
	}
}
