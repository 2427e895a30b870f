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
	"github.com/spf13/pflag"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// policyQuestion is what the test command is asked.
type policyQuestion struct {
	caller, server     string
	tool, method, path string
	prompt, resource   string
	data               dataAction
	use                sqlUse
	// args, now, ip and what follows are for conditions.
	args, now, ip string
	chain, txn    string
	actors        []string
	// explain asks for the rules too, all for those that are far off as well.
	explain, all bool
}

var resourceKinds = []string{policy.KindResourceRead, policy.KindResourceSubscribe, policy.KindResourceUnsubscribe}

// policyAnswer is what it prints.
type policyAnswer struct {
	Caller string        `json:"caller"`
	Kind   string        `json:"kind"`
	Server string        `json:"server"`
	Name   string        `json:"name,omitempty"`
	Effect policy.Effect `json:"effect"`
	Policy string        `json:"policy,omitempty"`
	Rule   string        `json:"rule,omitempty"`
	Reason string        `json:"reason"`
	Set    string        `json:"set"`
	// Shadow is what would be decided with the policies in shadow mode enforced,
	// where that is something else.
	Shadow *shadowAnswer `json:"shadow,omitempty"`
	// Rules are explained where that was asked for, LeftOut counts the far ones.
	Rules   []explainedRule      `json:"rules,omitzero"`
	LeftOut map[policy.Match]int `json:"leftOut,omitempty"`
}

type shadowAnswer struct {
	Effect policy.Effect `json:"effect"`
	Policy string        `json:"policy,omitempty"`
	Rule   string        `json:"rule,omitempty"`
	Reason string        `json:"reason"`
}

const policyTestHelp = `Compiles the files and directories as "custody policy lint" does and decides one
call. The caller is a SPIFFE ID, or an app ID of the local trust domain and
namespace. In place of --tool, --prompt names a prompt, --resource the URI of a
resource, --method another MCP method and --path a plain HTTP request. --method
beside --prompt or --resource says what is done with it, in place of getting and
reading it. For methods about a task the answer is for the caller's own tasks.

--sql and --table, --function, and --state and --key name one part of a request to
a database or a state store. Statements are not parsed here: --columns, --writes,
--bound and --where say how the table is used. Without --columns and --writes every
column counts as touched. A write in a transaction of a state store has two parts:
ask for set or delete, and for transact.

Conditions of rules see --args as the arguments, --now as the time (the present
if it is left out) and --ip as the address of the caller's sidecar. The caller
counts as proven by its X.509-SVID, and at a database or a state store by the kernel
(unix-peer); there is no trace and no session. --chain
names a JSON file with the steps of the workflow so far, as if all were verified:

  {"instance": "refund-7", "complete": true, "steps": [
    {"name": "fraud-check", "kind": "statement", "at": "2026-11-23T09:30:00Z",
     "by": "spiffe://custody.local/ns/default/fraud"}],
   "passed": {"refund": 1}}

--actors names through whose hands a call came, who began it first and its caller
last, as a transaction token would.

--explain prints the rules too: which one decides, and why each of them matches
or does not. Those that name the caller and the server come first, the others
are counted; --all prints them as well.

Exit status: 0 allow; 1 deny; 2 wrong flags, or a policy has an error.`

const policyTestExample = `  custody policy test --caller support-agent --server orders --tool get_order policies/
  custody policy test --caller spiffe://custody.local/ns/default/support-agent \
    --server orders --resource file:///docs/returns.md policies/ -o json
  custody policy test --caller refunds-agent --server orders --tool refund \
    --args '{"amount": 120}' --now 2026-11-23T09:30:00Z policies/
  custody policy test --caller orders-mcp --server orders-db --sql update --table shop.orders \
    --columns id --writes status --bound id --params '[4711]' policies/
  custody policy test --caller intern --server orders --tool refund --explain policies/`

func newPolicyTestCommand() *cobra.Command {
	var source policySource
	var question policyQuestion
	var format string
	cmd := &cobra.Command{
		Use:     "test --caller X --server S --tool T PATH...",
		Short:   "Say what policy files decide about a call, a key or a table, and which rule decides",
		Long:    policyTestHelp,
		Example: policyTestExample,
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := policyFormat(format); err != nil {
				return err
			}
			if question.all && !question.explain {
				return usage(errors.New("--all is for --explain: give both"))
			}
			source.server = question.server
			answer, err := source.decide(cmd.ErrOrStderr(), question, args)
			if err != nil {
				return err
			}
			return answer.print(cmd.OutOrStdout(), format)
		},
	}
	source.addFlags(cmd)
	question.addFlags(cmd.Flags())
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table, json or yaml")
	return cmd
}

func (q *policyQuestion) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&q.caller, "caller", "", "SPIFFE ID, or app ID of the local trust domain and namespace")
	flags.StringVar(&q.server, "server", "", "name of the MCP server, state store or database")
	flags.StringVar(&q.tool, "tool", "", "tool that is called")
	flags.StringVar(&q.prompt, "prompt", "", "prompt that is asked for")
	flags.StringVar(&q.resource, "resource", "", "URI of the resource that is read")
	flags.StringVar(&q.method, "method", "", "other MCP method, as in resources/read")
	flags.StringVar(&q.path, "path", "", "plain HTTP request, as in \"GET /healthz\"")
	q.data.addFlags(flags)
	q.use.addFlags(flags)
	flags.StringVar(&q.args, "args", "", "arguments of the call, as a JSON object")
	flags.StringVar(&q.now, "now", "", "time of the call, as in 2026-11-23T09:30:00Z (default: the present)")
	flags.StringVar(&q.ip, "ip", "", "address of the caller's sidecar")
	flags.StringVar(&q.chain, "chain", "", "JSON file with the steps of the workflow before the call")
	flags.StringSliceVar(&q.actors, "actors", nil, "on whose behalf: SPIFFE IDs or app IDs, the caller last")
	flags.StringVar(&q.txn, "txn", "", "with --actors: the transaction's ID")
	flags.BoolVar(&q.explain, "explain", false, "say of each rule why it matches or does not")
	flags.BoolVar(&q.all, "all", false, "with --explain: print the rules about other callers and servers too")
}

// decide answers the question. What is wrong in the files goes to warnings.
func (s *policySource) decide(warnings io.Writer, q policyQuestion, paths []string) (*policyAnswer, error) {
	request, err := q.request(s)
	if err != nil {
		return nil, usage(err)
	}
	found, err := s.compiled(warnings, paths...)
	if err != nil {
		return nil, err
	}
	d := found.set.Decide(request)
	if toolcall.DefaultOf(q.method) != toolcall.Named {
		d = found.set.DecideDefault(request)
	}
	answer := &policyAnswer{
		Caller: request.Caller.String(), Kind: request.Action.Kind, Server: request.Action.Server, Name: request.Action.Name,
		Effect: d.Effect, Policy: d.Policy, Rule: d.Rule, Reason: d.Reason, Set: d.Set,
	}
	if would := d.Shadow; would != nil {
		answer.Shadow = &shadowAnswer{Effect: would.Effect, Policy: would.Policy, Rule: would.Rule, Reason: would.Reason}
	}
	if q.explain {
		answer.explain(found.set.Explain(request), q.all)
	}
	return answer, nil
}

func (q policyQuestion) request(s *policySource) (policy.Request, error) {
	action, err := q.action()
	if err != nil {
		return policy.Request{}, err
	}
	facts, err := q.facts()
	if err != nil {
		return policy.Request{}, err
	}
	caller, err := s.caller(q.caller)
	if err != nil {
		return policy.Request{}, err
	}
	if err := q.use.apply(&action, facts); err != nil {
		return policy.Request{}, err
	}
	facts.Actor, err = q.actor(s, caller)
	return policy.Request{Caller: caller, Action: action, Facts: facts}, err
}

func (q policyQuestion) action() (policy.Action, error) {
	action := policy.Action{Server: q.server}
	named := 0
	for _, way := range []struct{ kind, name string }{
		{policy.KindToolCall, q.tool}, {policy.KindHTTP, q.path}, {policy.KindPromptGet, q.prompt}, {policy.KindResourceRead, q.resource},
	} {
		if way.name != "" {
			action.Kind, action.Name = way.kind, way.name
			named++
		}
	}
	if q.server != "" && named == 0 && q.method == "" && q.data.given() {
		return q.data.action(q.server)
	}
	if q.server == "" || q.data.given() || named > 1 || named == 0 && q.method == "" {
		return action, errors.New("name --server and one of --tool, --prompt, --resource, --method, --path, " + dataWays)
	}
	if q.method == "" {
		return action, nil
	}
	action.Kind = policy.KindMCPPrefix + q.method
	switch {
	case named == 0:
	case action.Kind == policy.KindComplete && q.prompt != "":
		action.Name = policy.RefPrompt + q.prompt
	case action.Kind == policy.KindComplete && q.resource != "":
		action.Name = policy.RefResource + q.resource
	case action.Kind == policy.KindPromptGet && q.prompt != "":
	case q.resource != "" && slices.Contains(resourceKinds, action.Kind):
	default:
		return action, fmt.Errorf("--method %s is not done with what the other flag names", q.method)
	}
	return action, nil
}

func (s *policySource) caller(text string) (spiffeid.ID, error) {
	if text == "" {
		return spiffeid.ID{}, errors.New("name the --caller by SPIFFE ID or app ID")
	}
	if strings.Contains(text, "/") {
		id, err := spiffeid.FromString(text)
		if err != nil {
			return spiffeid.ID{}, fmt.Errorf("--caller %q: %w", text, err)
		}
		return id, nil
	}
	opts, err := s.options()
	if err != nil {
		return spiffeid.ID{}, err
	}
	id, err := spiffeid.FromSegments(opts.TrustDomain, "ns", opts.Namespace, text)
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("--caller %q: %w", text, err)
	}
	return id, nil
}

// print writes the answer; a denial is an error too, for the exit code.
func (a *policyAnswer) print(w io.Writer, format string) error {
	show := a.text
	if format != "table" {
		show = func(w io.Writer) error { return policyValue(w, format, a) }
	}
	err := show(w)
	if err == nil && a.Effect != policy.Allow {
		err = &exitError{code: exitNo, err: errors.New(a.denied())}
	}
	return err
}

// denied says what is wrong, and how to learn more.
func (a *policyAnswer) denied() string {
	if a.Rules != nil {
		return "the call is denied"
	}
	return "the call is denied; --explain says of each rule why"
}

func (a *policyAnswer) text(w io.Writer) error {
	lines := verdictText(a.Effect, a.Policy, a.Rule, a.Reason) + "\n"
	if s := a.Shadow; s != nil {
		lines += "with the policies in shadow mode enforced: " + verdictText(s.Effect, s.Policy, s.Rule, s.Reason) + "\n"
	}
	if _, err := io.WriteString(w, lines); err != nil {
		return err
	}
	return a.printRules(w)
}

// verdictText is a decision in one line.
func verdictText(effect policy.Effect, policyName, rule, reason string) string {
	text := fmt.Sprintf("%s: %s", effect, reason)
	if rule != "" {
		text += fmt.Sprintf(" (policy %s, rule %s)", policyName, rule)
	}
	return text
}
