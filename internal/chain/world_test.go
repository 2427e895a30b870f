// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// world is a trust domain with apps that make links of one chain, a second apart.
type world struct {
	tb      testing.TB
	ca      *testkit.CA
	id      receipt.Chain
	now     time.Time
	signers map[spiffeid.ID]receipt.Signer
	n       int
}

const trustDomain = "custody.test"

func newWorld(tb testing.TB) *world {
	tb.Helper()
	now := time.Now().UTC()
	return &world{
		tb: tb, ca: testkit.NewCA(tb, trustDomain), now: now, signers: map[spiffeid.ID]receipt.Signer{},
		id: receipt.Chain{App: app("intake"), Instance: "refund-7", Started: now.Add(-time.Second)},
	}
}

func app(name string) spiffeid.ID {
	return spiffeid.RequireFromString("spiffe://" + trustDomain + "/ns/default/" + name)
}

func (w *world) signer(id spiffeid.ID) receipt.Signer {
	w.tb.Helper()
	if s := w.signers[id]; s != nil {
		return s
	}
	svid := w.ca.SVIDFor(id, func(c *x509.Certificate) { c.NotBefore = w.now.Add(-30 * time.Minute) })
	s, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	require.NoError(w.tb, err)
	w.signers[id] = s
	return s
}

func (w *world) chain() *chain.Chain { return chain.New(w.id, w.options()) }

func (w *world) options() chain.Options { return chain.Options{Bundles: w.ca.Bundle()} }

// link makes a link of an app's own; changes come before it is signed.
func (w *world) link(kind, step string, by spiffeid.ID, prev []*receipt.Envelope, change ...func(*receipt.Receipt)) *receipt.Envelope {
	w.tb.Helper()
	w.n++
	at := w.now.Add(time.Duration(w.n) * time.Millisecond)
	id := w.id
	r := &receipt.Receipt{
		ID: fmt.Sprintf("link-%d", w.n), Door: receipt.Door{SPIFFEID: by, Name: "mcpcaller"},
		Caller:        receipt.Caller{SPIFFEID: by, Proof: "sidecar"},
		Action:        receipt.Action{Kind: kind, Name: step},
		RequestDigest: receipt.Sum([]byte(step)),
		Decision:      receipt.Decision{Effect: receipt.EffectAllow},
		Workflow: &receipt.Workflow{
			Chain: &id, Instance: w.id.Instance, App: by.Path()[strings.LastIndex(by.Path(), "/")+1:],
			Name: "refund", Task: uint32(w.n), Step: step,
		},
		Journal: receipt.Journal{ID: "j", Chain: receipt.Sum([]byte("j"))},
		Times:   receipt.Times{Decided: at, Settled: at},
		Outcome: receipt.Outcome{Status: receipt.StatusStated},
	}
	for _, p := range prev {
		r.Prev = append(r.Prev, p.PayloadDigest())
	}
	switch kind {
	case chain.KindApproval:
		r.Outcome.Status = receipt.StatusApproved
		r.Workflow.App = "intake"
	case chain.KindAttest, chain.KindJoin, chain.KindEnd, chain.KindContinue, chain.KindBegin:
	default:
		r.Outcome.Status, r.Action.Server, r.Action.Name = receipt.StatusAsked, "payments", "charge_card"
		r.To = app("payments")
	}
	for _, c := range change {
		c(r)
	}
	return w.sign(r)
}

func (w *world) sign(r *receipt.Receipt) *receipt.Envelope {
	w.tb.Helper()
	e, err := receipt.Sign(r, w.signer(r.Door.SPIFFEID))
	require.NoError(w.tb, err)
	return e
}

func (w *world) state(step string, prev ...*receipt.Envelope) *receipt.Envelope {
	return w.link(chain.KindAttest, step, app("intake"), prev)
}

func (w *world) ask(step string, prev ...*receipt.Envelope) *receipt.Envelope {
	return w.link("mcp.tools/call", step, app("intake"), prev)
}

func (w *world) end(prev ...*receipt.Envelope) *receipt.Envelope {
	return w.link(chain.KindEnd, "end", app("intake"), prev)
}

// answer is that of the app payments.
func (w *world) answer(question *receipt.Envelope, change ...func(*receipt.Receipt)) *receipt.Envelope {
	w.tb.Helper()
	r, err := question.UnsafeReceipt()
	require.NoError(w.tb, err)
	w.n++
	r.ID = fmt.Sprintf("answer-%d", w.n)
	r.Door, r.To = receipt.Door{SPIFFEID: app("payments"), Name: "mcpguard"}, spiffeid.ID{}
	r.Caller = receipt.Caller{SPIFFEID: r.Caller.SPIFFEID, Proof: "x509-svid"}
	r.Prev = []receipt.Digest{question.PayloadDigest()}
	r.Times.Decided = w.now.Add(time.Duration(w.n) * time.Millisecond)
	r.Times.Settled = r.Times.Decided
	r.Outcome = receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200}
	for _, c := range change {
		c(r)
	}
	return w.sign(r)
}

func digests(links ...*receipt.Envelope) []receipt.Digest {
	var out []receipt.Digest
	for _, l := range links {
		out = append(out, l.PayloadDigest())
	}
	return out
}

func kinds(faults []*chain.Fault) []string {
	out := []string{}
	for _, f := range faults {
		out = append(out, string(f.Kind))
	}
	return out
}

// all adds links that are all good by themselves.
func (w *world) all(links ...*receipt.Envelope) *chain.Chain {
	w.tb.Helper()
	c := w.chain()
	for _, l := range links {
		_, err := c.Add(l)
		require.NoError(w.tb, err)
	}
	return c
}

func x509bundleSet(bundles ...*x509bundle.Bundle) x509bundle.Source {
	return x509bundle.NewSet(bundles...)
}
