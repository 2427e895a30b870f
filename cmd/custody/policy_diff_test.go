// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// diffRule is an allow of agent for get, with more keys of the rule.
func diffRule(name, more string) string {
	return "  - {name: " + name + ", effect: allow, from: [agent], to: {server: orders, tools: [get]}" + more + "}\n"
}

func shadowText(rules string) string {
	text := strings.Replace(policyText(rules), "name: orders}", "name: trial}", 1)
	return strings.Replace(text, "spec:\n", "spec:\n  mode: shadow\n", 1)
}

const diffAgent = "spiffe://custody.local/ns/default/agent"

func TestPolicyDiff(t *testing.T) {
	t.Setenv("CUSTODY_HOME", t.TempDir())
	const deny = "  - {name: no, effect: deny, from: [agent], to: {server: orders, tools: [get]}}\n"
	const get = " " + diffAgent + " orders/get"
	tests := []struct {
		name         string
		older, newer string
		shadow       string // rules of a policy in shadow mode beside the newer ones
		want         []string
	}{
		{"a rate that is another", diffRule("a", ", rate: 30/minute"), diffRule("a", ", rate: 10/minute"), "", []string{
			"= obliges" + get + ": rate: 30/minute -> rate: 10/minute",
		}},
		{"an obligation that comes", diffRule("a", ""), diffRule("a", ", maxResultBytes: 9"), "", []string{
			"= obliges" + get + ": nothing -> maxResultBytes: 9",
		}},
		{"one that goes", diffRule("a", ", redact: {detectors: [email]}"), diffRule("a", ""), "", []string{
			"= obliges" + get + ": redact: {detectors: [email]} -> nothing",
		}},
		{
			"the same in another order, by other rules", diffRule("a", ", redact: {detectors: [email, card]}, rate: 1/hour") + diffRule("b", ", rate: 3/minute, maxResultBytes: 9"),
			diffRule("x", ", rate: 3/minute, redact: {detectors: [card]}") + diffRule("y", ", maxResultBytes: 9, rate: 1/hour, redact: {detectors: [email]}") + diffRule("z", ", maxResultBytes: 10"),
			"", nil,
		},
		{"of what opens", deny + diffRule("a", ", rate: 1/hour"), diffRule("a", ", rate: 1/hour"), "", []string{
			"+ allow" + get + " (orders/a) with rate: 1/hour",
		}},
		{"of what closes", diffRule("a", ", rate: 1/hour"), diffRule("a", "") + deny, "", []string{
			"- allow" + get + " (orders/a), denied by orders/no",
		}},
		{"a grant", diffRule("a", ""), diffRule("a", ", requireGrant: true"), "", []string{
			"- allow" + get + " (orders/a), denied by orders/a: rule allows it with a grant only, and there is none",
		}},
		{"under a condition", diffRule("a", "") + diffRule("b", ", rate: 1/hour, when: args.n > 1"), diffRule("a", "") + diffRule("b", ", rate: 1/hour, when: args.n > 2"), "", []string{
			"= obliges" + get + ": rate: 1/hour when args.n > 1 -> rate: 1/hour when args.n > 2",
		}},
		{"where the call depends", diffRule("a", ", when: args.n > 1"), diffRule("b", ", rate: 1/hour, when: args.n > 1"), "", []string{
			"= obliges" + get + ": nothing -> rate: 1/hour when args.n > 1",
		}},
		{"a grant under a condition", diffRule("a", ""), diffRule("a", "") + diffRule("b", ", requireGrant: true, when: has(args.all)"), "", []string{
			"~ depends" + get + ": allow (orders/a); allow (orders/b) when has(args.all) with requireGrant: true when has(args.all)",
		}},
		{"conditions in another order, by other names", diffRule("a", ", when: args.n > 1") + diffRule("b", ", when: args.m > 1"), diffRule("x", ", when: args.m > 1") + diffRule("y", ", when: args.n > 1"), "", nil},
		{
			"an allow beside the same conditions", diffRule("a", ", when: args.n > 1") + strings.Replace(deny, "}}", "}, when: args.m > 1}", 1),
			diffRule("a", ", when: args.n > 1") + diffRule("b", "") + strings.Replace(deny, "}}", "}, when: args.m > 1}", 1), "",
			[]string{
				"~ depends" + get + ": allow (orders/a) when args.n > 1; allow (orders/b); deny (orders/no) when args.m > 1",
			},
		},
		{"a condition on the caller is decided", diffRule("a", ""), diffRule("a", ", when: caller.appID == \"agent\""), "", nil},
		{
			"a condition on the tool is decided, but not for those that no side names",
			strings.ReplaceAll(diffRule("a", ""), "[get]", "[get, \"*\"]"), strings.ReplaceAll(diffRule("a", ", when: action.tool == \"get\""), "[get]", "[get, \"*\"]"), "",
			[]string{"~ depends " + diffAgent + " orders/*: allow (orders/a) when action.tool == \"get\""},
		},
		{"and denies", diffRule("a", ""), diffRule("a", ", when: caller.appID == \"other\""), "", []string{"- allow" + get + " (orders/a)"}},

		{"shadow: denies", diffRule("a", ""), diffRule("a", ""), deny, []string{"shadow: - allow" + get + " (orders/a), denied by trial/no"}},
		{"shadow: allows", deny, deny, diffRule("a", ""), nil},
		{"shadow: allows what nothing denies", "", "  - {name: other, effect: allow, from: [x], to: {server: orders, tools: [y]}}\n", diffRule("a", ""), []string{
			"+ allow spiffe://custody.local/ns/default/x orders/y (orders/other)", "shadow: + allow" + get + " (trial/a)",
		}},
		{"shadow: obliges", diffRule("a", ", rate: 2/hour"), diffRule("a", ", rate: 2/hour"), diffRule("t", ", rate: 1/hour"), []string{
			"shadow: = obliges" + get + ": rate: 2/hour -> rate: 1/hour; rate: 2/hour",
		}},
		{"shadow: equal to what is enforced", diffRule("a", ", rate: 2/hour"), diffRule("a", ", rate: 2/hour"), diffRule("t", ", rate: 2/hour"), nil},
		{"shadow: equal under a condition", diffRule("a", ", rate: 2/hour, when: args.n > 1"), diffRule("a", ", rate: 2/hour, when: args.n > 1"), diffRule("t", ", rate: 2/hour, when: args.n > 1"), nil},
		{"shadow: under another condition", diffRule("a", ", when: args.n > 1"), diffRule("a", ", when: args.n > 1"), diffRule("t", ", when: args.n > 0"), []string{
			"shadow: ~ depends" + get + ": allow (orders/a) when args.n > 1; allow (trial/t) when args.n > 0",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after := map[string]string{}, map[string]string{"p.yaml": policyText(tt.newer)}
			if tt.older != "" {
				before["p.yaml"] = policyText(tt.older)
			}
			if tt.shadow != "" {
				after["t.yaml"] = shadowText(tt.shadow)
			}
			out, errOut, code := runPolicy(t, "diff", policyFiles(t, before), policyFiles(t, after))
			want, changes := "", 0
			for _, line := range tt.want {
				want += line + "\n"
				if !strings.HasPrefix(line, "shadow: ") {
					changes = 1
				}
			}
			require.Equal(t, want, out)
			require.Equal(t, changes, code, errOut)
		})
	}
}

// A policy in shadow mode of OLD changes nothing; enforced in NEW it does.
func TestPolicyDiffOfWhatIsEnforcedThen(t *testing.T) {
	t.Setenv("CUSTODY_HOME", t.TempDir())
	enforced := policyFiles(t, map[string]string{"p.yaml": policyText(diffRule("a", ""))})
	tried := policyFiles(t, map[string]string{"p.yaml": policyText(diffRule("a", "")), "t.yaml": shadowText(diffRule("t", ", rate: 1/hour"))})
	text := strings.Replace(shadowText(diffRule("t", ", rate: 1/hour")), "  mode: shadow\n", "", 1)
	both := policyFiles(t, map[string]string{"p.yaml": policyText(diffRule("a", "")), "t.yaml": text})
	const line = "= obliges " + diffAgent + " orders/get: nothing -> rate: 1/hour\n"

	out, errOut, code := runPolicy(t, "diff", enforced, tried)
	require.Zero(t, code, errOut)
	require.Equal(t, "shadow: "+line, out)
	require.Contains(t, errOut, "that are known, save in shadow mode")
	out, errOut, code = runPolicy(t, "diff", tried, both)
	require.Equal(t, 1, code, errOut)
	require.Equal(t, line, out)
	out, errOut, code = runPolicy(t, "diff", tried, enforced)
	require.Zero(t, code, errOut)
	require.Empty(t, out)

	for format, read := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		out, errOut, code = runPolicy(t, "diff", tried, tried, "-o", format)
		require.Zero(t, code, errOut)
		var answer map[string]any
		require.NoError(t, read([]byte(out), &answer))
		require.Equal(t, []any{}, answer["changes"])
		require.Equal(t, []any{map[string]any{
			"change": "=", "caller": diffAgent, "server": "orders", "tool": "get", "policy": "orders", "rule": "a",
			"obligations": []any{"rate: 1/hour"},
		}}, answer["shadow"])
		out, _, _ = runPolicy(t, "diff", both, enforced, "-o", format)
		clear(answer)
		require.NoError(t, read([]byte(out), &answer))
		require.Equal(t, []any{"rate: 1/hour"}, answer["changes"].([]any)[0].(map[string]any)["obligationsBefore"])
		require.Equal(t, []any{}, answer["shadow"])
	}
}
