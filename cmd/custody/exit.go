// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// The exit codes of the policy and receipts commands beside 0. Each command says
// in its help what they mean for it.
const (
	exitNo    = 1 // the answer is no: something is wrong, is denied, differs or does not follow
	exitUsage = 2 // the question could not be answered, or nothing was changed
)

// exitError carries the exit code to main.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }
func (e *exitError) ExitCode() int { return e.code }

func usage(err error) error { return &exitError{code: exitUsage, err: err} }

// usageArgs gives a wrong number of arguments the exit code of wrong usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
		}
		return nil
	}
}

// usageFlags gives wrong flags of a command, and of those below it, the exit code
// of wrong usage.
func usageFlags(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	})
}
