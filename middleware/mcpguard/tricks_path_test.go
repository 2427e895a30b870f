// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dapr-custody/custody/internal/testkit"
)

// Ways to write the path of the MCP endpoint, or of one that a rule names, that
// the guard and the server could take for different ones. Dapr resolves some of
// them before the guard (tests/integration/tricks_test.go).
func TestTricksOfPaths(t *testing.T) {
	echo := call("echo", "x")
	const denied, bad = http.StatusForbidden, http.StatusBadRequest
	tryJSON(t, []trick{
		{name: "the endpoint", body: echo, status: 200, reached: decided(echo)},
		{name: "a path that a rule names", do: "GET /healthz", status: 204, reached: "GET /healthz "},
		{name: "for another caller", as: "bob", do: "GET /healthz", status: denied},
		{name: "two slashes", do: "POST //mcp", body: echo, status: denied},
		{name: "three slashes", do: "POST ///mcp", body: echo, status: denied},
		{name: "a slash at the end", do: "POST /mcp/", body: echo, status: denied},
		{name: "a dot at the end", do: "POST /mcp/.", body: echo, status: denied},
		{name: "a dot segment", do: "POST /./mcp", body: echo, status: denied},
		{name: "a way back", do: "POST /x/../mcp", body: echo, status: denied},
		{name: "an encoded way back", do: "POST /mcp/%2e%2e/mcp", body: echo, status: denied},
		{name: "an encoded way back at the end", do: "POST /mcp/%2e%2e/", body: echo, status: denied},
		{name: "half an encoded way back", do: "POST /mcp/.%2e/mcp", body: echo, status: denied},
		{name: "a way back, encoded twice", do: "POST /mcp/%252e%252e/mcp", body: echo, status: denied},
		{name: "an encoded letter", do: "POST /%6dcp", body: echo, status: denied},
		{name: "an encoded slash at the end", do: "POST /mcp%2f", body: echo, status: denied},
		{name: "an encoded slash before", do: "POST /%2fmcp", body: echo, status: denied},
		{name: "an encoded slash in capitals", do: "POST /x%2F..%2Fmcp", body: echo, status: denied},
		{name: "a backslash", do: "POST /x%5c..%5cmcp", body: echo, status: denied},
		{name: "an encoded U+0000", do: "POST /mcp%00", body: echo, status: denied},
		{name: "an encoded space", do: "POST /mcp%20", body: echo, status: denied},
		{name: "an encoded line feed", do: "POST /mcp%0a", body: echo, status: denied},
		{name: "overlong UTF-8 for a slash", do: "POST /%c0%afmcp", body: echo, status: denied},
		{name: "capitals", do: "POST /MCP", body: echo, status: denied},
		{name: "wide letters", do: "POST /%EF%BD%8Dcp", body: echo, status: denied},
		{name: "a parameter", do: "POST /mcp;x=1", body: echo, status: denied},
		{name: "an encoded parameter", do: "POST /mcp%3bx", body: echo, status: denied},
		{name: "an ending", do: "POST /mcp.json", body: echo, status: denied},
		{name: "a path below", do: "POST /mcp/messages", body: echo, status: denied},
		{name: "the root", do: "POST /", body: echo, status: denied},
		{name: "a query", do: "POST /mcp?tool=reverse", body: echo, status: bad},
		{name: "an empty query", do: "POST /mcp?", body: echo, status: bad},
		{name: "an encoded question mark", do: "POST /mcp%3fx", body: echo, status: denied},
		{name: "an encoded way to a path that a rule names", do: "GET /%68ealthz", status: denied},
		{name: "a path that a rule names, with a slash", do: "GET /healthz/", status: denied},
		{name: "a path that a rule names, in capitals", do: "GET /HEALTHZ", status: denied},
		{name: "a path that a rule names, with a query", do: "GET /healthz?x", status: bad},
		{name: "the sidecar's own question, from a peer", do: "GET /dapr/config", status: denied},
		{name: "another question of Dapr's", do: "GET /dapr/subscribe", status: denied},
		{name: "a job of Dapr's", do: "POST /job/x", status: denied},
		{name: "an actor of Dapr's", do: "PUT /actors/x/1/method/y", status: denied},
	})
}

// Not even a rule for every path leads round the parse of MCP.
func TestTricksOfPathsWithARuleForAllPaths(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
		r.setPolicy(strings.ReplaceAll(allowAlice, "GET /healthz", "*"))
	})
	reverse := call("reverse", "x")
	tricks := []trick{
		{name: "a path", do: "GET /healthz", status: 204, reached: "GET /healthz "},
		{name: "a path with the same beginning", do: "POST /mcpx", body: reverse, status: 404, reached: "POST /mcpx " + reverse},
		{name: "the endpoint", body: reverse, status: 403},
	}
	for _, path := range []string{"/MCP", "/Mcp", "/mcp;x=1", "/;x/mcp", "/mcp/;x", "/mcp/", "//mcp", "/./mcp", "/x/../mcp", "/%6dcp", "/mcp%3bx", "/mcp%2f", "/mcp/%2e%2e/mcp", "/x%5c..%5cmcp"} {
		tricks = append(tricks, trick{name: path, do: "POST " + path, body: reverse, status: 403})
	}
	tryAll(t, r, tricks)
}

// Methods that a server could take for a POST, or for another one than was
// decided.
func TestTricksOfMethods(t *testing.T) {
	echo, reverse := call("echo", "x"), call("reverse", "x")
	const none = http.StatusMethodNotAllowed
	tricks := []trick{
		{name: "GET", do: "GET /mcp", status: none, silent: true},
		{name: "GET with a body", do: "GET /mcp", body: reverse, status: none, silent: true},
		{name: "DELETE without a session", do: "DELETE /mcp", body: reverse, status: http.StatusNotFound},
		{name: "another method of a path that a rule names", do: "POST /healthz", status: http.StatusForbidden},
		{name: "HEAD of a path that a rule names", do: "HEAD /healthz", status: http.StatusForbidden},
		{name: "a method in small letters at a path that a rule names", do: "get /healthz", status: http.StatusForbidden},
	}
	for _, method := range []string{"HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "QUERY", "post", "Post", "POSTX", "PRI"} {
		tricks = append(tricks, trick{name: method, do: method + " /mcp", body: echo, status: none})
	}
	for _, name := range []string{
		"X-Http-Method", "X-HTTP-Method-Override", "X-Method-Override", "x_http_method_override", "X-Original-Method",
		"X-Original-URL", "X-Original-URI", "X-Rewrite-URL",
	} {
		gone := func(t *testing.T, seen testkit.Received) {
			t.Helper()
			for header, values := range seen.Header {
				if strings.Contains(strings.Join(values, " "), "other-than-decided") {
					t.Errorf("the server sees %s: %s", header, values)
				}
			}
		}
		header := []string{name, "other-than-decided"}
		tricks = append(tricks,
			trick{name: name, body: echo, header: header, status: 200, reached: decided(echo), sees: gone},
			trick{name: name + " at a path that a rule names", do: "GET /healthz", header: header, status: 204, reached: "GET /healthz ", sees: gone})
	}
	tryJSON(t, tricks)
}
