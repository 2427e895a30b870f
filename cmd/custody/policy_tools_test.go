// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policydir"
)

const refundTools = `{"tools":[{"name":"refund","inputSchema":{"type":"object","properties":{"amount":{"type":"number"}, "currency":{"enum":["EUR","USD"]}}}}]}`

const learnedRefund = `{"apiVersion":"custody.dev/v1alpha1","kind":"ToolCatalogue","servers":{"orders":{"tools":{
"refund":{"inputSchema":{"type":"object","properties":{"total":{"type":"number"}}}}}}}}`

// conditionFile is a policy whose only rule has the condition, which begins at 6:94.
func conditionFile(t *testing.T, when string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "refunds.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: refunds}
spec:
  rules:
  - {name: small, effect: allow, from: [agent], to: {server: orders, tools: [refund]}, when: `+when+"}\n"), 0o600))
	return file
}

func textFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tools.json")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

const notChecked = "names and types of arguments in conditions were not checked for orders: no schemas of the tools are known; " +
	"call tools/list through a guard that runs, or give --tools FILE\n"

func TestPolicyLintWithTools(t *testing.T) {
	t.Setenv("CUSTODY_HOME", t.TempDir())
	list, learned := textFile(t, refundTools), textFile(t, learnedRefund)
	answer := textFile(t, `{"jsonrpc":"2.0","id":1,"result":`+refundTools+`}`)
	misspelled, right := conditionFile(t, "args.amout <= 200"), conditionFile(t, "args.amount <= 200")
	wrongType := conditionFile(t, "args.amount == 'all'")
	const unknown = `:6:99: spec.rules[0].when: "amout" is no argument of tool orders/refund: did you mean "amount"?` + "\n"
	tests := []struct {
		name string
		args []string
		out  string // "ok: " for the line that says so
		code int
	}{
		{"misspelled", []string{misspelled, "--tools", list, "--server", "orders"}, misspelled + unknown, 1},
		{"misspelled, the whole answer", []string{misspelled, "--tools", answer, "--server", "orders"}, misspelled + unknown, 1},
		{"right", []string{right, "--tools", list, "--server", "orders"}, "ok: ", 0},
		{
			"of another type",
			[]string{wrongType, "--tools", list, "--server", "orders"},
			wrongType + ":6:94: spec.rules[0].when: args.amount is a number in tool orders/refund, and is compared with a text\n", 1,
		},
		{"a guard's catalogue", []string{right, "--tools", learned}, right + `:6:99: spec.rules[0].when: "amount" is no argument of tool orders/refund: known are "total"` + "\n", 1},
		{"the later file counts", []string{right, "--tools", learned, "--tools", list, "--server", "orders"}, "ok: ", 0},
		{"tools of another server", []string{misspelled, "--tools", list, "--server", "crm"}, notChecked + "ok: ", 0},
		{"no tools", []string{misspelled}, notChecked + "ok: ", 0},
		{"no conditions", []string{resourcePolicies}, "ok: ", 0},
		{"a hint", []string{conditionFile(t, "args.currency == 'EURO'"), "--tools", list, "--server", "orders"}, "hint", 0},
		{"a list of nobody", []string{right, "--tools", list}, "", 2},
		{"a server too many", []string{right, "--tools", learned, "--server", "orders"}, "", 2},
		{"a server without tools", []string{right, "--server", "orders"}, "", 2},
		{"a file that is missing", []string{right, "--tools", "missing.json"}, "", 2},
		{"a file that is no JSON", []string{right, "--tools", right, "--server", "orders"}, "", 2},
		{"a catalogue that is broken", []string{right, "--tools", textFile(t, strings.Replace(learnedRefund, "v1alpha1", "v0", 1))}, "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, code := runPolicy(t, append([]string{"lint"}, tt.args...)...)
			require.Equal(t, tt.code, code, errOut+out)
			switch {
			case tt.out == "hint":
				require.Contains(t, out, `"EURO" is no value of args.currency in tool orders/refund: known are "EUR", "USD" [warning]`)
			case strings.HasSuffix(tt.out, "ok: "):
				require.Regexp(t, "^"+tt.out+"files ", out)
			default:
				require.Equal(t, tt.out, out)
			}
		})
	}
}

func TestPolicyLintTakesWhatGuardsHaveLearned(t *testing.T) {
	home := t.TempDir()
	t.Setenv("CUSTODY_HOME", home)
	guards := filepath.Join(home, "runs", "r1", "guards")
	require.NoError(t, os.MkdirAll(guards, 0o700))
	status := policydir.Status{App: "orders", Guard: "guard", PID: os.Getpid(), Tools: textFile(t, learnedRefund)}
	put := func(change func(*policydir.Status)) {
		s := status
		if change != nil {
			change(&s)
		}
		require.NoError(t, policydir.WriteStatus(filepath.Join(guards, "orders.json"), s))
	}
	file := conditionFile(t, "args.amount <= 200")
	lint := func() (string, string, int) { return runPolicy(t, "lint", file) }

	put(nil)
	out, errOut, code := lint()
	require.Equal(t, 1, code, errOut)
	require.Contains(t, out, `"amount" is no argument of tool orders/refund`)
	require.Equal(t, "the policy has one error", errOut)
	out, _, code = runPolicy(t, "lint", file, "--tools", textFile(t, refundTools), "--server", "orders")
	require.Zero(t, code, "files that are named count instead: "+out)

	unchecked := map[string]func(*policydir.Status){
		"it does not run":             func(s *policydir.Status) { s.PID = gonePID(t) },
		"it keeps none":               func(s *policydir.Status) { s.Tools = "" },
		"it has seen no list of them": func(s *policydir.Status) { s.Tools = filepath.Join(home, "none") },
	}
	for name, change := range unchecked {
		put(change)
		out, errOut, code = lint()
		require.Zero(t, code, name)
		require.Contains(t, out, notChecked, name)
		require.Empty(t, errOut, name)
	}
	put(func(s *policydir.Status) { s.Tools = file })
	_, errOut, code = lint()
	require.Zero(t, code)
	require.Contains(t, errOut, "custody: warning: the tools of orders: policy: tool catalogue: ")
}
