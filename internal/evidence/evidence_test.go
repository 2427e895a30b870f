// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

func TestWalkJoins(t *testing.T) {
	d := newDoor(t)
	d.certificates()
	full := d.call("one")
	d.intent("lost")
	denied := d.receiptOf(d.intent("two"))
	denied.Decision.Effect, denied.Outcome.Status = receipt.EffectDeny, receipt.StatusDenied
	d.settle(denied)

	var items []*evidence.Item
	summary, err := evidence.Walk(d.dir, func(i *evidence.Item) error {
		items = append(items, i)
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, 6, summary.Head.Seq)
	summary.Head = journal.Position{}
	require.Equal(t, &evidence.Summary{
		Source: d.dir, Journal: d.writer.ID(), Records: 6, Receipts: 2, Unsettled: 1, Findings: []evidence.Finding{},
	}, summary)
	require.Len(t, items, 3)
	require.Equal(t, "one", items[0].ID())
	require.Equal(t, full, items[0].Envelope)
	require.Equal(t, "one", items[0].Intent.ID)
	require.Equal(t, "two", items[1].ID())
	require.Equal(t, denied, items[1].Receipt)
	require.Equal(t, "lost", items[2].ID())
	require.Nil(t, items[2].Receipt)
	require.EqualValues(t, 4, items[2].Seq)

	var progress int
	check := d.check()
	check.Progress = func() { progress++ }
	report, err := evidence.VerifyJournal(d.dir, check)
	require.NoError(t, err)
	require.True(t, report.OK())
	require.Equal(t, 2, report.Good)
	require.Equal(t, 2, progress)

	enough := errors.New("enough")
	_, err = evidence.Walk(d.dir, func(*evidence.Item) error { return enough })
	require.ErrorIs(t, err, enough)
}

func TestFindings(t *testing.T) {
	other := testkit.NewCA(t, "custody.test").SVID("orders")
	for _, tt := range []struct {
		name  string
		write func(d *door)
		seq   uint64
		want  string
	}{
		{"no certificates", func(d *door) { d.call("a") }, 2, "there is none for key ID"},
		{"certificates of another root", func(d *door) {
			d.chain = other.Certificates
			var err error
			d.signer, err = receipt.NewSigner(other.PrivateKey, other.Certificates)
			require.NoError(d.t, err)
			d.certificates()
			d.call("a")
		}, 3, "does not chain to the bundle"},
		{"certificates broken", func(d *door) { d.append(journal.KindCertificates, []byte{1}) }, 1, "ends within a length"},
		{"intent broken", func(d *door) { d.append(journal.KindIntent, []byte(`{}`)) }, 1, "of the intent"},
		{"receipt broken", func(d *door) { d.append(journal.KindReceipt, []byte(`{}`)) }, 1, "payload is missing"},
		{"receipt with a broken payload", func(d *door) {
			d.append(journal.KindReceipt, []byte(`{"payload":"e30=","payloadType":"a","signatures":[]}`))
		}, 1, "_type"},
		{"unknown kind", func(d *door) { d.append(99, nil) }, 1, "records of kind 99 are not known"},
		{"intent twice", func(d *door) { d.intent("a"); d.intent("a") }, 2, "an intent with this ID stands in record 1"},
		{"intent after its receipt", func(d *door) { d.certificates(); d.call("a"); d.intent("a") }, 4, "stands before it, in record 3"},
		{"receipt twice", func(d *door) {
			d.certificates()
			e := d.call("a")
			d.append(journal.KindReceipt, e.WithoutCertificates().AppendJSON(nil))
		}, 4, "a receipt with this ID stands in record 3"},
		{"allowed without intent", func(d *door) {
			d.certificates()
			intent, at := d.intent("a")
			intent.ID = "b"
			d.settle(d.receiptOf(intent, at))
		}, 3, "allowed without an intent"},
		{"signed by another", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			e, err := receipt.Sign(r, d.signer)
			require.NoError(d.t, err)
			e.Signatures[0].Sig[0] ^= 1
			d.append(journal.KindReceipt, e.WithoutCertificates().AppendJSON(nil))
		}, 3, "signature is not valid"},
		{"another caller than intended", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.Caller.SPIFFEID = d.id
			d.settle(r)
		}, 3, "caller is not that of its intent"},
		{"another action than intended", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.Action.Name = "run_report"
			d.settle(r)
		}, 3, "action is not that of its intent"},
		{"another request than intended", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.RequestDigest[0]++
			d.settle(r)
		}, 3, "requestDigest is not that of its intent"},
		{"another set than intended", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.Decision.SetDigest[0]++
			d.settle(r)
		}, 3, "setDigest is not that of its intent"},
		{"another time than intended", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.Times.Decided = r.Times.Decided.Add(-1)
			d.settle(r)
		}, 3, "time of decision is not that of its intent"},
		{"stands on another journal", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.Journal.ID = strings.Repeat("0", 32)
			d.settle(r)
		}, 3, "the receipt is of journal 000"},
		{"stands on itself", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.Journal.Seq = 3
			d.settle(r)
		}, 3, "which is not before it"},
		{"stands on another past", func(d *door) {
			d.certificates()
			r := d.receiptOf(d.intent("a"))
			r.Journal.Chain[0]++
			d.settle(r)
		}, 3, "the journal has sha256:"},
		{"stands before its intent", func(d *door) {
			at := d.append(journal.KindCertificates, must(receipt.EncodeCertificates(d.chain)))
			intent, _ := d.intent("a")
			d.settle(d.receiptOf(intent, at))
		}, 3, "before its intent in record 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			tt.write(d)
			report, err := evidence.VerifyJournal(d.dir, d.check())
			require.NoError(t, err)
			require.False(t, report.OK())
			require.Len(t, report.Findings, 1)
			f := report.Findings[0]
			require.Contains(t, f.Reason, tt.want)
			require.Equal(t, tt.seq, f.Seq)
			require.Equal(t, "00000001.journal", f.Segment)
			require.Positive(t, f.Offset)
			require.Contains(t, f.String(), d.dir+", segment 00000001.journal, offset ")
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A receipt that stands on the empty journal vouches for its ID.
func TestReceiptOnAnEmptyJournal(t *testing.T) {
	d := newDoor(t)
	genesis, err := journal.Genesis(d.writer.ID())
	require.NoError(t, err)
	r := d.receiptOf(receipt.Intent{
		ID: "a", Decided: d.chain[0].NotBefore.UTC(), RequestDigest: receipt.Sum(nil), Action: receipt.Action{Kind: "k"},
	}, journal.Position{Chain: genesis})
	r.Decision.Effect, r.Outcome.Status = receipt.EffectDeny, receipt.StatusDenied
	d.certificates()
	d.settle(r)
	report, err := evidence.VerifyJournal(d.dir, d.check())
	require.NoError(t, err)
	require.Empty(t, report.Findings)
}

// With the checksums mended, the chain of the journal fits again; the signed position does not.
func TestRewrittenHistoryIsFound(t *testing.T) {
	d := newDoor(t)
	d.certificates()
	d.call("a")
	d.call("b")
	rewritten := t.TempDir()
	id := must(hexBytes(d.writer.ID()))
	w, err := journal.Open(journal.Options{Dir: rewritten, Rand: bytes.NewReader(id)})
	require.NoError(t, err)
	err = journal.Read(d.dir, func(r journal.Record) error {
		if r.Seq == 2 {
			r.Payload = bytes.Replace(r.Payload, []byte("get_order"), []byte("get_orden"), 1)
		}
		_, err := w.Append(r.Kind, r.Payload)
		return err
	})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	report, err := evidence.VerifyJournal(rewritten, d.check())
	require.NoError(t, err)
	require.Zero(t, report.Good)
	require.Len(t, report.Findings, 3) // a: chain and action, b: chain
}

func TestCorruptJournalIsFound(t *testing.T) {
	d := newDoor(t)
	d.certificates()
	d.call("a")
	d.call("b")
	path := filepath.Join(d.dir, "00000001.journal")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	text[len(text)-10] ^= 1
	require.NoError(t, os.WriteFile(path, text, 0o600))
	report, err := evidence.VerifyJournal(d.dir, d.check())
	require.NoError(t, err)
	require.Equal(t, 1, report.Good)
	require.Len(t, report.Findings, 1)
	require.EqualValues(t, 5, report.Findings[0].Seq)

	_, err = evidence.VerifyJournal(t.TempDir(), d.check())
	require.ErrorIs(t, err, journal.ErrNoJournal)
}

// What a door says by itself has no intent; what it let pass has one.
func TestSayingNeedsNoIntent(t *testing.T) {
	for status, findings := range map[string]int{
		receipt.StatusAsked: 0, receipt.StatusStated: 0, receipt.StatusApproved: 0, receipt.StatusAnchored: 0, receipt.StatusOK: 1,
	} {
		d := newDoor(t)
		d.certificates()
		_, at := d.intent("other")
		r := d.receiptOf(receipt.Intent{
			ID: "a", Decided: d.chain[0].NotBefore.UTC(), RequestDigest: receipt.Sum(nil), Action: receipt.Action{Kind: "k"},
		}, at)
		r.Outcome.Status = status
		d.settle(r)
		report, err := evidence.VerifyJournal(d.dir, d.check())
		require.NoError(t, err)
		require.Len(t, report.Findings, findings, status)
	}
}
