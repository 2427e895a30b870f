// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// sampling is what a server may not ask of a client unless a rule says so.
const sampling = `"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}`

// headed answers with more headers than one.
func headed(t *testing.T, status int, body string, header ...string) *httptest.Server {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // no guess either
		for i := 0; i < len(header); i += 2 {
			w.Header()[header[i]] = append(w.Header()[header[i]], header[i+1])
		}
		w.WriteHeader(status)
		if _, err := w.Write([]byte(body)); err != nil && status != http.StatusNoContent {
			t.Error(err)
		}
	}))
	t.Cleanup(backend.Close)
	return backend
}

// Clients take every message that they find in an answer (the official one in
// TypeScript also the members of a batch, and whatever comes under a content type
// that has the words in it), so an answer in which the guard finds other messages
// than they do must not pass, in no revision.
func TestAnswersThatHideARequest(t *testing.T) {
	result := `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`
	request := `{"jsonrpc":"2.0","id":7,` + sampling + `}`
	const json, events = "application/json", "text/event-stream"
	tests := []struct {
		name, body string
		status     int
		header     []string
		passes     bool
	}{
		{"nothing", result, 200, []string{"Content-Type", json}, true},
		{"nothing, with a charset", result, 200, []string{"Content-Type", json + "; charset=utf-8"}, true},
		{"nothing, in an event", event(result), 200, []string{"Content-Type", events}, true},
		{"an error that is no message", `{"detail":"Not Found"}`, 404, []string{"Content-Type", json}, true},
		{"an error as a page", "<html>", 502, []string{"Content-Type", "text/html"}, true},
		{"a batch", "[" + result + "," + request + "]", 200, []string{"Content-Type", json}, false},
		{"a request", request, 200, []string{"Content-Type", json}, false},
		{"a request with a member twice", strings.Replace(request, "{", `{"method":"ping",`, 1), 200, []string{"Content-Type", json}, false},
		{"a request behind a mark", "\xef\xbb\xbf" + request, 200, []string{"Content-Type", json}, false},
		{"a request that is too large", strings.Repeat(" ", 2000) + request, 200, []string{"Content-Type", json}, false},
		{"a type with a broken parameter", event(request), 200, []string{"Content-Type", events + "; charset"}, false},
		{"a type that has the words in it", event(request), 200, []string{"Content-Type", "x/" + events}, false},
		{"another type of JSON", request, 200, []string{"Content-Type", "application/json-rpc"}, false},
		{"two types", request, 200, []string{"Content-Type", "text/plain", "Content-Type", json}, false},
		{"no type", request, 200, nil, false},
		{"an encoding", result, 200, []string{"Content-Type", json, "Content-Encoding", "deflate"}, false},
		{"an encoding of events", event(result), 200, []string{"Content-Type", events, "Content-Encoding", "deflate"}, false},
		{"another place", "", 307, []string{"Location", "http://127.0.0.1:1/mcp"}, false},
		{"another place with an answer", result, 302, []string{"Content-Type", json, "Location", "http://127.0.0.1:1/mcp"}, false},
	}
	for _, test := range tests {
		for _, version := range []string{toolcall.Version20250326, toolcall.Version20251125} {
			t.Run(test.name+" in "+version, func(t *testing.T) {
				r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
					r.useBackend(headed(t, test.status, test.body, test.header...))
					r.meta["maxAnswerBytes"] = "1000"
				})
				got := r.post(r.as("alice"), call("echo", "x"), "Mcp-Protocol-Version", version)
				last := r.lastRecord()
				if test.passes {
					require.Equal(t, test.status, got.status, got.body)
					require.Equal(t, test.body, got.body)
					return
				}
				require.Equal(t, http.StatusBadGateway, got.status, got.body)
				require.NotContains(t, got.body, "sampling")
				require.Empty(t, got.header.Values("Location"))
				require.Equal(t, receipt.StatusWithheld, last.Outcome.Status)
				require.NotEmpty(t, last.Outcome.Reason)
			})
		}
	}
}

// An error can ask the client to elicit something of its user, which the official
// client in Go does by itself (MCP 2025-11-25, URLElicitationRequiredError).
func TestErrorsThatAsk(t *testing.T) {
	asks := `{"jsonrpc":"2.0","id":7,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","url":"https://evil.example","elicitationId":"e"}]}}}`
	rule := "  - {name: asks, effect: allow, from: [alice], to: {server: server, methods: [elicitation/create]}}\n"
	for _, test := range []struct {
		name, policy, media, answer string
		status                      int
	}{
		{"not allowed", allowAlice, "application/json", asks, 502},
		{"not allowed in an event", allowAlice, "text/event-stream", event(asks), 502},
		{"allowed", allowAlice + rule, "application/json", asks, 200},
		{"allowed in an event", allowAlice + rule, "text/event-stream", event(asks), 200},
		{"another error", allowAlice, "application/json", strings.Replace(asks, "-32042", "-32043", 1), 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(answering(t, test.media, test.answer))
				r.setPolicy(test.policy)
			})
			got := r.post(r.as("alice"), call("echo", "x"), "Mcp-Protocol-Version", toolcall.Version20251125)
			require.Equal(t, test.status, got.status, got.body)
			require.Equal(t, test.status == 200, strings.Contains(got.body, "evil"))
		})
	}
}

// A client in Python decodes events by their charset, and in UTF-7 a string of
// one event can hold the end of it and another one.
func TestAnswersGoOutWithoutACharset(t *testing.T) {
	result := `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`
	for media, body := range map[string]string{"application/json": result, "text/event-stream": event(result)} {
		r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
			r.useBackend(headed(t, 200, body, "Content-Type", media+"; charset=utf-7"))
		})
		got := r.post(r.as("alice"), call("echo", "x"))
		require.Equal(t, 200, got.status, got.body)
		require.Equal(t, []string{media}, got.header.Values("Content-Type"))
	}
}

// Servers in Python acknowledge a notification as JSON that is empty.
func TestEmptyAnswers(t *testing.T) {
	for _, test := range []struct {
		body, media string
		status      int
		want        string
	}{
		{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "application/json", 202, receipt.StatusOK},
		{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "", 202, receipt.StatusOK},
		{call("echo", "x"), "application/json", 502, receipt.StatusWithheld},
	} {
		r := newRig(t, testkit.MCPOptions{}, func(r *rig) { r.useBackend(headed(t, 202, "", "Content-Type", test.media)) })
		got := r.post(r.as("alice"), test.body)
		require.Equal(t, test.status, got.status, got.body)
		require.Equal(t, test.want, r.lastRecord().Outcome.Status)
	}
}
