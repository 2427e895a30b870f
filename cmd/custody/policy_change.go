// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policyedit"
)

const (
	denyAllFile  = "deny-all.yaml"
	commandsFile = "commands.yaml"
)

const policyChangeHelp = policyFolderHelp + `

The file is replaced in one step, and only if it compiles with all others of the
folder; comments and layout stay.

Exit status: 0 done, or nothing to do; 1 done, but with --wait a guard reports an
error or does not follow in time; 2 nothing was changed.`

// policyEdit is what the changing commands have in common.
type policyEdit struct {
	folder policyFolder
	wait   guardWait
	format string
}

func (e *policyEdit) addFlags(cmd *cobra.Command) {
	cmd.Annotations = map[string]string{changes: ""}
	e.folder.addFlags(cmd)
	e.wait.addFlags(cmd)
	cmd.Flags().StringVarP(&e.format, "output", "o", "table", "table, json or yaml")
}

// policyDone is what a changing command prints.
type policyDone struct {
	Changed bool   `json:"changed"`
	Action  string `json:"action"` // "added" or "removed"
	Policy  string `json:"policy"`
	Rule    string `json:"rule"`
	File    string `json:"file"`
	// PolicyRemoved and FileRemoved say what went with its last rule.
	PolicyRemoved bool     `json:"policyRemoved,omitempty"`
	FileRemoved   bool     `json:"fileRemoved,omitempty"`
	Undo          string   `json:"undo,omitempty"`
	Guards        []string `json:"guards,omitempty"`
}

// run makes a change, waits for the guards if asked, and says what was done.
func (e *policyEdit) run(cmd *cobra.Command, action string, change func(policy.CompileOptions) (*policyedit.Change, error)) error {
	if err := policyFormat(e.format); err != nil {
		return err
	}
	opts, err := e.folder.options(cmd)
	if err != nil {
		return err
	}
	if err := e.wait.begin(e.folder.dir, e.folder.apps); err != nil {
		return usage(err)
	}
	made, err := change(opts)
	if err != nil && (made == nil || !made.Written) {
		return e.unchanged(refused(cmd.ErrOrStderr(), err))
	}
	for _, warning := range made.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), warning, "[warning]")
	}
	done := policyDone{
		Changed: made.Written, Action: action, Policy: made.Policy, Rule: made.Rule, File: made.File,
		PolicyRemoved: made.PolicyRemoved, FileRemoved: made.FileRemoved,
	}
	if action == "added" {
		done.Undo = "custody policy revoke-rule " + made.Policy + "/" + made.Rule + " --dir " + shellText(e.folder.dir)
	}
	if err != nil { // It is in place; whether the disk has it is not known.
		return errors.Join(done.print(cmd.OutOrStdout(), e.format), &exitError{code: exitNo, err: err})
	}
	e.warn(cmd, made)
	var waited error
	done.Guards, waited = e.wait.end(cmd.Context(), made, e.folder.dir)
	return errors.Join(done.print(cmd.OutOrStdout(), e.format), waited)
}

// unchanged says why nothing was done, and what to do where that is no fault of the change: guards take up a folder whole
// or not at all.
func (e *policyEdit) unchanged(err error) error {
	err = fmt.Errorf("nothing was changed: %w", err)
	if found, unread := e.folder.source.load([]string{e.folder.dir}); unread == nil && len(found.problems) > 0 {
		return fmt.Errorf("%w; it was there before, and guards keep what was right before it: mend the file or move it out of the folder, then again", err)
	}
	return err
}

// warn says where a rule that denies stands in for nothing, as far as the folder knows.
func (e *policyEdit) warn(cmd *cobra.Command, made *policyedit.Change) {
	found, err := e.folder.source.load([]string{e.folder.dir})
	if err != nil || len(found.problems) > 0 {
		return // The change is made. What is wrong now, the guards say.
	}
	for _, line := range idle(found.set, made.Policy, made.Rule) {
		fmt.Fprintln(cmd.ErrOrStderr(), "custody: warning:", line)
	}
}

func (d *policyDone) print(w io.Writer, format string) error {
	if format != "table" {
		return policyValue(w, format, d)
	}
	name := d.Policy + "/" + d.Rule
	switch {
	case !d.Changed:
		fmt.Fprintf(w, "nothing to do: rule %s in %s says so already\n", name, d.File)
	case d.Action == "added":
		fmt.Fprintf(w, "added rule %s to %s\n", name, d.File)
	case d.FileRemoved:
		fmt.Fprintf(w, "removed rule %s and with it %s, which had no other\n", name, d.File)
	case d.PolicyRemoved:
		fmt.Fprintf(w, "removed rule %s and with it the policy, which had no other, from %s\n", name, d.File)
	default:
		fmt.Fprintf(w, "removed rule %s from %s\n", name, d.File)
	}
	switch {
	case d.Undo != "" && d.Changed:
		fmt.Fprintln(w, "undo:", d.Undo)
	case d.Undo != "":
		fmt.Fprintln(w, "to remove it:", d.Undo)
	}
	if len(d.Guards) > 0 {
		fmt.Fprintln(w, "in force at:", strings.Join(d.Guards, ", "))
	}
	return nil
}

// shellText quotes a path for a shell if need be.
func shellText(s string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@%="
	if s != "" && strings.Trim(s, safe) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func newPolicyDenyAllCommand() *cobra.Command {
	var edit policyEdit
	var server, caller string
	cmd := &cobra.Command{
		Use:   "deny-all [--server S | --caller C]",
		Short: "Deny every call at once: of all callers, to one server, or of one caller",
		Long: `Adds a rule that denies every tool, method, path, key of a state store, and table and
function of a database, to a file of its own, deny-all.yaml. A deny beats every allow, so that nothing passes until the rule
is revoked. Done twice it is done once.

All callers are those of the local trust domain, of the trust domains of the
registered apps, and of those that some rule of the folder names. No rule of the
folder allows anything to others; Dapr's access control in a Configuration may.
` + policyChangeHelp,
		Example: `  custody policy deny-all --wait
  custody policy deny-all --server orders
  custody policy deny-all --caller analytics-agent --dir policies
  custody policy revoke-rule deny-all/deny-all --wait`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if server != "" && caller != "" {
				return usage(errors.New("--server and --caller are two ways to narrow it: give one, or use custody policy deny for both"))
			}
			return edit.run(cmd, "added", func(opts policy.CompileOptions) (*policyedit.Change, error) {
				rule, err := edit.denyAll(server, caller)
				if err != nil {
					return nil, err
				}
				return policyedit.Add(edit.folder.dir, opts, denyAllFile, rule)
			})
		},
	}
	edit.addFlags(cmd)
	cmd.Flags().StringVar(&server, "server", "", "only calls to this MCP server")
	cmd.Flags().StringVar(&caller, "caller", "", "only calls of this app ID, SPIFFE ID or pattern")
	return cmd
}

func (e *policyEdit) denyAll(server, caller string) (policyedit.Rule, error) {
	rule := policyedit.Rule{
		Hint: "deny-all", Effect: policy.Deny, Server: "*",
		Tools: []string{"*"}, Methods: []string{"*"}, Paths: []string{"*"},
		State: &policy.StateRule{Operations: []string{"*"}, Keys: []string{"*"}},
		SQL:   &policy.SQLRule{Operations: []string{"*"}, Tables: []string{"*"}, Functions: []string{"*"}},
	}
	switch {
	case caller != "":
		rule.Hint, rule.From = "deny-all-"+caller, []string{caller}
		return rule, nil
	case server != "":
		rule.Hint, rule.Server = "deny-all-"+server, server
	}
	found, err := e.folder.source.load([]string{e.folder.dir})
	if err != nil {
		return rule, err
	}
	if len(found.problems) > 0 {
		return rule, &policy.ErrorList{Problems: found.problems, Omitted: found.omitted}
	}
	rule.From = everyone(found.set, e.folder.domains)
	return rule, nil
}

// everyone returns patterns for all callers of the domains in Dapr's form, and for
// what the allow rules name besides.
func everyone(set *policy.Set, domains []string) []string {
	var patterns []string
	for _, domain := range domains {
		patterns = append(patterns, "spiffe://"+domain+"/ns/*/*")
	}
	for _, rule := range set.Rules() {
		if rule.Effect != policy.Allow {
			continue
		}
		for _, from := range rule.From {
			domain, path, _ := strings.Cut(strings.TrimPrefix(from, "spiffe://"), "/")
			segments := strings.Split(path, "/")
			first := segments[0]
			for i := range segments {
				segments[i] = "*"
			}
			if len(segments) == 3 && first == "ns" {
				segments[0] = first
			}
			patterns = append(patterns, "spiffe://"+domain+"/"+strings.Join(segments, "/"))
		}
	}
	slices.Sort(patterns)
	return slices.Compact(patterns)
}

func newPolicyRuleCommand(effect policy.Effect) *cobra.Command {
	var edit policyEdit
	rule := policyedit.Rule{Effect: effect}
	var state policy.StateRule
	var sql policy.SQLRule
	var file string
	short := map[policy.Effect]string{
		policy.Allow: "Add a rule that allows callers to use tools, prompts or resources of a server, keys of a state store or tables of a database",
		policy.Deny:  "Add a rule that denies callers the use of tools, prompts or resources of a server, keys of a state store or tables of a database; a deny beats every allow",
	}
	cmd := &cobra.Command{
		Use:   string(effect) + " --caller C --server S --tools T,...",
		Short: short[effect],
		Long: short[effect] + `.

The rule goes to the end of the first policy in ` + commandsFile + `, or in the file of the
folder that --file names. Without --name it gets a name that tells what it does.
If a rule of the folder says the same already, nothing is written.
` + policyChangeHelp,
		Example: strings.ReplaceAll(`  custody policy allow --caller analytics-agent --server orders --tools run_report,get_order
  custody policy allow --caller a --caller b --server orders --tools 'get_*' --file team.yaml --wait
  custody policy allow --caller 'spiffe://custody.local/ns/*/auditor' --server '*' --resources 'file:///docs/*'
  custody policy allow --caller orders-mcp --server orders-db --sql select,update --tables 'shop.*'
  custody policy allow --caller cart-service --server cart-store --state get,set --keys 'cart-*'`, "allow", string(effect)),
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(state.Operations)+len(state.Keys) > 0 {
				rule.State = &state
			}
			if len(sql.Operations)+len(sql.Tables)+len(sql.Functions) > 0 {
				rule.SQL = &sql
			}
			named := len(rule.Tools)+len(rule.Prompts)+len(rule.Resources)+len(rule.Methods)+len(rule.Paths) > 0 || rule.State != nil || rule.SQL != nil
			switch {
			case len(rule.From) == 0 || rule.Server == "" || !named:
				return usage(errors.New(
					"name --caller, --server and at least one of --tools, --prompts, --resources, --methods, --paths, --sql, --functions and --state"))
			case (len(state.Operations) == 0) != (len(state.Keys) == 0):
				return usage(errors.New("--state and --keys go together: name operations and keys"))
			case (len(sql.Operations) == 0) != (len(sql.Tables) == 0):
				return usage(errors.New("--sql and --tables go together: name operations and tables"))
			}
			return edit.run(cmd, "added", func(opts policy.CompileOptions) (*policyedit.Change, error) {
				return policyedit.Add(edit.folder.dir, opts, file, rule)
			})
		},
	}
	edit.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&rule.From, "caller", nil, "app ID, SPIFFE ID or pattern; may be repeated")
	flags.StringVar(&rule.Server, "server", "", "name of the MCP server, or '*' for every one")
	flags.StringSliceVar(&rule.Tools, "tools", nil, "tools, in which * stands for any text")
	flags.StringSliceVar(&rule.Prompts, "prompts", nil, "prompts, in which * stands for any text")
	flags.StringSliceVar(&rule.Resources, "resources", nil, "URIs of resources, as in 'file:///docs/*'")
	flags.StringSliceVar(&rule.Methods, "methods", nil, "other MCP methods, as in resources/read")
	flags.StringSliceVar(&rule.Paths, "paths", nil, "plain HTTP requests, as in \"GET /healthz\"")
	flags.StringSliceVar(&sql.Operations, "sql", nil, "with --tables: select, insert, update, delete, ddl, or '*'")
	flags.StringSliceVar(&sql.Tables, "tables", nil, "tables as schema.table, in which * stands for any text")
	flags.StringSliceVar(&sql.Functions, "functions", nil, "functions of a database as schema.function, in which * stands for any text")
	flags.StringSliceVar(&state.Operations, "state", nil, "with --keys: get, set, delete, query, transact, keys, or '*'")
	flags.StringSliceVar(&state.Keys, "keys", nil, "keys of a state store, in which * stands for any text")
	flags.StringVar(&rule.When, "when", "", "condition of the rule")
	flags.StringVar(&rule.Name, "name", "", "name of the rule")
	flags.StringVar(&file, "file", commandsFile, "file of the folder")
	return cmd
}

func newPolicyRevokeCommand() *cobra.Command {
	var edit policyEdit
	cmd := &cobra.Command{
		Use:   "revoke-rule [POLICY/]RULE",
		Short: "Remove a rule from its file",
		Long: `Removes the rule of that name, and the comment directly above it. The policy name
is needed if several policies have a rule of that name. A policy that is left
without rules is removed, and so is a file that is left without policies.
` + policyChangeHelp,
		Example: `  custody policy revoke-rule deny-all/deny-all --wait
  custody policy revoke-rule allow-analytics-agent-orders-run_report --dir policies`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return edit.run(cmd, "removed", func(opts policy.CompileOptions) (*policyedit.Change, error) {
				return policyedit.Revoke(edit.folder.dir, opts, args[0])
			})
		},
	}
	edit.addFlags(cmd)
	return cmd
}

// guardName is how a guard is called in one word.
func guardName(g guardStatus) string {
	if g.App == "" {
		return filepath.Base(filepath.Dir(g.Source))
	}
	return g.App
}
