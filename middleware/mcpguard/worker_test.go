// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/toolcall"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// worker is an app that does steps of workflows, with what its sidecar signs.
type worker struct {
	r     *rig
	app   string
	svid  *x509svid.SVID
	url   string
	chain receipt.Chain
	links []*receipt.Envelope
	heads []receipt.Digest
	task  uint32
	// generation is that of its workflow.
	generation uint32
}

func (r *rig) worker(app string) *worker {
	r.t.Helper()
	svid := r.ca.SVID(app)
	return &worker{
		r: r, app: app, svid: svid, url: r.asSVID(svid),
		chain: receipt.Chain{App: svid.ID, Instance: "refund-1", Started: time.Now().Add(-time.Second)},
	}
}

// in is the worker of another app in the same chain, as that of a child workflow.
func (w *worker) in(app string) *worker {
	other := w.r.worker(app)
	other.chain, other.heads, other.task = w.chain, w.heads, w.task+100
	return other
}

func sign(tb testing.TB, r *receipt.Receipt, svid *x509svid.SVID) *receipt.Envelope {
	tb.Helper()
	r.Door.SPIFFEID = svid.ID
	return testkit.Sign(tb, r, svid)
}

// link is a receipt of the worker's own for its next step.
func (w *worker) link(kind, step, status string) *receipt.Receipt {
	w.task++
	id, now := w.chain, time.Now()
	return &receipt.Receipt{
		ID: fmt.Sprintf("%s-%d", w.app, w.task), Caller: receipt.Caller{SPIFFEID: w.svid.ID, Proof: "sidecar"},
		Action: receipt.Action{Kind: kind, Name: step}, RequestDigest: receipt.Sum([]byte(step)),
		Decision: receipt.Decision{Effect: receipt.EffectAllow}, Prev: w.heads,
		Workflow: &receipt.Workflow{Chain: &id, Instance: id.Instance, App: w.app, Name: "refund", Generation: w.generation, Task: w.task, Step: step},
		Journal:  receipt.Journal{ID: "j", Chain: receipt.Sum([]byte("j"))},
		Times:    receipt.Times{Decided: now, Settled: now}, Outcome: receipt.Outcome{Status: status},
	}
}

// state makes a statement, which is the head then.
func (w *worker) state(step string, change ...func(*receipt.Receipt)) {
	w.r.t.Helper()
	r := w.link(chain.KindAttest, step, receipt.StatusStated)
	for _, c := range change {
		c(r)
	}
	w.went(sign(w.r.t, r, w.svid))
}

func (w *worker) went(e *receipt.Envelope) {
	w.links, w.heads = append(w.links, e), []receipt.Digest{e.PayloadDigest()}
}

// asking is the question for a body, which change may alter before it is signed.
func (w *worker) asking(body string, change ...func(*receipt.Receipt)) *receipt.Envelope {
	w.r.t.Helper()
	return w.asked(w.r.t, body, change...)
}

func (w *worker) asked(tb testing.TB, body string, change ...func(*receipt.Receipt)) *receipt.Envelope {
	tb.Helper()
	message, err := toolcall.Parse(toolcall.HeadersOf(http.Header{"Content-Type": {"application/json"}}), []byte(body), toolcall.Limits{})
	require.NoError(tb, err)
	r := w.link("mcp."+message.Method(), "step", receipt.StatusAsked)
	r.Action.Server, r.Action.Name, r.RequestDigest = "server", message.Name(), receipt.Sum(message.Body())
	r.To = w.r.host.ID
	text, err := message.ArgumentsDigest()
	require.NoError(tb, err)
	r.ArgumentsDigest, err = receipt.ParseDigest(text)
	require.NoError(tb, err)
	for _, c := range change {
		c(r)
	}
	return sign(tb, r, w.svid)
}

func encoded(e *receipt.Envelope) string {
	return base64.RawURLEncoding.EncodeToString(e.AppendJSON(nil))
}

func decoded(tb testing.TB, text string) *receipt.Envelope {
	tb.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(tb, err)
	e, err := receipt.DecodeEnvelope(b)
	require.NoError(tb, err)
	return e
}

func (w *worker) send(question *receipt.Envelope, body string, header ...string) answered {
	w.r.t.Helper()
	return w.r.post(w.url, body, append([]string{mcpguard.HeaderQuestion, encoded(question)}, header...)...)
}

// call is a step that is asked for and, if it is answered, the next head.
func (w *worker) call(tool, text string, header ...string) answered {
	w.r.t.Helper()
	body := call(tool, text)
	question := w.asking(body)
	got := w.send(question, body, header...)
	if link := got.header.Get(mcpguard.HeaderAnswer); link != "" && got.status == http.StatusOK {
		w.links = append(w.links, question)
		w.went(decoded(w.r.t, link))
	}
	return got
}

// answer verifies the answer that came with a response.
func (w *worker) answer(got answered) *receipt.Receipt {
	w.r.t.Helper()
	verified, err := receipt.Verify(decoded(w.r.t, got.header.Get(mcpguard.HeaderAnswer)), w.r.host.Bundles, receipt.VerifyOptions{Door: w.r.host.ID})
	require.NoError(w.r.t, err)
	return verified.Receipt
}

type learned struct {
	Known   int      `json:"known"`
	Missing []string `json:"missing"`
	Faults  []struct {
		Digest, Kind, Detail string
	} `json:"faults"`
}

// present gives the guard links of the worker's chain.
func (w *worker) present(links ...*receipt.Envelope) learned {
	w.r.t.Helper()
	got := w.r.do(http.MethodPost, w.url+"/custody/v1/chain", presenting(w.r.t, &w.chain, links...))
	require.Equal(w.r.t, http.StatusOK, got.status, got.body)
	require.NotEmpty(w.r.t, got.header.Get(mcpguard.HeaderReceipt))
	var said learned
	require.NoError(w.r.t, json.Unmarshal([]byte(got.body), &said))
	return said
}

func presenting(tb testing.TB, id *receipt.Chain, links ...*receipt.Envelope) string {
	tb.Helper()
	if links == nil {
		links = []*receipt.Envelope{}
	}
	text, err := json.Marshal(map[string]any{"chain": id, "links": links})
	require.NoError(tb, err)
	return string(text)
}

// ask gets the answer to a question of the worker's.
func (w *worker) ask(question *receipt.Envelope) answered {
	w.r.t.Helper()
	return w.r.do(http.MethodGet, w.url+"/custody/v1/chain/answer?question="+question.Digest(), "")
}

// again makes the guard anew from its journal, as after a restart of the sidecar.
func (r *rig) again() {
	r.t.Helper()
	require.NoError(r.t, r.factory.Close())
	r.factory = mcpguard.NewFactory(func() (mcpguard.Host, error) { return r.host, nil })
	var err error
	r.guard, err = r.factory.Make("mcpguard", r.meta)
	require.NoError(r.t, err)
}

// otherAuthority adds another trust domain to those whose roots the guard has.
func otherAuthority(r *rig) *testkit.CA {
	other := testkit.NewCA(r.t, "elsewhere.local")
	r.host.Bundles = x509bundle.NewSet(r.ca.Bundle(), other.Bundle())
	return other
}
