// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

// runPolicy runs `custody policy` and returns what it prints and its exit code.
func runPolicy(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := newPolicyCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	err := cmd.Execute()
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		code = coded.ExitCode()
	case err != nil:
		code = -1
	}
	if err != nil {
		errOut.WriteString(err.Error())
	}
	return out.String(), errOut.String(), code
}

const resourcePolicies = "../../resources/policies"

func TestPolicyTest(t *testing.T) {
	perTool := filepath.Join(resourcePolicies, "per-tool.yaml")
	ask := func(caller, tool string, paths ...string) []string {
		return append([]string{"test", "--caller", caller, "--server", "orders", "--tool", tool}, paths...)
	}
	tests := []struct {
		name string
		args []string
		out  string
		code int
	}{
		{"app ID", ask("support-agent", "get_order", perTool), "allow: rule allows it (policy orders, rule support-reads)\n", 0},
		{"another tool", ask("support-agent", "update_order_status", perTool), "deny: no rule allows it\n", 1},
		{"SPIFFE ID", ask("spiffe://custody.local/ns/prod/auditor", "get_order", perTool), "allow: rule allows it (policy orders, rule support-reads)\n", 0},
		{"deny rule", ask("spiffe://custody.local/ns/prod/auditor", "delete_order", perTool), "deny: rule denies it (policy orders, rule auditors-read-only)\n", 1},
		{"directory with deny-all", ask("support-agent", "get_order", resourcePolicies), "deny: rule denies it (policy deny-all, rule everything)\n", 1},
		{"method", []string{"test", "--caller", "support-agent", "--server", "orders", "--method", "resources/read", perTool}, "deny: no rule allows it\n", 1},
		{"path under deny-all", []string{"test", "--caller", "support-agent", "--server", "orders", "--path", "GET /healthz", resourcePolicies}, "deny: rule denies it (policy deny-all, rule everything)\n", 1},
		{"another namespace", append(ask("support-agent", "get_order", perTool), "--namespace", "prod"), "allow: rule allows it (policy orders, rule support-reads)\n", 0},
		{"step of the protocol", []string{"test", "--caller", "support-agent", "--server", "orders", "--method", "ping", perTool}, "allow: the caller may reach the server\n", 0},
		{"step under deny-all", []string{"test", "--caller", "support-agent", "--server", "orders", "--method", "ping", resourcePolicies}, "deny: no rule lets the caller reach the server\n", 1},
		{"no tool", []string{"test", "--caller", "a", "--server", "orders", perTool}, "", 2},
		{"no server", []string{"test", "--caller", "a", "--tool", "t", perTool}, "", 2},
		{"tool and method", append(ask("a", "t", perTool), "--method", "ping"), "", 2},
		{"no caller", []string{"test", "--server", "orders", "--tool", "t", perTool}, "", 2},
		{"illegal caller", ask("spiffe://UPPER/x", "t", perTool), "", 2},
		{"illegal app ID", ask("a b", "t", perTool), "", 2},
		{"illegal trust domain", append(ask("a", "t", perTool), "--trust-domain", "X"), "", 2},
		{"illegal namespace", append(ask("a", "t", perTool), "--namespace", "a/b"), "", 2},
		{"missing file", ask("a", "t", "missing.yaml"), "", 2},
		{"no path", ask("a", "t"), "", 2},
		{"unknown flag", append(ask("a", "t", perTool), "--x"), "", 2},
		{"unknown format", append(ask("a", "t", perTool), "-o", "xml"), "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, code := runPolicy(t, tt.args...)
			require.Equal(t, tt.code, code, errOut)
			require.Equal(t, tt.out, out)
		})
	}

	out, _, code := runPolicy(t, append(ask("support-agent", "get_order", perTool), "-o", "json")...)
	require.Zero(t, code)
	var answer map[string]string
	require.NoError(t, json.Unmarshal([]byte(out), &answer))
	require.Len(t, answer["set"], 64)
	delete(answer, "set")
	require.Equal(t, map[string]string{
		"caller": "spiffe://custody.local/ns/default/support-agent", "kind": "mcp.tools/call", "server": "orders",
		"name": "get_order", "effect": "allow", "policy": "orders", "rule": "support-reads", "reason": "rule allows it",
	}, answer)
}

func TestPolicyOfPromptsAndResources(t *testing.T) {
	dir := policyFiles(t, nil)
	_, errOut, code := runPolicy(t, "allow", "--dir", dir, "--caller", "agent", "--server", "orders",
		"--prompts", "summary,report_*", "--resources", "file:///docs/*")
	require.Zero(t, code, errOut)
	older := policyFiles(t, map[string]string{"p.yaml": onePolicy})
	const rule = "allow-agent-orders-summary-report_all-file-docs-all"
	allowed, denied := "allow: rule allows it (policy commands, rule "+rule+")\n", "deny: no rule allows it\n"
	for _, tt := range []struct {
		name string
		args []string
		out  string
		code int
	}{
		{"a prompt", []string{"--prompt", "report_week"}, allowed, 0},
		{"another prompt", []string{"--prompt", "other"}, denied, 1},
		{"a resource", []string{"--resource", "file:///docs/x"}, allowed, 0},
		{"another resource", []string{"--resource", "file:///etc/x"}, denied, 1},
		{"subscribing", []string{"--method", "resources/subscribe", "--resource", "file:///docs/x"}, allowed, 0},
		{"completing a prompt", []string{"--method", "completion/complete", "--prompt", "summary"}, allowed, 0},
		{"completing another", []string{"--method", "completion/complete", "--prompt", "other"}, denied, 1},
		{"completing a template", []string{"--method", "completion/complete", "--resource", "file:///docs/{x}"}, allowed, 0},
		{"completing a wider one", []string{"--method", "completion/complete", "--resource", "file:///{x}"}, denied, 1},
		{"a method that does not go with it", []string{"--method", "prompts/get", "--resource", "file:///docs/x"}, "", 2},
		{"a list", []string{"--method", "resources/list", "--resource", "file:///docs/x"}, "", 2},
		{"both", []string{"--prompt", "summary", "--resource", "file:///docs/x"}, "", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, code := runPolicy(t, append([]string{"test", "--caller", "agent", "--server", "orders", dir}, tt.args...)...)
			require.Equal(t, tt.code, code, errOut)
			require.Equal(t, tt.out, out)
		})
	}
	out, _, _ := runPolicy(t, "list", "--dir", dir)
	require.Contains(t, out, " prompts summary,report_*; resources file:///docs/* ")
	for flag, text := range map[string]string{
		"--prompt=summary": rule, "--resource=file:///docs/x": rule,
		"--prompt=x": "nobody may get prompt x of orders", "--resource=x:y": "nobody may read x:y of orders", "--tool=x": "nobody may call orders/x",
	} {
		out, errOut, code := runPolicy(t, "who-can", "--dir", dir, "--server", "orders", flag)
		require.Zero(t, code, errOut)
		require.Contains(t, out, text)
	}
	_, _, code = runPolicy(t, "who-can", "--dir", dir, "--server", "orders", "--tool", "x", "--prompt", "y")
	require.Equal(t, 2, code)

	_, _, code = runPolicy(t, "allow", "--dir", dir, "--caller", "agent", "--server", "orders", "--resources", "*", "--prompts", "summary", "--name", "more")
	require.Zero(t, code)
	_, _, code = runPolicy(t, "allow", "--dir", dir, "--caller", "agent", "--server", "orders", "--resources", "db:x", "--name", "one")
	require.Zero(t, code)
	out, errOut, code = runPolicy(t, "diff", older, dir)
	require.Equal(t, 1, code, errOut)
	const agent = "spiffe://custody.local/ns/default/agent"
	require.Equal(t, `+ allow `+agent+` orders prompt summary (commands/`+rule+`)
+ allow `+agent+` orders resource any:* (commands/more)
+ allow `+agent+` orders resource db:x (commands/more)
- allow spiffe://custody.local/ns/default/support-agent orders/get_order (orders/reads)
- allow spiffe://other.test/a/b orders/get_order (orders/elsewhere)
`, out)
}

func TestPolicyMethods(t *testing.T) {
	out, errOut, code := runPolicy(t, "methods")
	require.Zero(t, code, errOut)
	require.Regexp(t, `(?m)^METHOD +FROM +DEFAULT +MATCHED BY +REVISIONS$`, out)
	require.Regexp(t, `(?m)^tools/call +client +named +tools +2025-03-26,2025-06-18,2025-11-25,2026-07-28$`, out)
	require.Regexp(t, `(?m)^resources/list +client +reach, filtered +methods +`, out)
	require.Regexp(t, `(?m)^prompts/get +client +named +prompts,methods +`, out)
	require.Regexp(t, `(?m)^tasks/result +client +owner +methods +2025-11-25$`, out)
	require.Regexp(t, `(?m)^sampling/createMessage +server +named +methods +`, out)
	out, errOut, code = runPolicy(t, "methods", "-o", "json")
	require.Zero(t, code, errOut)
	var rows []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	require.Len(t, rows, strings.Count(out, `"method"`))
	require.Equal(t, "tools/call", rows[0]["method"])
	_, _, code = runPolicy(t, "methods", "-o", "xml")
	require.Equal(t, 2, code)
}

func TestPolicyTestWithConditions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "refunds.yaml")
	write := func(when string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte(`apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: refunds}
spec:
  rules:
  - {name: small, effect: allow, from: [agent], to: {server: orders, tools: [refund]}, when: '`+when+"'}\n"), 0o600))
	}
	write(`args.amount <= 200 && now < timestamp("2026-11-23T10:00:00Z") && request.ip.startsWith("10.") && caller.proof == "x509-svid"`)
	ask := func(more ...string) []string {
		return append([]string{"test", "--caller", "agent", "--server", "orders", "--tool", "refund", file}, more...)
	}
	const amount, early, ip = `--args={"amount": 200}`, "--now=2026-11-23T09:59:59Z", "--ip=10.0.0.1"
	const unknown = "deny: the condition of rule small could not be evaluated: "
	tests := []struct {
		name string
		args []string
		out  string
		code int
	}{
		{"all is as the rule says", ask(amount, early, ip), "allow: rule allows it (policy refunds, rule small)\n", 0},
		{"more", ask(`--args={"amount": 200.01}`, early, ip), "deny: no rule allows it\n", 1},
		{"later", ask(amount, "--now=2026-11-23T11:00:00+01:00", ip), "deny: no rule allows it\n", 1},
		{"from elsewhere", ask(amount, early, "--ip=192.168.0.1"), "deny: no rule allows it\n", 1},
		{"from nowhere", ask(amount, early), unknown + "the caller's address is not known (policy refunds, rule small)\n", 1},
		{"without arguments", ask(early, ip), unknown + "no such key: amount (policy refunds, rule small)\n", 1},
		{"arguments that are no object", ask(early, "--args=[1]"), "", 2},
		{"no arguments at all", ask(early, "--args=null"), "", 2},
		{"a time in another form", ask("--now=yesterday"), "", 2},
		{"an address in another form", ask("--ip=10.0.0"), "", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, code := runPolicy(t, tt.args...)
			require.Equal(t, tt.code, code, errOut)
			require.Equal(t, tt.out, out)
		})
	}
	write(`now > timestamp("2000-01-01T00:00:00Z")`)
	out, errOut, code := runPolicy(t, ask()...)
	require.Zero(t, code, errOut+out)

	write(`args.amount <= 200 && tool == "refund"`)
	out, _, code = runPolicy(t, "lint", file)
	require.Equal(t, 1, code)
	require.Equal(t, file+`:6:117: spec.rules[0].when: "tool" is no name or function that a condition may use: the names are `+
		"action, actor, actors, args, caller, chain, now, request, session\n", out)
}

const daprConfiguration = `kind: Configuration
spec:
  accessControl:
    policies:
    - appId: $CUSTODY_TEST_APP
      namespace: default
      trustDomain: custody.local
      operations:
      - {name: /mcp/tools/call/get_order, httpVerb: [POST], action: allow}
      - {name: /mcp/tools/call/run_report, httpVerb: [GET], action: allow}
`

func TestPolicyTestReadsAConfiguration(t *testing.T) {
	t.Setenv("CUSTODY_TEST_APP", "support-agent")
	config := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte(daprConfiguration), 0o600))
	out, errOut, code := runPolicy(t, "test", "--caller", "support-agent", "--server", "orders", "--tool", "get_order", config)
	require.Zero(t, code, errOut)
	require.Contains(t, out, "policy accessControl/orders")
	_, _, code = runPolicy(t, "test", "--caller", "support-agent", "--server", "orders", "--tool", "run_report", config)
	require.Equal(t, 1, code)
}

func TestPolicyLint(t *testing.T) {
	out, errOut, code := runPolicy(t, "lint", resourcePolicies)
	require.Zero(t, code, errOut)
	require.Regexp(t, `^ok: files 2, policies 2, rules 5, warnings 0, set [0-9a-f]{12}\n$`, out)

	t.Setenv("CUSTODY_TEST_APP", "support-agent")
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte(daprConfiguration), 0o600))
	out, errOut, code = runPolicy(t, "lint", config)
	require.Zero(t, code, errOut)
	require.True(t, strings.HasPrefix(out, config+":10:9: spec.accessControl.policies[0].operations[1].httpVerb: left out: tool calls are POST requests"), out)
	require.Contains(t, out, " [warning]\nok: files 1, policies 1, rules 1, warnings 1, set ")

	// A guard reads no Configuration from its policy directory.
	out, _, code = runPolicy(t, "lint", dir)
	require.Equal(t, 1, code)
	require.Contains(t, out, config+`:1:7: kind: "Configuration" is not supported: write AccessPolicy`)

	bad := filepath.Join(dir, "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte("a:\n\tb: c\n"), 0o600))
	out, errOut, code = runPolicy(t, "lint", bad)
	require.Equal(t, 1, code)
	require.Equal(t, bad+":2:1: a tab is used for indentation, which YAML does not allow: use spaces\n", out)
	require.Equal(t, "the policy has one error", errOut)

	_, _, code = runPolicy(t, "lint")
	require.Equal(t, 2, code)
	_, _, code = runPolicy(t, "lint", filepath.Join(dir, "missing"))
	require.Equal(t, 2, code)
	_, _, code = runPolicy(t, "test", "--caller", "a", "--server", "s", "--tool", "t", bad)
	require.Equal(t, 2, code, "a broken policy decides nothing")
}

// gonePID is the number of a process that has ended.
func gonePID(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	require.NoError(t, cmd.Run())
	return cmd.Process.Pid
}

func TestPolicyStatus(t *testing.T) {
	home := t.TempDir()
	t.Setenv("CUSTODY_HOME", home)
	out, _, code := runPolicy(t, "status")
	require.Zero(t, code)
	require.Equal(t, "no guard found: start a run with custody up, or name a journal folder with --journal\n", out)

	guards := filepath.Join(home, "runs", "r1", "guards")
	require.NoError(t, os.MkdirAll(guards, 0o700))
	put := func(path string, s policydir.Status) { require.NoError(t, policydir.WriteStatus(path, s)) }
	digest := strings.Repeat("ab", 32)
	loaded := time.Now().Add(-3 * time.Minute)
	good := policydir.Status{App: "orders", Guard: "guard", PID: os.Getpid(), Digest: digest, LoadedAt: loaded, Rules: 4, Warnings: []string{"w.yaml:1: odd"}}
	gone := policydir.Status{App: "old", Guard: "guard", PID: gonePID(t), LastError: "broken once", LastErrorAt: loaded}
	put(filepath.Join(guards, "orders.json"), good)
	put(filepath.Join(guards, "old.json"), gone)
	out, _, code = runPolicy(t, "status")
	require.Zero(t, code, "what does not run reports nothing")
	require.Equal(t, `APP     GUARD  SET           RULES  AGE  STATE        LAST ERROR
old     guard  -             0      -    not running  3m
orders  guard  abababababab  4      3m   in force     -
old: error: broken once
orders: warning: w.yaml:1: odd
`, out)

	perProcess := good
	perProcess.RatesPerProcess, perProcess.Warnings = true, nil
	other := t.TempDir()
	put(filepath.Join(other, policydir.StatusFile), perProcess)
	out, _, code = runPolicy(t, "status", "--journal", other)
	require.Zero(t, code, "that is no error")
	require.Contains(t, out, "in force  -\norders: note: rates are counted per process: they begin anew when it ends, unless the component sets rateFile\n")
	for format, want := range map[string]string{"json": `"ratesPerProcess": true`, "yaml": "ratesPerProcess: true"} {
		out, _, _ = runPolicy(t, "status", "--journal", other, "-o", format)
		require.Contains(t, out, want)
	}

	kept := good
	kept.App, kept.LastError, kept.LastErrorAt = "crm", "crm.yaml:3:1: a tab\ncrm.yaml:4:1: another tab", loaded
	put(filepath.Join(guards, "crm.json"), kept)
	refusing := policydir.Status{App: "new", PID: os.Getpid(), LastError: "the directory is missing", LastErrorAt: loaded}
	journal := t.TempDir()
	put(filepath.Join(journal, policydir.StatusFile), refusing)

	out, errOut, code := runPolicy(t, "status")
	require.Equal(t, 1, code)
	require.Equal(t, "one guard reports an error", errOut)
	require.Contains(t, out, "kept last good set")
	require.Contains(t, out, "crm: error: crm.yaml:3:1: a tab\ncrm: error: crm.yaml:4:1: another tab\n")

	for _, flag := range []string{"--journal", "--dir"} {
		out, _, code = runPolicy(t, "status", flag, journal)
		require.Equal(t, 1, code)
		require.Contains(t, out, "REFUSING: no policy")
		require.NotContains(t, out, "crm")
	}

	put(policydir.StatusFileOf(filepath.Join(other, policydir.StatusFile), "cart"), policydir.Status{App: "shop", Guard: "cart", PID: os.Getpid(), Digest: digest, LoadedAt: loaded, Rules: 7})
	out, _, code = runPolicy(t, "status", "--journal", other)
	require.Zero(t, code)
	require.Regexp(t, `(?m)^orders +guard +abababababab +4 `, out)
	require.Regexp(t, `(?m)^shop +cart +abababababab +7 `, out)
	_, errOut, code = runPolicy(t, "status", "--journal", t.TempDir())
	require.Equal(t, 2, code)
	require.Contains(t, errOut, policydir.StatusFile)

	out, _, code = runPolicy(t, "status", "-o", "json")
	require.Equal(t, 1, code)
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	require.Len(t, list, 3)
	require.Equal(t, []any{"crm", "kept last good set", filepath.Join(guards, "crm.json"), digest},
		[]any{list[0]["app"], list[0]["state"], list[0]["source"], list[0]["digest"]})

	_, _, code = runPolicy(t, "status", "--journal", t.TempDir())
	require.Equal(t, 2, code, "a named folder without a status")
	require.NoError(t, os.WriteFile(filepath.Join(guards, "x.json"), []byte("{"), 0o600))
	out, errOut, code = runPolicy(t, "status")
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "x.json")
	require.Contains(t, out, "orders", "one bad file does not hide the others")
	_, _, code = runPolicy(t, "status", "-o", "xml")
	require.Equal(t, 2, code)
	_, _, code = runPolicy(t, "status", "x")
	require.Equal(t, 2, code)
}

func TestAge(t *testing.T) {
	now := time.Now()
	for want, ago := range map[string]time.Duration{"0s": -time.Hour, "59s": 59 * time.Second, "59m": 59 * time.Minute, "47h": 47 * time.Hour, "2d": 49 * time.Hour} {
		require.Equal(t, want, age(now.Add(-ago), now))
	}
	require.Equal(t, "-", age(time.Time{}, now))
}

// A list shows what a rule obliges to, and that a policy in shadow mode decides nothing.
func TestListTellsModeAndObligations(t *testing.T) {
	rules := []policy.RuleInfo{
		{Policy: "p", Rule: "a", Effect: policy.Allow, Tools: []string{"get"}, Mode: policy.Enforce, Obligations: []string{"rate: 1/hour", "requireGrant: true"}},
		{Policy: "q", Rule: "b", Effect: policy.Deny, Tools: []string{"get"}, Mode: policy.Shadow},
	}
	var out bytes.Buffer
	require.NoError(t, printRules(&out, rules, "table"))
	require.Regexp(t, `(?m)^p +a +allow +get with rate: 1/hour; requireGrant: true`, out.String())
	require.Regexp(t, `(?m)^q +b +deny \(shadow\) +get`, out.String())
	out.Reset()
	require.NoError(t, printRules(&out, rules, "json"))
	require.Contains(t, out.String(), `"mode": "shadow"`)
}
