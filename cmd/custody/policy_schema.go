// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/resources"
)

func newPolicySchemaCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of policy files, for editors",
		Long: `Prints the JSON Schema (draft 2020-12) of kind: AccessPolicy. Put it beside your policies,
where guards pass it over, and name it in the first line of each policy file:

  # yaml-language-server: $schema=accesspolicy.schema.json

Editors with the YAML language server (VS Code's YAML extension, Neovim, Helix, Emacs)
then complete fields, show what they mean and mark what is wrong, without a network.
Files that custody policy allow, deny and deny-all make have the line. What a schema
cannot know, such as a mistake in a condition, is found by custody policy lint.

Exit status: 0 done; 2 wrong flags.`,
		Example: `  custody policy schema > policies/accesspolicy.schema.json`,
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("-o", format, "json", "yaml"); err != nil {
				return err
			}
			text, err := resources.Read(resources.PolicySchema)
			if err != nil {
				return err
			}
			if format == "yaml" {
				return policyYAML(cmd.OutOrStdout(), json.RawMessage(text))
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "json", "json or yaml")
	return cmd
}
