// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// world is a trust domain with one door in it.
type world struct {
	ca     *testkit.CA
	door   spiffeid.ID
	chain  []*x509.Certificate
	signer receipt.Signer
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	ca := testkit.NewCA(tb, "custody.test")
	svid := ca.SVID("orders")
	signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	require.NoError(tb, err)
	return &world{ca: ca, door: svid.ID, chain: svid.Certificates, signer: signer}
}

// full is a receipt with every member set but to, which belongs to questions.
func (w *world) full() *receipt.Receipt {
	now := time.Now().UTC()
	return &receipt.Receipt{
		ID:   "01J9-abc_def.1",
		Door: receipt.Door{SPIFFEID: w.door, Name: "mcpguard"},
		Caller: receipt.Caller{
			SPIFFEID: spiffeid.RequireFromString("spiffe://custody.test/ns/default/support-agent"), Proof: "x509-svid",
			CertificateDigest: receipt.Sum([]byte("certificate")),
		},
		Txn: "t:1",
		Actors: []spiffeid.ID{
			spiffeid.RequireFromString("spiffe://custody.test/ns/default/intake"),
			spiffeid.RequireFromString("spiffe://custody.test/ns/default/support-agent"),
		},
		Action:          receipt.Action{Kind: "mcp.tools/call", Server: "orders", Name: "get_order"},
		RequestDigest:   receipt.Sum([]byte("request")),
		ArgumentsDigest: receipt.Sum([]byte("arguments")),
		Decision: receipt.Decision{
			Effect: receipt.EffectAllow, Policy: "orders", Rule: "support-reads", Reason: "rule \"support-reads\"\nallows",
			SetDigest: receipt.Sum([]byte("set")),
			Shadow:    &receipt.Shadow{Effect: receipt.EffectDeny, Policy: "trial", Rule: "strict", Reason: "rule denies it"},
		},
		Touched:     []receipt.Touched{{Kind: "sql.select", Name: "shop.\"Orders\""}, {Kind: "sql.select"}},
		TouchedMore: 7,
		Statement:   &receipt.Statement{Fingerprint: "fedcba9876543210", Digest: receipt.Sum([]byte("SELECT 1")), Text: "SELECT 1 -- \u2028"},
		Workflow: &receipt.Workflow{
			Chain: &receipt.Chain{
				App: spiffeid.RequireFromString("spiffe://custody.test/ns/default/intake"), Instance: "wf-\"0\"",
				Started: now.Add(-time.Hour).Truncate(time.Second).Add(123456789), // no zero at its end, which encoding/json leaves out
			},
			Instance: "wf-1", App: "refunds", Name: "refund", Generation: 2, Task: 4, Step: "charge",
		},
		Prev:    []receipt.Digest{receipt.Sum([]byte("one")), receipt.Sum([]byte("two"))},
		Journal: receipt.Journal{ID: "0123456789abcdef", Seq: 41, Chain: receipt.Sum([]byte("chain"))},
		Times:   receipt.Times{Decided: now, Settled: now.Add(1500 * time.Microsecond)},
		Outcome: receipt.Outcome{
			Status: receipt.StatusOK, HTTPStatus: 200,
			ResponseDigest: receipt.Sum([]byte("response")), ResultDigest: receipt.Sum([]byte("result")),
			Rows: 3, Reason: "because", Redacted: map[string]int{"iban": 1, "email": 3, "card": 12},
		},
	}
}

// asked is a question of a chain.
func (w *world) asked() *receipt.Receipt {
	r := w.full()
	r.To = spiffeid.RequireFromString("spiffe://custody.test/ns/default/payments")
	r.Outcome = receipt.Outcome{Status: receipt.StatusAsked}
	return r
}

// least is a receipt with no member set that may be left out.
func (w *world) least() *receipt.Receipt {
	now := time.Now().UTC()
	return &receipt.Receipt{
		ID:            "a",
		Door:          receipt.Door{SPIFFEID: w.door},
		Action:        receipt.Action{Kind: "http.request"},
		RequestDigest: receipt.Sum(nil),
		Decision:      receipt.Decision{Effect: receipt.EffectDeny},
		Journal:       receipt.Journal{ID: "j", Chain: receipt.Sum([]byte("chain"))},
		Times:         receipt.Times{Decided: now, Settled: now},
		Outcome:       receipt.Outcome{Status: receipt.StatusDenied},
	}
}

func (w *world) sign(tb testing.TB, r *receipt.Receipt) *receipt.Envelope {
	tb.Helper()
	e, err := receipt.Sign(r, w.signer)
	require.NoError(tb, err)
	return e
}

func clone(e *receipt.Envelope) *receipt.Envelope {
	c := *e
	c.Payload = slices.Clone(e.Payload)
	c.Signatures = slices.Clone(e.Signatures)
	for i, s := range c.Signatures {
		c.Signatures[i].Sig = slices.Clone(s.Sig)
		c.Signatures[i].Intermediates = slices.Clone(s.Intermediates)
	}
	return &c
}
