// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/policy"
)

// anyTool stands for the tools that neither side names. Only patterns made of
// stars match it.
const anyTool = "*"

// policyDiff is what the diff command is asked.
type policyDiff struct {
	source   policySource
	journals []string
}

// diffAnswer is what it prints.
type diffAnswer struct {
	Old     string     `json:"old"` // digests
	New     string     `json:"new"`
	Callers []string   `json:"callers"`
	Tools   []string   `json:"tools"` // SERVER/TOOL
	Changes []diffLine `json:"changes"`
}

type diffLine struct {
	// Change is "+" if the call is allowed now and was not, "-" if it was and is
	// not, "~" if it depends on conditions that are not those of before.
	Change string `json:"change"`
	Caller string `json:"caller"`
	Server string `json:"server"`
	Tool   string `json:"tool"`
	// Policy and Rule name the rule that allows or allowed it.
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	// DeniedBy is the POLICY/RULE that denies what was allowed; empty if no rule allows it.
	DeniedBy string `json:"deniedBy,omitempty"`
	// Conditions are those that it depends on now.
	Conditions []string `json:"conditions,omitempty"`
}

func (l diffLine) String() string {
	if l.Change == "~" {
		return fmt.Sprintf("~ depends %s %s/%s: %s", l.Caller, l.Server, l.Tool, strings.Join(l.Conditions, "; "))
	}
	text := fmt.Sprintf("%s allow %s %s/%s (%s/%s)", l.Change, l.Caller, l.Server, l.Tool, l.Policy, l.Rule)
	if l.DeniedBy != "" {
		text += ", denied by " + l.DeniedBy
	}
	return text
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

Known callers are the apps of the runs that "custody ps" lists, and those that
either side names without a pattern. Known tools are those that either side names
so and, with --journal, those of calls that the journal records; SERVER/* stands
for every tool that neither side names. A difference that touches none of these
is said in a note.

Exit status: 0 no change; 1 changes; 2 wrong flags, or a policy has an error.`,
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
	// tools are by server; those under * belong to every server.
	tools map[string]map[string]bool
}

func (k *known) tool(server, tool string) {
	if k.tools[server] == nil {
		k.tools[server] = map[string]bool{}
	}
	k.tools[server][tool] = true
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
	k := &known{callers: map[spiffeid.ID]bool{}, servers: map[string]bool{}, tools: map[string]map[string]bool{}}
	k.rules(older.set)
	k.rules(newer.set)
	if err := k.apps(); err != nil {
		return nil, usage(err)
	}
	if err := k.receipts(warnings, d.journals); err != nil {
		return nil, usage(err)
	}
	return k.compare(older.set, newer.set), nil
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
		for _, tool := range rule.Tools {
			if !strings.Contains(tool, "*") {
				k.tool(rule.Server, tool)
			}
		}
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
		if r := item.Receipt; r != nil && r.Action.Kind == policy.KindToolCall && r.Action.Name != "" && r.Action.Server != "" {
			k.servers[r.Action.Server] = true
			k.tool(r.Action.Server, r.Action.Name)
		}
		return nil
	})
}

// calls returns the known tools in order, each with its server.
func (k *known) calls() []policy.Action {
	var calls []policy.Action
	for server := range k.servers {
		names := []string{anyTool}
		for _, tools := range []map[string]bool{k.tools[server], k.tools["*"]} {
			for tool := range tools {
				names = append(names, tool)
			}
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			calls = append(calls, policy.Action{Kind: policy.KindToolCall, Server: server, Name: name})
		}
	}
	slices.SortStableFunc(calls, func(a, b policy.Action) int { return strings.Compare(a.Server, b.Server) })
	return calls
}

func (k *known) compare(before, after *policy.Set) *diffAnswer {
	answer := &diffAnswer{Old: before.Digest(), New: after.Digest(), Callers: []string{}, Tools: []string{}, Changes: []diffLine{}}
	calls := k.calls()
	for _, call := range calls {
		answer.Tools = append(answer.Tools, call.Server+"/"+call.Name)
	}
	for id := range k.callers {
		answer.Callers = append(answer.Callers, id.String())
	}
	slices.Sort(answer.Callers)
	for _, caller := range answer.Callers {
		id := spiffeid.RequireFromString(caller)
		for _, call := range calls {
			request := policy.Request{Caller: id, Action: call}
			if line, differs := compareCall(request, before, after); differs {
				answer.Changes = append(answer.Changes, line)
			}
		}
	}
	return answer
}

// verdict is what a Set says of a call whose arguments are not known.
type verdict struct {
	policy.Decision

	conditions []string // what it depends on; empty if on nothing
}

func verdictOf(set *policy.Set, request policy.Request) verdict {
	v := verdict{Decision: set.Decide(request)}
	denies := false
	for _, rule := range set.Conditional(request) {
		denies = denies || rule.Effect == policy.Deny
		v.conditions = append(v.conditions, fmt.Sprintf("%s (%s/%s)%s", rule.Effect, rule.Policy, rule.Rule, under(rule.When)))
	}
	// A denial without a condition, and an allow that no denial can take back, depend on nothing.
	if !set.MayAllow(request) || (v.Effect == policy.Allow && !denies) {
		v.conditions = nil
	}
	return v
}

func compareCall(request policy.Request, before, after *policy.Set) (diffLine, bool) {
	was, is := verdictOf(before, request), verdictOf(after, request)
	line := diffLine{
		Change: "+", Caller: request.Caller.String(), Server: request.Action.Server, Tool: request.Action.Name,
		Policy: is.Policy, Rule: is.Rule,
	}
	switch {
	case len(is.conditions) > 0:
		line.Change, line.Policy, line.Rule, line.Conditions = "~", "", "", is.conditions
		return line, !slices.Equal(was.conditions, is.conditions)
	case len(was.conditions) > 0 && is.Effect != policy.Allow:
		line.Change, line.Policy, line.Rule = "~", "", ""
		line.Conditions = []string{"no more; it is denied"}
		return line, true
	case len(was.conditions) > 0:
		return line, true
	case (was.Effect == policy.Allow) == (is.Effect == policy.Allow):
		return line, false
	case was.Effect == policy.Allow:
		line.Change, line.Policy, line.Rule = "-", was.Policy, was.Rule
		if is.Rule != "" {
			line.DeniedBy = is.Policy + "/" + is.Rule
		}
	}
	return line, true
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
	}
	switch {
	case len(a.Changes) > 0:
		return &exitError{code: exitNo, err: errors.New(count(len(a.Changes), "call is", "calls are") + " decided differently")}
	case a.Old != a.New:
		fmt.Fprintf(notes, "note: the rules differ, but not for the %d callers and %d tools that are known\n", len(a.Callers), len(a.Tools))
	}
	return nil
}
