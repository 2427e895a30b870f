// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// manyRules is a policy of 50,000 rules, none of them for alice, after one that
// allows her to echo and bears the name.
func manyRules(policy, name string) string {
	var text strings.Builder
	text.WriteString("apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: " + policy + "}\nspec:\n  rules:\n")
	fmt.Fprintf(&text, "  - {name: %s, effect: allow, from: [alice], to: {server: server, tools: [echo, tool-of-%[1]s]}}\n", name)
	for i := range 50_000 - 1 {
		fmt.Fprintf(&text, "  - {name: r%d, effect: allow, from: [c%d], to: {server: server, tools: [t%[1]d]}}\n", i, i/10)
	}
	return text.String()
}

// 100,000 rules are loaded anew while calls go on: each call is decided wholly by
// the Set before or the one after, and none is refused for the change.
func TestCallsGoOnWhileManyRulesLoad(t *testing.T) {
	t.Parallel()
	m := newMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, policy: manyRules("a", "old")})
	m.write("policies/more.yaml", manyRules("b", "z"))
	require.NoError(t, m.start())
	m.eventually(func() bool { return m.post("alice", call("tool-of-old", "x")).status == http.StatusOK })
	require.Contains(t, m.log(), "100000 rules")
	require.Equal(t, http.StatusOK, m.post("alice", call("echo", "before")).status)

	var callers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := post(t.Context(), m.endpoint("alice"), call("echo", "x"))
				if err != nil || got.status != http.StatusOK {
					t.Errorf("a call during the change: %v %d %s", err, got.status, got.body)
					return
				}
			}
		})
	}
	m.write("policies/mesh.yaml", manyRules("a", "new"))
	m.eventually(func() bool { return m.post("alice", call("tool-of-new", "x")).status == http.StatusOK })
	require.Equal(t, http.StatusForbidden, m.post("alice", call("tool-of-old", "x")).status)
	require.Equal(t, http.StatusOK, m.post("alice", call("echo", "after")).status)
	close(done)
	callers.Wait()

	sets := map[string]string{} // by rule
	for _, record := range m.journal().Receipts {
		if record.Action.Name != "echo" {
			continue
		}
		set := record.Decision.SetDigest.Hex()
		if known, ok := sets[record.Decision.Rule]; ok {
			require.Equal(t, known, set, record.Decision.Rule)
		}
		sets[record.Decision.Rule] = set
	}
	require.Len(t, sets, 2, "decided by the old Set and by the new one")
	require.NotEqual(t, sets["old"], sets["new"])
}
