// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policyedit"
)

// policyRow is a rule as list prints it.
type policyRow struct {
	Policy    string        `json:"policy"`
	Rule      string        `json:"rule"`
	Effect    policy.Effect `json:"effect"`
	From      []string      `json:"from"`
	Server    string        `json:"server"`
	Tools     []string      `json:"tools,omitempty"`
	Prompts   []string      `json:"prompts,omitempty"`
	Resources []string      `json:"resources,omitempty"`
	Methods   []string      `json:"methods,omitempty"`
	Paths     []string      `json:"paths,omitempty"`
	// State and SQL are as written.
	State *policy.StateRule `json:"state,omitempty"`
	SQL   *policy.SQLRule   `json:"sql,omitempty"`
	When  string            `json:"when,omitempty"`
	// Obligations are what an allow carries, and Mode is that of the policy.
	Obligations []string    `json:"obligations,omitempty"`
	Mode        policy.Mode `json:"mode"`
	Source      string      `json:"source"`

	demands []string
}

func newPolicyListCommand() *cobra.Command {
	var folder policyFolder
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules of a policy folder",
		Long: `Lists every rule of the folder, with app IDs written out as SPIFFE IDs.
` + policyFolderHelp + `

Exit status: 0 done; 2 wrong flags, or a policy has an error.`,
		Example: `  custody policy list
  custody policy list --dir policies -o yaml`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			set, err := folder.set(cmd)
			if err != nil {
				return err
			}
			return printRules(cmd.OutOrStdout(), set.Rules(), format)
		},
	}
	folder.addFlags(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, json or yaml")
	return cmd
}

func printRules(w io.Writer, rules []policy.RuleInfo, format string) error {
	rows := make([]policyRow, 0, len(rules))
	for _, r := range rules {
		rows = append(rows, policyRow{
			Policy: r.Policy, Rule: r.Rule, Effect: r.Effect, From: r.From, Server: r.Server,
			Tools: r.Tools, Prompts: r.Prompts, Resources: r.Resources, Methods: r.Methods, Paths: r.Paths,
			State: r.State, SQL: r.SQL, demands: r.Demands,
			When: r.When, Obligations: r.Obligations, Mode: r.Mode, Source: r.Source,
		})
	}
	if format != "table" {
		return policyValue(w, format, rows)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "POLICY\tRULE\tEFFECT\tFROM\tSERVER\tWHAT\tSOURCE")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Policy, r.Rule, r.effect(), strings.Join(r.From, ","), r.Server,
			r.what()+narrowing(r.When, r.demands)+obliging(r.Obligations), r.Source)
	}
	return t.Flush()
}

// what names what the rule is about: tools by themselves, anything else with its kind.
func (r policyRow) what() string {
	var parts []string
	for _, of := range []struct {
		kind  string
		names []string
	}{{"tools", r.Tools}, {"prompts", r.Prompts}, {"resources", r.Resources}, {"methods", r.Methods}, {"paths", r.Paths}} {
		if len(of.names) > 0 {
			parts = append(parts, of.kind+" "+strings.Join(of.names, ","))
		}
	}
	if s := r.State; s != nil {
		parts = append(parts, "state "+strings.Join(s.Operations, ",")+" "+strings.Join(s.Keys, ","))
	}
	if s := r.SQL; s != nil && len(s.Tables) > 0 {
		parts = append(parts, "sql "+strings.Join(s.Operations, ",")+" "+strings.Join(s.Tables, ","))
	}
	if s := r.SQL; s != nil && len(s.Functions) > 0 {
		parts = append(parts, "functions "+strings.Join(s.Functions, ","))
	}
	if len(r.Tools) > 0 && len(parts) == 1 {
		return strings.Join(r.Tools, ",")
	}
	return strings.Join(parts, "; ")
}

// effect is that of the rule, and says so where it has none.
func (r policyRow) effect() string {
	if r.Mode == policy.Shadow {
		return string(r.Effect) + " (shadow)"
	}
	return string(r.Effect)
}

func obliging(obligations []string) string {
	if len(obligations) == 0 {
		return ""
	}
	return " with " + strings.Join(obligations, "; ")
}

func newPolicyGetCommand() *cobra.Command {
	var folder policyFolder
	var format string
	cmd := &cobra.Command{
		Use:   "get POLICY",
		Short: "Print a policy as it stands in its file",
		Long: `Prints the policy of that name, with its comments; with -o json without them.
` + policyFolderHelp + `

Exit status: 0 done; 2 wrong flags, no such policy, or a policy has an error.`,
		Example: `  custody policy get orders
  custody policy get orders --dir policies -o json`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("-o", format, "yaml", "json"); err != nil {
				return err
			}
			opts, err := folder.options(cmd)
			if err != nil {
				return err
			}
			text, err := policyedit.Text(folder.dir, opts, args[0])
			if err != nil {
				return refused(cmd.ErrOrStderr(), err)
			}
			return printPolicy(cmd.OutOrStdout(), text, format)
		},
	}
	folder.addFlags(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", "yaml", "yaml or json")
	return cmd
}

func printPolicy(w io.Writer, text []byte, format string) error {
	if format == "yaml" {
		_, err := w.Write(text)
		return err
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return usage(err)
	}
	return policyJSON(w, value)
}
