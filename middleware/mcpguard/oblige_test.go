// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// allowing is a policy with one rule for alice, which carries the obligations.
func allowing(obligations string) string {
	return `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - name: alice
    effect: allow
    from: [alice]
    to: {server: server, tools: [echo, progress], paths: ["GET /big"]}
` + obligations
}

// answering is a server that gives one answer to everything.
func answering(t *testing.T, contentType, answer string) *httptest.Server {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		if _, err := w.Write([]byte(answer)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(backend.Close)
	return backend
}

func event(text string) string { return "data: " + text + "\n\n" }

// sized is an answer whose result has n bytes in our encoding.
func sized(n int) string {
	return `{"jsonrpc":"2.0","id":7,"result": {"x":"` + strings.Repeat("y", n-len(`{"x":""}`)) + `"}}`
}

const (
	withheldByPolicy = "Withheld by policy: the call was made, and its answer is more than a rule lets pass. Reference: "
	withheldByGuard  = "The server gave no answer that can be passed on. Reference: "
)

func TestMaxResultBytes(t *testing.T) {
	notice := `{"jsonrpc":"2.0","method":"notifications/message","params":{}}`
	tests := []struct {
		name, contentType, answer string
		status                    int
		want                      string // in what the caller gets
		outcome                   string
	}{
		{"as many as allowed", "application/json", sized(100), 200, "yyy", receipt.StatusOK},
		{"one more", "application/json", sized(101), 403, withheldByPolicy, receipt.StatusWithheld},
		{"an error counts too", "application/json", `{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"` + strings.Repeat("y", 100) + `"}}`, 403, withheldByPolicy, receipt.StatusWithheld},
		{"as many in an event", "text/event-stream", event(sized(100)), 200, "yyy", receipt.StatusOK},
		{"one more in an event", "text/event-stream", event(sized(101)), 403, withheldByPolicy, receipt.StatusWithheld},
		{"what comes before the answer counts too", "text/event-stream", event(notice) + event(sized(101-len(notice))), 200, withheldByPolicy, receipt.StatusWithheld},
		{"and fits", "text/event-stream", event(notice) + event(sized(100-len(notice))), 200, "yyy", receipt.StatusOK},
		{"text as it is", "text/plain", strings.Repeat("y", 100), 200, "yyy", receipt.StatusOK},
		{"more text", "text/plain", strings.Repeat("y", 101), 403, withheldByPolicy, receipt.StatusWithheld},
		{"white space is not passed on", "application/json", strings.Replace(sized(100), "{", "{"+strings.Repeat(" ", 200), 2), 200, "yyy", receipt.StatusOK},
		{"nor is it in an event", "text/event-stream", event(strings.Replace(sized(100), "{", "{"+strings.Repeat(" ", 200), 2)), 200, "yyy", receipt.StatusOK},
		{"more beside the result", "application/json", strings.Replace(sized(10), `"id"`, `"more":"`+strings.Repeat("y", 200)+`","id"`, 1), 502, withheldByGuard, receipt.StatusWithheld},
		{"more in a method", "text/event-stream", event(`{"jsonrpc":"2.0","method":"notifications/`+strings.Repeat("y", 100)+`"}`) + event(sized(10)), 403, withheldByPolicy, receipt.StatusWithheld},
		{"more in the name of an event", "text/event-stream", "event: " + strings.Repeat("y", 200) + "\n" + event(sized(10)), 502, withheldByGuard, receipt.StatusWithheld},
		{"more in the ID of an event", "text/event-stream", "id: " + strings.Repeat("z", 200) + "\n" + event(sized(100)), 200, "yyy", receipt.StatusOK},
		{"what cannot be measured", "application/json", `{"jsonrpc":"2.0","id":7,"result":{"yyy":1,"yyy":2}}`, 502, withheldByGuard, receipt.StatusWithheld},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(answering(t, test.contentType, test.answer))
				r.setPolicy(allowing("    maxResultBytes: 100\n"))
			})
			got := r.post(r.as("alice"), call("echo", "x"))
			require.Equal(t, test.status, got.status, got.body)
			require.Contains(t, got.body, test.want)
			require.Less(t, len(got.body), 300)
			require.Equal(t, test.outcome, r.lastRecord().Outcome.Status)
			if test.outcome == receipt.StatusWithheld {
				require.NotContains(t, got.body, "yyy")
				require.Contains(t, got.body, r.lastRecord().ID)
				require.NotEmpty(t, r.lastRecord().Outcome.Reason)
			}
		})
	}
}

// A plain answer that is not held is cut off where the bound is.
func TestMaxResultBytesOfAStreamedAnswer(t *testing.T) {
	for size, whole := range map[int]bool{5000: true, 5001: false} {
		r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
			r.useBackend(answering(t, "text/plain", strings.Repeat("y", size)))
			r.meta["maxAnswerBytes"] = "1000"
			r.setPolicy(allowing("    maxResultBytes: 5000\n"))
		})
		got := r.do(http.MethodGet, r.as("alice")+"/big", "")
		require.LessOrEqual(t, len(got.body), 5000+len(withheldByPolicy)+200)
		require.Equal(t, whole, got.status == 200 && len(got.body) == size, "%d bytes", size)
		require.Equal(t, whole, r.lastRecord().Outcome.Status == receipt.StatusOK, "%d bytes", size)
	}
}

// A policy in shadow mode changes nothing but the record.
func TestShadowPolicyIsRecorded(t *testing.T) {
	trial := strings.NewReplacer("{name: test}", "{name: trial}", "spec:\n", "spec:\n  mode: shadow\n",
		"effect: allow", "effect: deny").Replace(allowing(""))
	r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) { r.setPolicy(allowing("") + "---\n" + trial) })
	require.Equal(t, 200, r.post(r.as("alice"), call("echo", "x")).status)
	got := r.lastRecord()
	require.Equal(t, receipt.StatusOK, got.Outcome.Status)
	require.Equal(t, &receipt.Shadow{Effect: "deny", Policy: "trial", Rule: "alice", Reason: "rule denies it"}, got.Decision.Shadow)

	require.Equal(t, 403, r.post(r.as("bob"), call("echo", "x")).status)
	require.Nil(t, r.lastRecord().Decision.Shadow, "nothing would change for bob")
}

// A denial as the result of a tool is what a model reads.
func TestDenyAsToolError(t *testing.T) {
	for name, options := range map[string]testkit.MCPOptions{"json": {JSON: true}, "events": {}, "sessions": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options, func(r *rig) { r.meta["denyAs"] = "toolError" })
			session, err := r.connect("alice")
			require.NoError(t, err)
			said := make([]string, 0, 2)
			for _, tool := range []string{"reverse", "missing"} {
				result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: map[string]any{"text": "x"}})
				require.NoError(t, err)
				require.True(t, result.IsError)
				require.Len(t, result.Content, 1)
				text := result.Content[0].(*mcp.TextContent).Text
				record := r.lastRecord()
				require.Equal(t, receipt.StatusDenied, record.Outcome.Status)
				require.Equal(t, fmt.Sprintf("Denied by policy: spiffe://custody.local/ns/default/alice may not call tool %s of server server. Reference: %s", tool, record.ID), text)
				said = append(said, strings.NewReplacer(tool, "TOOL", record.ID, "ID").Replace(text))
			}
			require.Equal(t, said[0], said[1], "a hidden tool and a missing one look the same")
			result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "x"}})
			require.NoError(t, err)
			require.False(t, result.IsError)
			require.NoError(t, session.Close())
		})
	}
}

// What is no call of a tool, or no caller's, stays an error.
func TestDenyAsToolErrorIsForToolsAlone(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) { r.meta["denyAs"] = "toolError" })
	for name, got := range map[string]answered{
		"another method": r.post(r.as("alice"), `{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"x:y"}}`),
		"nobody":         r.post(r.asPeer(nil), call("echo", "x")),
		"not understood": r.post(r.as("alice"), `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","name":"reverse"}}`),
	} {
		require.GreaterOrEqual(t, got.status, 400, name)
		var message struct{ Result, Error json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(got.body), &message), name)
		require.Nil(t, message.Result, name)
		require.NotNil(t, message.Error, name)
	}
	require.Empty(t, r.server.Requests())
}

// A rate counts for each caller and tool, and what is over it never reaches the
// server.
func TestRate(t *testing.T) {
	const usedUp = "Denied by policy: as many calls as a rule allows were made; try again later. Reference: "
	twice := strings.Replace(allowing("    rate: 2/hour\n"), "from: [alice]", "from: [alice, bob]", 1)
	r := newRig(t, testkit.MCPOptions{JSON: true, Tools: []string{"echo", "progress"}}, func(r *rig) { r.setPolicy(twice) })
	alice, bob := r.as("alice"), r.as("bob")
	for range 2 {
		require.Equal(t, 200, r.post(alice, call("echo", "x")).status)
	}
	reached := len(r.server.Requests())
	got := r.post(alice, call("echo", "x"))
	require.Equal(t, http.StatusTooManyRequests, got.status)
	require.Len(t, r.server.Requests(), reached)
	wait, err := strconv.Atoi(got.header.Get("Retry-After"))
	require.NoError(t, err)
	require.True(t, 1 <= wait && wait <= 1800, "%d", wait)
	record := r.lastRecord()
	require.Contains(t, got.body, usedUp+record.ID)
	require.Equal(t, []string{"deny", "test", "alice", "the rate of 2/hour that the rule allows is used up"},
		[]string{record.Decision.Effect, record.Decision.Policy, record.Decision.Rule, record.Decision.Reason})
	require.Equal(t, 200, r.post(alice, call("progress", "x")).status, "another tool")
	require.Equal(t, 200, r.post(bob, call("echo", "x")).status, "another caller")

	r.guard, err = r.factory.Make("mcpguard", r.meta)
	require.NoError(t, err)
	require.Equal(t, 429, r.post(alice, call("echo", "x")).status, "a reload of the component forgets nothing")

	r.meta["denyAs"] = "toolError"
	r.guard, err = r.factory.Make("mcpguard", r.meta)
	require.NoError(t, err)
	got = r.post(alice, call("echo", "x"))
	require.Equal(t, 200, got.status)
	require.Contains(t, got.body, `"isError":true`)
	require.Contains(t, got.body, usedUp)
}

// With a file the count outlives the process, without one it does not.
func TestRateFile(t *testing.T) {
	for name, kept := range map[string]bool{"": false, "rates": true} {
		r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
			r.setPolicy(allowing("    rate: 1/hour\n"))
			if name != "" {
				r.meta["rateFile"] = filepath.Join(t.TempDir(), name)
			}
		})
		alice := r.as("alice")
		require.Equal(t, 200, r.post(alice, call("echo", "x")).status)
		require.NoError(t, r.factory.Close())
		require.Equal(t, 503, r.post(alice, call("echo", "x")).status, "a guard that was closed")
		r.factory = mcpguard.NewFactory(func() (mcpguard.Host, error) { return r.host, nil })
		var err error
		r.guard, err = r.factory.Make("mcpguard", r.meta)
		require.NoError(t, err)
		require.Equal(t, kept, r.post(alice, call("echo", "x")).status == 429, "file %q", name)
		require.NoError(t, r.factory.Close())
	}
}

// The status says whether there are rates that a restart forgets.
func TestStatusOfRates(t *testing.T) {
	for _, tt := range []struct {
		name, rules, file string
		want              bool
	}{
		{"rates without a file", allowing("    rate: 1/hour\n"), "", true},
		{"rates with one", allowing("    rate: 1/hour\n"), "rates", false},
		{"no rates", allowing("    maxResultBytes: 9\n"), "", false},
		{"rates that are not enforced", strings.Replace(allowing("    rate: 1/hour\n"), "spec:\n", "spec:\n  mode: shadow\n", 1), "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
				r.setPolicy(tt.rules)
				if tt.file != "" {
					r.meta["rateFile"] = filepath.Join(t.TempDir(), tt.file)
				}
			})
			status, err := policydir.ReadStatus(filepath.Join(r.journal, policydir.StatusFile))
			require.NoError(t, err)
			require.Equal(t, 1, status.Rules)
			require.Equal(t, tt.want, status.RatesPerProcess)
		})
	}
}

// A file of rates that cannot be read makes no guard.
func TestBrokenRateFile(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	r.meta["rateFile"] = filepath.Join(t.TempDir(), "rates")
	require.NoError(t, os.WriteFile(r.meta["rateFile"], []byte("not a file of rates, and longer than its header would be"), 0o600))
	_, err := r.factory.Make("other", r.meta)
	require.ErrorContains(t, err, r.meta["rateFile"])
}
