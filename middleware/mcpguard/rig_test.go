// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// rig is a guard between callers and a real MCP server, with Dapr's part of the
// pipeline written out: the request of the caller's connection comes in with
// its peer, and what passes goes on by a client of the sidecar.
type rig struct {
	t        *testing.T
	ca       *testkit.CA
	server   *testkit.MCPServer
	factory  *mcpguard.Factory
	guard    *mcpguard.Guard
	policies string
	journal  string
	host     mcpguard.Host
	meta     map[string]string
}

const allowAlice = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: alice-echoes, effect: allow, from: [alice], to: {server: server, tools: [echo, fail, progress]}}
  - {name: bob-reverses, effect: allow, from: [bob], to: {server: server, tools: [reverse]}}
  - {name: health, effect: allow, from: [alice], to: {server: server, paths: ["GET /healthz"]}}
`

func newRig(t *testing.T, options testkit.MCPOptions, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, ca: testkit.NewCA(t, "custody.local"), server: testkit.NewMCPServer(t, options), policies: t.TempDir(), journal: filepath.Join(t.TempDir(), "journal")}
	address, err := url.Parse(r.server.URL)
	require.NoError(t, err)
	svid := r.ca.SVID("server")
	r.host = mcpguard.Host{
		AppID: "server", Namespace: "default", AppAddress: address.Host, ID: svid.ID,
		SVIDs: svid, Bundles: x509bundle.NewSet(r.ca.Bundle()), Log: t.Logf,
	}
	r.meta = map[string]string{"policyDir": r.policies, "journalDir": r.journal}
	r.setPolicy(allowAlice)
	for _, c := range change {
		c(r)
	}
	r.factory = mcpguard.NewFactory(func() (mcpguard.Host, error) { return r.host, nil })
	r.guard, err = r.factory.Make("mcpguard", r.meta)
	require.NoError(t, err)
	t.Cleanup(func() { r.factory.Forget("mcpguard") })
	return r
}

func (r *rig) setPolicy(text string) {
	r.t.Helper()
	file := filepath.Join(r.policies, "test.yaml")
	require.NoError(r.t, os.WriteFile(file+".new", []byte(text), 0o600))
	require.NoError(r.t, os.Rename(file+".new", file))
}

// as gives the URL of the caller's sidecar.
func (r *rig) as(app string) string { return r.asSVID(r.ca.SVID(app)) }

func (r *rig) asSVID(svid *x509svid.SVID) string {
	return r.asPeer(&peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: svid.Certificates}}})
}

func (r *rig) asPeer(p *peer.Peer) string {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		ctx := in.Context()
		if p != nil {
			ctx = peer.NewContext(ctx, p)
		}
		out, err := http.NewRequestWithContext(ctx, in.Method, r.server.URL+in.URL.RequestURI(), in.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out.Header, out.ContentLength = in.Header.Clone(), in.ContentLength
		r.guard.Handler(http.HandlerFunc(toApp)).ServeHTTP(flushing{w}, out)
	}))
	r.t.Cleanup(front.Close)
	return front.URL
}

// toApp is the end of Dapr's pipeline (pkg/channel/http/http_channel.go), with its seal.
func toApp(w http.ResponseWriter, r *http.Request) {
	if !mcpguard.Passed(r.Context()) {
		http.Error(w, "past the guard", http.StatusTeapot)
		return
	}
	resp, err := appClient().Do(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // as Dapr does: the caller may be gone
}

// appClient goes where a redirect leads as little as Dapr's does (pkg/runtime/channels/channels.go).
func appClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if flusher, ok := f.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
	return n, err
}

// answered is what came back to a caller.
type answered struct {
	status int
	header http.Header
	body   string
}

func (r *rig) do(method, url, body string, header ...string) answered {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, url, strings.NewReader(body))
	require.NoError(r.t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(header); i += 2 {
		request.Header[header[i]] = append(request.Header[header[i]], header[i+1])
	}
	resp, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return answered{status: resp.StatusCode, header: resp.Header, body: string(text)}
}

func (r *rig) post(url, body string, header ...string) answered {
	r.t.Helper()
	return r.do(http.MethodPost, url+"/mcp", body, header...)
}

// call is a tools/call of a revision that needs no session header.
func call(tool, text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":%q,"arguments":{"text":%q}}}`, tool, text)
}

// records are the receipts of the journal so far; each is verified.
func (r *rig) records() []*receipt.Receipt {
	r.t.Helper()
	return testkit.ReadJournal(r.t, r.journal, r.host.Bundles).Receipts
}

func (r *rig) lastRecord() *receipt.Receipt {
	r.t.Helper()
	records := r.records()
	require.NotEmpty(r.t, records)
	return records[len(records)-1]
}

// failing is an identity that is away.
type failing struct{}

func (failing) GetX509SVID() (*x509svid.SVID, error) { return nil, errors.New("sentry is away") }

// accessControl allows an app one operation, as Dapr's Configuration says it.
func accessControl(app, operation string) policy.AccessControl {
	return policy.AccessControl{
		DefaultAction: "deny", TrustDomain: "custody.local",
		Policies: []policy.AppPolicy{{
			AppID: app, DefaultAction: "deny", TrustDomain: "custody.local", Namespace: "default",
			Operations: []policy.Operation{{Name: operation, HTTPVerb: []string{"POST"}, Action: "allow"}},
		}},
	}
}
