// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

// rig is a caller in the sidecar of the app refunds, with what Dapr does behind
// it written out: an invocation goes to a real MCP server, whichever app it names.
type rig struct {
	t       *testing.T
	ca      *testkit.CA
	server  *testkit.MCPServer
	factory *mcpcaller.Factory
	host    mcpcaller.Host
	svids   *source
	meta    map[string]string
	// answer is what the server's sidecar adds to an answer.
	answer func(http.ResponseWriter) (handled bool)
	// guard is what answers in the place of the server, where it is set.
	guard func(w http.ResponseWriter, in *http.Request, body string)
	url   string
	// to is where an invocation goes in the place of the server.
	to string
}

// source is an identity that can be taken away.
type source struct {
	svid *x509svid.SVID
	err  error
}

func (s *source) GetX509SVID() (*x509svid.SVID, error) { return s.svid, s.err }

func newRig(t *testing.T, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, ca: testkit.NewCA(t, "custody.local"), server: testkit.NewMCPServer(t, testkit.MCPOptions{JSON: true})}
	r.svids = &source{svid: r.ca.SVID("refunds")}
	r.host = mcpcaller.Host{ID: r.svids.svid.ID, SVIDs: r.svids, Bundles: x509bundle.NewSet(r.ca.Bundle()), Log: t.Logf}
	r.meta = map[string]string{"journalDir": filepath.Join(t.TempDir(), "journal")}
	for _, c := range change {
		c(r)
	}
	r.start()
	return r
}

// start makes the caller, as a sidecar does that starts.
func (r *rig) start() {
	r.t.Helper()
	r.factory = mcpcaller.NewFactory(func() (mcpcaller.Host, error) { return r.host, nil })
	caller, err := r.factory.Make("mcpcaller", r.meta)
	require.NoError(r.t, err)
	sidecar := httptest.NewServer(caller.Handler(http.HandlerFunc(r.invoke)))
	r.url = sidecar.URL
	r.t.Cleanup(func() {
		sidecar.Close()
		require.NoError(r.t, r.factory.Close())
	})
}

// invoke is the rest of the way (pkg/api/http/directmessaging.go).
func (r *rig) invoke(w http.ResponseWriter, in *http.Request) {
	if r.answer != nil && r.answer(w) {
		return
	}
	if r.guard != nil {
		body, err := io.ReadAll(in.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.guard(w, in, string(body))
		return
	}
	to := r.server.URL
	if r.to != "" {
		to = r.to
	}
	out, err := http.NewRequestWithContext(in.Context(), in.Method, to+"/mcp", in.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out.Header, out.ContentLength = in.Header.Clone(), in.ContentLength
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		for _, value := range values {
			w.Header().Add(name, value)
		}
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // as Dapr does: the caller may be gone
}

// answered is what came back to the app.
type answered struct {
	status int
	header http.Header
	body   string
}

func (r *rig) do(method, path, body string, header ...string) answered {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	require.NoError(r.t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			request.Header.Del(header[i])
			continue
		}
		request.Header[header[i]] = append(request.Header[header[i]], header[i+1])
	}
	resp, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return answered{status: resp.StatusCode, header: resp.Header, body: string(text)}
}

const invokePath = "/v1.0/invoke/payments/method/mcp"

// call posts a tool call as the given step.
func (r *rig) call(step string, header ...string) answered {
	r.t.Helper()
	return r.do(http.MethodPost, invokePath, call("echo", "hi"), append([]string{mcpcaller.HeaderStep, encoded(step)}, header...)...)
}

func call(tool, text string) string {
	return fmt.Sprintf(`{ "jsonrpc":"2.0", "id":7, "method":"tools/call", "params":{"name":%q,"arguments":{"text":%q}}}`, tool, text)
}

// canonical is what call comes out as.
func canonical(tool, text string) string { return strings.ReplaceAll(call(tool, text), " ", "") }

func encoded(step string) string { return base64.RawURLEncoding.EncodeToString([]byte(step)) }

// workflow is the step of that task.
func workflow(task int) string {
	return fmt.Sprintf(`{"chain":{"instance":"refund-1","started":"2026-11-23T09:00:00.000000005Z"},"instance":"refund-1","name":"Refund","task":%d,"step":"charge"}`, task)
}

func aStep(task int) string {
	return fmt.Sprintf(`{"workflow":%s,"prev":["%s"]}`, workflow(task), receipt.Sum([]byte("head")))
}

// records are the receipts of the journal; each is verified.
func (r *rig) records() testkit.Journal {
	r.t.Helper()
	return testkit.ReadJournal(r.t, r.meta["journalDir"]+r.host.JournalSuffix, r.host.Bundles)
}

// question verifies the envelope of a header.
func (r *rig) question(header string) *receipt.Receipt {
	r.t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(header)
	require.NoError(r.t, err)
	return r.link(text)
}

func (r *rig) link(text []byte) *receipt.Receipt {
	r.t.Helper()
	envelope, err := receipt.DecodeEnvelope(text)
	require.NoError(r.t, err)
	verified, err := receipt.Verify(envelope, r.host.Bundles, receipt.VerifyOptions{})
	require.NoError(r.t, err)
	return verified.Receipt
}
