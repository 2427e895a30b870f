// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

func TestDecision(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	tests := []struct {
		name, caller, body string
		status             int
		rule, outcome      string
	}{
		{"alice may echo", "alice", call("echo", "hi"), 200, "alice-echoes", receipt.StatusOK},
		{"alice may not reverse", "alice", call("reverse", "hi"), 403, "", receipt.StatusDenied},
		{"bob may not echo", "bob", call("echo", "hi"), 403, "", receipt.StatusDenied},
		{"bob may reverse", "bob", call("reverse", "hi"), 200, "bob-reverses", receipt.StatusOK},
		{"a tool that fails", "alice", call("fail", "hi"), 200, "alice-echoes", receipt.StatusToolError},
		{"a stranger", "mallory", call("echo", "hi"), 403, "", receipt.StatusDenied},
		{"a stranger's ping", "mallory", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, 403, "", receipt.StatusDenied},
		{"a method that no rule names", "alice", `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}`, 403, "", receipt.StatusDenied},
		{"a method that MCP does not have", "alice", `{"jsonrpc":"2.0","id":1,"method":"tools/destroy"}`, 404, "", receipt.StatusDenied},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := len(r.server.Requests())
			got := r.post(r.as(test.caller), test.body)
			require.Equal(t, test.status, got.status, got.body)
			last := r.lastRecord()
			require.Equal(t, test.outcome, last.Outcome.Status)
			require.Equal(t, test.rule, last.Decision.Rule)
			require.Equal(t, "spiffe://custody.local/ns/default/"+test.caller, last.Caller.SPIFFEID.String())
			require.Equal(t, "server", last.Action.Server)
			passed := len(r.server.Requests()) > before
			require.Equal(t, test.status == 200, passed, "what reached the server")
			if test.status == 200 {
				require.Equal(t, 200, last.Outcome.HTTPStatus)
				require.Equal(t, receipt.Sum([]byte(got.body)), last.Outcome.ResponseDigest)
				require.Equal(t, receipt.Sum([]byte(r.server.Last(t).Body)), last.RequestDigest)
				return
			}
			require.Contains(t, got.body, last.ID, "the caller is told the reference")
			require.NotContains(t, got.body, last.Decision.Reason, "and not the reason")
		})
	}
}

// A tool that is hidden and one that is not there look the same.
func TestHiddenAndMissingTools(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	alice := r.as("alice")
	hidden, missing := r.post(alice, call("reverse", "x")), r.post(alice, call("missing", "x"))
	require.Equal(t, hidden.status, missing.status)
	require.Equal(t, withoutReference(t, strings.ReplaceAll(hidden.body, "reverse", "missing")), withoutReference(t, missing.body))
	long := r.post(alice, call(strings.Repeat("x", 1000), "x"))
	require.Equal(t, 403, long.status)
	require.Less(t, len(long.body), 500)
}

func TestReceiptComesBackWithTheAnswer(t *testing.T) {
	for name, options := range map[string]testkit.MCPOptions{"json": {JSON: true}, "events": {}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options)
			got := r.post(r.as("alice"), call("echo", "hi"))
			require.Equal(t, 200, got.status)
			journal := testkit.ReadJournal(t, r.journal, r.host.Bundles)
			require.Equal(t, journal.Digests, got.header.Values(mcpguard.HeaderReceipt))
			require.Len(t, journal.Intents, 1)
			require.Equal(t, receipt.Sum([]byte(got.body)), journal.Receipts[0].Outcome.ResponseDigest)
			require.False(t, journal.Receipts[0].Outcome.ResultDigest.IsZero())
		})
	}
}

func TestWithoutAnIdentity(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	foreign := testkit.NewCA(t, "custody.local").SVID("alice")
	other := testkit.NewCA(t, "other.example").SVID("alice")
	for name, url := range map[string]string{
		"no peer, as a call of the app's own sidecar": r.asPeer(nil),
		"a certificate of a stranger's authority":     r.asSVID(foreign),
		"a trust domain without a bundle":             r.asSVID(other),
		"the own authority for another trust domain":  r.asSVID(r.ca.SVIDFor(spiffeid.RequireFromString("spiffe://other.example/ns/default/alice"))),
	} {
		t.Run(name, func(t *testing.T) {
			got := r.post(url, call("echo", "hi"), "Authorization", "Bearer token", "X-Client-Id", "alice", "Dapr-Caller-App-Id", "alice")
			require.Equal(t, 403, got.status, got.body)
			last := r.lastRecord()
			require.True(t, last.Caller.SPIFFEID.IsZero())
			require.Contains(t, last.Decision.Reason, "the caller is not known")
		})
	}
	require.Empty(t, r.server.Requests())
}

func TestOwnConfigCall(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	sidecar := r.asPeer(nil)
	require.Equal(t, 404, r.do(http.MethodGet, sidecar+"/dapr/config", "").status, "it reaches the app")
	require.Equal(t, 403, r.do(http.MethodPost, sidecar+"/dapr/config", "").status)
	require.Equal(t, 403, r.do(http.MethodGet, sidecar+"/dapr/config?x=1", "").status)
	require.Equal(t, 403, r.do(http.MethodGet, sidecar+"/dapr/subscribe", "").status)
	require.Len(t, r.server.Requests(), 1)
}

// A tool list shows a caller what it may call, whatever the answer's form.
func TestToolsList(t *testing.T) {
	for name, options := range map[string]testkit.MCPOptions{"json": {JSON: true}, "events": {}, "sessions": {Stateful: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options)
			require.ElementsMatch(t, []string{"echo", "fail"}, r.tools("alice"))
			require.ElementsMatch(t, []string{"reverse"}, r.tools("bob"))
			_, err := r.connect("mallory")
			require.Error(t, err)
		})
	}
}

// A real client works through the guard with each way a server may answer.
func TestRealClient(t *testing.T) {
	for name, options := range map[string]testkit.MCPOptions{
		"json": {JSON: true}, "events": {}, "sessions": {Stateful: true}, "sessions json": {Stateful: true, JSON: true},
	} {
		t.Run(name, func(t *testing.T) {
			options.Tools = []string{"echo", "reverse", "fail", "progress"}
			r := newRig(t, options)
			session, err := r.connect("alice")
			require.NoError(t, err)
			result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "grüße"}})
			require.NoError(t, err)
			require.Equal(t, map[string]any{"tool": "echo", "text": "grüße"}, result.StructuredContent)
			result, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "fail", Arguments: map[string]any{"text": "x"}})
			require.NoError(t, err)
			require.True(t, result.IsError)
			_, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "reverse", Arguments: map[string]any{"text": "x"}})
			require.ErrorContains(t, err, `Denied by policy: spiffe://custody.local/ns/default/alice may not call tool reverse of server server. Reference: `)
			require.NoError(t, session.Close())
		})
	}
}

// Progress comes before the answer, and the receipt is named in a comment.
func TestProgress(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{Tools: []string{"progress"}})
	body := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"progress","arguments":{"text":"x"},"_meta":{"progressToken":"t"}}}`
	got := r.post(r.as("alice"), body)
	require.Equal(t, 200, got.status)
	require.Equal(t, 2, strings.Count(got.body, "notifications/progress"))
	journal := testkit.ReadJournal(t, r.journal, r.host.Bundles)
	require.Len(t, journal.Digests, 1)
	require.Empty(t, got.header.Values(mcpguard.HeaderReceipt), "the header was sent with the first event")
	require.Contains(t, got.body, "\n\n: Custody-Receipt "+journal.Digests[0]+"\n\n")
	require.Equal(t, receipt.StatusOK, journal.Receipts[0].Outcome.Status)
}

func withoutReference(t *testing.T, body string) string {
	t.Helper()
	before, after, ok := strings.Cut(body, "Reference: ")
	require.True(t, ok, body)
	return before + after[36:]
}

// What breaks, closes: nothing reaches the server, and the caller gets 503.
func TestClosedWhenBroken(t *testing.T) {
	const later = "the journal takes nothing"
	tests := []struct {
		name   string
		damage func(*testing.T, *rig)
	}{
		{"the identity is gone", func(_ *testing.T, r *rig) { r.host.SVIDs = failing{} }},
		{"the policy folder is not there at start", func(_ *testing.T, r *rig) { r.meta["policyDir"] = filepath.Join(r.policies, "absent") }},
		{"the policy is broken at start", func(_ *testing.T, r *rig) {
			r.setPolicy("apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nspec: {rulez: []}\n")
		}},
		{later, func(t *testing.T, r *rig) { require.NoError(t, r.factory.Close()) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
				if test.name != later {
					test.damage(t, r)
				}
			})
			if test.name == later {
				test.damage(t, r)
			}
			for _, caller := range []string{"alice", "bob"} {
				got := r.post(r.as(caller), call("echo", "hi"))
				require.Equal(t, 503, got.status, got.body)
				require.Contains(t, got.body, "nothing is let through")
			}
			require.Empty(t, r.server.Requests())
		})
	}
}

// A server that dies or talks nonsense is recorded, and lists fail closed.
func TestServerMisbehaves(t *testing.T) {
	list := `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`
	tests := []struct {
		name, request, answer, contentType string
		status                             int
		outcome                            string
	}{
		{"a result", call("echo", "x"), `{"jsonrpc":"2.0","id":7,"result":{}}`, "application/json", 200, receipt.StatusOK},
		{"an error", call("echo", "x"), `{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"m"}}`, "application/json", 200, receipt.StatusRPCError},
		{"not JSON", call("echo", "x"), `oops`, "application/json", 502, receipt.StatusWithheld},
		{"plain text", call("echo", "x"), `oops`, "text/plain", 200, receipt.StatusOK},
		{"a list", list, `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"echo"},{"name":"reverse"}]}}`, "application/json", 200, receipt.StatusOK},
		{"a list that cannot be read", list, `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"echo","name":"x"}]}}`, "application/json", 502, receipt.StatusWithheld},
		{"a list as text", list, `[{"name":"reverse"}]`, "text/plain", 502, receipt.StatusWithheld},
		{"events without an answer", call("echo", "x"), "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n", "text/event-stream", 200, receipt.StatusIncomplete},
		{"no events", call("echo", "x"), ": hello\n\n", "text/event-stream", 502, receipt.StatusIncomplete},
		{"the answer to another request", call("echo", "x"), "data: {\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}\n\n", "text/event-stream", 502, receipt.StatusWithheld},
		{"a request to the client", call("echo", "x"), "data: {\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"sampling/createMessage\"}\n\n", "text/event-stream", 502, receipt.StatusWithheld},
		{"a list as events", list, "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"tools\":[{\"name\":\"reverse\"}]}}\n\n", "text/event-stream", 200, receipt.StatusOK},
		{"events that are no messages", call("echo", "x"), "data: hello\n\n", "text/event-stream", 502, receipt.StatusWithheld},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.Header().Set(mcpguard.HeaderReceipt, "sha256:forged")
				_, err := w.Write([]byte(test.answer))
				if err != nil {
					t.Error(err)
				}
			}))
			t.Cleanup(backend.Close)
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) { r.useBackend(backend) })
			got := r.post(r.as("alice"), test.request)
			require.Equal(t, test.status, got.status, got.body)
			require.Equal(t, test.outcome, r.lastRecord().Outcome.Status)
			require.NotContains(t, got.header.Get(mcpguard.HeaderReceipt), "forged")
			require.NotContains(t, got.body, "reverse", "a hidden tool must not be seen")
			require.NotContains(t, got.body, "sampling")
		})
	}
	t.Run("no answer at all", func(t *testing.T) {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }))
		t.Cleanup(backend.Close)
		r := newRig(t, testkit.MCPOptions{}, func(r *rig) { r.useBackend(backend) })
		require.Equal(t, 502, r.post(r.as("alice"), call("echo", "x")).status)
		require.Equal(t, receipt.StatusIncomplete, r.lastRecord().Outcome.Status)
	})
}

// A server that asks the client something it may not, and waits for the answer,
// does not hold up the call.
func TestServerThatWaitsForTheClient(t *testing.T) {
	ended := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if _, err := w.Write([]byte("data: {\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"sampling/createMessage\"}\n\n")); err != nil {
			t.Error(err)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	}))
	t.Cleanup(backend.Close)
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) { r.useBackend(backend) })
	require.Equal(t, 502, r.post(r.as("alice"), call("echo", "x")).status)
	require.Equal(t, receipt.StatusWithheld, r.lastRecord().Outcome.Status)
	<-ended
}

func TestLargeAnswers(t *testing.T) {
	large := `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"echo","description":"` + strings.Repeat("x", 5000) + `"}]}}`
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for part := large; part != ""; {
			n := min(len(part), 700)
			if _, err := w.Write([]byte(part[:n])); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
			part = part[n:]
		}
	}))
	t.Cleanup(backend.Close)
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
		r.useBackend(backend)
		r.meta["maxAnswerBytes"] = "1000"
	})
	got := r.do(http.MethodGet, r.as("alice")+"/healthz", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, large, got.body, "what is no answer to a message passes as it comes")
	require.Equal(t, receipt.Sum([]byte(large)), r.lastRecord().Outcome.ResponseDigest)
	for _, message := range []string{call("echo", "x"), `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`} {
		require.Equal(t, 502, r.post(r.as("alice"), message).status)
		require.Equal(t, receipt.StatusWithheld, r.lastRecord().Outcome.Status)
	}
}

// A policy that changes is in force, and a broken one keeps the last good one.
func TestPolicyChanges(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	alice := r.as("alice")
	require.Equal(t, 200, r.post(alice, call("echo", "x")).status)
	r.setPolicy(strings.ReplaceAll(allowAlice, "alice-echoes, effect: allow", "alice-echoes, effect: deny"))
	require.Eventually(t, func() bool { return r.post(alice, call("echo", "x")).status == 403 }, 10*time.Second, time.Millisecond)
	r.setPolicy("kind: Nonsense\n")
	require.Eventually(t, func() bool { return strings.Contains(r.guard.State(), "test.yaml") }, 10*time.Second, time.Millisecond)
	require.Equal(t, 403, r.post(alice, call("echo", "x")).status)
	require.Equal(t, 200, r.post(r.as("bob"), call("reverse", "x")).status, "the last good set stays")
	var status struct{ LastError string }
	require.Eventually(t, func() bool { // the file is written after the guard knows
		text, err := os.ReadFile(filepath.Join(r.journal, "guard-status.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &status))
		return strings.Contains(status.LastError, "test.yaml:1")
	}, 10*time.Second, time.Millisecond)
}

func TestReloadKeepsJournalAndSessions(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	require.Equal(t, 200, r.post(r.as("alice"), call("echo", "x")).status)
	var err error
	r.factory.Forget("mcpguard")
	require.False(t, r.factory.Made("mcpguard"))
	r.guard, err = r.factory.Make("mcpguard", r.meta)
	require.NoError(t, err)
	require.True(t, r.factory.Made("mcpguard"))
	require.Equal(t, 200, r.post(r.as("alice"), call("echo", "x")).status)
	require.Len(t, r.records(), 2)
}

func TestAccessControlOfTheConfiguration(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
		delete(r.meta, "policyDir")
		r.host.AccessControl = accessControl("alice", "/mcp/tools/call/echo")
	})
	require.Equal(t, 200, r.post(r.as("alice"), call("echo", "x")).status)
	require.Equal(t, 403, r.post(r.as("alice"), call("reverse", "x")).status)
	require.Equal(t, 403, r.post(r.as("bob"), call("echo", "x")).status)
}

// The app's own calls to the outside run through the same pipeline.
func TestOutwardCallsAreNotGuarded(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	passed := false
	request := httptest.NewRequest(http.MethodPost, "http://elsewhere.example/x", strings.NewReader("hello"))
	r.guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, out *http.Request) {
		passed = true
		require.False(t, mcpguard.Passed(out.Context()), "it could not reach the app")
	})).ServeHTTP(httptest.NewRecorder(), request)
	require.True(t, passed)
}

func (r *rig) connect(app string) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: app, Version: "1"}, nil)
	return client.Connect(context.Background(), &mcp.StreamableClientTransport{Endpoint: r.as(app) + "/mcp", MaxRetries: -1}, nil)
}

func (r *rig) tools(app string) []string {
	r.t.Helper()
	session, err := r.connect(app)
	require.NoError(r.t, err)
	list, err := session.ListTools(r.t.Context(), nil)
	require.NoError(r.t, err)
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	require.NoError(r.t, session.Close())
	return names
}

func (r *rig) useBackend(backend *httptest.Server) {
	address, err := url.Parse(backend.URL)
	require.NoError(r.t, err)
	r.host.AppAddress, r.server.URL = address.Host, backend.URL
}
