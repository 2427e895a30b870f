// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history_test

import (
	"crypto/x509"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/api/protos"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// world is a trust domain with the apps of a refund.
type world struct {
	t                 testing.TB
	ca                *testkit.CA
	intake, fraud     *x509svid.SVID
	payments, unasked *x509svid.SVID
	at                time.Time
}

func newWorld(t *testing.T) *world { return newWorldTB(t) }

func newWorldTB(t testing.TB) *world {
	ca := testkit.NewCA(t, "custody.test")
	return &world{
		t: t, ca: ca, intake: ca.SVID("intake"), fraud: ca.SVID("fraud"), payments: ca.SVID("payments"), unasked: ca.SVID("unasked"),
		at: time.Now().Add(-time.Second).Truncate(time.Millisecond),
	}
}

// begin is the first of three turns: an activity of the own app was asked for.
func (w *world) begin(instance string) *testkit.History {
	h := testkit.NewHistory(w.t, w.intake, instance, w.at)
	h.Start("refund")
	h.Schedule(0, "look-up", `"order 7"`, "")
	h.Save()
	return h
}

// middle is the second: it was answered, and another app's activity was asked for.
func (w *world) middle(h *testkit.History) *testkit.History {
	h.Turn()
	h.Complete(0, `"42 EUR"`, w.intake)
	h.Schedule(1, "check", `"order 7"`, "fraud")
	h.Save()
	return h
}

func (w *world) finish(h *testkit.History, checker *x509svid.SVID) *testkit.History {
	h.Turn()
	h.Complete(1, `"clean"`, checker)
	h.End(`"done"`)
	h.Save()
	return h
}

func (w *world) whole() *testkit.History { return w.finish(w.middle(w.begin("wf-1")), w.fraud) }

func (w *world) verify(rows history.Rows, change ...func(*history.Options)) *history.Report {
	w.t.Helper()
	in, err := history.Decode(rows)
	require.NoError(w.t, err)
	o := history.Options{Bundles: w.ca.Bundle(), Signed: true}
	for _, c := range change {
		c(&o)
	}
	return history.Verify(in, o)
}

func anchorsOf(h *testkit.History) []history.Anchor {
	anchors := []history.Anchor{}
	for i, raw := range h.Signatures() {
		anchors = append(anchors, history.Anchor{Index: i, Digest: receipt.Sum(raw), At: h.At})
	}
	return anchors
}

func anchored(h *testkit.History) func(*history.Options) {
	return func(o *history.Options) { o.Anchors = anchorsOf(h) }
}

func TestWholeHistoryVerifies(t *testing.T) {
	w := newWorld(t)
	h := w.whole()
	report := w.verify(h.Rows(), anchored(h))
	require.Empty(t, report.AllFaults())
	require.True(t, report.OK())
	require.Equal(t, "refund", report.Name)
	require.Equal(t, "COMPLETED", report.Status)
	require.True(t, report.Started.Equal(w.at.Add(time.Millisecond)))
	require.Equal(t, 9, report.Signed)
	require.Equal(t, 9, report.Verified)
	require.Equal(t, 3, report.Anchored)
	var types []string
	for _, e := range report.Events {
		types = append(types, e.Type)
		require.Equal(t, w.intake.ID, e.Signer)
		require.True(t, e.Verified)
	}
	require.Equal(t, []string{
		"WorkflowStarted", "ExecutionStarted", "TaskScheduled", "WorkflowStarted", "TaskCompleted", "TaskScheduled", "WorkflowStarted",
		"TaskCompleted", "ExecutionCompleted",
	}, types)
	require.Equal(t, w.intake.ID, report.Events[4].Attested)
	require.Equal(t, w.fraud.ID, report.Events[7].Attested)
	require.Equal(t, "check", report.Events[7].Name)
	require.Equal(t, "fraud", report.Events[7].App)
	require.Equal(t, 1, report.Events[7].Task)

	require.Equal(t, -1, w.verify(h.Rows()).Anchored)
	require.Zero(t, w.verify(h.Rows(), func(o *history.Options) { o.Anchors = []history.Anchor{} }).Anchored)
}

func TestUnsignedHistory(t *testing.T) {
	w := newWorld(t)
	h := testkit.NewHistory(t, w.intake, "wf-1", w.at)
	h.SVID = nil
	h.Start("refund")
	h.Schedule(0, "look-up", "1", "")
	h.Save()
	h.Complete(0, "2", nil)
	h.Save()
	report := w.verify(h.Rows(), func(o *history.Options) { o.Signed = false })
	require.True(t, report.OK())
	require.Zero(t, report.Verified)
	require.Equal(t, "RUNNING", report.Status)
	report = w.verify(h.Rows())
	require.Equal(t, history.Unsigned, report.First().Kind)
}

func TestChildrenTimersAndEvents(t *testing.T) {
	w := newWorld(t)
	h := testkit.NewHistory(t, w.intake, "wf-1", w.at)
	h.Start("refund")
	h.Child(0, "pay", "wf-1-pay", "1", "payments")
	h.Event(&protos.HistoryEvent{EventId: 1, EventType: &protos.HistoryEvent_TimerCreated{TimerCreated: &protos.TimerCreatedEvent{}}})
	h.Save()
	h.Turn()
	h.ChildFailed(0, "no money", w.payments)
	h.Raise("approved", `true`)
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_TimerFired{TimerFired: &protos.TimerFiredEvent{TimerId: 1}}})
	h.Event(&protos.HistoryEvent{EventId: -1, EventType: &protos.HistoryEvent_ExecutionTerminated{ExecutionTerminated: &protos.ExecutionTerminatedEvent{}}})
	h.Save()
	report := w.verify(h.Rows())
	require.Empty(t, report.AllFaults())
	require.Equal(t, "TERMINATED", report.Status)
	require.Equal(t, "wf-1-pay", report.Events[2].Detail)
	require.Equal(t, history.EventReport{
		Index: 5, Time: report.Events[5].Time, Type: "ChildWorkflowInstanceFailed", Name: "pay", Detail: "E: no money", Task: 0,
		App: "payments", Signer: w.intake.ID, Attested: w.payments.ID, Verified: true,
	}, report.Events[5])
	require.Equal(t, "approved", report.Events[6].Name)

	h = testkit.NewHistory(t, w.intake, "wf-1", w.at)
	h.Start("refund")
	h.Child(0, "pay", "wf-1-pay", "1", "payments")
	h.ChildFailed(0, "no money", w.unasked)
	h.Save()
	require.Equal(t, history.AttestationSigner, w.verify(h.Rows()).First().Kind)
}

// counts changes the counts in the metadata, which nobody signs.
func counts(t testing.TB, rows history.Rows, change func(*protos.BackendWorkflowStateMetadata)) {
	t.Helper()
	md := &protos.BackendWorkflowStateMetadata{}
	require.NoError(t, proto.Unmarshal(rows.Rows["metadata"], md))
	change(md)
	var err error
	rows.Rows["metadata"], err = proto.Marshal(md)
	require.NoError(t, err)
}

func resigned(t testing.TB, rows history.Rows, row string, change func(*protos.HistorySignature)) {
	t.Helper()
	s := &protos.HistorySignature{}
	require.NoError(t, proto.Unmarshal(rows.Rows[row], s))
	change(s)
	var err error
	rows.Rows[row], err = proto.Marshal(s)
	require.NoError(t, err)
}

// Every tampering that the store allows is named.
func TestTampering(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tamper func(w *world, rows history.Rows) history.Rows
		want   history.Kind
		row    string
	}{
		{"one bit of an event", func(_ *world, r history.Rows) history.Rows {
			r.Rows["history-000004"][len(r.Rows["history-000004"])-1] ^= 1
			return r
		}, history.EventsChanged, "signature-000001"},
		{"event row deleted", func(_ *world, r history.Rows) history.Rows {
			delete(r.Rows, "history-000004")
			return r
		}, history.RowMissing, "history-000004"},
		{"last event row deleted", func(_ *world, r history.Rows) history.Rows {
			delete(r.Rows, "history-000008")
			return r
		}, history.RowMissing, "history-000008"},
		{"last event deleted, with its count", func(w *world, r history.Rows) history.Rows {
			delete(r.Rows, "history-000008")
			counts(w.t, r, func(md *protos.BackendWorkflowStateMetadata) { md.HistoryLength-- })
			return r
		}, history.EventsMissing, "signature-000002"},
		{"only the count lowered", func(w *world, r history.Rows) history.Rows {
			counts(w.t, r, func(md *protos.BackendWorkflowStateMetadata) { md.HistoryLength, md.SignatureLength = 6, 2 })
			return r
		}, history.RowExtra, "history-000006"},
		{"count raised beyond reason", func(w *world, r history.Rows) history.Rows {
			counts(w.t, r, func(md *protos.BackendWorkflowStateMetadata) { md.HistoryLength = 1 << 60 })
			return r
		}, history.RowMissing, "metadata"},
		{"metadata deleted", func(_ *world, r history.Rows) history.Rows {
			delete(r.Rows, "metadata")
			return r
		}, history.RowMissing, "metadata"},
		{"two events exchanged", func(_ *world, r history.Rows) history.Rows {
			r.Rows["history-000004"], r.Rows["history-000005"] = r.Rows["history-000005"], r.Rows["history-000004"]
			return r
		}, history.EventsChanged, "signature-000001"},
		{"signature rows deleted", func(_ *world, r history.Rows) history.Rows {
			for _, row := range []string{"signature-000000", "signature-000001", "signature-000002"} {
				delete(r.Rows, row)
			}
			return r
		}, history.RowMissing, "signature-000000"},
		{"all of signing deleted", func(w *world, r history.Rows) history.Rows {
			for row := range maps.Clone(r.Rows) {
				if len(row) > 7 && (row[:7] == "signatu" || row[:7] == "sigcert" || row[:7] == "ext-sig") {
					delete(r.Rows, row)
				}
			}
			counts(w.t, r, func(md *protos.BackendWorkflowStateMetadata) {
				md.SignatureLength, md.SigningCertificateLength, md.ExternalSigningCertificateLength = 0, 0, 0
			})
			return r
		}, history.Unsigned, ""},
		{"middle signature left out", func(w *world, r history.Rows) history.Rows {
			r.Rows["signature-000001"] = r.Rows["signature-000002"]
			delete(r.Rows, "signature-000002")
			counts(w.t, r, func(md *protos.BackendWorkflowStateMetadata) { md.SignatureLength = 2 })
			return r
		}, history.SignatureOrder, "signature-000001"},
		{"signature byte", func(w *world, r history.Rows) history.Rows {
			resigned(w.t, r, "signature-000002", func(s *protos.HistorySignature) { s.Signature[5] ^= 1 })
			return r
		}, history.SignatureInvalid, "signature-000002"},
		{"empty signature", func(w *world, r history.Rows) history.Rows {
			resigned(w.t, r, "signature-000002", func(s *protos.HistorySignature) { s.EventCount = 0 })
			return r
		}, history.SignatureOrder, "signature-000002"},
		{"first signature continues another", func(w *world, r history.Rows) history.Rows {
			resigned(w.t, r, "signature-000000", func(s *protos.HistorySignature) { s.PreviousSignatureDigest = make([]byte, 32) })
			return r
		}, history.SignatureOrder, "signature-000000"},
		{"certificate index", func(w *world, r history.Rows) history.Rows {
			resigned(w.t, r, "signature-000002", func(s *protos.HistorySignature) { s.CertificateIndex = 1 << 40 })
			return r
		}, history.Certificate, "signature-000002"},
		{"certificate deleted", func(_ *world, r history.Rows) history.Rows {
			delete(r.Rows, "sigcert-000000")
			return r
		}, history.RowMissing, "sigcert-000000"},
		{"certificate of an attestation deleted", func(w *world, r history.Rows) history.Rows {
			delete(r.Rows, "ext-sigcert-000001")
			counts(w.t, r, func(md *protos.BackendWorkflowStateMetadata) { md.ExternalSigningCertificateLength = 1 })
			return r
		}, history.Certificate, "history-000007"},
		{"rubbish for an event", func(_ *world, r history.Rows) history.Rows {
			r.Rows["history-000004"] = []byte{0xff}
			return r
		}, history.RowUnreadable, "history-000004"},
		{"rubbish for a signature", func(_ *world, r history.Rows) history.Rows {
			r.Rows["signature-000001"] = []byte{0xff}
			return r
		}, history.RowUnreadable, "signature-000001"},
		{"row of another name", func(_ *world, r history.Rows) history.Rows {
			r.Rows["history-0000009"] = nil
			return r
		}, history.RowExtra, "history-0000009"},
		{"unsigned event appended", func(w *world, r history.Rows) history.Rows {
			h := w.whole()
			h.Raise("approved", "true")
			return h.Rows()
		}, history.Unsigned, "history-000009"},
		{"unsigned mark of tampering", func(w *world, r history.Rows) history.Rows {
			h := w.whole()
			h.Tampered("nothing was")
			return h.Rows()
		}, history.TamperMarker, "history-000009"},
		{"a byte changed and the mark appended", func(w *world, r history.Rows) history.Rows {
			h := w.whole()
			h.Tampered("nothing was")
			r = h.Rows()
			r.Rows["history-000004"][len(r.Rows["history-000004"])-1] ^= 1
			return r
		}, history.EventsChanged, "signature-000001"},
		{"rows of another instance", func(w *world, _ history.Rows) history.Rows {
			r := w.middle(w.begin("wf-2")).Rows()
			r.Instance = "wf-1"
			return r
		}, history.OtherInstance, "history-000001"},
		{"purged", func(_ *world, r history.Rows) history.Rows {
			r.Rows = nil
			return r
		}, history.NoRows, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			report := w.verify(tt.tamper(w, w.whole().Rows()))
			require.NotNil(t, report.First())
			require.Equal(t, tt.want, report.First().Kind, "%v", report.First())
			require.Equal(t, tt.row, report.First().Row)
			require.Less(t, report.Verified, 10)
		})
	}
}

// What nobody can tell from the store alone is told by the log.
func TestAnchors(t *testing.T) {
	w := newWorld(t)
	begun := w.begin("wf-1")
	half := w.middle(begun.Copy())
	h := w.finish(half.Copy(), w.fraud)
	other := w.middle(begun.Copy()) // signs again, with other bytes
	other.At = other.At.Add(time.Second)
	other = w.finish(other, w.fraud)
	empty := history.Rows{App: "intake", Namespace: "default", Instance: "wf-1"}

	for _, tt := range []struct {
		name string
		rows history.Rows
		want history.Kind
	}{
		{"an earlier copy", half.Rows(), history.RolledBack},
		{"signed again from the middle", other.Rows(), history.Replaced},
		{"another run of the same ID", func() history.Rows { w.at = w.at.Add(time.Minute); return w.whole().Rows() }(), history.Replaced},
		{"purged", empty, history.NoRows},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want != history.NoRows {
				require.True(t, w.verify(tt.rows).OK(), "plain Dapr would not find it either")
			}
			report := w.verify(tt.rows, anchored(h))
			require.NotNil(t, report.First())
			require.Equal(t, tt.want, report.First().Kind)
		})
	}
	require.Equal(t, history.Purged, w.verify(empty, anchored(h)).Faults[1].Kind)

	// The log is behind: its last word still vouches for what comes before.
	report := w.verify(h.Rows(), anchored(half))
	require.True(t, report.OK())
	require.Equal(t, 2, report.Anchored)
	// A save that was tried again leaves two anchors; a run before this one counts no more.
	tried := append(anchorsOf(other), anchorsOf(h)...)
	tried = append(tried, history.Anchor{Index: 2, Digest: receipt.Sum([]byte("tried")), At: h.At})
	require.True(t, w.verify(h.Rows(), func(o *history.Options) { o.Anchors = tried }).OK())
}

// A door of the store says what it deletes, and what it was about to do when it was stopped.
func TestAnchorsOfDeletion(t *testing.T) {
	w := newWorld(t)
	h := w.whole()
	full := anchorsOf(h)
	removed := func(from, to int, tentative bool) []history.Anchor {
		anchors := append([]history.Anchor{}, full...)
		for i := from; i < to; i++ {
			anchors = append(anchors, history.Anchor{Index: i, Removed: true, Tentative: tentative})
		}
		return anchors
	}
	with := func(anchors []history.Anchor) func(*history.Options) {
		return func(o *history.Options) { o.Anchors = anchors }
	}
	empty := history.Rows{App: "intake", Namespace: "default", Instance: "wf-1"}
	kinds := func(r *history.Report) []history.Kind {
		kinds := []history.Kind{}
		for _, f := range r.AllFaults() {
			kinds = append(kinds, f.Kind)
		}
		return kinds
	}
	require.Equal(t, []history.Kind{history.NoRows}, kinds(w.verify(empty, with(removed(0, 3, false)))), "Dapr purged it")
	require.Equal(t, []history.Kind{history.NoRows}, kinds(w.verify(empty, with(removed(0, 3, true)))), "it may have")
	require.Equal(t, []history.Kind{history.Purged, history.NoRows}, kinds(w.verify(empty, with(removed(1, 3, false)))))
	require.Equal(t, []history.Kind{history.RolledBack}, kinds(w.verify(h.Rows(), with(removed(0, 3, false)))), "put back")
	require.Empty(t, kinds(w.verify(h.Rows(), with(removed(0, 3, true)))))
	again := append(removed(0, 3, false), anchorsOf(h)...)
	require.Empty(t, kinds(w.verify(h.Rows(), with(again))), "deleted and made again")

	begun := full[:2:2]
	begun = append(begun, history.Anchor{Index: 2, Digest: full[2].Digest, At: full[2].At, Tentative: true})
	report := w.verify(h.Rows(), with(begun))
	require.True(t, report.OK())
	require.Equal(t, 2, report.Anchored, "an intent is nobody's word")
	signed := append(slices.Clone(begun), full[2])
	require.Equal(t, 3, w.verify(h.Rows(), with(signed)).Anchored)
	require.Equal(t, 3, w.verify(h.Rows(), with(removed(0, 3, true))).Anchored, "it was, whatever was to become of it")
	foreign := slices.Clone(full)
	for i := range foreign {
		foreign[i].TrustDomain = spiffeid.RequireTrustDomainFromString("elsewhere.test")
	}
	require.Equal(t, 0, w.verify(h.Rows(), with(foreign)).Anchored)
	begun[2].Digest[0] ^= 1
	report = w.verify(h.Rows(), with(begun))
	require.True(t, report.OK())
	require.Equal(t, 2, report.Anchored)
}

// Whoever stole a key that is no longer valid can sign for the time when it was. The log says when it saw the signature.
func TestSignedByAnOldKey(t *testing.T) {
	w := newWorld(t)
	old := w.ca.SVID("intake", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = w.at.Add(-time.Hour), w.at.Add(-30*time.Minute)
	})
	forged := testkit.NewHistory(t, old, "wf-1", w.at.Add(-45*time.Minute))
	forged.Start("refund")
	forged.Raise("approved", "true")
	forged.End(`"done"`)
	forged.Save()
	require.True(t, w.verify(forged.Rows()).OK(), "without a log this cannot be told")
	report := w.verify(forged.Rows(), anchored(w.whole()))
	require.Equal(t, history.RolledBack, report.First().Kind)
	anchors := anchorsOf(forged)
	anchors[0].At = w.at
	report = w.verify(forged.Rows(), func(o *history.Options) { o.Anchors = anchors })
	require.Equal(t, history.Certificate, report.First().Kind)
	require.Contains(t, report.First().Detail, "when the log took")
}
