// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// policyCommand runs `custody policy` against the mesh and returns what it prints.
func (m *mesh) policyCommand(args ...string) string {
	m.t.Helper()
	out, code := m.custody(append([]string{"policy"}, args...)...)
	require.Zero(m.t, code, out)
	return out
}

// With --wait the very next call is decided by what the command did.
func TestPolicyCommands(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	policies := filepath.Join(m.folder, "policies")
	status := func(caller, tool string) int { return m.post(caller, call(tool, "x")).status }
	require.Equal(t, 200, status("alice", "echo"))

	for range 5 {
		out := m.policyCommand("deny-all", "--dir", policies, "--wait")
		require.Contains(t, out, "in force at: server\n")
		require.Equal(t, 403, status("alice", "echo"))
		require.Equal(t, 403, status("bob", "reverse"))
		m.policyCommand("revoke-rule", "deny-all/deny-all", "--dir", policies, "--wait")
		require.Equal(t, 200, status("alice", "echo"))
		require.Equal(t, 403, status("alice", "reverse"))
	}

	// The folder is found by the guard that watches it.
	m.policyCommand("deny-all", "--caller", "alice", "--wait")
	require.Equal(t, 403, status("alice", "echo"))
	require.Equal(t, 200, status("bob", "reverse"))
	m.policyCommand("revoke-rule", "deny-all-alice", "--wait")
	m.policyCommand("allow", "--caller", "alice", "--server", "server", "--tools", "reverse", "--wait")
	require.Equal(t, 200, status("alice", "reverse"))
	require.Contains(t, m.policyCommand("who-can", "--server", "server", "--tool", "reverse"), "commands/allow-alice-server-reverse")
}
