// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// askingServer asks its client for a sample in each call, and gives each caller a
// session of its own.
func askingServer(t *testing.T) *httptest.Server {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		if _, err := io.Copy(body, r.Body); err != nil {
			t.Error(err)
		}
		answer := ""
		switch {
		case strings.Contains(body.String(), "tools/call"):
			w.Header().Set("Content-Type", "text/event-stream")
			answer = event(`{"jsonrpc":"2.0","id":"ask-1",`+sampling+"}") + event(`{"jsonrpc":"2.0","id":7,"result":{}}`)
		case strings.Contains(body.String(), "initialize"):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Mcp-Session-Id", "of-"+r.Header.Get("Dapr-Caller-App-Id"))
			answer = `{"jsonrpc":"2.0","id":7,"result":{}}`
		default:
			w.WriteHeader(http.StatusAccepted)
		}
		if _, err := w.Write([]byte(answer)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(backend.Close)
	return backend
}

// What a rule lets a server ask of a client the client may answer, and nothing else.
func TestClientsAnswerWhatTheyWereAsked(t *testing.T) {
	const response = `{"jsonrpc":"2.0","id":"ask-1","result":{"role":"assistant"}}`
	asks := allowAlice + "  - {name: asks, effect: allow, from: [alice, bob], to: {server: server, methods: [sampling/createMessage], tools: [echo]}}\n"
	denied := asks + "  - {name: silent, effect: deny, from: [alice], to: {server: server, methods: [response]}}\n"
	for _, test := range []struct {
		name, policy, caller, response string
		in                             []string
		status                         int
	}{
		{"what was asked", asks, "alice", response, nil, 202},
		{"with an error", asks, "alice", strings.Replace(response, `"result":{"role":"assistant"}`, `"error":{"code":1,"message":"m"}`, 1), nil, 202},
		{"written otherwise", asks, "alice", strings.Replace(response, `"ask-1"`, `"\u0061sk-1"`, 1), nil, 202},
		{"another request", asks, "alice", strings.Replace(response, "ask-1", "ask-2", 1), nil, 403},
		{"for another caller", asks, "bob", response, nil, 403},
		{"outside of the session", asks, "alice", response, []string{}, 403},
		{"in a session of another's", asks, "bob", response, []string{"Mcp-Session-Id", "of-alice"}, 404},
		{"denied", denied, "alice", response, nil, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(askingServer(t))
				r.setPolicy(test.policy)
			})
			session := func(caller string) []string { return []string{"Mcp-Session-Id", "of-" + caller} }
			urls := map[string]string{}
			for _, caller := range []string{"alice", "bob"} {
				urls[caller] = r.as(caller)
				require.Equal(t, 200, r.post(urls[caller], `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`).status)
			}
			require.Equal(t, 403, r.post(urls["alice"], response, session("alice")...).status, "nothing was asked yet")
			got := r.post(urls["alice"], call("echo", "x"), session("alice")...)
			require.Contains(t, got.body, "sampling", got.body)
			in := test.in
			if in == nil {
				in = session(test.caller)
			}
			require.Equal(t, test.status, r.post(urls[test.caller], test.response, in...).status)
			require.Equal(t, test.status == 202, r.lastRecord().Outcome.Status == receipt.StatusOK)
		})
	}
}
