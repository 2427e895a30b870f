// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/policy"
)

// The exit codes of the policy commands.
const (
	policyExitNo    = 1 // a guard reports an error or does not follow, a file has one, the call is denied, there are differences
	policyExitUsage = 2 // the question could not be answered, or nothing was changed
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
		Short: "Change policy, ask what it says, and show what is in force",
		Args:  policyArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newPolicyStatusCommand(), newPolicyLintCommand(), newPolicyTestCommand(),
		newPolicyDenyAllCommand(), newPolicyRuleCommand(policy.Allow), newPolicyRuleCommand(policy.Deny), newPolicyRevokeCommand(),
		newPolicyListCommand(), newPolicyGetCommand(), newPolicyWhoCanCommand(), newPolicyDiffCommand(), newPolicyReplayCommand(),
	)
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
	enc.SetEscapeHTML(false) // conditions hold < and &
	return enc.Encode(value)
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
