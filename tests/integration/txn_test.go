// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/workflows/delegation"
)

const behalfPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  rules:
  - name: broker-for-asker
    effect: allow
    from: [broker]
    to: {server: server, tools: [echo]}
    when: actor.spiffeID == "spiffe://custody.local/ns/default/asker"
  - name: dealer-through-broker
    effect: allow
    from: [dealer]
    to: {server: server, tools: [echo]}
    when: actors.size() == 3 && actors[0] == "spiffe://custody.local/ns/default/asker" && actors[1] == "spiffe://custody.local/ns/default/broker"
  - {name: bare, effect: allow, from: [bare], to: {server: server, tools: [echo]}}
`

// relays are plain HTTP apps behind sidecars: each passes a call on to the next of X-Route, with the token that came
// unless X-Drop says that it does not, and with X-Narrow as Custody-Txn of the last hop. They keep the tokens that reached
// them.
type relays struct {
	t    *testing.T
	mesh *mesh
	mu   sync.Mutex
	got  map[string]string
}

func (r *relays) app(name string) http.Handler {
	return delegation.Handler(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		if in.Method != http.MethodPost {
			http.NotFound(w, in) // the sidecar's questions at start
			return
		}
		r.mu.Lock()
		r.got[name] = delegation.Token(in.Context())
		r.mu.Unlock()
		ctx := in.Context()
		if in.Header.Get("X-Drop") != "" {
			ctx = r.t.Context()
		}
		next, rest, more := strings.Cut(in.Header.Get("X-Route"), ",")
		header := []string{"X-Route", rest, "X-Drop", in.Header.Get("X-Drop"), "X-Narrow", in.Header.Get("X-Narrow")}
		if narrow := in.Header.Get("X-Narrow"); narrow != "" && !more {
			header = append(header, "Custody-Txn", narrow)
		}
		body, err := io.ReadAll(in.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		got, err := postBy(ctx, &http.Client{Transport: r.transport(name)}, r.invoke(name, next), string(body), header...)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(got.status)
		if _, err := io.WriteString(w, got.body); err != nil {
			r.t.Log(err)
		}
	}))
}

// transport is how an app passes on the token that it got.
func (r *relays) transport(app string) *delegation.Transport {
	return &delegation.Transport{DaprHTTPEndpoint: fmt.Sprintf("http://127.0.0.1:%d", r.mesh.app(app).DaprHTTPPort)}
}

// invoke is where an app calls another, or the MCP server.
func (r *relays) invoke(from, to string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/%s/method/mcp", r.mesh.app(from).DaprHTTPPort, to)
}

// send has an app call through others.
func (r *relays) send(from, route string, header ...string) answered {
	r.t.Helper()
	first, rest, _ := strings.Cut(route, ",")
	got, err := post(r.t.Context(), r.invoke(from, first), call("echo", "hi"), append([]string{"X-Route", rest}, header...)...)
	require.NoError(r.t, err)
	return got
}

func (r *relays) token(app string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[app]
}

// startRelays starts a mesh of the guarded server, the relays broker and dealer, and of asker, cuckoo and bare, of which
// the last has no mcpcaller. The apps that are given stand in for the relays of their names.
func startRelays(t *testing.T, apps map[string]http.Handler) *relays {
	t.Helper()
	m := &mesh{trustDomain: newTrustDomain(t), server: testkit.NewMCPServer(t, testkit.MCPOptions{JSON: true})}
	m.options.journal = filepath.Join(m.folder, "journal")
	r := &relays{t: t, mesh: m, got: map[string]string{}}
	m.writeGuard()
	m.write("policies/mesh.yaml", behalfPolicy)
	const config = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: config}\nspec:\n"
	m.write("server.yaml", config+guardedSpec)
	m.write("signing.yaml", config+signingSpec)
	m.write("bare.yaml", config+"  accessControl: {trustDomain: custody.local}\n")
	require.NoError(t, os.MkdirAll(filepath.Join(m.folder, "none"), 0o755))
	run := fmt.Sprintf("version: 1\napps:\n- {appID: server, appDirPath: ., appPort: %d, configFilePath: server.yaml, resourcesPath: resources, command: [sleep, '3600']}\n"+
		"- {appID: bare, appDirPath: ., configFilePath: bare.yaml, resourcesPath: none, command: [sleep, '3600']}\n", m.port())
	external := map[string]localdomain.AppOptions{"server": {External: m.port()}}
	for _, app := range []string{"asker", "broker", "dealer", "cuckoo"} {
		m.write(app+"/caller.yaml", fmt.Sprintf(signingComponent, filepath.Join(m.folder, "links-"+app)))
		more := ""
		if app == "broker" || app == "dealer" {
			handler := apps[app]
			if handler == nil {
				handler = r.app(app)
			}
			relay := httptest.NewServer(handler)
			t.Cleanup(relay.Close)
			port := relay.Listener.Addr().(*net.TCPAddr).Port
			external[app] = localdomain.AppOptions{External: port}
			more = fmt.Sprintf(", appPort: %d", port)
		}
		if app == "dealer" {
			more += ", readBufferSize: 32Ki"
		}
		run += fmt.Sprintf("- {appID: %s, appDirPath: ., configFilePath: signing.yaml, resourcesPath: %[1]s, command: [sleep, '3600']%s}\n", app, more)
	}
	m.write("dapr.yaml", run)
	require.NoError(t, m.trustDomain.start(localdomain.Options{Apps: external}))
	return r
}

func TestDelegationInDaprd(t *testing.T) {
	r := startRelays(t, nil)
	m := r.mesh
	id := func(app string) spiffeid.ID {
		return spiffeid.RequireFromString("spiffe://custody.local/ns/default/" + app)
	}
	last := func() *receipt.Receipt {
		receipts := m.journal().Receipts
		return receipts[len(receipts)-1]
	}

	got := r.send("asker", "broker,server", "Custody-Txn", "begin")
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, []spiffeid.ID{id("asker"), id("broker")}, last().Actors)
	require.Equal(t, id("broker"), last().Caller.SPIFFEID)
	one, two := r.token("broker"), m.server.Last(t).Header.Get("Txn-Token")
	require.NotEmpty(t, two)
	require.NotEqual(t, one, two)

	// Three hands, of the same transaction.
	got = r.send("asker", "broker,dealer,server", "Custody-Txn", `begin; scope="server/*"`)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, []spiffeid.ID{id("asker"), id("broker"), id("dealer")}, last().Actors)
	three := m.server.Last(t).Header.Get("Txn-Token")
	t.Logf("bytes of a token of one, two and three layers: %d, %d, %d", len(one), len(two), len(three))

	reached := len(m.server.Requests())
	for name, c := range map[string]struct {
		from, route, want string
		header            []string
		actors            []spiffeid.ID // of the denial's receipt; nil: none is written, or none stands behind
		own               bool          // refused by a sidecar on the way, not by the guard
	}{
		"no token":                {"asker", "broker,server", "no rule allows it", nil, nil, false},
		"dropped on the way":      {"asker", "broker,server", "no rule allows it", []string{"Custody-Txn", "begin", "X-Drop", "yes"}, nil, false},
		"of another":              {"cuckoo", "broker,server", "no rule allows it", []string{"Custody-Txn", "begin"}, []spiffeid.ID{id("cuckoo"), id("broker")}, false},
		"narrowed by the first":   {"asker", "broker,server", "does not cover", []string{"Custody-Txn", `begin; scope="server/reverse"`}, []spiffeid.ID{id("asker"), id("broker")}, false},
		"narrowed on the way":     {"asker", "broker,server", "does not cover", []string{"Custody-Txn", "begin", "X-Narrow", `scope="payments/*"`}, []spiffeid.ID{id("asker"), id("broker")}, false},
		"widened on the way":      {"asker", "broker,server", "is wider than", []string{"Custody-Txn", `begin; scope="server/reverse"`, "X-Narrow", `scope="server/*"`}, nil, true},
		"begun by the broker":     {"asker", "broker,server", "no rule allows it", []string{"X-Narrow", "begin"}, []spiffeid.ID{id("broker")}, false},
		"taken from the broker":   {"cuckoo", "server", "it was sent to " + id("broker").String(), []string{"Txn-Token", one}, nil, true},
		"taken from the server":   {"broker", "server", "it was sent to " + id("server").String(), []string{"Txn-Token", two}, nil, true},
		"stolen, and sent bare":   {"bare", "server", "it is from " + id("broker").String(), []string{"Txn-Token", two}, nil, false},
		"garbage, and sent bare":  {"bare", "server", "three parts", []string{"Txn-Token", "garbage"}, nil, false},
		"another app's, bare":     {"bare", "server", "it was sent to " + id("broker").String(), []string{"Txn-Token", one}, nil, false},
		"a dealer with no broker": {"asker", "dealer,server", "no rule allows it", []string{"Custody-Txn", "begin"}, []spiffeid.ID{id("asker"), id("dealer")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(m.journal().Receipts)
			got := r.send(c.from, c.route, c.header...)
			require.Equal(t, 403, got.status, got.body)
			if c.own {
				require.Contains(t, got.body, "CUSTODY_REFUSED")
				require.Contains(t, got.body, c.want)
				require.Len(t, m.journal().Receipts, before, "nothing was sent")
				return
			}
			require.Contains(t, last().Decision.Reason, c.want)
			require.Equal(t, c.actors, last().Actors)
		})
	}
	require.Len(t, m.server.Requests(), reached)
	require.Equal(t, 200, r.send("bare", "server").status, "without a token bare may")

	// Dapr's HTTP API refuses at once what is more than readBufferSize and 4 KiB.
	large := []string{"Txn-Token", strings.Repeat("a", 20<<10)}
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, r.send("broker", "server", large...).status)
	roomy := r.send("dealer", "server", large...)
	require.Equal(t, 403, roomy.status)
	require.Contains(t, roomy.body, "CUSTODY_REFUSED")
	fits := []string{"Txn-Token", strings.Repeat("a", 7<<10)}
	require.Equal(t, 403, r.send("broker", "server", fits...).status)
}

// The steps of a workflow are one transaction without the worker doing anything.
func TestStepsAreATransactionInDaprd(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, signing: signingComponent})
	require.Equal(t, 200, m.post("alice", call("echo", "hi"), "Custody-Step", encoded(aStep(1))).status)
	require.Equal(t, 200, m.post("alice", call("echo", "hi"), "Custody-Step", encoded(aStep(2))).status)
	answers := okReceipts(m.journal())
	require.Len(t, answers, 2)
	require.Len(t, answers[0].Txn, 64)
	require.Equal(t, answers[0].Txn, answers[1].Txn)
	require.Equal(t, []spiffeid.ID{answers[0].Caller.SPIFFEID}, answers[0].Actors)
	require.Equal(t, 403, m.post("alice", call("echo", "hi"), "Custody-Step", encoded(aStep(3)), "Custody-Txn", `scope="server/fail"`).status)
	require.Equal(t, 200, m.post("alice", call("echo", "hi")).status)
}
