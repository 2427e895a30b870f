// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// What a program sees through official clients is the same with the guard and
// without, for what is allowed; what is not, is hidden and denied.
func TestOfficialClients(t *testing.T) {
	t.Parallel()
	servers := map[string]testkit.MCPOptions{
		"stateless events": {}, "stateless JSON": {JSON: true}, "sessions events": {Stateful: true}, "sessions JSON": {Stateful: true, JSON: true},
	}
	for name, options := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guarded := startMesh(t, meshOptions{mcp: options})
			plain := startMesh(t, meshOptions{mcp: options, unguarded: true})
			clients := map[string]func(*testing.T, *mesh, string) seen{"go": goClient, "typescript v1": typescript("v1")}
			if !options.Stateful {
				// 2026-07-28 knows no sessions.
				clients["typescript v2"] = typescript("v2")
			}
			for client, run := range clients {
				t.Run(client, func(t *testing.T) {
					without, with := run(t, plain, "alice"), run(t, guarded, "alice")
					require.Equal(t, []string{"echo", "fail", "reverse"}, without.Tools.Result)
					require.Equal(t, []string{"echo", "fail"}, with.Tools.Result)
					require.JSONEq(t, string(without.Echo.Result), string(with.Echo.Result))
					require.JSONEq(t, string(without.Fail.Result), string(with.Fail.Result))
					require.NotEmpty(t, without.Reverse.Result)
					require.Contains(t, with.Reverse.Error, `Denied by policy: spiffe://custody.local/ns/default/alice may not call tool reverse of server server. Reference: `)
					require.Equal(t, []string{"reverse"}, run(t, guarded, "bob").Tools.Result)
				})
			}
		})
	}
}

// A caller that may do nothing cannot so much as say hello.
func TestOfficialClientsOfAStranger(t *testing.T) {
	t.Parallel()
	m := startMesh(t, meshOptions{policy: "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: mesh}\nspec:\n  rules:\n" +
		"  - {name: nothing, effect: deny, from: ['spiffe://custody.local/ns/*/*'], to: {server: server, tools: ['*']}}\n"})
	require.Contains(t, typescript("v1")(t, m, "alice").Connect.Error, "Denied by policy. Reference: ")
	// While it negotiates the revision, version 2 of the SDK words a 403 itself.
	require.Contains(t, typescript("v2")(t, m, "alice").Connect.Error, "the server denied access (HTTP 403)")
	client := mcp.NewClient(&mcp.Implementation{Name: "alice", Version: "1"}, nil)
	_, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: m.endpoint("alice"), MaxRetries: -1}, nil)
	require.ErrorContains(t, err, "Denied by policy. Reference: ")
	for _, request := range m.server.Requests() {
		require.Equal(t, "/dapr/config", request.Path)
	}
}

// seen is what a client program got: for each step a result or an error.
type seen struct {
	Connect struct{ Result, Error string }
	Tools   struct {
		Result []string
		Error  string
	}
	Echo, Fail, Reverse outcome
}

type outcome struct {
	Result json.RawMessage
	Error  string
}

func goClient(t *testing.T, m *mesh, caller string) seen {
	t.Helper()
	session := m.connect(caller)
	var result seen
	list, err := session.ListTools(t.Context(), nil)
	require.NoError(t, err)
	for _, tool := range list.Tools {
		result.Tools.Result = append(result.Tools.Result, tool.Name)
	}
	for name, to := range map[string]*outcome{"echo": &result.Echo, "fail": &result.Fail, "reverse": &result.Reverse} {
		answer, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: map[string]any{"text": "grüße \"\u0001\U0001F600"}})
		if err != nil {
			to.Error = err.Error()
			continue
		}
		answer.Meta = nil
		to.Result, err = json.Marshal(answer)
		require.NoError(t, err)
	}
	require.NoError(t, session.Close())
	return result
}

// typescript runs the official TypeScript SDK of a family in Node.js.
func typescript(family string) func(*testing.T, *mesh, string) seen {
	return func(t *testing.T, m *mesh, caller string) seen {
		t.Helper()
		installed(t)
		command := exec.CommandContext(t.Context(), "node", "client.mjs", family, m.endpoint(caller))
		command.Dir = "typescript"
		out, err := command.Output()
		require.NoError(t, err, string(out))
		var result seen
		require.NoError(t, json.Unmarshal(out, &result), string(out))
		return result
	}
}

// installed fetches the SDK once, as package-lock.json fixes it.
var install = sync.OnceValues(func() ([]byte, error) {
	if matches, err := filepath.Glob("typescript/node_modules/@modelcontextprotocol/client/package.json"); err == nil && len(matches) == 1 {
		return nil, nil
	}
	command := exec.Command("npm", "ci", "--no-audit", "--no-fund")
	command.Dir = "typescript"
	return command.CombinedOutput()
})

func installed(t *testing.T) {
	t.Helper()
	out, err := install()
	require.NoError(t, err, "npm ci in tests/integration/typescript: %s", out)
}
