// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

const explained = header + `metadata: {name: p}
spec:
  rules:
  - {name: reads, effect: allow, from: [a], to: {server: s, tools: ["get_*"]}}
  - {name: small, effect: allow, from: ["spiffe://custody.local/ns/*/a"], to: {server: "*", tools: [get_x, refund]}, when: args.n < 10}
  - {name: other-server, effect: allow, from: [a], to: {server: t, tools: ["*"]}}
  - {name: other-caller, effect: deny, from: [b], to: {server: s, tools: ["*"]}}
  - {name: files, effect: allow, from: [a], to: {server: s, methods: [resources/read], paths: [GET /a]}}
  - {name: thirteen, effect: deny, from: [a], to: {server: s, tools: [refund]}, when: args.n == 13}
  - {name: late, effect: deny, from: [a], to: {server: s, tools: [refund]}}
---
` + header + `metadata: {name: q}
spec:
  mode: shadow
  rules:
  - {name: rehearsed, effect: deny, from: [a], to: {server: s, tools: [get_x]}}
---
` + header + `metadata: {name: r}
spec:
  rules:
  - {name: granted, effect: allow, from: [c], to: {server: s, tools: [get_x]}, requireGrant: true}
`

func TestExplain(t *testing.T) {
	set := compile(t, explained)
	type line struct {
		match   policy.Match
		why     string
		decides bool
	}
	tests := []struct {
		name string
		ask  policy.Request
		args string
		want map[string]line
	}{
		{"allowed by two", tool(app("a"), "s", "get_x"), `{"n": 9}`, map[string]line{
			"reads":        {policy.Matches, "decides", true},
			"small":        {policy.Matches, "allows too, behind p/reads", false},
			"other-server": {policy.OtherServer, "it is about server t", false},
			"other-caller": {policy.OtherCaller, "no pattern of from matches the caller", false},
			"files":        {policy.OtherAction, "none of its methods and paths matches", false},
			"thirteen":     {policy.OtherAction, "none of its tools matches", false},
			"rehearsed":    {policy.Matches, "decides nothing: its policy is in shadow mode", false},
		}},
		{"a condition is false", tool(app("a"), "s", "get_x"), `{"n": 10}`, map[string]line{
			"reads": {policy.Matches, "decides", true},
			"small": {policy.WhenFalse, "its condition is false", false},
		}},
		{"a condition fails, and its value is not told", tool(app("a"), "s", "get_x"), `{"n": "secret"}`, map[string]line{
			"small": {policy.WhenFailed, "its condition could not be evaluated: a value is not of the type that the condition wants", false},
		}},
		{"denied by the second", tool(app("a"), "s", "refund"), `{"n": 9}`, map[string]line{
			"reads":    {policy.OtherAction, "none of its tools matches", false},
			"small":    {policy.Matches, "would allow, but p/late decides", false},
			"thirteen": {policy.WhenFalse, "its condition is false", false},
			"late":     {policy.Matches, "decides", true},
		}},
		{"denied by the first", tool(app("a"), "s", "refund"), `{"n": 13}`, map[string]line{
			"thirteen": {policy.Matches, "decides", true},
			"late":     {policy.Matches, "denies too, behind p/thirteen", false},
		}},
		{"denied by a condition that fails", tool(app("a"), "s", "refund"), "", map[string]line{
			"thirteen": {policy.WhenFailed, "its condition could not be evaluated: no such key: n", true},
		}},
		{"a grant is wanted", tool(app("c"), "s", "get_x"), "", map[string]line{
			"granted": {policy.Matches, "decides: it wants a grant, and there is none", true},
		}},
		{"no server", tool(app("a"), "", "get_x"), "", map[string]line{
			"small": {policy.OtherServer, "no rule matches an action without a server", false},
		}},
		{"no name", tool(app("a"), "s", ""), "", map[string]line{
			"reads": {policy.OtherAction, "no rule matches an action of this kind or without a name", false},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.ask.Facts = &policy.Facts{Arguments: []byte(tt.args)}
			all := set.Explain(tt.ask)
			require.Len(t, all, len(set.Rules()))
			for i, rule := range set.Rules() {
				require.Equal(t, rule, all[i].RuleInfo)
				require.NotEmpty(t, all[i].Why)
				if want, ok := tt.want[rule.Rule]; ok {
					require.Equal(t, want, line{all[i].Match, all[i].Why, all[i].Decides}, rule.Rule)
				}
			}
		})
	}
	require.Nil(t, (*policy.Set)(nil).Explain(tool(app("a"), "s", "get_x")))
}

// facts of which conditions ask, and some of these are not known.
var (
	factConditions = []string{
		"args.n < 10", "args.missing == 1", "now < timestamp('2026-06-01T00:00:00Z')", "now.getHours() >= 0",
		"caller.proof == 'x509-svid'", "request.ip == '10.0.0.1'", "request.traceID != ''", "session.id == 'x'",
		"caller.appID == 'a'", "caller.appID == 'a' || args.n > 3", "caller.appID != 'a' && args.n > 3",
		"args.n > 3 || caller.appID == 'a'", "now > timestamp('2026-06-01T00:00:00Z') && session.id == 'x'", "!has(args.n)",
	}
	factNames = []string{
		policy.FactArguments, policy.FactNow, policy.FactProof, policy.FactIP, policy.FactTraceID, policy.FactSession,
	}
)

// drawSet makes a Set of up to three policies with conditions, obligations and modes.
func drawSet(t *rapid.T) *policy.Set {
	var texts []string
	for i := range rapid.IntRange(1, 3).Draw(t, "policies") {
		var rules strings.Builder
		for j := range rapid.IntRange(1, 6).Draw(t, "rules") {
			m := drawModel(t, j)
			m.when = ""
			if rapid.Bool().Draw(t, "conditional") {
				m.when = rapid.SampledFrom(factConditions).Draw(t, "when")
			}
			text := m.yaml(fmt.Sprintf("r%d", j))
			if m.effect == "allow" {
				more := rapid.SampledFrom([]string{"", "", "", "rate: 5/minute", "maxResultBytes: 9", "requireGrant: true"}).Draw(t, "obligation")
				if more != "" {
					text = strings.TrimSuffix(text, "}\n") + ", " + more + "}\n"
				}
			}
			rules.WriteString(text)
		}
		text := doc(fmt.Sprintf("p%d", i), rules.String())
		if rapid.IntRange(0, 3).Draw(t, "shadow") == 0 {
			text = strings.Replace(text, "spec:\n", "spec:\n  mode: shadow\n", 1)
		}
		texts = append(texts, text)
	}
	docs, err := policy.Parse("f.yaml", []byte(strings.Join(texts, "---\n")))
	require.NoError(t, err)
	set, _, err := policy.Compile(docs, local())
	require.NoError(t, err)
	return set
}

func drawFacts(t *rapid.T) policy.Facts {
	return policy.Facts{
		Arguments: []byte(rapid.SampledFrom([]string{"", `{"n": 2}`, `{"n": 5}`, `{"n": 20}`, `{"n": "x"}`, "["}).Draw(t, "args")),
		Now:       rapid.SampledFrom([]time.Time{{}, time.Unix(1.7e9, 0), time.Unix(1.8e9, 0)}).Draw(t, "now"),
		Proof:     rapid.SampledFrom([]string{"", "x509-svid"}).Draw(t, "proof"),
		IP:        rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.0.0.1")}).Draw(t, "ip"),
		TraceID:   rapid.SampledFrom([]string{"", "ab"}).Draw(t, "trace"),
		Session:   rapid.SampledFrom([]string{"", "x"}).Draw(t, "session"),
	}
}

// implied is the decision that follows from what is said of each rule.
func implied(t require.TestingT, all []policy.Reasoned) (effect policy.Effect, name string) {
	var allows, denies, failed []string
	for _, r := range all {
		if r.Decides {
			require.Empty(t, name, "one rule decides")
			name = r.Policy + "/" + r.Rule
		}
		switch {
		case r.Mode == policy.Shadow:
			require.False(t, r.Decides)
		case r.Effect == policy.Deny && (r.Match == policy.Matches || r.Match == policy.WhenFailed):
			denies = append(denies, r.Policy+"/"+r.Rule)
		case r.Match == policy.Matches:
			allows = append(allows, r.Policy+"/"+r.Rule)
		case r.Match == policy.WhenFailed:
			failed = append(failed, r.Policy+"/"+r.Rule)
		}
	}
	switch {
	case len(denies) > 0:
		require.Equal(t, denies[0], name)
		return policy.Deny, name
	case len(allows) > 0 && wantsGrant(all, name):
		return policy.Deny, name
	case len(allows) > 0:
		require.Equal(t, allows[0], name)
		return policy.Allow, name
	case len(failed) > 0:
		require.Equal(t, failed[0], name)
	default:
		require.Empty(t, name)
	}
	return policy.Deny, name
}

// wantsGrant reports whether the rule of that name is the first one in force here that wants a grant.
func wantsGrant(all []policy.Reasoned, name string) bool {
	for _, r := range all {
		if r.Mode != policy.Shadow && (r.Match == policy.Matches || r.Match == policy.WhenFailed) &&
			strings.Contains(strings.Join(r.Obligations, " "), "requireGrant") {
			return r.Policy+"/"+r.Rule == name
		}
	}
	return false
}

// ruleOf names the rule of a decision, empty for none.
func ruleOf(policyName, rule string) string {
	if rule == "" {
		return ""
	}
	return policyName + "/" + rule
}

func TestExplainImpliesTheDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		for range 20 {
			r, facts := drawRequest(t), drawFacts(t)
			r.Facts = &facts
			want := set.Decide(r)
			effect, name := implied(t, set.Explain(r))
			require.Equal(t, want.Effect, effect, "%v", r)
			require.Equal(t, ruleOf(want.Policy, want.Rule), name, "%v", r)
			for _, e := range set.Explain(r) {
				require.Equal(t, want.Reason == policy.ReasonNoGrant && e.Decides, strings.Contains(e.Why, "wants a grant"))
			}
		}
	})
}

// What is foreseen comes true, whatever the facts are that are not known.
func TestForeseeComesTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		for range 10 {
			r, facts := drawRequest(t), drawFacts(t)
			concern := set.Concerning(r.Caller, r.Action)
			r.Facts = &facts
			want := set.Decide(r)

			whole := concern.Foresee(facts)
			require.Equal(t, policy.Foresight{
				Effect: want.Effect, Policy: want.Policy, Rule: want.Rule, Reason: want.Reason, Obligations: want.Obligations,
			}, whole, "%v", r)

			unknown := rapid.SliceOfDistinct(rapid.SampledFrom(factNames), func(s string) string { return s }).Draw(t, "unknown")
			foreseen := concern.Foresee(without(facts, unknown), unknown...)
			if want.Effect == policy.Allow {
				require.NotEqual(t, policy.Deny, foreseen.Effect)
				requireForeseen(t, want.Obligations, foreseen)
			}
			if foreseen.Effect == policy.Depends {
				require.NotEmpty(t, foreseen.Depends)
				require.NotEmpty(t, unknown)
				continue
			}
			require.Equal(t, want.Effect, foreseen.Effect, "%v without %v", r, unknown)
			require.Empty(t, foreseen.Depends)
		}
	})
}

// requireForeseen holds obligations against a foresight: what it tells for certain
// is there, and they are no more than that and what it says may come with it.
func requireForeseen(t *rapid.T, o *policy.Obligations, f policy.Foresight) {
	words, certain := o.Words(), f.Obligations.Words()
	if len(f.MayOblige) == 0 {
		require.Equal(t, certain, words)
		return
	}
	for _, word := range certain {
		require.Contains(t, words, word)
	}
	for _, rule := range f.MayOblige {
		certain = append(certain, rule.Obligations...)
	}
	require.Subset(t, certain, words)
}

// without has other facts in place of those that are not known.
func without(facts policy.Facts, unknown []string) policy.Facts {
	for _, name := range unknown {
		switch name {
		case policy.FactArguments:
			facts.Arguments = nil
		case policy.FactNow:
			facts.Now = time.Time{}
		case policy.FactProof:
			facts.Proof = ""
		case policy.FactIP:
			facts.IP = netip.Addr{}
		case policy.FactTraceID:
			facts.TraceID = ""
		case policy.FactSession:
			facts.Session = ""
		}
	}
	return facts
}

func TestForesee(t *testing.T) {
	const when = ", when: '"
	tests := []struct {
		name, rules string
		effect      policy.Effect
		rule        string
		depends     []string
	}{
		{"no condition", "", policy.Deny, "", nil},
		{"allow by arguments", "{name: a, effect: allow, " + when + "args.n < 3'}", policy.Depends, "", []string{"a"}},
		{"allow by time", "{name: a, effect: allow, " + when + "now > timestamp(\"2020-01-01T00:00:00Z\")'}", policy.Allow, "a", nil},
		{"known part is false", "{name: a, effect: allow, " + when + "now < timestamp(\"2020-01-01T00:00:00Z\") && args.n < 3'}", policy.Deny, "", nil},
		{"known part is true", "{name: a, effect: allow, " + when + "now > timestamp(\"2020-01-01T00:00:00Z\") && args.n < 3'}", policy.Depends, "", []string{"a"}},
		{"known part is enough", "{name: a, effect: allow, " + when + "now > timestamp(\"2020-01-01T00:00:00Z\") || args.n < 3'}", policy.Allow, "a", nil},
		{"allow without condition behind", "{name: a, effect: allow, " + when + "args.n < 3'} | {name: b, effect: allow}", policy.Allow, "b", nil},
		{"deny by arguments", "{name: a, effect: allow} | {name: b, effect: deny, " + when + "args.n < 3'}", policy.Depends, "", []string{"b"}},
		{"deny without condition behind", "{name: a, effect: deny, " + when + "args.n < 3'} | {name: b, effect: deny}", policy.Deny, "b", nil},
		{"deny by arguments of what nothing allows", "{name: b, effect: deny, " + when + "args.n < 3'}", policy.Deny, "", nil},
		{"grant by arguments", "{name: a, effect: allow} | {name: b, effect: allow, requireGrant: true, " + when + "args.n < 3'}", policy.Depends, "", []string{"b"}},
		{"grant for certain", "{name: a, effect: allow, " + when + "args.n < 3'} | {name: b, effect: allow, requireGrant: true}", policy.Deny, "b", nil},
		{"grant for certain, of a condition that fails", "{name: a, effect: allow, " + when + "args.n < 3'} | {name: b, effect: allow, requireGrant: true, " + when + "request.ip == \"\"'}", policy.Deny, "b", nil},
		{"a grant behind a condition that costs who knows what", "{name: a, effect: allow} | {name: b, effect: allow, rate: 1/hour, " + when + "args.n < 3'} | {name: c, effect: allow, requireGrant: true, " + when + "caller.appID == \"z\"'}", policy.Depends, "", []string{"b"}},
		// The conditions before could have cost so much that this one is refused.
		{"a true condition behind one that costs who knows what", "{name: a, effect: allow, " + when + "args.n < 3'} | {name: b, effect: allow, " + when + "caller.appID == \"a\"'}", policy.Depends, "", []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := ""
			for rule := range strings.SplitSeq(tt.rules, " | ") {
				if rule != "" {
					text += "  - " + strings.Replace(strings.ReplaceAll(rule, ", ,", ","), "effect:", "from: [a], to: {server: s, tools: [t]}, effect:", 1) + "\n"
				}
			}
			set := compile(t, doc("p", text+ruleText("else", "deny", "z", "server: s, tools: [t]")))
			got := set.Concerning(app("a"), policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "t"}).
				Foresee(policy.Facts{Now: time.Unix(1.8e9, 0)}, policy.FactArguments)
			var depends []string
			for _, rule := range got.Depends {
				depends = append(depends, rule.Rule)
			}
			require.Equal(t, tt.effect, got.Effect)
			require.Equal(t, tt.rule, got.Rule)
			require.Equal(t, tt.depends, depends)
		})
	}
	nobody := (*policy.Set)(nil).Concerning(app("a"), policy.Action{}).Foresee(policy.Facts{})
	require.Equal(t, policy.Foresight{Effect: policy.Deny, Reason: policy.ReasonNoSet}, nobody)
}

// What conditions spend together is counted as Decide counts it.
func TestExplainOfConditionsThatCostTooMuchTogether(t *testing.T) {
	const costly = "args.l.all(x, args.l.all(y, x + y != 7))"
	var rules strings.Builder
	for i := range 8 {
		effect := "allow"
		if i%3 == 0 {
			effect = "deny"
		}
		fmt.Fprintf(&rules, "  - {name: r%d, effect: %s, from: [a], to: {server: s, tools: [t]}, when: '!%s'}\n", i, effect, costly)
	}
	rules.WriteString("  - {name: last, effect: allow, from: [a], to: {server: s, tools: [t]}, when: 'size(args.l) > 0'}\n")
	set := compile(t, doc("p", rules.String()))
	together := 0
	for n := 10; n < 200; n += 30 {
		r := tool(app("a"), "s", "t")
		r.Facts = &policy.Facts{Arguments: []byte("{\"l\": [" + strings.TrimSuffix(strings.Repeat("10,", n), ",") + "]}")}
		want := set.Decide(r)
		all := set.Explain(r)
		effect, name := implied(t, all)
		require.Equal(t, want.Effect, effect)
		require.Equal(t, ruleOf(want.Policy, want.Rule), name)
		foreseen := set.Concerning(r.Caller, r.Action).Foresee(*r.Facts)
		require.Equal(t, []any{want.Effect, want.Rule, want.Reason}, []any{foreseen.Effect, foreseen.Rule, foreseen.Reason})
		if strings.HasSuffix(want.Reason, "together") {
			together++
		}
	}
	require.NotZero(t, together)
}
