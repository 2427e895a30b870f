// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

const pastText = `{
  "instance": "i-1", "complete": true, "passed": {"refund": 2},
  "steps": [
    {"name": "look-up", "kind": "tool", "server": "orders", "tool": "get_order", "by": "spiffe://custody.local/ns/default/intake",
     "door": "spiffe://custody.local/ns/default/orders", "status": "ok", "at": "2026-11-23T09:10:00Z"},
    {"name": "fraud-check", "kind": "statement", "by": "spiffe://custody.local/ns/default/fraud", "at": "2026-11-23T10:20:00+01:00", "instance": "i-2"},
    {"name": "look-up", "kind": "tool", "server": "orders", "tool": "get_order", "by": "spiffe://custody.local/ns/default/intake", "at": "2026-11-23T09:21:00Z"}
  ]
}`

func TestParsePast(t *testing.T) {
	past, passed, err := policy.ParsePast([]byte(pastText))
	require.NoError(t, err)
	require.Equal(t, "i-1", past.Instance())
	require.Equal(t, map[string]int{"refund": 2}, passed)
	require.True(t, past.Complete())
	require.Equal(t, 3, past.Len())
	require.Equal(t, []int{0, 2}, past.Named("look-up"))
	require.Empty(t, past.Named("Look-up"))
	require.Equal(t, policy.PastStep{
		Name: "look-up", Kind: policy.StepTool, By: app("intake"), Server: "orders", Door: app("orders"), Tool: "get_order",
		Status: "ok", At: time.Date(2026, 11, 23, 9, 10, 0, 0, time.UTC), Instance: "i-1",
	}, past.Step(0))
	require.Equal(t, "stated i-2", past.Step(1).Status+" "+past.Step(1).Instance)
	require.True(t, past.Step(1).At.Equal(time.Date(2026, 11, 23, 9, 20, 0, 0, time.UTC)))
	require.Equal(t, "unknown", past.Step(2).Status)
	require.Equal(t, spiffeid.ID{}, past.Step(2).Door)

	set := compile(t, doc("p", ruleWhen("r", "allow", `chain.complete && chain.has("look-up") && chain.within("fraud-check", duration("10m"))`)))
	require.Equal(t, policy.Allow, set.Decide(callAfter(past)).Effect)
	cut, _, err := policy.ParsePast([]byte(strings.Replace(pastText, `, "complete": true`, "", 1)))
	require.NoError(t, err)
	require.Equal(t, policy.Deny, set.Decide(callAfter(cut)).Effect, "it does not say that it is complete")
}

func TestParsePastErrors(t *testing.T) {
	step := func(from, to string) string { return strings.Replace(pastText, from, to, 1) }
	tests := []struct{ name, text, want string }{
		{"nothing", ``, "it is no object"},
		{"null in place of the steps", step(`"i-1"`, `null, "steps": null`), "line "},
		{"an array", `[]`, "line 1: it is no object with instance, complete and steps"},
		{"cut off", pastText[:60], "it is no object"},
		{"more behind it", pastText + "{}", "line 9: "},
		{"another member", step(`"complete"`, `"whole"`), "line 2: "},
		{"another member of a step", step(`"status"`, `"state"`), "line 5: "},
		{"another case", step(`"kind"`, `"Kind"`), "line 4: "},
		{"a member twice", step(`"kind": "tool"`, `"kind": "tool", "kind": "approval"`), "line 4: "},
		{"a text for a bool", step(`true`, `"true"`), "line 2: "},
		{"no instance", step(`"i-1"`, `""`), "instance is empty: give the ID of the workflow instance"},
		{"no name", step(`"fraud-check"`, `""`), "steps[1].name is empty: name the step"},
		{"no kind", step(`"statement"`, `""`), `steps[1].kind: "" is no kind: write tool, statement or approval`},
		{"another kind", step(`"statement"`, `"Statement"`), `steps[1].kind: "Statement" is no kind`},
		{"nobody", step(`"spiffe://custody.local/ns/default/fraud"`, `""`), "steps[1].by is empty: give the SPIFFE ID"},
		{"no SPIFFE ID", step(`"spiffe://custody.local/ns/default/fraud"`, `"fraud"`), "line 6: "},
		{"a pattern", step(`"spiffe://custody.local/ns/default/fraud"`, `"spiffe://*/fraud"`), "line 6: "},
		{"no time", step(`, "at": "2026-11-23T09:21:00Z"`, ``), "steps[2].at is empty: give a time such as"},
		{"a day", step(`2026-11-23T09:21:00Z`, `2026-11-23`), "line 7: "},
		{"a tool call without a server", step(`"server": "orders", `, ``), "steps[0].server and tool: a tool call has both"},
		{"a statement with a tool", step(`"kind": "statement"`, `"kind": "statement", "tool": "t"`), "steps[1].server, tool and door: only a step of kind tool has them"},
		{"an approval with a door", step(`"kind": "statement"`, `"kind": "approval", "door": "spiffe://a/b"`), "steps[1].server, tool and door"},
		{"a status that is none", step(`"status": "ok"`, `"status": "OK"`), `steps[0].status: "OK" is none of a step of kind tool: write unknown, ok, toolError`},
		{"a statement that was approved", step(`"kind": "statement"`, `"kind": "statement", "status": "approved"`), `steps[1].status: "approved" is none of a step of kind statement: write stated`},
		{"too many", `{"instance": "i", "steps": [` + strings.Repeat("{},", policy.MaxPastSteps) + `{}]}`, "it has 10001 steps, the limit is 10000"},
		{"too much", `{"instance": "` + strings.Repeat("i", policy.MaxPastBytes) + `"}`, "the limit is 8388608"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			past, _, err := policy.ParsePast([]byte(tt.text))
			require.Nil(t, past)
			require.ErrorContains(t, err, "policy: chain: ")
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// FuzzParsePast: any bytes give an error or a Past whose names lead to its steps,
// and that conditions can be asked about.
func FuzzParsePast(f *testing.F) {
	f.Add([]byte(pastText))
	f.Add([]byte(`{"instance":"i","steps":[{"name":"a","kind":"approval","by":"spiffe://a/b","at":"2026-11-23T09:21:00Z"}]}`))
	f.Add([]byte(`{"instance":"i","steps":[{}]}`))
	f.Add([]byte("{\n\n\"steps\": 1}"))
	f.Add([]byte("\xff"))
	set := compile(f, doc("p", ruleWhen("r", "allow",
		`chain.all(s, s.status == "ok") || chain.has(args.step, "spiffe://*/ns/*/*") || chain.within("a", duration("1h")) || chain.approvedBy("spiffe://a/b")`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		past, _, err := policy.ParsePast(data)
		if err != nil {
			require.Nil(t, past)
			return
		}
		found := 0
		for i := range past.Len() {
			s := past.Step(i)
			require.Contains(t, past.Named(s.Name), i)
			require.False(t, s.By.IsZero() || s.At.IsZero() || s.Status == "" || s.Instance == "")
			if past.Named(s.Name)[0] == i {
				found += len(past.Named(s.Name))
			}
		}
		require.Equal(t, past.Len(), found)
		set.Decide(callAfter(past))
	})
}

// FuzzChainCondition: a condition about a chain compiles or gives errors, and what
// compiles decides without a panic: with no chain at all, one that is cut and one
// that is whole. An allow and a deny under it never both leave the call open.
func FuzzChainCondition(f *testing.F) {
	for _, seed := range []string{
		`chain.has("fraud-check", "spiffe://*/ns/default/fraud") && chain.approvedBy("spiffe://a/*")`,
		`chain.within(args.step, now - timestamp("2026-11-23T09:00:00Z")) ? chain.complete : actor.txn == ""`,
		`chain.all(s, chain.exists(x, [x, s].exists(y, dyn(y).by == s.by && has(y.at))))`,
		`actors.all(a, a in actors) || dyn(actors)[chain.length] == chain.instance`,
		`chain.exists(s, s == s && type(s) == type(s))`, `chain.exists(s, string(s.at) + s.kind == "")`, `.chain.complete`, `chain.has(chain.has)`, `chain.all(chain, chain)`,
		`chain.exists(s, {"a": s}.a.name in [s.tool, s.door])`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, when string) {
		rule := "  - {name: r, effect: %, from: [a], to: {server: s, tools: ['*']}, when: " + strconv.Quote(when) + "}\n"
		docs, err := policy.Parse("f.yaml", []byte(doc("p", strings.Replace(rule, "%", "allow", 1))))
		if err != nil {
			require.True(t, strings.Contains(when, "@") || !strings.Contains(err.Error(), "@chain"), err.Error())
			return
		}
		allow, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		deny := compile(t, doc("p", strings.Replace(rule, "%", "deny", 1)+ruleText("all", "allow", "a", "server: s, tools: ['*']")))
		cut := policy.NewPast("i-1", false, []policy.PastStep{refundPast(nil).Step(0)})
		for _, past := range []policy.Past{nil, cut, refundPast(nil)} {
			r := callAfter(past)
			r.Facts.Actor = &policy.Actor{SPIFFEID: app("intake"), Chain: []spiffeid.ID{app("intake"), app("a")}}
			require.False(t, allow.Decide(r).Effect == policy.Allow && deny.Decide(r).Effect == policy.Allow)
			if !allow.AsksChain("s") {
				without := r
				without.Facts = &policy.Facts{}
				*without.Facts = *r.Facts
				without.Facts.Past = nil
				require.Equal(t, allow.Decide(without), allow.Decide(r), "nothing asks for the chain")
			}
		}
	})
}
