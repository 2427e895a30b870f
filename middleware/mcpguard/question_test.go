// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// forms are the forms of answers of a server.
var forms = map[string]testkit.MCPOptions{"json": {JSON: true}, "events": {}, "sessions": {Stateful: true}}

func TestQuestionIsAnswered(t *testing.T) {
	for name, options := range forms {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options)
			w := r.worker("alice")
			body := call("echo", "hi")
			question := w.asking(body)
			got := w.send(question, body, "Custody-Step", "x", "Custody-Nonsense", "x", mcpguard.HeaderChain, "x", mcpguard.HeaderAnswer, "x")
			answer := w.answer(got)
			require.Equal(t, []receipt.Digest{question.PayloadDigest()}, answer.Prev)
			asked, err := question.UnsafeReceipt()
			require.NoError(t, err)
			require.Equal(t, asked.Workflow, answer.Workflow)
			require.Equal(t, got.header.Get(mcpguard.HeaderReceipt), decoded(t, got.header.Get(mcpguard.HeaderAnswer)).Digest())
			require.Empty(t, got.header.Values(mcpguard.HeaderQuestion))
			require.Empty(t, got.header.Values(mcpguard.HeaderChain))
			require.Equal(t, answer, r.lastRecord())
			for name := range r.server.Last(t).Header {
				require.True(t, name == mcpguard.HeaderCaller || !strings.HasPrefix(name, "Custody-"), name)
			}
		})
	}
}

// Where the header of an answer has gone out before it, the answer stands in a comment.
func TestAnswerInEvents(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{Tools: []string{"progress"}})
	w := r.worker("alice")
	body := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"progress","arguments":{"text":"hi"},"_meta":{"progressToken":1}}}`
	question := w.asking(body)
	got := w.send(question, body)
	require.Equal(t, http.StatusOK, got.status)
	require.Empty(t, got.header.Get(mcpguard.HeaderAnswer))
	require.Equal(t, 2, strings.Count(got.body, "notifications/progress"))
	_, rest, found := strings.Cut(got.body, "\n: custody-answer ")
	require.True(t, found, got.body)
	link, _, _ := strings.Cut(rest, "\n")
	verified, err := receipt.Verify(decoded(t, link), r.host.Bundles, receipt.VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, []receipt.Digest{question.PayloadDigest()}, verified.Receipt.Prev)
	require.Contains(t, got.body, ": "+mcpguard.HeaderReceipt+" "+decoded(t, link).Digest()+"\n")
}

// Nothing of the chain is in a call that no question comes with.
func TestCallWithoutAQuestion(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	got := r.post(r.as("alice"), call("echo", "hi"))
	require.Equal(t, http.StatusOK, got.status)
	require.Empty(t, got.header.Values(mcpguard.HeaderAnswer))
	last := r.lastRecord()
	require.Nil(t, last.Workflow)
	require.Empty(t, last.Prev)
}

func TestDenialOfAStepIsAnAnswer(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	w := r.worker("bob")
	body := call("echo", "hi")
	question := w.asking(body)
	for range 2 { // it is decided anew
		got := w.send(question, body)
		require.Equal(t, http.StatusForbidden, got.status)
		answer := w.answer(got)
		require.Equal(t, receipt.StatusDenied, answer.Outcome.Status)
		require.Equal(t, []receipt.Digest{question.PayloadDigest()}, answer.Prev)
	}
	require.Equal(t, http.StatusNotFound, w.ask(question).status)
	require.Empty(t, r.server.Requests())
}

func TestQuestionMustFitTheCall(t *testing.T) {
	var other *testkit.CA
	r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) { other = otherAuthority(r) })
	w := r.worker("alice")
	body := call("echo", "hi")
	old := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute)
	}
	by := func(svid *x509svid.SVID, change func(*receipt.Receipt)) *receipt.Envelope {
		asked, err := w.asking(body).UnsafeReceipt()
		require.NoError(t, err)
		if change != nil {
			change(asked)
		}
		return sign(t, asked, svid)
	}
	bob := r.worker("bob")
	tests := []struct {
		name     string
		question *receipt.Envelope
		want     string
	}{
		{"another identity signed", by(r.ca.SVID("bob"), nil), "expected was"},
		{"another identity signed and says so", bob.asking(body), "expected was"},
		{"another authority signed", by(testkit.NewCA(t, "custody.local").SVIDFor(w.svid.ID), nil), "does not chain"},
		{"another trust domain", by(other.SVID("alice"), nil), "expected was"},
		{"a chain of another trust domain", w.asking(body, func(q *receipt.Receipt) { q.Workflow.Chain.App = other.SVID("alice").ID }), "another trust domain"},
		{"an expired certificate", by(r.ca.SVID("alice", old), nil), "was not valid"},
		{"other arguments", w.asking(call("echo", "ho")), "requestDigest"},
		{"another spelling of the arguments", w.asking(strings.Replace(body, "7", "8", 1)), "requestDigest"},
		{"another tool", w.asking(call("fail", "hi")), "action.name"},
		{"another method", w.asking(`{"jsonrpc":"2.0","id":7,"method":"tools/list"}`), "action.kind"},
		{"another server", w.asking(body, func(q *receipt.Receipt) { q.Action.Server = "payments" }), "action.server"},
		{"for another app", w.asking(body, func(q *receipt.Receipt) { q.To = bob.svid.ID }), "it is for spiffe://custody.local/ns/default/bob"},
		{"for the app of the name elsewhere", w.asking(body, func(q *receipt.Receipt) {
			q.To = spiffeid.RequireFromString("spiffe://custody.local/ns/prod/server")
		}), "this is the door of spiffe://custody.local/ns/default/server"},
		{"another app", w.asking(body, func(q *receipt.Receipt) { q.Workflow.App = "bob" }), "workflow.app"},
		{"no workflow", w.asking(body, func(q *receipt.Receipt) { q.Workflow, q.To = nil, spiffeid.ID{} }), "no chain"},
		{"no question", w.asking(body, func(q *receipt.Receipt) { q.Outcome.Status, q.To = receipt.StatusStated, spiffeid.ID{} }), "outcome.status"},
		{"two days old", w.asking(body, func(q *receipt.Receipt) {
			q.Times.Decided = time.Now().Add(-48 * time.Hour)
			q.Times.Settled = q.Times.Decided
		}), "longer than 24h"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.send(tt.question, body)
			require.Equal(t, http.StatusForbidden, got.status, got.body)
			require.Contains(t, got.body, "Reference: ")
			require.Empty(t, got.header.Values(mcpguard.HeaderAnswer))
			last := r.lastRecord()
			require.Equal(t, receipt.StatusDenied, last.Outcome.Status)
			require.Contains(t, last.Decision.Reason, tt.want)
			require.Nil(t, last.Workflow)
			require.Empty(t, last.Prev)
		})
	}
	require.Empty(t, r.server.Requests())
	require.Equal(t, http.StatusOK, w.send(w.asking(body), body).status)
}

func TestQuestionHeader(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	w := r.worker("alice")
	body := call("echo", "hi")
	good := encoded(w.asking(body))
	notice := `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	for name, tt := range map[string]struct {
		method, path, body string
		header             []string
		want               string
	}{
		"two of it":             {body: body, header: []string{good, good}, want: "there are 2"},
		"nothing in it":         {body: body, header: []string{""}, want: "does not fit"},
		"padding":               {body: body, header: []string{good + "="}, want: "base64url"},
		"standard alphabet":     {body: body, header: []string{"++++"}, want: "base64url"},
		"no JSON":               {body: body, header: []string{"AAAA"}, want: "envelope"},
		"too large":             {body: body, header: []string{strings.Repeat("A", 64<<10+1)}, want: "more than 65536 bytes"},
		"with a notification":   {body: notice, header: []string{good}, want: "no request"},
		"with a plain request":  {method: http.MethodGet, path: "/healthz", header: []string{good}, want: "no MCP request"},
		"with the end":          {method: http.MethodDelete, path: "/mcp", header: []string{good}, want: "no MCP request"},
		"with links":            {method: http.MethodPost, path: "/custody/v1/chain", header: []string{good}, want: "no such request"},
		"with another question": {method: http.MethodGet, path: "/custody/v1/chain/answer", header: []string{good}, want: "no such request"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method, tt.path = http.MethodPost, "/mcp"
			}
			var header []string
			for _, value := range tt.header {
				header = append(header, mcpguard.HeaderQuestion, value)
			}
			got := r.do(tt.method, w.url+tt.path, tt.body, header...)
			require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, got.status, got.body)
			require.Contains(t, r.lastRecord().Decision.Reason, tt.want)
		})
	}
	require.Empty(t, r.server.Requests())
}

func TestStepIsPassedOnOnce(t *testing.T) {
	for name, options := range forms {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options)
			w := r.worker("alice")
			body := call("echo", "hi")
			question := w.asking(body)
			first := w.send(question, body)
			anew := w.asking(body, func(q *receipt.Receipt) { q.Workflow.Task = 1 })
			other := call("echo", "other")
			for _, repeat := range []func() answered{
				func() answered { return w.send(question, body) },
				func() answered { return w.send(anew, body) },
				func() answered {
					return w.send(w.asking(other, func(q *receipt.Receipt) { q.Workflow.Task = 1 }), other)
				},
				func() answered { r.again(); return w.send(question, body) },
				func() answered { return w.send(anew, body) },
			} {
				got := repeat()
				require.Equal(t, http.StatusConflict, got.status, got.body)
				require.Equal(t, encoded(question), got.header.Get(mcpguard.HeaderQuestion))
				require.Equal(t, first.header.Get(mcpguard.HeaderAnswer), got.header.Get(mcpguard.HeaderAnswer))
				require.Empty(t, got.header.Get(mcpguard.HeaderChain))
				require.Contains(t, r.lastRecord().Decision.Reason, "passed on before")
			}
			require.Len(t, r.server.Requests(), 1)
			w.send(w.asking(body), body)
			require.Len(t, r.server.Requests(), 2, "another step with the same arguments is another call")
		})
	}
}

func TestOneOfManyOfAStepPasses(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	w := r.worker("alice")
	body := call("echo", "hi")
	question := encoded(w.asking(body))
	var wait sync.WaitGroup
	results := make(chan answered, 16)
	for range 16 {
		wait.Go(func() { results <- r.post(w.url, body, mcpguard.HeaderQuestion, question) })
	}
	wait.Wait()
	close(results)
	count := map[int]int{}
	for got := range results {
		count[got.status]++
		require.NotEqual(t, got.header.Get(mcpguard.HeaderAnswer) == "", got.header.Get(mcpguard.HeaderChain) == "", "there is an answer, or it is unknown")
	}
	require.Equal(t, map[int]int{http.StatusOK: 1, http.StatusConflict: 15}, count)
	require.Len(t, r.server.Requests(), 1)
}

// breakable is an identity that can be away.
type breakable struct {
	*x509svid.SVID

	away atomic.Bool
}

func (b *breakable) GetX509SVID() (*x509svid.SVID, error) {
	if b.away.Load() {
		return nil, errors.New("sentry is away")
	}
	return b.SVID, nil
}

// What was passed on and could not be settled is not passed on again, in this
// process or the next.
func TestStepOfUnknownOutcome(t *testing.T) {
	identity := &breakable{}
	calls := 0
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		identity.away.Store(true)
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write([]byte(`{"jsonrpc":"2.0","id":7,"result":{}}`))
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(backend.Close)
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
		r.useBackend(backend)
		identity.SVID = r.ca.SVID("server")
		r.host.SVIDs = identity
	})
	w := r.worker("alice")
	body := call("echo", "hi")
	question := w.asking(body)
	require.Equal(t, http.StatusServiceUnavailable, w.send(question, body).status)
	require.Equal(t, http.StatusServiceUnavailable, w.send(question, body).status, "what cannot be recorded is not told")
	identity.away.Store(false)
	for _, again := range []func(){func() {}, r.again} {
		again()
		w.isUnknown(question, body)
	}
	require.Equal(t, 1, calls)
}

// isUnknown checks that a step is not passed on again, and that its outcome is said to be unknown.
func (w *worker) isUnknown(question *receipt.Envelope, body string) {
	t := w.r.t
	t.Helper()
	got := w.send(question, body)
	require.Equal(t, http.StatusConflict, got.status, got.body)
	require.Equal(t, mcpguard.ChainUnknown, got.header.Get(mcpguard.HeaderChain))
	require.Equal(t, encoded(question), got.header.Get(mcpguard.HeaderQuestion))
	require.Empty(t, got.header.Values(mcpguard.HeaderAnswer))
	told := w.ask(question)
	require.Equal(t, http.StatusOK, told.status)
	require.JSONEq(t, `{"state":"unknown","question":`+string(question.AppendJSON(nil))+`}`, told.body)
}
