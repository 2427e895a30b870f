// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// sameName is a Past of which every step has the name that is asked for.
type sameName struct {
	policy.Past
	places []int
	looked *int
}

func (s sameName) Len() int           { return len(s.places) }
func (s sameName) Named(string) []int { return s.places }
func (s sameName) Step(int) policy.PastStep {
	*s.looked++
	return s.Past.Step(0)
}

func repeated(count int) sameName { return sameName{longPast(1), make([]int, count), new(int)} }

const tooMuch = "deny the condition of rule r could not be evaluated: it costs too much"

// What a condition may cost holds for long chains: what fits is decided, and what
// does not denies.
func TestChainCosts(t *testing.T) {
	tests := []struct {
		when string
		past policy.Past
		fits bool
	}{
		{`chain.has("first")`, longPast(10_000), true},
		{`!chain.has("again", "spiffe://*/ns/default/nobody")`, longPast(10_000), true},
		{`chain.within("again", duration("1m"))`, longPast(10_000), true},
		{`chain.approvedBy("spiffe://*/ns/default/approver")`, longPast(10_000), true},
		{`chain.all(s, s.status != "x")`, longPast(10_000), true},
		{`!chain.exists(s, s.name == "x" && s.tool == "")`, longPast(10_000), true},
		{`chain.all(s, s.kind != "x" && s.status != "x")`, longPast(8_000), true},
		{`chain.all(s, s.kind != "x" && s.status != "x")`, longPast(10_000), false},
		{`chain.all(s, chain.exists(x, x.name == s.name))`, longPast(1_000), false},
		{`chain.all(s, !chain.approvedBy("spiffe://*/ns/default/nobody"))`, longPast(200), true},
		{`chain.all(s, !chain.approvedBy("spiffe://*/ns/default/nobody"))`, longPast(400), false},
		{`chain.all(s, !chain.has("again", "spiffe://*/ns/default/nobody"))`, longPast(200), true},
		{`chain.all(s, !chain.has("again", "spiffe://*/ns/default/nobody"))`, longPast(400), false},
		{`chain.all(s, !chain.within("again", duration("-1h")))`, longPast(400), true},
		{`chain.all(s, !chain.within("again", duration("-1h")))`, longPast(800), false},
		{`!chain.has("x", "spiffe://*/ns/default/nobody")`, repeated(10_000), true},
		{`!chain.has("x", "spiffe://*/ns/default/nobody")`, repeated(100_000), false},
		{`!chain.within("x", duration("-1h"))`, repeated(200_000), false},
		{`!chain.approvedBy("spiffe://*/ns/default/nobody")`, repeated(200_000), false},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			allow := compile(t, doc("p", ruleWhen("r", "allow", tt.when)))
			deny := compile(t, doc("p", ruleWhen("r", "deny", tt.when)+ruleText("all", "allow", "a", "server: s, tools: ['*']")))
			if tt.fits {
				require.Equal(t, "allow rule allows it", says(allow.Decide(callAfter(tt.past))))
				require.Equal(t, "deny rule denies it", says(deny.Decide(callAfter(tt.past))))
				return
			}
			require.Equal(t, tooMuch, says(allow.Decide(callAfter(tt.past))))
			require.Equal(t, tooMuch, says(deny.Decide(callAfter(tt.past))))
		})
	}
}

// The conditions of one call together may look at a long chain only so often.
func TestChainCostsTogether(t *testing.T) {
	var rules string
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		rules += ruleWhen(name, "deny", `!chain.all(s, s.status != "x")`)
	}
	set := compile(t, doc("p", rules+ruleText("all", "allow", "a", "server: s, tools: ['*']")))
	require.Equal(t, "allow rule allows it", says(set.Decide(callAfter(longPast(5_000)))))
	require.Equal(t, "deny the condition of rule g could not be evaluated: the conditions for this request cost too much together",
		says(set.Decide(callAfter(longPast(10_000)))))
}

// As long as the past is not known a condition on it may be true.
func TestChainThatIsNotKnown(t *testing.T) {
	for _, when := range []string{
		`chain.has("x")`, `chain.complete`, `chain.length > 3`, `chain.instance == "x"`, `chain.all(s, true)`, `chain.exists(s, true)`,
		`chain.approvedBy("spiffe://*/a")`, `chain.within("x", duration("1h"))`, `args.x == 1 && chain.has("x")`,
	} {
		set := compile(t, doc("p", ruleWhen("r", "allow", when)))
		require.True(t, set.MayAllow(tool(app("a"), "s", "t")), when)
		require.True(t, set.Reaches(app("a"), "s"), when)
		require.Equal(t, when, set.WhoCan(policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "t"})[0].When)

		concern := set.Concerning(app("a"), policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "t"})
		known := *callWith(`{"x":1}`).Facts
		require.Equal(t, policy.Depends, concern.Foresee(known, policy.FactChain).Effect, when)
		require.Equal(t, policy.Deny, concern.Foresee(known, policy.FactActor).Effect, "without a chain: %s", when)
	}
	for _, when := range []string{`actor.spiffeID == "x"`, `actor.txn == "x"`, `"x" in actors`} {
		concern := compile(t, doc("p", ruleWhen("r", "allow", when))).Concerning(app("a"), policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "t"})
		require.Equal(t, policy.Depends, concern.Foresee(policy.Facts{}, policy.FactActor).Effect, when)
		require.Equal(t, policy.Deny, concern.Foresee(policy.Facts{}, policy.FactChain).Effect, when)
	}
	settled := compile(t, doc("p", ruleWhen("r", "allow", `args.x == 1 || chain.has("x")`)))
	concern := settled.Concerning(app("a"), policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "t"})
	require.Equal(t, policy.Allow, concern.Foresee(*callWith(`{"x":1}`).Facts, policy.FactChain).Effect, "it does not come to the chain")
}

// A function ends where the condition has cost too much, and not behind the last step.
func TestChainIsNotLookedThrough(t *testing.T) {
	for _, when := range []string{
		`chain.has("x", "spiffe://*/ns/default/nobody")`, `chain.within("x", duration("-1h"))`, `chain.approvedBy("spiffe://*/ns/default/nobody")`, `chain.exists(s, s.name == "x")`,
	} {
		past := repeated(1_000_000)
		set := compile(t, doc("p", ruleWhen("r", "allow", when)))
		require.Equal(t, tooMuch, says(set.Decide(callAfter(past))), when)
		require.Less(t, *past.looked, 100_100, when)
	}
}
