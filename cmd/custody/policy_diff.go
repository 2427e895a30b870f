// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/policy"
)

// These stand for the tools, prompts and resources that neither side names. No
// patterns but those for all match them.
var unnamed = map[string]string{policy.KindToolCall: "*", policy.KindPromptGet: "*", policy.KindResourceRead: "any:*"}

// nobodyNames stands for what neither side names of a kind.
func nobodyNames(kind string) string {
	if isData(kind) {
		return "*"
	}
	return unnamed[kind]
}

// policyDiff is what the diff command is asked.
type policyDiff struct {
	source   policySource
	journals []string
}

// diffAnswer is what it prints.
type diffAnswer struct {
	Old     string   `json:"old"` // digests
	New     string   `json:"new"`
	Callers []string `json:"callers"`
	Tools   []string `json:"tools"` // SERVER/TOOL
	// Others are prompts and resources, as Changes name them.
	Others []string `json:"others,omitempty"`
	// Data are keys of state stores, and tables and functions of databases.
	Data    []string   `json:"data,omitempty"`
	Changes []diffLine `json:"changes"`
	// Shadow is what the policies of NEW in shadow mode would change beside it, if
	// they were enforced.
	Shadow []diffLine `json:"shadow"`
}

func newPolicyDiffCommand() *cobra.Command {
	diff := policyDiff{source: policySource{server: "*"}}
	var format string
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show what a change of policy files changes for whom",
		Long: `Decides every known call by the policy of OLD and by that of NEW, files or
folders, and prints those that are decided differently:

  + allow CALLER SERVER/TOOL (POLICY/RULE)   allowed by NEW, by that rule
  - allow CALLER SERVER/TOOL (POLICY/RULE)   allowed by OLD, by that rule, not by NEW
  ~ depends CALLER SERVER/TOOL: CONDITIONS   depends in NEW on these conditions, and
                                             did not in OLD
  = obliges CALLER SERVER/TOOL: OLD -> NEW   allowed as before, and obliges to NEW, such
                                             as a rate, where it obliged to OLD
  shadow: ...                                one of these that NEW's policies in shadow
                                             mode would make if they were enforced

What a call obliges to stands behind "with" where it is allowed now or depends.
Shadow lines decide nothing yet, and are no change.

Known callers are the apps of the runs that "custody ps" lists, and those that
either side names without a pattern. Known tools are those that either side names
so and, with --journal, those of calls that the journal records; SERVER/* stands
for every tool that neither side names. Prompts and resources are shown as "SERVER
prompt NAME" and "SERVER resource URI", where some rule lists prompts or resources;
"prompt *" and "resource any:*" stand for those that neither side names. Keys of state
stores, and tables and functions of databases, are shown as "SERVER state.get KEY" and
"SERVER sql.select SCHEMA.TABLE", where some rule lists any; a pattern stands for what
it matches and no rule names more closely. How a statement uses a table is not known, so
that what goes by its columns, filters and WHERE depends. A difference that touches none
of these is said in a note.

Exit status: 0 no change of what is enforced; 1 changes; 2 wrong flags, or a policy has an error.`,
		Example: `  custody policy diff policies/ candidate/
  custody policy diff policies/ candidate.yaml --journal /var/lib/custody/orders -o json`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			answer, err := diff.answer(cmd.ErrOrStderr(), args[0], args[1])
			if err != nil {
				return err
			}
			return answer.print(cmd.OutOrStdout(), cmd.ErrOrStderr(), format)
		},
	}
	diff.source.addFlags(cmd)
	journalFlag(cmd, &diff.journals)
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, json or yaml")
	return cmd
}

// known collects what calls are worth asking about.
type known struct {
	callers map[spiffeid.ID]bool
	servers map[string]bool
	// names are by kind of action and server; those under * belong to every server.
	names map[string]map[string]map[string]bool
}

func newKnown() *known {
	return &known{
		callers: map[spiffeid.ID]bool{}, servers: map[string]bool{},
		names: map[string]map[string]map[string]bool{policy.KindToolCall: {}},
	}
}

func (k *known) name(kind, server, name string) {
	if k.names[kind] == nil {
		k.names[kind] = map[string]map[string]bool{}
	}
	if k.names[kind][server] == nil {
		k.names[kind][server] = map[string]bool{}
	}
	if !strings.Contains(name, "*") || isData(kind) {
		k.names[kind][server][name] = true
	}
}

// data takes the keys, tables and functions of a rule, patterns too: few rules name one
// by itself.
func (k *known) data(rule policy.RuleInfo) {
	if s := rule.State; s != nil {
		for _, kind := range kindsOf(s.Operations, stateKinds) {
			for _, key := range s.Keys {
				k.name(kind, rule.Server, key)
			}
		}
	}
	if s := rule.SQL; s != nil {
		for _, kind := range kindsOf(s.Operations, sqlKinds) {
			for _, table := range s.Tables {
				k.name(kind, rule.Server, table)
			}
		}
		for _, function := range s.Functions {
			k.name(policy.KindSQLCall, rule.Server, function)
		}
	}
}

func (d *policyDiff) answer(warnings io.Writer, before, after string) (*diffAnswer, error) {
	older, err := d.source.compiled(warnings, before)
	if err != nil {
		return nil, err
	}
	newer, err := d.source.compiled(warnings, after)
	if err != nil {
		return nil, err
	}
	k := newKnown()
	k.rules(older.set)
	k.rules(newer.set)
	if err := k.apps(); err != nil {
		return nil, usage(err)
	}
	if err := k.receipts(warnings, d.journals); err != nil {
		return nil, usage(err)
	}
	answer := k.answer(older.set, newer.set)
	answer.Changes = k.compare(older.set, newer.set)
	if answer.Shadow, err = d.rehearsed(k, newer); err != nil {
		return nil, usage(err)
	}
	return answer, nil
}

// rehearsed returns what the policies of a side in shadow mode would change.
func (d *policyDiff) rehearsed(k *known, side *policyFindings) ([]diffLine, error) {
	if !slices.ContainsFunc(side.documents, func(d policy.Document) bool { return d.Mode() == policy.Shadow }) {
		return []diffLine{}, nil
	}
	opts, err := d.source.options()
	if err != nil {
		return nil, err
	}
	enforced, _, err := policy.Compile(policy.Enforced(side.documents), opts)
	if err != nil {
		return nil, err
	}
	return k.compare(side.set, enforced), nil
}

// answer says what is compared.
func (k *known) answer(before, after *policy.Set) *diffAnswer {
	answer := &diffAnswer{Old: before.Digest(), New: after.Digest(), Callers: []string{}, Tools: []string{}}
	for _, call := range k.calls() {
		switch what := lineFor(call).what(); {
		case call.Kind == policy.KindToolCall:
			answer.Tools = append(answer.Tools, what)
		case isData(call.Kind):
			answer.Data = append(answer.Data, what)
		default:
			answer.Others = append(answer.Others, what)
		}
	}
	for _, id := range k.ids() {
		answer.Callers = append(answer.Callers, id.String())
	}
	return answer
}

// ids returns the known callers in order.
func (k *known) ids() []spiffeid.ID {
	return slices.SortedFunc(maps.Keys(k.callers), func(a, b spiffeid.ID) int { return strings.Compare(a.String(), b.String()) })
}

// compare returns what two Sets decide differently.
func (k *known) compare(before, after *policy.Set) []diffLine {
	changes, calls := []diffLine{}, k.calls()
	for _, caller := range k.ids() {
		for _, call := range calls {
			if line, differs := compareCall(caller, call, before, after); differs {
				changes = append(changes, line)
			}
		}
	}
	return changes
}

// rules takes what a side names without a pattern.
func (k *known) rules(set *policy.Set) {
	for _, rule := range set.Rules() {
		for _, from := range rule.From {
			if id, err := spiffeid.FromString(from); err == nil { // A pattern is no SPIFFE ID.
				k.callers[id] = true
			}
		}
		if rule.Server != "*" {
			k.servers[rule.Server] = true
		}
		for kind, names := range map[string][]string{
			policy.KindToolCall: rule.Tools, policy.KindPromptGet: rule.Prompts, policy.KindResourceRead: rule.Resources,
		} {
			for _, name := range names {
				k.name(kind, rule.Server, name)
			}
		}
		k.data(rule)
	}
}

func (k *known) apps() error {
	_, apps, err := registered()
	for _, app := range apps {
		id, wrong := spiffeid.FromString(app.SPIFFEID)
		if wrong != nil {
			return fmt.Errorf("SPIFFE ID of app %s: %w", app.AppID, wrong)
		}
		k.callers[id] = true
	}
	return err
}

func (k *known) receipts(warnings io.Writer, journals []string) error {
	if len(journals) == 0 {
		return nil
	}
	sources, err := journalSources(journals)
	if err != nil {
		return err
	}
	return walkJournals(sources, warnings, func(_ journalSource, item *evidence.Item) error {
		r := item.Receipt
		if r == nil || r.Action.Server == "" {
			return nil
		}
		if r.Action.Kind == policy.KindToolCall && r.Action.Name != "" {
			k.servers[r.Action.Server] = true
			k.name(policy.KindToolCall, r.Action.Server, r.Action.Name)
		}
		for _, t := range r.Touched {
			if isData(t.Kind) && t.Name != "" {
				k.servers[r.Action.Server] = true
				k.name(t.Kind, r.Action.Server, t.Name)
			}
		}
		return nil
	})
}

// calls returns what is known in order, by server and kind.
func (k *known) calls() []policy.Action {
	var calls []policy.Action
	for _, server := range slices.Sorted(maps.Keys(k.servers)) {
		for _, kind := range slices.Concat([]string{policy.KindToolCall, policy.KindPromptGet, policy.KindResourceRead}, sqlKinds, []string{policy.KindSQLCall}, stateKinds) {
			if k.names[kind] == nil || isData(kind) && len(k.names[kind][server])+len(k.names[kind]["*"]) == 0 {
				continue
			}
			names := []string{nobodyNames(kind)}
			for _, of := range []string{server, "*"} {
				names = slices.AppendSeq(names, maps.Keys(k.names[kind][of]))
			}
			slices.Sort(names)
			for _, name := range slices.Compact(names) {
				calls = append(calls, policy.Action{Kind: kind, Server: server, Name: name})
			}
		}
	}
	return calls
}

func (a *diffAnswer) others() string {
	if len(a.Others) == 0 {
		return ""
	}
	return " and " + count(len(a.Others), "prompt or resource", "prompts and resources")
}

func (a *diffAnswer) data() string {
	if len(a.Data) == 0 {
		return ""
	}
	return " and " + count(len(a.Data), "key or table", "keys and tables")
}

// print writes the answer; changes are an error too, for the exit code.
func (a *diffAnswer) print(out, notes io.Writer, format string) error {
	if format != "table" {
		if err := policyValue(out, format, a); err != nil {
			return err
		}
	} else {
		for _, line := range a.Changes {
			if _, err := fmt.Fprintln(out, plain(line.String())); err != nil {
				return err
			}
		}
		for _, line := range a.Shadow {
			if _, err := fmt.Fprintln(out, plain("shadow: "+line.String())); err != nil {
				return err
			}
		}
	}
	switch {
	case len(a.Changes) > 0:
		return &exitError{code: exitNo, err: errors.New(count(len(a.Changes), "call is", "calls are") + " decided differently")}
	case a.Old != a.New:
		text := "note: the rules differ, but not for the %d callers and %d tools%s that are known"
		if len(a.Shadow) > 0 {
			text += ", save in shadow mode"
		}
		fmt.Fprintf(notes, text+"\n", len(a.Callers), len(a.Tools), a.others()+a.data())
	}
	return nil
}
