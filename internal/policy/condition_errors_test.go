// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// conditioned is a policy whose one rule ends with what follows `when:`, on line 13.
func conditioned(when string) string {
	return doc("p", "  - name: r\n    effect: allow\n    from: [a]\n    to:\n      server: s\n      tools: [t]\n    when:"+when+"\n")
}

func TestConditionErrors(t *testing.T) {
	tests := []struct{ name, when, want string }{
		{"no expression", " args.x ==", "13:19: spec.rules[0].when: Syntax error: mismatched input '<EOF>'"},
		{"types that do not go together", ` action.tool == 1`, "13:23: spec.rules[0].when: found no matching overload for '_==_' applied to '(string, int)'"},
		{"no bool", " action.tool", "13:11: spec.rules[0].when: gives string, not true or false"},
		{"perhaps a bool", " args.force", "13:11: spec.rules[0].when: gives dyn, not true or false: compare it with something, as in (...) == true"},
		{"unknown name", " user.id == 'x'", `13:11: spec.rules[0].when: "user" is no name or function that a condition may use: the names are action, actor, actors, args, caller, chain, now, request, session`},
		{"unknown field", " caller.appId == 'x'", "13:17: spec.rules[0].when: caller is used by its fields: write one of caller.spiffeID, caller.trustDomain, caller.namespace, caller.appID, caller.proof"},
		{"a name alone", " caller == 'x'", "13:11: spec.rules[0].when: caller is used by its fields"},
		{"unknown member of chain", " args.x == 1 && chain.depth < 3", "13:31: spec.rules[0].when: chain is used by its members: write one of chain.instance, chain.length, chain.complete, chain.has(...)"},
		{"unknown function", " action.tool.lower() == 'x'", "spec.rules[0].when: \"lower\" is no name or function"},
		{"a bad pattern", ` action.tool.matches('(')`, "spec.rules[0].when: invalid matches argument"},
		{"a bad time", ` now < timestamp('2026-13-01T00:00:00Z')`, "spec.rules[0].when: invalid timestamp argument"},
		{"a bad duration", ` now - now < duration('x')`, "spec.rules[0].when: invalid duration argument"},
		{"a zone by name", ` now.getHours('Europe/Berlin') < 8`, `13:23: spec.rules[0].when: a time zone must be written out as "UTC" or an offset such as "+02:00"`},
		{"a zone of the caller's", ` now.getHours(args.zone) < 8`, "spec.rules[0].when: a time zone must be written out"},
		{"a decimal that is too large", " args.x < 1e18", "13:20: spec.rules[0].when: a decimal of 2^53 or more cannot be compared exactly"},
		{"nothing", "", "spec.rules[0].when: is empty: give a value"},
		{"spaces", ` "  "`, "spec.rules[0].when: Syntax error"},
		{"no text", " true", `13:11: spec.rules[0].when: want text: put it in quotes, "true"`},
		{"a list", " [a]", "13:11: spec.rules[0].when: want one text, not a list or mapping"},
		{"too long", " " + strings.Repeat("(", 2100) + "true" + strings.Repeat(")", 2100), "13:11: spec.rules[0].when: has 4204 bytes, the limit is 4096"},
		{"too deep", " " + strings.Repeat("(", 200) + "args.x == 1" + strings.Repeat(")", 200), "spec.rules[0].when: "},

		{"single quotes", ` 'action.tool == "it''s" && x'`, `13:38: spec.rules[0].when: "x" is no name or function`},
		{"single quotes with quotes inside", ` 'action.tool == "it''''s" && x'`, `13:40: spec.rules[0].when: "x" is no name or function`},
		{"double quotes", ` "action.tool == 'é😀' && x"`, `13:35: spec.rules[0].when: "x" is no name or function`},
		{"double quotes with an escape", ` "action.tool == \"a\" && x"`, `13: spec.rules[0].when: "x" is no name or function`},
		{"block", " |\n      args.x == 1 &&\n\n        (x || // comment\n        y)", "16:10: spec.rules[0].when: \"x\" is no name or function"},
		{"block, second", " |-\n      args.x == 1 &&\n        (args.y == 2 ||\n        y)", "16:9: spec.rules[0].when: \"y\" is no name or function"},
		{"block with a comment and an indentation", " |2 # why\n      args.x == 1 &&\n      y", "15:7: spec.rules[0].when: \"y\" is no name or function"},
		{"folded block", " >\n      args.x == 1 &&\n      args.y == 2\n\n      && y", "17:10: spec.rules[0].when: \"y\" is no name or function"},
		{"several lines", " args.x == 1 &&\n      args.y == 2 &&\n      y", "15:7: spec.rules[0].when: \"y\" is no name or function"},
		{"several lines in quotes", " 'args.x == 1 &&\n      args.y == ''2'' && y'", "14:26: spec.rules[0].when: \"y\" is no name or function"},
		{"on the next line", "\n      args.x == 1 && y", "14:22: spec.rules[0].when: \"y\" is no name or function"},
		{"block without an end", " |\n      args.x == 1 &&\n", "14:21: spec.rules[0].when: Syntax error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := conditioned(tt.when)
			for name, text := range map[string]string{"LF": text, "CRLF": strings.ReplaceAll(text, "\n", "\r\n")} {
				_, err := policy.Parse("f.yaml", []byte(text))
				require.Error(t, err)
				require.Contains(t, problem(t, err), tt.want, name)
				require.NotContains(t, err.Error(), "(in container", name)
			}
		})
	}
}

func TestEveryConditionErrorIsReported(t *testing.T) {
	var rules strings.Builder
	for i := range 30 {
		rules.WriteString(ruleWhen(fmt.Sprintf("r%d", i), "allow", "caller.x == 1 || y"))
	}
	_, err := policy.Parse("f.yaml", []byte(doc("p", rules.String())))
	var list *policy.ErrorList
	require.True(t, errors.As(err, &list))
	require.Len(t, list.Problems, 20)
	require.Equal(t, 40, list.Omitted)
	require.Equal(t, []int{7, 7}, []int{list.Problems[0].Line, list.Problems[1].Line})
	require.Less(t, list.Problems[0].Column, list.Problems[1].Column)
}
