// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// onlyAlice fails if the server is told of another caller than alice.
func onlyAlice(t *testing.T, seen testkit.Received) {
	t.Helper()
	require.Equal(t, []string{"spiffe://custody.local/ns/default/alice"}, seen.Header.Values("Custody-Caller"))
	require.Equal(t, []string{"alice"}, seen.Header.Values("Dapr-Caller-App-Id"))
	require.Equal(t, []string{"default"}, seen.Header.Values("Dapr-Caller-Namespace"))
	for name, values := range seen.Header {
		require.NotContains(t, strings.Join(values, " "), "admin", name)
	}
}

// without fails if the server sees one of the headers.
func without(names ...string) func(*testing.T, testkit.Received) {
	return func(t *testing.T, seen testkit.Received) {
		t.Helper()
		onlyAlice(t, seen)
		for _, name := range names {
			require.Empty(t, seen.Header.Values(name), name)
		}
	}
}

// Headers by which a caller says that it is another one.
func TestTricksOfSpoofedCallers(t *testing.T) {
	echo, reverse := call("echo", "x"), call("reverse", "x")
	const id = "spiffe://custody.local/ns/default/admin"
	tryJSON(t, []trick{
		{name: "none, which the guard adds", body: echo, status: 200, reached: decided(echo), sees: onlyAlice},
		{
			name: "what is between client and server stays", body: echo, header: []string{"Authorization", "Bearer x", "X-Other", "y"},
			status: 200, reached: decided(echo), sees: func(t *testing.T, seen testkit.Received) {
				t.Helper()
				require.Equal(t, []string{"Bearer x"}, seen.Header.Values("Authorization"))
				require.Equal(t, []string{"y"}, seen.Header.Values("X-Other"))
			},
		},
	})
	for _, name := range []string{
		"Custody-Caller", "custody-caller", "CUSTODY-CALLER", "Custody_Caller", "custody_Caller", "Custody-Receipt", "Custody-Anything", "Txn_Token",
		"Dapr-Caller-App-Id", "dapr-caller-app-id", "Dapr_Caller_App_Id", "Dapr-Caller-Namespace", "dapr_caller_namespace",
		"X-Forwarded-Client-Cert", "X-Spiffe-Id", "X-Client-Id", "Client-Id", "X-Forwarded-User", "X-Remote-User", "Remote-User", "remote_user",
		"Client-Cert", "Client-Cert-Chain",
	} {
		tryJSON(t, []trick{
			{name: name, body: echo, header: []string{name, "admin"}, status: 200, reached: decided(echo), sees: onlyAlice},
			{name: name + " twice", body: echo, header: []string{name, "alice", name, id}, status: 200, reached: decided(echo), sees: onlyAlice},
			{name: name + " says who may", body: reverse, header: []string{name, "bob"}, status: 403},
			{name: name + " at a path that a rule names", do: "GET /healthz", header: []string{name, "admin"}, status: 204, reached: "GET /healthz ", sees: onlyAlice},
		})
	}
}

// Headers that are for one connection only, and by which a proxy behind the
// guard could be made to drop what the guard set.
func TestTricksOfHops(t *testing.T) {
	echo := call("echo", "x")
	var tricks []trick
	for name, value := range map[string]string{
		"Connection": "Custody-Caller, Dapr-Caller-App-Id", "Keep-Alive": "5", "Proxy-Authenticate": "Basic", "Proxy-Authorization": "Basic YQ==",
		"Proxy-Connection": "Custody-Caller", "Te": "trailers", "Upgrade": "h2c", "Expect": "100-continue",
	} {
		tricks = append(tricks, trick{name: name, body: echo, header: []string{name, value}, status: 200, reached: decided(echo), sees: without(name)})
	}
	tricks = append(tricks, trick{
		name: "an upgrade to HTTP/2", body: echo, header: []string{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABk"},
		status: 200, reached: decided(echo), sees: without("Connection", "Upgrade", "HTTP2-Settings"),
	})
	tryJSON(t, tricks)
}

// Headers that say something else than the body, or that stand there twice, of
// which guard and server could take different ones.
func TestTricksOfHeadersAndBody(t *testing.T) {
	echo := call("echo", "x")
	modern := params(`"name":"echo","arguments":{"text":"x"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`)
	const bad, unsupported = http.StatusBadRequest, http.StatusUnsupportedMediaType
	tryJSON(t, []trick{
		{name: "they agree", body: echo, header: []string{"Mcp-Method", "tools/call", "Mcp-Name", "echo"}, status: 200, reached: decided(echo)},
		{name: "the name", body: echo, header: []string{"Mcp-Method", "tools/call", "Mcp-Name", "reverse"}, status: bad},
		{name: "the name in base64", body: echo, header: []string{"Mcp-Method", "tools/call", "Mcp-Name", "=?base64?cmV2ZXJzZQ==?="}, status: bad},
		{name: "the right name in base64", body: echo, header: []string{"Mcp-Method", "tools/call", "Mcp-Name", "=?base64?ZWNobw==?="}, status: 200, reached: decided(echo)},
		{name: "the denied name in the header of its body", body: call("reverse", "x"), header: []string{"Mcp-Method", "tools/call", "Mcp-Name", "echo"}, status: bad},
		{name: "the method", body: echo, header: []string{"Mcp-Method", "ping"}, status: bad},
		{name: "the method in capitals", body: echo, header: []string{"Mcp-Method", "TOOLS/CALL"}, status: bad},
		{name: "an argument", body: echo, header: []string{"Mcp-Param-Text", "y"}, status: bad},
		{name: "the version", body: modern, header: []string{"Mcp-Protocol-Version", "2025-11-25"}, status: bad},
		{name: "the version of the body alone", body: modern, status: bad},
		{name: "a version that is not known", body: echo, header: []string{"Mcp-Protocol-Version", "2099-01-01"}, status: bad},
		{name: "no method where the version wants one", body: modern, header: []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Name", "echo"}, status: bad},
		{name: "no name where the version wants one", body: modern, header: []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call"}, status: bad},

		{name: "two methods", body: echo, header: []string{"Mcp-Method", "tools/call", "Mcp-Method", "tools/call"}, status: bad},
		{name: "two spellings of the method", body: echo, header: []string{"Mcp-Method", "tools/call", "mcp-method", "ping"}, status: bad},
		{name: "two names", body: echo, header: []string{"Mcp-Name", "echo", "Mcp-Name", "reverse"}, status: bad},
		{name: "two names in one", body: echo, header: []string{"Mcp-Name", "echo, reverse"}, status: bad},
		{name: "two versions", body: echo, header: []string{"Mcp-Protocol-Version", "2025-11-25", "Mcp-Protocol-Version", "2025-06-18"}, status: bad},
		{name: "two arguments", body: echo, header: []string{"Mcp-Param-Text", "x", "mcp-param-text", "x"}, status: bad},
		{name: "two sessions", body: echo, header: []string{"Mcp-Session-Id", "a", "Mcp-Session-Id", "b"}, status: bad},
		{name: "two content types", body: echo, header: []string{"Content-Type", "text/plain"}, status: unsupported},
		{name: "two encodings", body: echo, header: []string{"Content-Encoding", "identity", "Content-Encoding", "gzip"}, status: unsupported},

		{name: "a form", body: echo, header: []string{"content-type", "application/x-www-form-urlencoded"}, status: unsupported},
		{name: "compressed", body: echo, header: []string{"Content-Encoding", "gzip"}, status: unsupported},
		{name: "compressed twice", body: echo, header: []string{"Content-Encoding", "identity, deflate"}, status: unsupported},
		{name: "a second Accept", body: echo, header: []string{"Accept", "text/event-stream"}, status: 200, reached: decided(echo)},
	})
}

// An Accept of text/event-stream alone has Dapr write the answer past the guard.
func TestTricksOfStreams(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{Stateful: true})
	echo := call("echo", "x")
	for _, row := range []struct {
		method, body string
		accept       []string
		status       int
		silent       bool
	}{
		{http.MethodPost, echo, []string{"text/event-stream"}, http.StatusNotAcceptable, false},
		{http.MethodPost, echo, []string{" TEXT/event-stream "}, http.StatusNotAcceptable, false},
		{http.MethodPost, echo, []string{"text/event-stream", "application/json"}, http.StatusNotAcceptable, false},
		{http.MethodPut, echo, []string{"text/event-stream"}, http.StatusNotAcceptable, false},
		{http.MethodGet, "", []string{"text/event-stream"}, http.StatusMethodNotAllowed, true},
	} {
		recorded := len(r.records())
		request, err := http.NewRequestWithContext(t.Context(), row.method, r.as("alice")+"/mcp", strings.NewReader(row.body))
		require.NoError(t, err)
		request.Header["Accept"], request.Header["Content-Type"] = row.accept, []string{"application/json"}
		resp, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, row.status, resp.StatusCode, row)
		require.Equal(t, row.silent, len(r.records()) == recorded, row)
	}
	require.Empty(t, r.server.Requests())
}
