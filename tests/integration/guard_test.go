// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

func TestGuardInDaprd(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})

	allowed := m.post("alice", call("echo", "hi"))
	require.Equal(t, 200, allowed.status, allowed.body)
	seen := m.server.Last(t)
	require.Equal(t, "spiffe://custody.local/ns/default/alice", seen.Header.Get("Custody-Caller"))

	reached := len(m.server.Requests())
	denied := m.post("alice", call("reverse", "hi"))
	require.Equal(t, 403, denied.status, denied.body)
	spoofed := m.post("alice", call("reverse", "hi"), "Dapr-Caller-App-Id", "bob", "Custody-Caller", "spiffe://custody.local/ns/default/bob")
	require.Equal(t, 403, spoofed.status, spoofed.body)
	twoNames := m.post("alice", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","name":"reverse","arguments":{}}}`)
	require.Equal(t, 400, twoNames.status, twoNames.body)

	// The server's own sidecar has no peer: whoever may speak to its API is nobody.
	own, err := post(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/server/method/mcp", m.app("server").DaprHTTPPort), call("echo", "hi"),
		"Authorization", "Bearer token", "X-Client-Id", "alice")
	require.NoError(t, err)
	require.Equal(t, 403, own.status, own.body)
	require.Len(t, m.server.Requests(), reached)

	journal := m.journal()
	require.Len(t, journal.Intents, 1)
	require.Len(t, journal.Receipts, 5)
	require.Equal(t, allowed.header.Get("Custody-Receipt"), journal.Digests[0])
	require.Equal(t, "spiffe://custody.local/ns/default/server", journal.Receipts[0].Door.SPIFFEID.String())
	for i, want := range []string{"alice-echoes", "", "", "", ""} {
		require.Equal(t, want, journal.Receipts[i].Decision.Rule)
	}
	require.Equal(t, receipt.StatusDenied, journal.Receipts[4].Outcome.Status)
	require.True(t, journal.Receipts[4].Caller.SPIFFEID.IsZero())
}

// The runtime does not start without the guard that its Configuration names.
func TestStartFailsWithoutTheGuard(t *testing.T) {
	ignoring := strings.Replace(guardComponent, "  version: v1\n", "  version: v1\n  ignoreErrors: true\n", 1)
	tests := []struct {
		name    string
		options meshOptions
		want    string
	}{
		{"no component", meshOptions{guard: "none"}, "no such Component was loaded"},
		{"a component of another name", meshOptions{guard: strings.Replace(guardComponent, "name: guard}", "name: gard}", 1)}, "no such Component was loaded"},
		{"a component for another app", meshOptions{guard: guardComponent + "scopes: [alice]\n"}, "no such Component was loaded"},
		{"metadata that is not known", meshOptions{guard: guardComponent + "  - {name: polcyDir, value: x}\n"}, `metadata \"polcyDir\" is not known`},
		{"an error that is to be ignored", meshOptions{guard: ignoring + "  - {name: polcyDir, value: x}\n"}, `metadata \"polcyDir\" is not known`},
		{"a journal that is no folder", meshOptions{journal: "/dev/null"}, "/dev/null"},
		{"the wrong pipeline", meshOptions{config: strings.Replace(guardedSpec, "appHttpPipeline", "httpPipeline", 1)}, "move it to spec.appHttpPipeline"},
		{"a handler behind the guard", meshOptions{config: strings.Replace(guardedSpec, "}]", "}, {name: x, type: middleware.http.routeralias}]", 1)}, "must be the last handler"},
		{"no handler of it", meshOptions{config: "  accessControl: {trustDomain: custody.local}\n"}, "nothing guards the app"},
		{"a handler of a type like it", meshOptions{config: strings.Replace(guardedSpec, "mcpguard", "mcpguard/v1", 1)}, "is not known and would be passed over"},
		{"another version", meshOptions{config: strings.Replace(guardedSpec, "}]", ", version: v2}]", 1)}, "has only v1"},
		{"h2c", meshOptions{daprdFlags: []string{"--app-protocol", "h2c"}}, "use http or https"},
		{"gRPC", meshOptions{daprdFlags: []string{"--app-protocol", "grpc"}}, "use http or https"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t, test.options)
			err := m.start()
			require.ErrorContains(t, err, test.want)
			for _, request := range m.server.Requests() {
				require.Equal(t, "/dapr/config", request.Path, "what reached the server")
			}
		})
	}
}

// While the component is away nothing passes, and when it is back calls pass.
func TestGuardRemovedWhileRunning(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	require.Equal(t, 200, m.post("alice", call("echo", "x")).status)

	require.NoError(t, os.Remove(m.guardFile()))
	m.eventually(func() bool { return m.post("alice", call("echo", "x")).status == http.StatusServiceUnavailable })
	reached := len(m.server.Requests())
	for range 50 {
		for _, caller := range []string{"alice", "bob"} {
			got := m.post(caller, call("reverse", "x"))
			require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
			require.Contains(t, got.body, "the guard of this server is not in force")
		}
	}
	require.Len(t, m.server.Requests(), reached)

	m.writeGuard()
	m.eventually(func() bool { return m.post("alice", call("echo", "x")).status == 200 })
	require.Equal(t, 403, m.post("alice", call("reverse", "x")).status)
	require.NotEmpty(t, m.journal().Receipts, "it is the same journal")
}

// Reloading the component under load lets no denied call through.
func TestGuardReloadedUnderLoad(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	stop, done := make(chan struct{}), make(chan map[int]int)
	go func() {
		seen := map[int]int{}
		defer func() { done <- seen }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			got, err := post(t.Context(), m.endpoint("alice"), call("reverse", "x"))
			if err != nil {
				t.Error(err)
				return
			}
			seen[got.status]++
		}
	}()
	for i := range 20 {
		before := strings.Count(m.log(), "guards server")
		m.options.guard = guardComponent + fmt.Sprintf("  - {name: maxRequestBytes, value: '%d'}\n", 100_000+i)
		m.writeGuard()
		m.eventually(func() bool { return strings.Count(m.log(), "guards server") > before })
	}
	close(stop)
	seen := <-done
	require.NotZero(t, seen[403])
	delete(seen, 403)
	delete(seen, 503)
	require.Empty(t, seen, "statuses other than 403 and 503")
	for _, request := range m.server.Requests() {
		require.NotContains(t, request.Body, "reverse")
	}
}

// SIGHUP restarts the runtime within the process: with a new identity, and the
// same journal.
func TestRestartBySIGHUP(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	require.Equal(t, 200, m.post("alice", call("echo", "x")).status)
	require.NoError(t, syscall.Kill(m.app("server").DaprdPID, syscall.SIGHUP))
	m.eventually(func() bool { return strings.Count(m.log(), "guards server") == 2 })
	m.eventually(func() bool { return m.post("alice", call("echo", "x")).status == 200 })
	require.Equal(t, 403, m.post("alice", call("reverse", "x")).status)
	journal := m.journal()
	require.Len(t, okReceipts(journal), 2)
	require.Equal(t, journal.Receipts[0].Journal.ID, journal.Receipts[len(journal.Receipts)-1].Journal.ID)
}

// A restart without the guard's component ends daprd, though the guard was there before.
func TestRestartWithoutTheGuard(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	require.Equal(t, 200, m.post("alice", call("echo", "x")).status)
	require.NoError(t, os.Remove(m.guardFile()))
	m.eventually(func() bool { return m.post("alice", call("echo", "x")).status == http.StatusServiceUnavailable })
	require.NoError(t, syscall.Kill(m.app("server").DaprdPID, syscall.SIGHUP))
	<-m.domain.Done()
	require.ErrorContains(t, m.domain.Wait(), "no such Component was loaded")
}

// Two runs of one file work side by side, each with a journal of its own.
func TestSecondRunOfOneFile(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	second, err := localdomain.Start(t.Context(), m.here(m.parts()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, second.Stop()) })
	require.Equal(t, 200, m.post("alice", call("echo", "x")).status)
	for _, app := range second.Info().Apps {
		if app.AppID != "alice" {
			continue
		}
		got, err := post(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/server/method/mcp", app.DaprHTTPPort), call("echo", "x"))
		require.NoError(t, err)
		require.Equal(t, 200, got.status, got.body)
	}
	require.Len(t, m.journal().Receipts, 1)
	journals := second.Info().Journals
	require.Len(t, journals, 1)
	require.NotEqual(t, m.options.journal, journals[0].Dir)
	bundle, err := x509bundle.Load(spiffeid.RequireTrustDomainFromString("custody.local"), second.Info().TrustBundle)
	require.NoError(t, err)
	require.Len(t, testkit.ReadJournal(t, journals[0].Dir, bundle).Receipts, 1)
}

// A server that asks the client what it may not, and waits, does not hold up
// the call: the caller gets a whole answer, and the outcome is on record.
func TestServerThatWaitsForTheClient(t *testing.T) {
	m := newMesh(t, meshOptions{})
	m.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if _, err := w.Write([]byte("data: {\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"sampling/createMessage\"}\n\n")); err != nil {
			t.Error(err)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	require.NoError(t, m.start())
	got := m.post("alice", call("echo", "x"))
	require.Equal(t, http.StatusBadGateway, got.status)
	require.Contains(t, got.body, "The server gave no answer that can be passed on. Reference: ")
	require.Equal(t, receipt.StatusWithheld, m.journal().Receipts[0].Outcome.Status)
}

// gRPC proxying opens a way to the app's port that no HTTP pipeline sees. It is
// open without the guard, and closed with it.
func TestGRPCProxyingIsClosed(t *testing.T) {
	for name, guarded := range map[string]bool{"without the guard": false, "with the guard": true} {
		t.Run(name, func(t *testing.T) {
			m := startMesh(t, meshOptions{unguarded: !guarded})
			client, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", m.app("alice").DaprGRPCPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer client.Close()
			ctx := metadata.AppendToOutgoingContext(t.Context(), "dapr-app-id", "server")
			err = client.Invoke(ctx, "/orders/mcp", &emptypb.Empty{}, &emptypb.Empty{})
			require.Error(t, err)
			var reached []string
			for _, request := range m.server.Requests() {
				if request.Path != "/dapr/config" {
					reached = append(reached, request.Path)
				}
			}
			if guarded {
				require.Empty(t, reached)
			} else {
				require.Equal(t, []string{"/orders/mcp"}, reached)
			}
		})
	}
}

// Dapr's own access control in the Configuration is a source of policy.
func TestAccessControlOfTheConfiguration(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, guard: strings.Replace(guardComponent, "  - {name: policyDir, value: %[1]s/policies}\n", "", 1), config: `  accessControl:
    defaultAction: deny
    trustDomain: custody.local
    policies:
    - appId: alice
      namespace: default
      trustDomain: custody.local
      defaultAction: deny
      operations:
      - {name: /mcp, httpVerb: [POST], action: allow}
      - {name: /mcp/tools/call/echo, httpVerb: [POST], action: allow}
      - {name: /mcp/tools/call/fail, httpVerb: [POST], action: deny}
` + pipelineSpec})
	require.Equal(t, 200, m.post("alice", call("echo", "x")).status)
	require.Equal(t, 403, m.post("alice", call("fail", "x")).status)
	require.Equal(t, 403, m.post("alice", call("reverse", "x")).status)
	require.Equal(t, 403, m.post("bob", call("echo", "x")).status)
	require.Equal(t, "accessControl/server", m.journal().Receipts[0].Decision.Policy)
}

func (m *mesh) eventually(condition func() bool) {
	m.t.Helper()
	require.Eventually(m.t, condition, 30*time.Second, 5*time.Millisecond)
}

// Whoever may speak to the server's sidecar has it call a URL of his own. What lets a request in at the server is not
// told there, and no URL leads to the server past the guard.
func TestURLsOfTheServersSidecar(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	echo := call("echo", "x")
	tokens := make(chan []string, 1)
	listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { tokens <- r.Header.Values("Dapr-Api-Token") }))
	t.Cleanup(listener.Close)
	invoke := func(host string) int {
		url := fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/http://%s/method/mcp", m.app("server").DaprHTTPPort, host)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	require.Equal(t, http.StatusOK, invoke(strings.TrimPrefix(listener.URL, "http://")))
	require.Empty(t, <-tokens)

	before := len(m.server.Requests())
	port := m.app("server").AppPort
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "nowhere.invalid"} {
		require.Contains(t, []int{http.StatusForbidden, http.StatusServiceUnavailable}, invoke(fmt.Sprintf("%s:%d", host, port)), host)
	}
	require.Len(t, m.server.Requests(), before)
	require.Equal(t, http.StatusOK, m.post("alice", echo).status)
	require.NotEmpty(t, m.server.Requests()[len(m.server.Requests())-1].Header.Get("Dapr-Api-Token"))
}
