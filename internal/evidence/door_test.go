// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence_test

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// door writes journals as the gate does, or with one thing wrong.
type door struct {
	t      *testing.T
	ca     *testkit.CA
	dir    string
	writer *journal.Writer
	id     spiffeid.ID
	chain  []*x509.Certificate
	signer receipt.Signer
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{t: t, ca: testkit.NewCA(t, "custody.test"), dir: t.TempDir()}
	svid := d.ca.SVID("orders")
	d.id, d.chain = svid.ID, svid.Certificates
	var err error
	d.signer, err = receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	require.NoError(t, err)
	d.writer, err = journal.Open(journal.Options{Dir: d.dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.writer.Close()) })
	return d
}

func (d *door) append(kind journal.Kind, payload []byte) journal.Position {
	d.t.Helper()
	at, err := d.writer.Append(kind, payload)
	require.NoError(d.t, err)
	return at
}

func (d *door) certificates() {
	d.t.Helper()
	payload, err := receipt.EncodeCertificates(d.chain)
	require.NoError(d.t, err)
	d.append(journal.KindCertificates, payload)
}

func (d *door) intent(id string) (receipt.Intent, journal.Position) {
	d.t.Helper()
	intent := receipt.Intent{
		ID: id, Decided: time.Now().UTC(), Caller: spiffeid.RequireFromString("spiffe://custody.test/ns/default/agent"),
		Action:        receipt.Action{Kind: "mcp.tools/call", Server: "orders", Name: "get_order"},
		RequestDigest: receipt.Sum([]byte(id)), SetDigest: receipt.Sum([]byte("set")),
	}
	payload, err := intent.AppendJSON(nil)
	require.NoError(d.t, err)
	return intent, d.append(journal.KindIntent, payload)
}

func (d *door) receiptOf(i receipt.Intent, at journal.Position) *receipt.Receipt {
	return &receipt.Receipt{
		ID: i.ID, Door: receipt.Door{SPIFFEID: d.id}, Caller: receipt.Caller{SPIFFEID: i.Caller}, Action: i.Action,
		RequestDigest: i.RequestDigest,
		Decision:      receipt.Decision{Effect: receipt.EffectAllow, Rule: "r", SetDigest: i.SetDigest},
		Journal:       receipt.Journal{ID: d.writer.ID(), Seq: at.Seq, Chain: at.Chain},
		Times:         receipt.Times{Decided: i.Decided, Settled: i.Decided.Add(time.Millisecond)},
		Outcome:       receipt.Outcome{Status: receipt.StatusOK},
	}
}

func (d *door) settle(r *receipt.Receipt) *receipt.Envelope {
	d.t.Helper()
	e, err := receipt.Sign(r, d.signer)
	require.NoError(d.t, err)
	d.append(journal.KindReceipt, e.WithoutCertificates().AppendJSON(nil))
	return e
}

// call is one action from its intent to its receipt.
func (d *door) call(id string) *receipt.Envelope {
	d.t.Helper()
	return d.settle(d.receiptOf(d.intent(id)))
}

func (d *door) check() evidence.Check { return evidence.Check{Bundles: d.ca.Bundle()} }
