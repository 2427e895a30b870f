// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

const explainedPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: orders}
spec:
  rules:
  - {name: elsewhere, effect: allow, from: [support], to: {server: crm, tools: ["*"]}}
  - {name: others, effect: deny, from: [intern], to: {server: orders, tools: ["*"]}}
  - {name: auditors, effect: allow, from: [auditor], to: {server: orders, tools: ["*"]}}
  - {name: files, effect: allow, from: [support], to: {server: orders, methods: [resources/read]}}
  - {name: small, effect: allow, from: [support], to: {server: orders, tools: [refund]}, when: args.amount <= 200}
  - {name: reads, effect: allow, from: [support], to: {server: orders, tools: ["get_*", refund]}, rate: 5/minute}
---
apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: trial}
spec:
  mode: shadow
  rules:
  - {name: stop, effect: deny, from: [support], to: {server: orders, tools: [refund]}}
`

func TestPolicyTestExplains(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.yaml")
	require.NoError(t, os.WriteFile(file, []byte(explainedPolicy), 0o600))
	ask := func(caller string, more ...string) []string {
		return append([]string{"test", "--caller", caller, "--server", "orders", "--tool", "refund", file}, more...)
	}
	lines := func(args []string, want int) []string {
		out, errOut, code := runPolicy(t, args...)
		require.Equal(t, want, code, errOut)
		return strings.Split(strings.ReplaceAll(out, file, "p.yaml"), "\n")
	}
	require.Equal(t, []string{
		"allow: rule allows it (policy orders, rule reads)",
		"with the policies in shadow mode enforced: deny: rule denies it (policy trial, rule stop)",
		"RULE          EFFECT  MATCHED  WHY                                               SOURCE",
		"orders/reads  allow   yes      decides (rate: 5/minute)                          p.yaml:11",
		"trial/stop    deny    yes      decides nothing: its policy is in shadow mode     p.yaml:19",
		"orders/small  allow   no       its condition is false (when args.amount <= 200)  p.yaml:10",
		"orders/files  allow   no       none of its methods matches                       p.yaml:9",
		"and 1 rule that names another server, 2 rules that name another caller (--all prints them)", "",
	}, lines(ask("support", "--explain", `--args={"amount": 300}`), 0))
	require.Contains(t, strings.Join(lines(ask("support", "--explain"), 0), "\n"),
		"its condition could not be evaluated: no such key: amount (when args.amount <= 200)")
	all := lines(ask("support", "--explain", "--all"), 0)
	require.Contains(t, all[7], "it is about server crm")
	require.Contains(t, all[8], "no pattern of from matches the caller")
	require.Len(t, all, 11)
	require.Equal(t, []string{
		"deny: no rule allows it", "and 7 rules that name another caller (--all prints them)", "",
	}, lines(ask("nobody", "--explain"), 1))

	for format, read := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		out, errOut, code := runPolicy(t, ask("support", "--explain", `--args={"amount": 3}`, "-o", format)...)
		require.Zero(t, code, errOut)
		var answer struct {
			Effect  string           `json:"effect"`
			Shadow  map[string]any   `json:"shadow"`
			Rules   []map[string]any `json:"rules"`
			LeftOut map[string]int   `json:"leftOut" yaml:"leftOut"`
		}
		require.NoError(t, read([]byte(out), &answer))
		require.Equal(t, "allow", answer.Effect)
		require.Equal(t, "stop", answer.Shadow["rule"])
		require.Len(t, answer.Rules, 4)
		require.Equal(t, []any{"small", true, "matches"}, []any{answer.Rules[0]["rule"], answer.Rules[0]["decides"], answer.Rules[0]["match"]})
		require.Equal(t, map[string]int{"other server": 1, "other caller": 2}, answer.LeftOut)
	}
	out, _, _ := runPolicy(t, ask("support", "-o", "json")...)
	require.NotContains(t, out, "rules", "only where it is asked for")
	_, errOut, code := runPolicy(t, ask("support", "--all")...)
	require.Equal(t, 2, code)
	require.Equal(t, "--all is for --explain: give both", errOut)
}
