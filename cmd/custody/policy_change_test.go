// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

const onePolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: orders}
spec:
  rules:
  - {name: reads, effect: allow, from: [support-agent], to: {server: orders, tools: ["get_*"]}}
  - {name: elsewhere, effect: allow, from: ["spiffe://other.test/a/b"], to: {server: orders, tools: [get_order]}}
`

func policyFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// guards starts a policy watcher for each app, as guards have one, registered in a
// run of a home of the test's own. The folders are by app, or by app@store for the door before a store of the app.
func guards(t *testing.T, namespace string, extra []policy.Document, folders map[string]string) map[string]*policydir.Watcher {
	t.Helper()
	home := t.TempDir()
	t.Setenv("CUSTODY_HOME", home)
	run := localdomain.Run{ID: "r1", Dir: filepath.Join(home, "runs", "r1")}
	require.NoError(t, os.MkdirAll(filepath.Join(run.Dir, "guards"), 0o700))
	watchers := map[string]*policydir.Watcher{}
	domain := spiffeid.RequireTrustDomainFromString("custody.local")
	for name, dir := range folders {
		file := filepath.Join(run.Dir, "guards", name+".json")
		app, _, _ := strings.Cut(name, "@")
		watcher, err := policydir.Open(policydir.Options{
			Dir: dir, App: app, Guard: "guard", Extra: extra,
			Compile:  policy.CompileOptions{TrustDomain: domain, Namespace: namespace},
			OnChange: func(s policydir.Status) { require.NoError(t, policydir.WriteStatus(file, s)) },
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, watcher.Close()) })
		watchers[name] = watcher
		run.Apps = append(run.Apps, localdomain.RunApp{
			AppID: app, TrustDomain: "custody.local", Namespace: namespace, GuardStatusFile: policydir.StatusFileBeside(file),
			SPIFFEID: "spiffe://custody.local/ns/" + namespace + "/" + app,
		})
	}
	text, err := json.Marshal(run)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(run.Dir, "run.json"), text, 0o600))
	return watchers
}

func effect(w *policydir.Watcher, caller string) policy.Effect {
	return w.Current().Decide(policy.Request{
		Caller: spiffeid.RequireFromString(caller),
		Action: policy.Action{Kind: policy.KindToolCall, Server: "orders", Name: "get_order"},
	}).Effect
}

// With --wait, what a command did is in force at every guard when it returns; also
// at one that has rules besides, so that its digest is not that of the folder.
func TestPolicyWait(t *testing.T) {
	other, err := policy.Parse("other", []byte("apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: config}\nspec:\n  rules:\n"+
		"  - {name: r, effect: allow, from: [x], to: {server: s, tools: [t]}}\n"))
	require.NoError(t, err)
	for name, extra := range map[string][]policy.Document{"files alone": nil, "with rules of a Configuration": other} {
		t.Run(name, func(t *testing.T) {
			dir := policyFiles(t, map[string]string{"orders.yaml": onePolicy})
			watchers := guards(t, "prod", extra, map[string]string{"one": dir, "two@cart": dir})
			inForce := func(want policy.Effect) {
				for _, w := range watchers {
					require.Equal(t, want, effect(w, "spiffe://custody.local/ns/prod/support-agent"))
				}
			}
			inForce(policy.Allow)
			for _, narrow := range [][]string{nil, {"--server", "orders"}, {"--caller", "support-agent"}} {
				out, errOut, code := runPolicy(t, append([]string{"deny-all", "--wait"}, narrow...)...)
				require.Zero(t, code, errOut)
				require.Contains(t, out, "in force at: one, two\n")
				inForce(policy.Deny)
				for _, w := range watchers {
					require.Equal(t, len(narrow) > 0 && narrow[0] == "--caller", effect(w, "spiffe://other.test/a/b") == policy.Allow)
				}
				_, errOut, code = runPolicy(t, append([]string{"deny-all", "--wait=20s"}, narrow...)...)
				require.Zero(t, code, errOut)
				name := "deny-all"
				if len(narrow) > 0 {
					name += "-" + narrow[1]
				}
				out, errOut, code = runPolicy(t, "revoke-rule", name, "--wait", "-o", "json")
				require.Zero(t, code, errOut)
				require.Contains(t, out, `"fileRemoved": true`)
				inForce(policy.Allow)
			}
		})
	}
}

// A file that is away for less than the grace time of guards comes back without
// being loaded anew.
func TestPolicyWaitWithinTheGraceTime(t *testing.T) {
	dir := policyFiles(t, map[string]string{"orders.yaml": onePolicy})
	watchers := guards(t, "default", nil, map[string]string{"one": dir})
	for range 3 {
		for _, args := range [][]string{{"deny-all", "--wait"}, {"revoke-rule", "deny-all"}, {"deny-all", "--wait"}} {
			_, errOut, code := runPolicy(t, args...)
			require.Zero(t, code, errOut)
		}
		require.Equal(t, policy.Deny, effect(watchers["one"], "spiffe://custody.local/ns/default/support-agent"))
		_, errOut, code := runPolicy(t, "revoke-rule", "deny-all", "--wait")
		require.Zero(t, code, errOut)
		require.Equal(t, policy.Allow, effect(watchers["one"], "spiffe://custody.local/ns/default/support-agent"))
	}
}

func TestPolicyWaitFails(t *testing.T) {
	dir := policyFiles(t, map[string]string{"orders.yaml": onePolicy})
	watchers := guards(t, "default", nil, map[string]string{"one": dir})

	// A guard that does not follow in time. Its process lives, as the status says.
	require.NoError(t, watchers["one"].Close())
	_, errOut, code := runPolicy(t, "deny-all", "--wait=20ms")
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "the guard of one does not have the change in force within 20ms")
	require.FileExists(t, filepath.Join(dir, "deny-all.yaml"))

	// One that says why.
	status := watchers["one"].Status()
	status.LastError, status.LastErrorAt = "the disk is on fire", status.LoadedAt
	home, err := homeFolder()
	require.NoError(t, err)
	require.NoError(t, policydir.WriteStatus(filepath.Join(home, "runs", "r1", "guards", "one.json"), status))
	_, errOut, code = runPolicy(t, "revoke-rule", "deny-all", "--wait=20ms")
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "the guard of one reports: the disk is on fire")

	// One that is gone.
	status.PID = 1 << 30
	require.NoError(t, policydir.WriteStatus(filepath.Join(home, "runs", "r1", "guards", "one.json"), status))
	_, errOut, code = runPolicy(t, "deny-all", "--wait=20ms")
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "no running guard that watches")

	// None at all.
	_, errOut, code = runPolicy(t, "deny-all", "--wait", "--dir", policyFiles(t, nil))
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "no running guard that watches")
	_, errOut, code = runPolicy(t, "deny-all", "--wait", "--dir", dir, "--journal", "nowhere")
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "nowhere")
}

func TestPolicyFolder(t *testing.T) {
	first, second := policyFiles(t, map[string]string{"orders.yaml": onePolicy}), policyFiles(t, nil)
	guards(t, "prod", nil, map[string]string{"one": first, "two": second, "three": first})
	_, errOut, code := runPolicy(t, "list")
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "name one with --dir or a guard with --app:\n  one: "+first+"\n  three: "+first+"\n  two: "+second)
	out, errOut, code := runPolicy(t, "list", "--app", "three")
	require.Zero(t, code, errOut)
	require.Contains(t, out, "spiffe://custody.local/ns/prod/support-agent", "the namespace is that of the run")
	out, _, _ = runPolicy(t, "list", "--dir", first, "--namespace", "dev", "--trust-domain", "x.test")
	require.Contains(t, out, "spiffe://x.test/ns/dev/support-agent")

	for _, args := range [][]string{
		{"list", "--app", "none"},
		{"list", "--app", "one", "--dir", first},
		{"list", "--dir", filepath.Join(first, "orders.yaml")},
		{"list", "--dir", "nowhere"},
		{"list", "--dir", first, "-o", "xml"},
		{"list", "more"},
		{"list", "--dir", first, "--trust-domain", "X"},
		{"get", "--dir", first},
		{"get", "none", "--dir", first},
		{"get", "orders", "--dir", first, "-o", "table"},
		{"who-can", "--dir", first, "--server", "orders"},
		{"who-can", "--dir", first, "--server", "orders", "--tool", "t", "-o", "xml"},
		{"deny-all", "--dir", first, "--server", "s", "--caller", "c"},
		{"deny-all", "--dir", first, "-o", "xml"},
		{"deny-all", "--dir", first, "--caller", "a b"},
		{"allow", "--dir", first, "--server", "s", "--tools", "t"},
		{"allow", "--dir", first, "--caller", "c", "--tools", "t"},
		{"deny", "--dir", first, "--caller", "c", "--server", "s"},
		{"deny", "--dir", first, "--caller", "c", "--server", "s", "--tools", "t", "--file", "../x.yaml"},
		{"revoke-rule", "--dir", first},
		{"revoke-rule", "none", "--dir", first},
		{"diff", first},
		{"diff", first, "nowhere"},
		{"diff", first, second, "-o", "xml"},
		{"diff", first, second, "--journal", "nowhere"},
	} {
		_, errOut, code := runPolicy(t, args...)
		require.Equal(t, 2, code, "%v: %s", args, errOut)
	}
	entries, err := os.ReadDir(first)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// A folder that is named is changed, whatever is wrong with a run.
func TestPolicyFolderBesideADamagedRun(t *testing.T) {
	dir := policyFiles(t, map[string]string{"orders.yaml": onePolicy})
	guards(t, "default", nil, map[string]string{"one": dir})
	home, err := homeFolder()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(home, "runs", "r1", "run.json"), []byte("{"), 0o600))
	_, errOut, code := runPolicy(t, "deny-all")
	require.Equal(t, 2, code)
	require.Contains(t, errOut, "run.json is damaged")
	_, errOut, code = runPolicy(t, "deny-all", "--dir", dir, "--wait")
	require.Zero(t, code, errOut)
	require.Contains(t, errOut, "run.json is damaged")
}

func TestPolicyDiffKnowsAppsAndReceipts(t *testing.T) {
	older := policyFiles(t, map[string]string{"p.yaml": onePolicy})
	newer := policyFiles(t, nil)
	guards(t, "default", nil, map[string]string{"support-agent": newer, "auditor": newer})
	_, errOut, code := runPolicy(t, "allow", "--dir", newer, "--caller", "spiffe://custody.local/ns/*/auditor", "--server", "orders", "--tools", "run_*,get_order")
	require.Zero(t, code, errOut)
	out, errOut, code := runPolicy(t, "diff", older, newer)
	require.Equal(t, 1, code, errOut)
	require.Equal(t, `+ allow spiffe://custody.local/ns/default/auditor orders/get_order (commands/allow-custody.local-ns-all-auditor-orders-run_all-get_order)
- allow spiffe://custody.local/ns/default/support-agent orders/get_order (orders/reads)
- allow spiffe://other.test/a/b orders/get_order (orders/elsewhere)
`, out)
	out, errOut, code = runPolicy(t, "diff", older, newer, "--journal", filepath.Join(vectors, "journals", "good"))
	require.Equal(t, 1, code, errOut)
	require.Contains(t, out, "+ allow spiffe://custody.local/ns/default/auditor orders/run_report (")
	require.NotContains(t, out, "support-agent orders/run_report")

	out, errOut, code = runPolicy(t, "diff", older, older)
	require.Zero(t, code, errOut)
	require.Empty(t, out)
	require.NotContains(t, errOut, "note:")
	unknown := policyFiles(t, map[string]string{"p.yaml": onePolicy})
	_, _, code = runPolicy(t, "deny", "--dir", unknown, "--caller", "spiffe://custody.local/ns/elsewhere/*", "--server", "orders", "--tools", "*")
	require.Zero(t, code)
	out, errOut, code = runPolicy(t, "diff", older, unknown)
	require.Zero(t, code, errOut)
	require.Empty(t, out)
	require.Contains(t, errOut, "the rules differ, but not for the 3 callers and 2 tools that are known")
}
