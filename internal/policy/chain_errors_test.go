// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// What is wrong about chain is found when the file is loaded, at its place.
func TestChainErrors(t *testing.T) {
	const (
		members = "spec.rules[0].when: chain is used by its members: write one of chain.instance, chain.length"
		has     = `spec.rules[0].when: write chain.has("step") or chain.has("step", "spiffe://...")`
		pattern = "spec.rules[0].when: the pattern of chain.has: "
	)
	tests := []struct{ name, when, want string }{
		{"chain alone", ` chain == "x"`, "13:11: " + members},
		{"a member that is not there", ` chain.lenght > 1`, "13:16: " + members},
		{"a function that is not there", ` chain.had("x")`, "13:20: " + members},
		{"another macro", ` chain.filter(s, true) == []`, "13:11: " + members},
		{"chain in a list", ` size([chain]) == 1`, "13:17: " + members},
		{"a step by its place", ` chain[0].name == "x"`, "13:11: " + members},
		{"its size", ` size(chain) == 0`, "13:16: " + members},
		{"whether it is there", ` has(chain.instance)`, "13:15: " + members},
		{"with a dot before it", ` .chain.has("x")`, "13:21: " + members},
		{"the hidden name", ` args.x == @chain.length`, "spec.rules[0].when: Syntax error"},

		{"has of nothing", ` chain.has()`, "13:11: " + has},
		{"has of too much", ` chain.has("a", "spiffe://*/b", "c")`, "13:11: " + has},
		{"has of a number", ` args.x == 1 && chain.has(5)`, "13:35: " + has},
		{"has of a step", ` chain.exists(s, chain.has(s))`, has},
		{"approvedBy of nothing", ` chain.approvedBy()`, `13:11: spec.rules[0].when: write chain.approvedBy("spiffe://...")`},
		{"within without a time", ` chain.within("x")`, `13:11: spec.rules[0].when: write chain.within("step", duration("10m"))`},
		{"within of a text", ` chain.within("x", "10m")`, `13:23: spec.rules[0].when: write chain.within("step", duration("10m"))`},
		{"within of what is no duration", ` chain.within("x", duration("10"))`, "invalid duration argument"},
		{"all without a variable", ` chain.all(true)`, `13:11: spec.rules[0].when: write chain.all(s, s.status == "ok")`},
		{"all with a path", ` chain.all(s.x, true)`, "spec.rules[0].when: argument must be a simple name"},
		{"exists without a variable", ` chain.exists("x")`, `13:11: spec.rules[0].when: write chain.exists(s, s.name == "step")`},
		{"exists that is no bool", ` chain.exists(s, s.name)`, "13:28: spec.rules[0].when: expected type 'bool' but found 'string'"},

		{"a pattern of the caller's", ` chain.has("x", args.who)`, "13:30: " + pattern + `write it out as a text, as in "spiffe://*/ns/default/fraud"`},
		{"a pattern in parts", ` chain.has("x", "spiffe://" + caller.trustDomain + "/a")`, pattern + "write it out as a text"},
		{"a pattern as anything", ` chain.has("x", dyn("spiffe://*/a"))`, pattern + "write it out as a text"},
		{"a number", ` chain.has("x", 1)`, "13:26: " + pattern + "write it out as a text"},
		{"an app ID", ` chain.has("x", "fraud")`, "13:26: " + pattern + `"fraud" is no SPIFFE ID: begin with spiffe:// in lower case`},
		{"upper case", ` chain.has("x", "SPIFFE://a/b")`, "13:26: " + pattern + `"SPIFFE://a/b" is no SPIFFE ID`},
		{"no path", ` chain.has("x", "spiffe://a")`, "13:26: " + pattern + `"spiffe://a" names a trust domain, not a workload`},
		{"any domain, no path", ` chain.has("x", "spiffe://*")`, "13:26: " + pattern + "a trust domain cannot be a pattern"},
		{"any domain, an empty segment", ` chain.has("x", "spiffe://*//a")`, "13:26: " + pattern + "has an empty path segment"},
		{"a part of a domain", ` chain.has("x", "spiffe://*.local/a")`, "13:26: " + pattern + "a trust domain cannot be a pattern"},
		{"a part of a segment", ` chain.has("x", "spiffe://a/ns/default/fraud-*")`, "13:26: " + pattern + `segment "fraud-*" is part pattern, part text`},
		{"two stars", ` chain.has("x", "spiffe://a/**")`, "13:26: " + pattern + "`**` is not supported"},
		{"a query", ` chain.has("x", "spiffe://a/b?c")`, "13:26: " + pattern + `"spiffe://a/b?c" has a query`},
		{"of an approval", " |\n      chain.has('x') &&\n        chain.approvedBy('fraud')", `15:26: spec.rules[0].when: the pattern of chain.approvedBy: "fraud" is no SPIFFE ID`},

		{"a member that no step has", ` chain.all(s, s.state == "ok")`, `13:25: spec.rules[0].when: "state" is no member of a step of chain: they are name, kind, by, server, door, tool, status, at, instance`},
		{"whether a step has another", ` chain.all(s, has(s.state))`, `"state" is no member of a step of chain`},
		{"a time as a text", ` chain.all(s, s.at == "x")`, "found no matching overload for '_==_' applied to '(timestamp, string)'"},
		{"the pattern of within", ` chain.within("x", args.who, duration("1h"))`, "13:33: spec.rules[0].when: the pattern of chain.within: write it out as a text"},
		{"within in another order", ` chain.within("x", duration("1h"), "spiffe://*/a")`, "the pattern of chain.within: write it out as a text"},
		{"within of an app", ` chain.within("x", "fraud", duration("1h"))`, `13:29: spec.rules[0].when: the pattern of chain.within: "fraud" is no SPIFFE ID`},
		{"a step as a text", ` chain.exists(s, s == "x")`, "found no matching overload for '_==_' applied to '(chain step, string)'"},
		{"chain as a variable", ` args.l.exists(chain, chain == 1)`, "13:24: spec.rules[0].when: chain is a reserved name: choose another for the variable"},
		{"chain as a variable of its own", ` chain.exists(chain, true)`, "chain is a reserved name: choose another for the variable"},

		{"actor alone", ` actor == "x"`, "13:11: spec.rules[0].when: actor is used by its fields: write one of actor.spiffeID, actor.txn"},
		{"another field of actor", ` actor.instance == "x"`, "spec.rules[0].when: actor is used by its fields"},
		{"actors as texts", ` actors == "x"`, "found no matching overload for '_==_' applied to '(list(string), string)'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := policy.Parse("f.yaml", []byte(conditioned(tt.when)))
			require.Error(t, err)
			require.Contains(t, problem(t, err), tt.want)
			require.NotContains(t, strings.ReplaceAll(err.Error(), "'@'", ""), "@")
		})
	}
}

// The arguments in a condition about chain are checked against schemas as others are.
func TestCheckBesideChain(t *testing.T) {
	tests := []struct{ when, want string }{
		{`chain.has(args.note, "spiffe://*/a") && chain.within(args.note, duration("1h")) && args.amount < 3`, ""},
		{`chain.all(s, s.status == args.note && s.by != caller.spiffeID) && chain.exists(s, s.at < now) && actor.txn in actors`, ""},
		{`chain.complete && chain.length > args.count && chain.instance == args.note && chain.approvedBy("spiffe://*/a")`, ""},
		{`chain.has(args.nota)`, `"nota" is no argument of tool s/t: did you mean "note"?`},
		{`chain.exists(s, s.name == args.nota)`, `"nota" is no argument of tool s/t: did you mean "note"?`},
		{`chain.has(args.amount)`, "args.amount is a number in tool s/t, and cannot be used with chain.has"},
		{`chain.within("x", args.note)`, "args.note is a text in tool s/t, and cannot be used with chain.within"},
		{`chain.exists(s, s.name == args.amount)`, "s.name is a text in tool s/t, and is compared with args.amount, a number"},
		{`args.amount == chain.instance`, "args.amount is a number in tool s/t, and is compared with chain.instance, a text"},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			found := findings(t, tt.when, oneTool(refundSchema))
			if tt.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Contains(t, found[0].Message, tt.want)
		})
	}
}
