// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newPolicyLintCommand() *cobra.Command {
	// What is checked does not depend on the server's name.
	source := policySource{server: "*"}
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
  custody policy lint --tools tools-list.json --server orders policies/
  custody policy lint --trust-domain prod.example --namespace orders policies/ config.yaml`,
		Args: policyArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			known, err := tools.load(cmd.ErrOrStderr())
			if err != nil {
				return policyUsage(err)
			}
			found, err := source.load(args)
			if err != nil {
				return policyUsage(err)
			}
			found.check(known)
			out := cmd.OutOrStdout()
			if err := found.print(out); err != nil {
				return err
			}
			if found.unchecked != "" {
				fmt.Fprintln(out, found.unchecked)
			}
			if err := found.broken(policyExitNo); err != nil {
				return err
			}
			policies, rules := found.set.Size()
			if rules == 0 {
				fmt.Fprintln(out, "there is no rule, so that everything is denied")
			}
			_, err = fmt.Fprintf(out, "ok: files %d, policies %d, rules %d, warnings %d, set %s\n",
				found.files, policies, rules, len(found.warnings), head(found.set.Digest(), 12))
			return err
		},
	}
	source.addFlags(cmd)
	tools.addFlags(cmd)
	return cmd
}
