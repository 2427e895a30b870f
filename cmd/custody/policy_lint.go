// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newPolicyLintCommand() *cobra.Command {
	// What is checked does not depend on the server's name.
	source := policySource{server: "*"}
	var format string
	var tools policyTools
	cmd := &cobra.Command{
		Use:   "lint PATH...",
		Short: "Check policy files and directories, and the access control of Dapr Configurations",
		Long: `Reads and compiles the files as a guard would, all into one set, and prints what
is wrong as file:line:column: field: message. Of a directory *.yaml and *.yml are
read, not what lies below. A Dapr Configuration is taken if it is named itself.

Conditions are also checked against the input schemas of the tools that their
rules name: an argument that the tool does not have is an error, and so is one
of a type that the condition cannot use it as. The schemas are those that the
guards of the runs have learned from answers to tools/list, or else those of the
--tools files: a guard's tools.json, or the JSON result of tools/list together
with --server. Rules about tools of which no schema is known are not checked so.

Exit status: 0 no errors (warnings may be); 1 errors; 2 wrong flags, or a path
cannot be read.`,
		Example: `  custody policy lint policies/
  custody policy lint -o json policies/
  custody policy lint --tools tools-list.json --server orders policies/
  custody policy lint --trust-domain prod.example --namespace orders policies/ config.yaml`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			known, err := tools.load(cmd.ErrOrStderr())
			if err != nil {
				return usage(err)
			}
			found, err := source.load(args)
			if err != nil {
				return usage(err)
			}
			found.check(known)
			if err := found.report(cmd.OutOrStdout(), format); err != nil {
				return err
			}
			return found.broken(exitNo)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, json or yaml")
	source.addFlags(cmd)
	tools.addFlags(cmd)
	return cmd
}

// lintAnswer is what lint prints as json and yaml.
type lintAnswer struct {
	OK       bool       `json:"ok"`
	Files    int        `json:"files"`
	Policies int        `json:"policies"`
	Rules    int        `json:"rules"`
	Set      string     `json:"set,omitempty"`
	Errors   []lintLine `json:"errors"`
	// Omitted counts errors that are not listed.
	Omitted  int        `json:"omitted,omitempty"`
	Warnings []lintLine `json:"warnings"`
	// Unchecked says what could not be checked for want of schemas of tools.
	Unchecked string `json:"unchecked,omitempty"`
}

type lintLine struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// report prints what lint found.
func (f *policyFindings) report(out io.Writer, format string) error {
	if format != "table" {
		return policyValue(out, format, f.answer())
	}
	if err := f.print(out); err != nil {
		return err
	}
	if f.unchecked != "" {
		fmt.Fprintln(out, f.unchecked)
	}
	if f.broken(exitNo) != nil {
		return nil
	}
	policies, rules := f.set.Size()
	if rules == 0 {
		fmt.Fprintln(out, "there is no rule, so that everything is denied")
	}
	_, err := fmt.Fprintf(out, "ok: files %d, policies %d, rules %d, warnings %d, set %s\n",
		f.files, policies, rules, len(f.warnings), head(f.set.Digest(), 12))
	return err
}

func (f *policyFindings) answer() lintAnswer {
	a := lintAnswer{
		OK: f.broken(exitNo) == nil, Files: f.files, Errors: []lintLine{}, Omitted: f.omitted, Warnings: []lintLine{}, Unchecked: f.unchecked,
	}
	if a.OK { // A broken file leaves the others a Set, which nobody would have in force.
		a.Set = f.set.Digest()
		a.Policies, a.Rules = f.set.Size()
	}
	for _, p := range f.problems {
		a.Errors = append(a.Errors, lintLine{File: p.File, Line: p.Line, Column: p.Column, Field: p.Field, Message: p.Message})
	}
	for _, w := range f.warnings {
		a.Warnings = append(a.Warnings, lintLine(w))
	}
	return a
}
