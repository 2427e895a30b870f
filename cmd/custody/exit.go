// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/nearest"
)

// The exit codes beside 0. Commands that answer a question say in their help what
// they mean for it; of the others 1 is a failure.
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

// usageArgs gives a wrong number of arguments the exit code of wrong usage, and
// says how the command is written.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		return usage(fmt.Errorf("%s; see %s --help", wrongArgs(cmd, args), cmd.CommandPath()))
	}
}

func wrongArgs(cmd *cobra.Command, args []string) string {
	if wait := cmd.Flags().Lookup("wait"); wait != nil && wait.Changed {
		for _, arg := range args { // a flag that can stand alone takes its value only so
			if _, err := time.ParseDuration(arg); err == nil {
				return "the time belongs to the flag: write --wait=" + arg
			}
		}
	}
	switch {
	case cmd.HasSubCommands():
		return fmt.Sprintf("there is no command %q%s", cmd.CommandPath()+" "+args[0], meant(cmd, args[0]))
	case len(args) == 0:
		return fmt.Sprintf("an argument is missing: write %s", cmd.UseLine())
	case cmd.Args(cmd, nil) != nil:
		return fmt.Sprintf("%s not what it takes: write %s", count(len(args), "argument is", "arguments are"), cmd.UseLine())
	case cmd.Flags().Lookup("dir") != nil:
		return fmt.Sprintf("%s takes no argument %q; a folder is named with --dir %s", cmd.CommandPath(), args[0], shellText(args[0]))
	}
	return fmt.Sprintf("%s does not take the argument %q: write %s", cmd.CommandPath(), args[len(args)-1], cmd.UseLine())
}

// meant names the command that was probably meant.
func meant(cmd *cobra.Command, wrote string) string {
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	if name := nearest.Word(wrote, names); name != "" {
		return "; did you mean " + name + "?"
	}
	return ""
}

// usageFlags gives wrong flags of a command, and of those below it, the exit code
// of wrong usage.
func usageFlags(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	})
}
