// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// refundPast is the past of a refund, before the time of facts, 9:30.
func refundPast(change func(steps []policy.PastStep) []policy.PastStep) policy.Past {
	at := func(text string) time.Time {
		t, err := time.Parse(time.TimeOnly, text)
		if err != nil {
			panic(err)
		}
		return time.Date(2026, 11, 23, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	}
	steps := []policy.PastStep{
		{Name: "look-up", Kind: policy.StepTool, Server: "orders", Tool: "get_order", Status: "ok", Instance: "i-1", By: app("intake"), Door: app("orders"), At: at("09:10:00")},
		{Name: "fraud-check", Kind: policy.StepStatement, Status: "stated", Instance: "i-1-child", By: app("fraud"), At: at("09:20:00")},
		{Name: "notify", Kind: policy.StepTool, Server: "mail", Tool: "send", Status: "toolError", Instance: "i-1", By: app("intake"), Door: app("mail"), At: at("09:25:00")},
		{Name: "manager", Kind: policy.StepApproval, Status: "approved", Instance: "i-1", By: app("approver"), At: at("09:29:00")},
	}
	if change != nil {
		steps = change(steps)
	}
	return policy.NewPast("i-1", true, steps)
}

func unless(name string) func([]policy.PastStep) []policy.PastStep {
	return func(steps []policy.PastStep) []policy.PastStep {
		var kept []policy.PastStep
		for _, s := range steps {
			if s.Name != name {
				kept = append(kept, s)
			}
		}
		return kept
	}
}

// with changes the step of a name.
func with(name string, change func(*policy.PastStep)) func([]policy.PastStep) []policy.PastStep {
	return func(steps []policy.PastStep) []policy.PastStep {
		for i := range steps {
			if steps[i].Name == name {
				change(&steps[i])
			}
		}
		return steps
	}
}

func by(id string) func(*policy.PastStep) {
	return func(s *policy.PastStep) { s.By = spiffeid.RequireFromString(id) }
}

func digestOf(b byte) func(*policy.PastStep) {
	return func(s *policy.PastStep) { s.Digest = policy.Digest(bytes.Repeat([]byte{b}, 32)) }
}

func callAfter(past policy.Past) policy.Request {
	r := callWith(`{"step":"fraud-check","n":4}`)
	r.Facts.Past, r.Facts.ArgumentsDigest = past, policy.Digest(bytes.Repeat([]byte{9}, 32))
	return r
}

func ago(d time.Duration) func(*policy.PastStep) {
	return func(s *policy.PastStep) { s.At = facts("").Now.Add(-d) }
}

func TestChainConditions(t *testing.T) {
	none := func([]policy.PastStep) []policy.PastStep { return nil }
	type change = func([]policy.PastStep) []policy.PastStep
	status := func(text string) func(*policy.PastStep) { return func(s *policy.PastStep) { s.Status = text } }
	kind := func(text string) func(*policy.PastStep) { return func(s *policy.PastStep) { s.Kind = text } }
	tests := []struct {
		name, when string
		yes, no    change
	}{
		{"a statement", `chain.has("fraud-check")`, nil, unless("fraud-check")},
		{"a name in its letters", `chain.has("fraud-check")`, nil, with("fraud-check", func(s *policy.PastStep) { s.Name = "Fraud-check" })},
		{"a name of the caller's", `chain.has(args.step)`, nil, unless("fraud-check")},
		{"a tool call that was answered", `chain.has("look-up")`, nil, with("look-up", status("unknown"))},
		{"a tool call that went wrong", `chain.has("notify")`, with("notify", status("ok")), nil},
		{"a tool call that was denied", `chain.has("look-up")`, nil, with("look-up", status("denied"))},
		{"a kind that is not known", `chain.has("fraud-check")`, nil, with("fraud-check", kind("other"))},
		{"no kind", `chain.has("look-up")`, nil, with("look-up", kind(""))},
		{"an approval is a step", `chain.has("manager")`, nil, unless("manager")},
		{"one of two was done", `chain.has("look-up")`, func(s []policy.PastStep) []policy.PastStep {
			failed := s[0]
			failed.Status = "rpcError"
			return append(s, failed)
		}, with("look-up", status("rpcError"))},

		{"by whom", `chain.has("fraud-check", "spiffe://custody.local/ns/default/fraud")`, nil, with("fraud-check", by("spiffe://custody.local/ns/default/intake"))},
		{"in whatever domain", `chain.has("fraud-check", "spiffe://*/ns/default/fraud")`, with("fraud-check", by("spiffe://other.example/ns/default/fraud")), with("fraud-check", by("spiffe://custody.local/ns/other/fraud"))},
		{"in whatever namespace", `chain.has("fraud-check", "spiffe://custody.local/ns/*/fraud")`, with("fraud-check", by("spiffe://custody.local/ns/x/fraud")), with("fraud-check", by("spiffe://custody.local/ns/x/y/fraud"))},
		{"a star is one segment", `chain.has("fraud-check", "spiffe://custody.local/*/*/*")`, nil, with("fraud-check", by("spiffe://custody.local/ns/fraud"))},
		{"not another domain", `chain.has("fraud-check", "spiffe://custody.local/ns/*/*")`, nil, with("fraud-check", by("spiffe://custody.local.evil/ns/default/fraud"))},
		{"not the door", `chain.has("look-up", "spiffe://*/ns/default/orders")`, with("look-up", by("spiffe://custody.local/ns/default/orders")), nil},
		{"nobody", `chain.has("fraud-check", "spiffe://*/ns/*/*")`, nil, with("fraud-check", func(s *policy.PastStep) { s.By = spiffeid.ID{} })},
		{"by whom, and not done", `chain.has("look-up", "spiffe://*/ns/default/intake")`, nil, with("look-up", status("incomplete"))},

		{"an approval", `chain.approvedBy("spiffe://custody.local/ns/default/approver")`, nil, unless("manager")},
		{"an approval by a pattern", `chain.approvedBy("spiffe://*/ns/*/approver")`, nil, with("manager", by("spiffe://custody.local/ns/default/intake"))},
		{"a statement is no approval", `chain.approvedBy("spiffe://*/ns/default/fraud")`, with("fraud-check", kind("approval")), nil},
		{"a tool call is no approval", `chain.approvedBy("spiffe://*/ns/default/approver")`, nil, with("manager", func(s *policy.PastStep) { s.Kind, s.Status = "tool", "ok" })},

		{"in time", `chain.within("fraud-check", duration("10m"))`, nil, with("fraud-check", ago(10*time.Minute+time.Nanosecond))},
		{"in time, and by whom", `chain.within("fraud-check", "spiffe://*/ns/default/fraud", duration("10m"))`, nil, with("fraud-check", by("spiffe://custody.local/ns/default/intake"))},
		{"by whom, and not in time", `chain.within("fraud-check", "spiffe://*/ns/default/fraud", duration("10m"))`, nil, func(s []policy.PastStep) []policy.PastStep {
			stale := s[1]
			stale.At = stale.At.Add(-time.Hour)
			s[1].By = app("intake")
			return append([]policy.PastStep{stale}, s...)
		}},
		{"in time, by the caller's word", `chain.within(args.step, now - now + duration("10m"))`, nil, unless("fraud-check")},
		{"in time, and not done", `chain.within("notify", duration("1h"))`, with("notify", status("ok")), nil},
		{"a minute ahead", `chain.within("fraud-check", duration("10m"))`, with("fraud-check", ago(-time.Minute)), with("fraud-check", ago(-time.Minute-time.Nanosecond))},
		{"no time", `chain.within("fraud-check", duration("2562047h47m16.854775807s"))`, nil, with("fraud-check", func(s *policy.PastStep) { s.At = time.Time{} })},
		{"a time before all", `chain.within("fraud-check", duration("2000000h"))`, nil, with("fraud-check", func(s *policy.PastStep) { s.At = time.Unix(-1e11, 0) })},

		{"what it was about", `chain.exists(s, s.name == "fraud-check" && s.digest == "sha256:` + strings.Repeat("07", 32) + `")`, with("fraud-check", digestOf(7)), with("fraud-check", digestOf(8))},
		{"about nothing", `chain.exists(s, s.name == "fraud-check" && s.digest == "")`, nil, with("fraud-check", digestOf(7))},
		{"about what is asked", `chain.exists(s, s.name == "fraud-check" && s.digest == action.digest)`, with("fraud-check", digestOf(9)), with("fraud-check", digestOf(8))},

		{"all", `chain.all(s, s.status != "toolError")`, unless("notify"), nil},
		{"all of nothing", `chain.all(s, s.status == "ok")`, none, nil},
		{"one", `chain.exists(s, s.name == "fraud-check" && s.tool == "")`, nil, with("fraud-check", func(s *policy.PastStep) { s.Tool = "t" })},
		{"none of nothing", `chain.exists(s, true)`, nil, none},
		{"members", `chain.exists(s, s.server + s.tool + s.door + s.instance + s.kind == "ordersget_orderspiffe://custody.local/ns/default/ordersi-1tool")`, nil, unless("look-up")},
		{"the time of a step", `chain.exists(s, s.at == timestamp("2026-11-23T09:20:00Z") && s.by.endsWith("/fraud"))`, nil, with("fraud-check", ago(time.Hour))},
		{
			"loops within one another", `chain.all(s, chain.exists(x, x.name == s.name && x.by != s.by) == (s.name == "look-up"))`,
			func(s []policy.PastStep) []policy.PastStep { return append(s[:1:1], policy.PastStep{Name: "look-up"}) }, nil,
		},
		{
			"a step is itself and no other", `chain.length > 1 && !chain.all(s, chain.all(x, x == s)) && chain.all(s, chain.exists(x, x == s))`, nil,
			func(s []policy.PastStep) []policy.PastStep { return s[:1] },
		},
		{"a step in a list", `chain.exists(s, [s].exists(x, dyn(x).name == "manager") && has(s.tool))`, nil, unless("manager")},
		{"another list", `[1, 2].all(i, i > 0) && [1, 2].exists(i, i == chain.length)`, func(s []policy.PastStep) []policy.PastStep { return s[:2] }, nil},

		{"length", `chain.length == args.n`, nil, unless("notify")},
		{"instance", `chain.instance == "i-1" && chain.length > 0`, nil, none},
		{"together", `chain.has("fraud-check", "spiffe://*/ns/default/fraud") && chain.within("fraud-check", duration("10m")) && chain.approvedBy("spiffe://*/ns/default/approver")`, nil, unless("manager")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, doc("p", ruleWhen("r", "allow", tt.when)))
			require.Equal(t, "allow rule allows it", says(set.Decide(callAfter(refundPast(tt.yes)))))
			require.Equal(t, "deny no rule allows it", says(set.Decide(callAfter(refundPast(tt.no)))))
			require.Equal(t, "deny no rule allows it", says(set.Decide(callAfter(nil))), "outside a workflow")

			deny := compile(t, doc("p", ruleWhen("r", "deny", tt.when)+ruleText("all", "allow", "a", "server: s, tools: ['*']")))
			require.Equal(t, "deny rule denies it", says(deny.Decide(callAfter(refundPast(tt.yes)))))
			require.Equal(t, "allow rule allows it", says(deny.Decide(callAfter(refundPast(tt.no)))))
		})
	}
}

func says(d policy.Decision) string { return string(d.Effect) + " " + d.Reason }

// A chain with a hole, and no chain at all, have as little as can be.
func TestChainThatIsNotThere(t *testing.T) {
	cut := policy.NewPast("i-1", false, []policy.PastStep{{Name: "x", Kind: policy.StepStatement, By: app("a")}})
	tests := []struct {
		when                   string
		nothing, cut, complete bool
	}{
		{`chain.complete`, false, false, true},
		{`chain.all(s, true)`, false, false, true},
		{`chain.all(s, s.name == "y")`, false, false, false},
		{`chain.exists(s, true)`, false, true, true},
		{`chain.has("x")`, false, true, true},
		{`chain.has("x", "spiffe://*/ns/*/*")`, false, true, true},
		{`chain.length == 0 && chain.instance == ""`, true, false, false},
		{`!chain.has("x") && !chain.approvedBy("spiffe://*/ns/*/*") && !chain.within("x", duration("1h")) && !chain.exists(s, true)`, true, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			set := compile(t, doc("p", ruleWhen("r", "allow", tt.when)))
			whole := policy.NewPast("i-1", true, []policy.PastStep{cut.Step(0)})
			require.Equal(t, tt.nothing, set.Decide(callAfter(nil)).Effect == policy.Allow)
			require.Equal(t, tt.cut, set.Decide(callAfter(cut)).Effect == policy.Allow)
			require.Equal(t, tt.complete, set.Decide(callAfter(whole)).Effect == policy.Allow)
			unknown := callAfter(nil)
			unknown.Facts = nil
			require.Equal(t, tt.nothing, set.Decide(unknown).Effect == policy.Allow)
		})
	}
}

func TestChainThatCannotBeEvaluated(t *testing.T) {
	tests := []struct{ when, why string }{
		{`chain.has(args.n)`, "a value is not of the type that the condition wants"},
		{`chain.has(args.none)`, "no such key: none"},
		{`chain.within(args.n, duration("1h"))`, "a value is not of the type that the condition wants"},
		{`chain.within("look-up", args.n)`, "a value is not of the type that the condition wants"},
		{`chain.exists(s, dyn(s).nothing == "x")`, "no such key: nothing"},
		{`chain.exists(s, dyn(s)[args.step] == "x")`, "no such key"},
		{`chain.exists(s, dyn(s)[1] == "x")`, "a value is not of the type that the condition wants"},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			allow := compile(t, doc("p", ruleWhen("r", "allow", tt.when)))
			require.Equal(t, "deny the condition of rule r could not be evaluated: "+tt.why, says(allow.Decide(callAfter(refundPast(nil)))))
			deny := compile(t, doc("p", ruleWhen("r", "deny", tt.when)+ruleText("all", "allow", "a", "server: s, tools: ['*']")))
			require.Equal(t, "deny the condition of rule r could not be evaluated: "+tt.why, says(deny.Decide(callAfter(refundPast(nil)))))
		})
	}
	t.Run("the time is not known", func(t *testing.T) {
		r := callAfter(refundPast(nil))
		r.Facts.Now = time.Time{}
		set := compile(t, doc("p", ruleWhen("r", "allow", `chain.within("look-up", duration("9000h"))`)))
		require.Equal(t, "deny the condition of rule r could not be evaluated: the time is not known", says(set.Decide(r)))
	})
}

func TestActorConditions(t *testing.T) {
	actor := &policy.Actor{SPIFFEID: app("intake"), Txn: "txn-1", Chain: []spiffeid.ID{app("intake"), app("fraud"), app("a")}}
	other := &policy.Actor{SPIFFEID: app("other"), Txn: "txn-2", Chain: []spiffeid.ID{app("other"), app("a")}}
	for _, when := range []string{
		`actor.spiffeID == "spiffe://custody.local/ns/default/intake"`,
		`actor.txn == "txn-1"`,
		`"spiffe://custody.local/ns/default/fraud" in actors`,
		`actors == ["spiffe://custody.local/ns/default/intake", "spiffe://custody.local/ns/default/fraud", caller.spiffeID]`,
		`size(actors) == 3 && actors.all(a, a.startsWith("spiffe://custody.local/"))`,
		`actors[0] == actor.spiffeID && actors[1].endsWith("/fraud")`,
	} {
		t.Run(when, func(t *testing.T) {
			set := compile(t, doc("p", ruleWhen("r", "allow", when)))
			for _, tt := range []struct {
				actor *policy.Actor
				want  policy.Effect
			}{{actor, policy.Allow}, {other, policy.Deny}, {nil, policy.Deny}, {&policy.Actor{}, policy.Deny}} {
				r := callWith(`{}`)
				r.Facts.Actor = tt.actor
				require.Equal(t, tt.want, set.Decide(r).Effect)
			}
		})
	}
	none := compile(t, doc("p", ruleWhen("r", "allow", `actor.spiffeID == "" && actor.txn == "" && actors == []`)))
	require.Equal(t, policy.Allow, none.Decide(callWith(`{}`)).Effect)
	r := callWith(`{}`)
	r.Facts.Actor = actor
	require.Equal(t, policy.Deny, none.Decide(r).Effect)
}

func TestAsksChain(t *testing.T) {
	rule := func(name, server, when string) string {
		return fmt.Sprintf("  - {name: %s, effect: allow, from: [a], to: {server: %q, tools: [t]}, when: %q}\n", name, server, when)
	}
	tests := []struct {
		name, text string
		s, other   bool
	}{
		{"no condition", doc("p", ruleText("r", "allow", "a", "server: s, tools: [t]")), false, false},
		{"another condition", doc("p", rule("r", "s", `args.chain == 1 && "chain.has" != actor.txn`)), false, false},
		{"a variable", doc("p", rule("r", "s", `args.l.all(chained, chained == 1)`)), false, false},
		{"has", doc("p", rule("r", "s", `args.x == 1 || chain.has("x")`)), true, false},
		{"approvedBy", doc("p", rule("r", "s", `chain.approvedBy("spiffe://*/a")`)), true, false},
		{"within", doc("p", rule("r", "s", `chain.within("x", duration("1s"))`)), true, false},
		{"all", doc("p", rule("r", "s", `args.l.all(x, chain.all(s, s.name == x))`)), true, false},
		{"exists", doc("p", rule("r", "s", `chain.exists(s, true)`)), true, false},
		{"length", doc("p", rule("r", "s", `chain.length > 1`)), true, false},
		{"with a dot before it", doc("p", rule("r", "s", `.chain.length > 1`)), true, false},
		{"every server", doc("p", rule("r", "*", `chain.complete`)), true, true},
		{"in shadow mode", strings.Replace(doc("p", rule("r", "s", `chain.instance == "x"`)), "spec:\n", "spec:\n  mode: shadow\n", 1), true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, doc("z", ruleText("plain", "allow", "a", "server: '*', tools: [t]")), tt.text)
			require.Equal(t, tt.s, set.AsksChain("s"))
			require.Equal(t, tt.other, set.AsksChain("other"))
		})
	}
	require.False(t, (*policy.Set)(nil).AsksChain("s"))
	require.False(t, (&policy.Set{}).AsksChain("s"))
}

func TestPassedBefore(t *testing.T) {
	counted := func(tool string) (int, error) { return map[string]int{"refund": 1}[tool], nil }
	for _, tt := range []struct {
		name, when string
		passed     func(string) (int, error)
		want       policy.Effect
	}{
		{"none", `chain.passed("charge") == 0`, counted, policy.Allow},
		{"one", `chain.passed("refund") == 0`, counted, policy.Deny},
		{"fewer than", `chain.passed("refund") < 2`, counted, policy.Allow},
		{"by the caller's word", `chain.passed(args.step) == 0`, counted, policy.Allow},
		{"not known", `chain.passed("charge") == 0`, nil, policy.Deny},
		{"not known, and turned round", `!(chain.passed("charge") > 0)`, nil, policy.Deny},
		{"forgotten", `chain.passed("charge") == 0`, func(string) (int, error) { return 0, errors.New("forgotten") }, policy.Deny},
		{"very many", `chain.passed("charge") > 0`, func(string) (int, error) { return 1 << 40, nil }, policy.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := callAfter(nil)
			r.Facts.Passed = tt.passed
			require.Equal(t, tt.want, compile(t, doc("p", ruleWhen("r", "allow", tt.when))).Decide(r).Effect)
		})
	}
}
