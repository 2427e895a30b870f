// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// The exit codes of the policy commands.
const (
	policyExitNo    = 1 // a guard reports an error, a file has one, the call is denied
	policyExitUsage = 2 // the question could not be answered
)

// policyError carries the exit code to main.
type policyError struct {
	code int
	err  error
}

func (e *policyError) Error() string { return e.err.Error() }
func (e *policyError) Unwrap() error { return e.err }
func (e *policyError) ExitCode() int { return e.code }

func policyUsage(err error) error { return &policyError{code: policyExitUsage, err: err} }

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show what policy is in force, and check policy files before they are",
		Args:  policyArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyStatusCommand(), newPolicyLintCommand(), newPolicyTestCommand())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return policyUsage(err) })
	return cmd
}

// policyArgs gives a wrong number of arguments the exit code of wrong usage.
func policyArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return policyUsage(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
		}
		return nil
	}
}

func policyJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

func policyFormat(format string) error {
	if format != "table" && format != "json" {
		return policyUsage(fmt.Errorf("-o %q is not known; write table or json", format))
	}
	return nil
}
