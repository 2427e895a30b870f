// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/policy"
)

func newPolicyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Change policy, ask what it says, and show what is in force",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newPolicyStatusCommand(), newPolicyLintCommand(), newPolicyTestCommand(),
		newPolicyDenyAllCommand(), newPolicyRuleCommand(policy.Allow), newPolicyRuleCommand(policy.Deny), newPolicyRevokeCommand(),
		newPolicyListCommand(), newPolicyGetCommand(), newPolicyWhoCanCommand(), newPolicyDiffCommand(), newPolicyReplayCommand(),
		newPolicyMethodsCommand(), newPolicySchemaCommand(),
	)
	usageFlags(cmd)
	return cmd
}

func policyJSON(w io.Writer, value any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // conditions hold < and &
	if err := enc.Encode(value); err != nil {
		return err
	}
	_, err := w.Write(plainJSON(text.Bytes()))
	return err
}

// policyYAML prints a value with the names and the order that it has as JSON.
func policyYAML(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var node yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(text, &node); err != nil {
		return err
	}
	plainStyle(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	return errors.Join(enc.Encode(&node), enc.Close())
}

func plainStyle(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		plainStyle(child)
	}
}

// policyFormat refuses an -o that is none of table, json and yaml.
func policyFormat(format string) error {
	return oneOf("-o", format, "table", "json", "yaml")
}

// policyValue prints a value as json or yaml.
func policyValue(w io.Writer, format string, value any) error {
	if format == "yaml" {
		return policyYAML(w, value)
	}
	return policyJSON(w, value)
}
