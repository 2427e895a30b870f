// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

const call = "mcp.tools/call"

// workflow makes a change of a link's workflow.
func workflow(change func(*receipt.Workflow)) func(*receipt.Receipt) {
	return func(r *receipt.Receipt) { change(r.Workflow) }
}

func sum(text string) receipt.Digest { return receipt.Sum([]byte(text)) }

func many(n int) []receipt.Digest {
	var out []receipt.Digest
	for i := range n {
		out = append(out, sum(strings.Repeat("x", i)))
	}
	return out
}

// Each row is a link that is refused, and beside it the nearest one that is not.
func TestWhatALinkMayNotSay(t *testing.T) {
	none := func(*receipt.Receipt) {}
	prev := func(n int) func(*receipt.Receipt) {
		return func(r *receipt.Receipt) { r.Prev = many(n) }
	}
	status := func(s string) func(*receipt.Receipt) {
		return func(r *receipt.Receipt) {
			if r.Outcome.Status, r.To = s, (spiffeid.ID{}); s == receipt.StatusAsked {
				r.To = app("payments")
			}
		}
	}
	by := func(id spiffeid.ID) func(*receipt.Receipt) {
		return func(r *receipt.Receipt) { r.Door.SPIFFEID, r.Caller.SPIFFEID = id, id }
	}
	asAnswer := func(r *receipt.Receipt) { status(receipt.StatusOK)(r); r.Prev = many(1) }
	for _, tt := range []struct {
		name, kind string
		bad        func(*receipt.Receipt)
		want       chain.FaultKind
		detail     string
		good       func(*receipt.Receipt)
	}{
		{"no workflow", chain.KindAttest, func(r *receipt.Receipt) { r.Workflow = nil }, chain.FaultOtherChain, "names no chain", none},
		{"no chain", chain.KindAttest, workflow(func(w *receipt.Workflow) { w.Chain = nil }), chain.FaultOtherChain, "names no chain", none},
		{
			"another instance's chain", chain.KindAttest, workflow(func(w *receipt.Workflow) { w.Chain.Instance = "refund-8" }),
			chain.FaultOtherChain, `instance "refund-8"`, workflow(func(w *receipt.Workflow) { w.Instance = "refund-8" }),
		},
		{
			"another app's chain", chain.KindAttest, workflow(func(w *receipt.Workflow) { w.Chain.App = app("fraud") }),
			chain.FaultOtherChain, "its chain is that of spiffe://custody.test/ns/default/fraud", none,
		},
		{
			"an earlier run", chain.KindAttest, workflow(func(w *receipt.Workflow) { w.Chain.Started = w.Chain.Started.Add(-1) }),
			chain.FaultOtherChain, "its chain started at",
			workflow(func(w *receipt.Workflow) { w.Chain.Started = w.Chain.Started.In(time.FixedZone("", 3600)) }),
		},
		{
			"statement with the status of a question", chain.KindAttest, status(receipt.StatusAsked), chain.FaultStatus,
			`kind "custody.attest" with status "asked"`, none,
		},
		{"statement that is approved", chain.KindAttest, status(receipt.StatusApproved), chain.FaultStatus, "", none},
		{"approval that is stated", chain.KindApproval, status(receipt.StatusStated), chain.FaultStatus, "", none},
		{"join that went well", chain.KindJoin, status(receipt.StatusOK), chain.FaultStatus, "", none},
		{"end that is anchored", chain.KindEnd, status(receipt.StatusAnchored), chain.FaultStatus, "", none},
		{"call that is stated", call, status(receipt.StatusStated), chain.FaultStatus, "", none},
		{"call that is approved", call, status(receipt.StatusApproved), chain.FaultStatus, "", none},
		{"call that is anchored", call, status(receipt.StatusAnchored), chain.FaultStatus, "", none},
		{"kind of ours that there is none of", "custody.other", none, chain.FaultStatus, "custody.other", nil},
		{"statement that is denied", chain.KindAttest, func(r *receipt.Receipt) {
			r.Outcome.Status, r.Decision.Effect = receipt.StatusDenied, receipt.EffectDeny
		}, chain.FaultStatus, "", none},
		{
			"statement without a step", chain.KindAttest, workflow(func(w *receipt.Workflow) { w.Step = "" }), chain.FaultForm,
			"workflow.step is missing", none,
		},
		{"question without a step", call, workflow(func(w *receipt.Workflow) { w.Step = "" }), chain.FaultForm, "", none},
		{
			"statement of another name", chain.KindAttest, workflow(func(w *receipt.Workflow) { w.Step = "other" }), chain.FaultForm,
			`action.name is "step", workflow.step "other"`,
			func(r *receipt.Receipt) { r.Workflow.Step, r.Action.Name = "other", "other" },
		},
		{"approval of another name", chain.KindApproval, func(r *receipt.Receipt) { r.Action.Name = "other" }, chain.FaultForm, "", none},
		{
			"statement to a server", chain.KindAttest, func(r *receipt.Receipt) { r.Action.Server = "payments" }, chain.FaultForm,
			`action.server is "payments"`, none,
		},
		{
			"statement of another app", chain.KindAttest, workflow(func(w *receipt.Workflow) { w.App = "fraud" }), chain.FaultSigner,
			`the step is of app "fraud"`, func(r *receipt.Receipt) { by(app("fraud"))(r); r.Workflow.App = "fraud" },
		},
		{"question of another app", call, by(app("fraud")), chain.FaultSigner, "", none},
		{"join of another app", chain.KindJoin, by(app("fraud")), chain.FaultSigner, "", none},
		{"end of another app", chain.KindEnd, by(app("fraud")), chain.FaultSigner, "", none},
		{
			"app of the name in another namespace", chain.KindAttest, by(spiffeid.RequireFromString("spiffe://custody.test/ns/prod/intake")),
			chain.FaultSigner, "", none,
		},
		{
			"signer with a longer path", chain.KindAttest, by(spiffeid.RequireFromString("spiffe://custody.test/ns/default/intake/x")),
			chain.FaultSigner, "", none,
		},
		{
			"app whose name is a path", chain.KindAttest, func(r *receipt.Receipt) {
				by(spiffeid.RequireFromString("spiffe://custody.test/ns/default/intake/x"))(r)
				r.Workflow.App = "intake/x"
			},
			chain.FaultSigner, "", none,
		},
		{
			"signer without a namespace", chain.KindAttest, by(spiffeid.RequireFromString("spiffe://custody.test/intake")),
			chain.FaultSigner, "", none,
		},
		{
			"approval for an app of the chain by another", chain.KindApproval, func(r *receipt.Receipt) { r.Caller.SPIFFEID = app("intake") },
			chain.FaultCaller, "the signer spiffe://custody.test/ns/default/approver", by(app("anybody")),
		},
		{"question with another caller", call, func(r *receipt.Receipt) { r.Caller.SPIFFEID = app("fraud") }, chain.FaultCaller, "", none},
		{"question without a caller", call, func(r *receipt.Receipt) { r.Caller = receipt.Caller{} }, chain.FaultCaller, `the caller is ""`, none},
		{"answer to nothing", call, status(receipt.StatusOK), chain.FaultPrev, "continues 0 links", asAnswer},
		{"answer that continues two", call, func(r *receipt.Receipt) { asAnswer(r); r.Prev = many(2) }, chain.FaultPrev, "continues 2 links", asAnswer},
		{"seventeen predecessors", call, prev(17), chain.FaultPrev, "more than 16 are first joined", prev(16)},
		{"end with seventeen predecessors", chain.KindEnd, prev(17), chain.FaultPrev, "", prev(16)},
		{
			"join that names one twice", chain.KindJoin, func(r *receipt.Receipt) { r.Prev = append(many(17), sum("")) }, chain.FaultPrev,
			"twice", prev(receipt.MaxPrev),
		},
		{
			"large", chain.KindAttest, func(r *receipt.Receipt) { r.Decision.Reason = strings.Repeat("x", chain.MaxPayload) }, chain.FaultTooMany,
			"a link at most 131072", func(r *receipt.Receipt) { r.Decision.Reason = strings.Repeat("x", chain.MaxPayload-2000) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.chain()
			signer := app("intake")
			if tt.kind == chain.KindApproval {
				signer = app("approver")
			}
			bad := w.link(tt.kind, "step", signer, nil, tt.bad)
			l, err := c.Add(bad)
			require.Nil(t, l)
			var fault *chain.Fault
			require.ErrorAs(t, err, &fault)
			require.Equalf(t, tt.want, fault.Kind, "%v", err)
			require.Equal(t, bad.PayloadDigest(), fault.Link)
			require.Contains(t, fault.Detail, tt.detail)
			require.Contains(t, err.Error(), tt.want.Sentence())
			require.Zero(t, c.Len())
			require.False(t, c.Knows(bad.PayloadDigest()))
			require.Zero(t, c.View(digests(bad)).Len())
			if tt.good != nil {
				good := w.link(tt.kind, "step", signer, nil, tt.good)
				l, err := c.Add(good)
				require.NoError(t, err)
				require.Equal(t, l, c.Link(good.PayloadDigest()))
			}
		})
	}
}

// What is wrong with the envelope is told as a kind, and what package receipt says of it is kept.
func TestWhatAnEnvelopeMayNotBe(t *testing.T) {
	w := newWorld(t)
	good := w.state("step")
	elsewhere := testkit.NewCA(t, "elsewhere.test")
	for _, tt := range []struct {
		name   string
		change func(e *receipt.Envelope)
		want   chain.FaultKind
		cause  error
	}{
		{"payload type", func(e *receipt.Envelope) { e.PayloadType = "x" }, chain.FaultEnvelope, receipt.ErrEnvelope},
		{"payload", func(e *receipt.Envelope) { e.Payload = []byte(string(e.Payload) + " ") }, chain.FaultSignature, receipt.ErrSignature},
		{"no signature", func(e *receipt.Envelope) { e.Signatures = nil }, chain.FaultSignature, receipt.ErrSignature},
		{"no certificate", func(e *receipt.Envelope) { *e = *e.WithoutCertificates() }, chain.FaultCertificate, receipt.ErrCertificate},
		{"signer of another trust domain", func(e *receipt.Envelope) {
			svid := elsewhere.SVID("intake")
			r, err := e.UnsafeReceipt()
			require.NoError(t, err)
			r.Door.SPIFFEID = svid.ID
			*e = *testkit.Sign(t, r, svid)
		}, chain.FaultTrustDomain, receipt.ErrTrustDomain},
		{"signature over another payload", func(e *receipt.Envelope) {
			r, err := e.UnsafeReceipt()
			require.NoError(t, err)
			r.Door.SPIFFEID = app("fraud")
			e.Signatures = w.sign(r).Signatures
		}, chain.FaultSignature, receipt.ErrSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := *good
			tt.change(&e)
			_, err := w.chain().Add(&e)
			var fault *chain.Fault
			require.ErrorAs(t, err, &fault)
			require.Equalf(t, tt.want, fault.Kind, "%v", err)
			require.ErrorIs(t, err, tt.cause)
			require.Equal(t, e.PayloadDigest(), fault.Link)
		})
	}
	_, err := w.chain().Add(nil)
	require.ErrorIs(t, err, receipt.ErrEnvelope)
	_, err = chain.New(w.id, chain.Options{}).Add(good)
	require.ErrorIs(t, err, receipt.ErrTrustDomain, "without bundles nothing is believed")
}

// A trust domain that is known is still not that of the chain.
func TestSignerOfAFederatedTrustDomain(t *testing.T) {
	w := newWorld(t)
	elsewhere := testkit.NewCA(t, "elsewhere.test")
	svid := elsewhere.SVID("approver")
	signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	require.NoError(t, err)
	w.signers[svid.ID] = signer
	both := x509bundleSet(w.ca.Bundle(), elsewhere.Bundle())
	link := w.link(chain.KindApproval, "approve", svid.ID, nil)
	_, err = chain.New(w.id, chain.Options{Bundles: both}).Add(link)
	require.ErrorContains(t, err, "the signer is spiffe://elsewhere.test/ns/default/approver")
	var fault *chain.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, chain.FaultTrustDomain, fault.Kind)
	_, err = chain.New(w.id, chain.Options{Bundles: both}).Add(w.link(chain.KindApproval, "approve", app("approver"), nil))
	require.NoError(t, err)
}

func TestAddAgainIsNoError(t *testing.T) {
	w := newWorld(t)
	e := w.state("step")
	c := w.chain()
	first, err := c.Add(e)
	require.NoError(t, err)
	again, err := c.Add(e)
	require.NoError(t, err)
	require.Same(t, first, again)
	require.Equal(t, 1, c.Len())
	require.Empty(t, c.Faults())
}

func TestAtIsTheMomentOfCertificates(t *testing.T) {
	w := newWorld(t)
	e := w.state("step")
	o := w.options()
	o.At = func(r *receipt.Receipt) time.Time { return r.Times.Settled.Add(2 * time.Hour) }
	_, err := chain.New(w.id, o).Add(e)
	require.ErrorIs(t, err, receipt.ErrCertificate)
	_, err = w.chain().Add(e)
	require.NoError(t, err)
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.MaxLinks = 2
	fault := func(err error) chain.FaultKind {
		var f *chain.Fault
		require.True(t, errors.As(err, &f), "%v", err)
		return f.Kind
	}
	c := chain.New(w.id, o)
	first := w.state("one")
	for _, e := range []*receipt.Envelope{first, w.state("two", first)} {
		_, err := c.Add(e)
		require.NoError(t, err)
	}
	_, err := c.Add(w.state("three"))
	require.Equal(t, chain.FaultTooMany, fault(err))
	_, err = c.Add(first)
	require.NoError(t, err)

	c = chain.New(w.id, o)
	_, err = c.Add(w.link(chain.KindJoin, "join", app("intake"), nil, func(r *receipt.Receipt) { r.Prev = many(4) }))
	require.Equal(t, chain.FaultTooMany, fault(err))
	require.Empty(t, c.Missing(), "nothing of what was refused is kept")
	large := func(r *receipt.Receipt) { r.Decision.Reason = strings.Repeat("x", 8<<10) }
	_, err = c.Add(w.link(chain.KindAttest, "large", app("intake"), nil, large))
	require.Equal(t, chain.FaultTooMany, fault(err))
}

func TestEveryKindHasASentence(t *testing.T) {
	for _, k := range []chain.FaultKind{
		chain.FaultEnvelope, chain.FaultSignature, chain.FaultCertificate, chain.FaultPayload, chain.FaultOtherChain,
		chain.FaultTrustDomain, chain.FaultSigner, chain.FaultCaller, chain.FaultStatus, chain.FaultForm, chain.FaultPrev,
		chain.FaultTooMany, chain.FaultAnswer, chain.FaultDoor, chain.FaultTime, chain.FaultFork, chain.FaultTwoAnswers, chain.FaultAfterEnd,
		chain.FaultMissing, chain.FaultPredecessor, chain.FaultBesideEnd, chain.FaultNotEnded, chain.FaultDuplicate,
	} {
		require.NotEmpty(t, k.Sentence(), k)
	}
	require.Empty(t, chain.FaultKind("other").Sentence())
}

// A CA as leaf and the like are told apart in package receipt; here it matters that they are refused.
func TestCertificatesThatAreNotOfAWorkload(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*x509.Certificate){
		"authority":    func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true },
		"no key usage": func(c *x509.Certificate) { c.KeyUsage = 0 },
		"expired":      func(c *x509.Certificate) { c.NotAfter = w.now.Add(-time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			svid := w.ca.SVIDFor(app("intake"), change)
			signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
			require.NoError(t, err)
			w.signers[svid.ID] = signer
			_, err = w.chain().Add(w.state("step"))
			require.ErrorIs(t, err, receipt.ErrCertificate)
		})
	}
}
