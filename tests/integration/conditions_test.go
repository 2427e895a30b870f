// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

const conditionalPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  rules:
  - name: alice-says-hi
    effect: allow
    from: [alice]
    to: {server: server, tools: [echo]}
    when: args.text == "hi" && request.ip == "127.0.0.1" && caller.proof == "x509-svid" && now > timestamp("2020-01-01T00:00:00Z")
  - name: alice-in-a-trace
    effect: allow
    from: [alice]
    to: {server: server, tools: [reverse]}
    when: request.traceID == "4bf92f3577b34da6a3ce929d0e0e4736"
`

// A tool under a condition is listed; a call with the right arguments passes, and
// one with others is denied.
func TestConditionsInDaprd(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, policy: conditionalPolicy})
	allowed := m.post("alice", call("echo", "hi"))
	require.Equal(t, 200, allowed.status, allowed.body)
	reached := len(m.server.Requests())
	denied := m.post("alice", call("echo", "ho"))
	require.Equal(t, 403, denied.status, denied.body)
	require.Equal(t, 403, m.post("bob", call("echo", "hi")).status)
	require.Equal(t, 403, m.post("alice", call("reverse", "hi")).status)
	require.Len(t, m.server.Requests(), reached)
	traced := m.post("alice", call("reverse", "hi"), "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	require.Equal(t, 200, traced.status, traced.body)

	session := m.connect("alice")
	defer func() { require.NoError(t, session.Close()) }()
	list, err := session.ListTools(t.Context(), nil)
	require.NoError(t, err)
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	require.ElementsMatch(t, []string{"echo", "reverse"}, names)
	_, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "ho"}})
	require.Error(t, err)
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "hi"}})
	require.NoError(t, err)
	require.False(t, result.IsError)

	receipts := m.journal().Receipts
	require.Equal(t, "alice-says-hi", receipts[0].Decision.Rule)
	require.Equal(t, "no rule allows it", receipts[1].Decision.Reason)
}
