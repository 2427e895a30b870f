// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// FuzzParse: any bytes give documents or errors with a place, never a panic, and
// documents that are taken compile, or fail only for equal names.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", ordersPolicy, configuration, ordersPolicy + "---\n" + ordersPolicy, "a: &x [*x]", "<<: {a: b}", "? {a: b}\n: c",
		header + "metadata: {name: p}\nspec: {rules: [{name: r, effect: deny, from: ['*'], to: {server: '*', tools: ['*']}}]}",
		"\t", "- !!binary x", "%YAML 1.1\n---\na", "a:\n- |\n \t\n", "\ufeffa: b", "...\n---\n...",
		doc("p", "  - {name: r, effect: allow, from: [a], to: {server: d, sql: {operations: [update], tables: ['s.*'], columns: {read: [a]}, mustFilterBy: {s.t: [c]}, where: any}}, maxRows: 3, when: 'params[0] == sql.command'}\n"),
		doc("p", "  - {name: r, effect: deny, from: [a], to: {server: d, state: {operations: ['*'], keys: [k]}}}\n"),
		"[[[[[[[[[[[{", "!<!x> &a\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ac, err := policy.ParseConfiguration("c.yaml", data)
		if err == nil {
			docs, _ := policy.FromAccessControl("c.yaml", ac, "/mcp", "orders")
			_, _, err := policy.Compile(docs, local())
			require.NoError(t, err)
		}
		docs, err := policy.Parse("f.yaml", data)
		if err != nil {
			require.Nil(t, docs)
			var list *policy.ErrorList
			require.True(t, errors.As(err, &list))
			require.NotEmpty(t, list.Problems)
			require.LessOrEqual(t, len(list.Problems), 20)
			for _, p := range list.Problems {
				require.Positive(t, p.Line, p.Error())
				require.NotEmpty(t, p.Message)
			}
			return
		}
		require.NotEmpty(t, docs)
		set, _, err := policy.Compile(docs, local())
		if err != nil {
			require.ErrorContains(t, err, "is already used")
			return
		}
		for _, r := range set.Rules() {
			require.NotEmpty(t, r.From)
			require.True(t, len(r.Tools)+len(r.Methods)+len(r.Paths)+len(r.Prompts)+len(r.Resources) > 0 || r.State != nil || r.SQL != nil)
		}
	})
}

// FuzzCondition: any text compiles or gives errors within the lines of the file,
// and what compiles decides on any arguments without a panic: a deny under the
// condition and an allow under it never both leave the call open.
func FuzzCondition(f *testing.F) {
	f.Add("args.x == 1", `{"x":1}`)
	f.Add("args.a.all(i, i in args.b) || args.s.matches(args.p)", `{"a":[1,2.5],"b":[1,[null]],"s":"x","p":"("}`)
	f.Add("has(args.x.y) ? now.getHours() < 3 : caller.appID == 'a'", `{"x":{"y":18446744073709551616}}`)
	f.Add("\n args\n== {'a': 1.5,\n\n'b': [1u]} // é", `{"a":1e5,"b":"\ud83d\ude00"}`)
	f.Add("double(args.x) / 0.0 > dyn(1) && chain.x", `{"x":"NaN"}`)
	f.Add("string(args.x) + action.tool == duration('1h') \\\"''", `{"x":{}}`)
	f.Add("((((((((((((((((", "[")
	f.Add("args.x[0].map(i, i, [i])[-1] == b'x'", `{"x":[[{}]]}`)
	f.Fuzz(func(t *testing.T, when, arguments string) {
		text := "  - {name: r, effect: %s, from: [a], to: {server: s, tools: ['*']}, when: " + strconv.Quote(when) + "}\n"
		docs, err := policy.Parse("f.yaml", []byte(doc("p", fmt.Sprintf(text, "allow"))))
		if err != nil {
			var list *policy.ErrorList
			require.True(t, errors.As(err, &list))
			for _, p := range list.Problems {
				require.Equal(t, 7, p.Line, p.Error())
			}
			return
		}
		allow, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		deny := compile(t, doc("p", fmt.Sprintf(text, "deny")+ruleText("all", "allow", "a", "server: s, tools: ['*']")))
		r := callWith(arguments)
		opened, closed := allow.Decide(r), deny.Decide(r)
		require.False(t, opened.Effect == policy.Allow && closed.Effect == policy.Allow)
		if opened.Effect == policy.Deny && closed.Effect == policy.Deny {
			require.Equal(t, opened.Reason, closed.Reason)
			require.Contains(t, opened.Reason, "could not be evaluated")
		}
		require.LessOrEqual(t, utf8.RuneCountInString(opened.Reason), 200)
	})
}

// FuzzPattern: a caller pattern that is taken matches what its regular expression
// matches, and so does a pattern of tools.
func FuzzPattern(f *testing.F) {
	f.Add("spiffe://custody.local/ns/*/a", "spiffe://custody.local/ns/x/a", "get_*", "get_order")
	f.Add("spiffe://td/*", "spiffe://td/a/b", "*a*b*", "xaybz")
	f.Add("support-agent", "spiffe://custody.local/ns/default/support-agent", "**", "x")
	f.Add("spiffe://td/ns/agent-*", "spiffe://td/ns/agent-1", "a*a", "a")
	f.Add("spiffe://td/a//b", "spiffe://td/a//b", "*ab*ab", "ababab")
	f.Fuzz(func(t *testing.T, pattern, caller, tools, name string) {
		from, to := strconv.Quote(pattern), strconv.Quote(tools)
		docs, err := policy.Parse("f.yaml", []byte(doc("p", ruleText("r", "allow", from, "server: s, tools: ["+to+"]"))))
		id, idErr := spiffeid.FromString(caller)
		if err != nil || idErr != nil || name == "" {
			return
		}
		set, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		rule := set.Rules()[0]
		m := model{from: rule.From, server: "s", tools: rule.Tools}
		request := tool(id, "s", name)
		require.Equal(t, m.matches(request), set.Decide(request).Effect == policy.Allow)
		for _, segment := range strings.Split(rule.From[0], "/") {
			require.True(t, segment == "*" || !strings.Contains(segment, "*"), rule.From[0])
		}
	})
}
