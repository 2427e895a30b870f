// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`

// inSession are the headers of a request in a session.
func inSession(ids ...string) []string {
	header := []string{"Mcp-Protocol-Version", "2025-06-18"}
	for _, id := range ids {
		header = append(header, "Mcp-Session-Id", id)
	}
	return header
}

// openSession opens a session and gives its ID.
func (r *rig) openSession(as string) string {
	r.t.Helper()
	opened := r.post(r.as(as), initialize)
	require.Equal(r.t, 200, opened.status, opened.body)
	id := opened.header.Get("Mcp-Session-Id")
	require.NotEmpty(r.t, id)
	require.Equal(r.t, 202, r.post(r.as(as), `{"jsonrpc":"2.0","method":"notifications/initialized"}`, inSession(id)...).status)
	return id
}

// A session belongs to its caller. Bob may reverse, but not in alice's session,
// and cannot learn whether there is one.
func TestTricksOfSessions(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{Stateful: true, JSON: true})
	alices, bobs := r.openSession("alice"), r.openSession("bob")
	ended := r.openSession("alice")
	require.Equal(t, 204, r.do(http.MethodDelete, r.as("alice")+"/mcp", "", inSession(ended)...).status)
	echo, reverse := call("echo", "x"), call("reverse", "x")
	const gone, bad = http.StatusNotFound, http.StatusBadRequest
	tryAll(t, r, []trick{
		{name: "one's own", body: echo, header: inSession(alices), status: 200, reached: decided(echo)},
		{name: "bob's own", as: "bob", body: reverse, header: inSession(bobs), status: 200, reached: decided(reverse)},
		{name: "another caller's", as: "bob", body: reverse, header: inSession(alices), status: gone},
		{name: "a guessed one", as: "bob", body: reverse, header: inSession("GUESS"), status: gone},
		{name: "another caller's in another case", as: "bob", body: reverse, header: inSession(strings.ToLower(alices)), status: gone},
		{name: "one's own in another case", body: echo, header: inSession(strings.ToLower(alices)), status: gone},
		{name: "one's own and more", body: echo, header: inSession(alices + "x"), status: gone},
		{name: "one's own and another caller's", body: echo, header: inSession(alices, bobs), status: bad},
		{name: "one's own twice", body: echo, header: inSession(alices, alices), status: bad},
		{name: "both in one header", body: echo, header: inSession(alices + ", " + bobs), status: bad},
		{name: "an empty one", body: echo, header: inSession(""), status: bad},
		{name: "a very long one", body: echo, header: inSession(strings.Repeat("A", 5000)), status: bad},
		{
			name: "in a header with underscores", as: "bob", body: reverse, header: []string{"Mcp-Protocol-Version", "2025-06-18", "Mcp_Session_Id", alices}, status: 200, reached: decided(reverse),
			sees: func(t *testing.T, seen testkit.Received) {
				t.Helper()
				for name := range seen.Header {
					require.NotContains(t, name, "_", "a server like CGI reads it as the session")
				}
			},
		},
		{name: "after its end", body: echo, header: inSession(ended), status: gone},
		{name: "ended again", do: "DELETE /mcp", header: inSession(ended), status: gone},
		{name: "opening one under another caller's ID", as: "bob", body: initialize, header: inSession(alices), status: gone},
		{name: "opening one under an ID of one's choice", as: "bob", body: initialize, header: inSession("CHOSEN"), status: gone},
		{name: "a step of the protocol", as: "bob", body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`, header: inSession(alices), status: gone},
		{name: "a list", as: "bob", body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, header: inSession(alices), status: gone},
		{name: "cancelling another caller's call", as: "bob", body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`, header: inSession(alices), status: gone},
		{name: "ending another caller's", as: "bob", do: "DELETE /mcp", header: inSession(alices), status: gone},
		{name: "ending two", do: "DELETE /mcp", header: inSession(alices, bobs), status: gone},
		{name: "ending none", do: "DELETE /mcp", header: inSession(), status: gone},
		{name: "a stranger in alice's", as: "mallory", body: echo, header: inSession(alices), status: gone},
		{name: "alice's is still there", body: echo, header: inSession(alices), status: 200, reached: decided(echo)},
		{name: "ending one's own", do: "DELETE /mcp", header: inSession(alices), status: 204, reached: "DELETE /mcp "},
		{name: "in the session that ended", body: echo, header: inSession(alices), status: gone},
	})

	stolen, guessed := r.post(r.as("alice"), echo, inSession(bobs)...), r.post(r.as("alice"), echo, inSession("GUESS")...)
	require.Equal(t, withoutReference(t, guessed.body), withoutReference(t, stolen.body), "a stolen session looks like an unknown one")
	require.Equal(t, guessed.status, stolen.status)
}

// A server that gives two callers the same session does not join them.
func TestTricksOfASessionGivenTwice(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Mcp-Session-Id", "SAME")
		if _, err := w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}`)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(backend.Close)
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) { r.useBackend(backend) })
	require.Equal(t, 200, r.post(r.as("alice"), initialize).status)
	second := r.post(r.as("bob"), initialize)
	require.Equal(t, http.StatusBadGateway, second.status)
	require.Empty(t, second.header.Values("Mcp-Session-Id"))
	require.Equal(t, 404, r.post(r.as("bob"), call("reverse", "x"), inSession("SAME")...).status)
}
