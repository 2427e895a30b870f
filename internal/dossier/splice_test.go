// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// journalOf is the journal that the receipts of testkit stand on, read to its end.
func journalOf(seq uint64) dossier.Journal {
	return dossier.Journal{ID: strings.Repeat("0c", 16), Seq: seq, Chain: receipt.Sum([]byte("head"))}
}

// What a journal vouches for and does not have any more was cut off, or the journal is another.
func TestJournalThatLacksLinks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(d *dossier.Dossier)
		want   []dossier.Kind
	}{
		{"whole", func(*dossier.Dossier) {}, []dossier.Kind{}},
		{"another was read", func(d *dossier.Dossier) {
			d.Links, d.Journals[0].ID = nil, strings.Repeat("0d", 16)
		}, []dossier.Kind{}},
		{"the end cut off", func(d *dossier.Dossier) { d.Links = d.Links[:len(d.Links)-1] }, []dossier.Kind{dossier.JournalWrong}},
		{"one left out", func(d *dossier.Dossier) { d.Links = d.Links[1:] }, []dossier.Kind{dossier.JournalWrong}},
		{"nothing left", func(d *dossier.Dossier) { d.Links = nil }, []dossier.Kind{
			dossier.JournalWrong, dossier.JournalWrong, dossier.JournalWrong, dossier.JournalWrong, dossier.JournalWrong, dossier.JournalWrong,
		}},
		{"damaged, which is told once", func(d *dossier.Dossier) {
			d.Links, d.Journals[0].Wrong = nil, []string{"segment 2: checksum"}
		}, []dossier.Kind{dossier.JournalWrong}},
		{"two with one ID", func(d *dossier.Dossier) {
			d.Journals = append(d.Journals, journalOf(8))
		}, []dossier.Kind{dossier.JournalWrong}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			d := dossierOf(w.whole())
			d.Journals = []dossier.Journal{journalOf(9)}
			tt.change(d)
			r := w.verify(d)
			require.Equal(t, tt.want, kinds(r), r.Faults)
			for _, f := range r.Faults {
				require.Contains(t, f.Detail, map[bool]string{true: d.Journals[0].ID, false: "segment 2"}[d.Journals[0].Wrong == nil])
			}
		})
	}
}

// A good chain beside the history that was asked about says nothing of that one.
func TestHistoriesBesideTheChain(t *testing.T) {
	w := newWorld(t)
	other := testkit.NewChained(t, w.intake, "refund-8", w.at)
	other.End(`"done"`)
	other.Save()
	for _, tt := range []struct {
		name     string
		instance string
	}{{"of the one that was asked about", "refund-8"}, {"of another", "refund-7"}} {
		t.Run(tt.name, func(t *testing.T) {
			d := dossierOf(w.whole())
			d.Instance = tt.instance
			d.Histories = append(d.Histories, other.Rows())
			r := w.verify(d)
			require.Equal(t, []dossier.Kind{dossier.NoChain}, kinds(r), r.Faults)
			require.Equal(t, "refund-8", r.Faults[0].Instance)
		})
	}
}

// A child that has done nothing yet belongs to the chain that it was given, also where the history that created it is gone.
func TestChildThatHasDoneNothing(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name    string
		started func(c *testkit.Chained) receipt.Chain
		want    []dossier.Kind
	}{
		{"of this chain", func(c *testkit.Chained) receipt.Chain { return c.Chain }, []dossier.Kind{}},
		{"of another run", func(c *testkit.Chained) receipt.Chain {
			id := c.Chain
			id.Started = id.Started.Add(-time.Hour)
			return id
		}, []dossier.Kind{dossier.NoChain}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.begunAndSaved()
			child := testkit.NewHistory(t, w.payments, "refund-7:pay", w.at)
			given, err := json.Marshal(map[string]any{"custody.dev/chain": map[string]any{"chain": tt.started(c), "child": true, "heads": c.Heads}})
			require.NoError(t, err)
			child.StartWith("pay", string(given))
			child.Save()
			d := dossierOf(c)
			d.Histories = append(d.Histories, child.Rows())
			require.Equal(t, tt.want, kinds(w.verify(d)))
		})
	}
}

// An activity of the library whose result is none of the library's did nobody knows what.
func TestResultsThatAreNone(t *testing.T) {
	for _, tt := range []struct {
		activity, result string
		want             []dossier.Kind
	}{
		{"custody.call", `"done"`, []dossier.Kind{dossier.LinkMissing}},
		{"custody.call", `{"custody":2,"state":"fine"}`, []dossier.Kind{dossier.LinkMissing}},
		{"custody.state", ``, []dossier.Kind{dossier.LinkMissing}},
		{"custody.verify", `{"custody":2,"state":"answered"}`, []dossier.Kind{dossier.LinkMissing}},
		{"custody.verify", `{"custody":2,"state":"refused"}`, []dossier.Kind{}},
		{"custody.call", `{"custody":2,"state":"nocaller"}`, []dossier.Kind{}},
		{"custody.calls", `"done"`, []dossier.Kind{}},
	} {
		t.Run(tt.activity+" "+tt.result, func(t *testing.T) {
			w := newWorld(t)
			c := w.begun("refund-7")
			id := c.ScheduleStep(tt.activity, "", "charge")
			c.Turn()
			c.Complete(id, tt.result, w.intake)
			c.Finish()
			require.Equal(t, tt.want, kinds(w.verify(dossierOf(c))))
		})
	}
}

// Of an earlier generation what an approval is of is known, and who might give it is not, which is said.
func TestApprovalsOfEarlierGenerations(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		change func(r *receipt.Receipt)
		want   []dossier.Kind
	}{
		{"of what was asked for", func(*receipt.Receipt) {}, []dossier.Kind{}},
		{"of another statement", func(r *receipt.Receipt) { r.RequestDigest = receipt.Sum([]byte("more")) }, []dossier.Kind{dossier.OtherStep}},
		{"of what no link asks for", func(r *receipt.Receipt) { r.Workflow.Task = 1 }, []dossier.Kind{dossier.OtherStep}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.begun("refund-7")
			e := c.Approval("manager", w.approver, tt.change)
			c.Verify("manager", e, "answered")
			c.ContinueAsNew(`1`)
			c.State(chain.KindAttest, "custody.ask.director")
			c.Approve("director", w.approver)
			c.Finish()
			r := w.verify(dossierOf(c))
			require.Equal(t, tt.want, kinds(r), r.Faults)
			require.Len(t, r.Notes, 1)
			require.Contains(t, r.Notes[0], "step manager")
			require.Contains(t, r.Notes[0], "whether "+w.approver.ID.String()+" may give it was not checked")
			unchecked := map[string]bool{}
			for _, s := range r.Steps {
				if s.Kind == chain.StepApproval {
					unchecked[s.Name] = s.Unchecked != ""
				}
			}
			require.Equal(t, map[string]bool{"manager": true, "director": false}, unchecked)
		})
	}
}

// A text of a thousandth of what it unpacks to does not make the verifier take all of that.
func TestLinksThatUnpackToTooMuch(t *testing.T) {
	w := newWorld(t)
	w.packed = true
	d := dossierOf(w.whole())
	require.Empty(t, d.VerifyWithin(dossier.Options{Bundles: w.ca.Bundle()}, 1<<20).Faults)
	r := d.VerifyWithin(dossier.Options{Bundles: w.ca.Bundle()}, 4<<10)
	require.Equal(t, dossier.Unreadable, r.Faults[0].Kind)
	require.Contains(t, r.Faults[0].Detail, "unpack to more than")
}

// The same goes for one whose history is not here, which is a fault besides.
func TestApprovalsWithoutTheirHistory(t *testing.T) {
	w := newWorld(t)
	d := dossierOf(w.whole())
	d.Histories = nil
	r := w.verify(d)
	require.Contains(t, kinds(r), dossier.HistoryMissing)
	require.Len(t, r.Notes, 1)
	require.Contains(t, r.Notes[0], "whether "+w.approver.ID.String()+" may give it was not checked")
}

// Intents that nobody signed do not make an earlier copy a good one without a word.
func TestEarlierCopyWithIntents(t *testing.T) {
	w := newWorld(t)
	begun := w.begunAndSaved()
	whole := w.rest(begun.Fork())
	d := dossierOf(whole)
	there := len(begun.Signatures())
	d.Histories[0], d.Links = begun.Rows(), d.Links[:len(begun.Links)]
	require.Equal(t, []dossier.Kind{"history/rolled-back"}, kinds(w.verify(d)))
	for i := there; i < len(whole.Signatures()); i++ {
		intent := receipt.Intent{
			ID: fmt.Sprint("gone-", i), Decided: w.at.Add(time.Hour), Action: receipt.Action{Kind: dossier.KindHistoryRemoved, Name: whole.Instance},
			RequestDigest: receipt.Sum([]byte("gone")), Workflow: &receipt.Workflow{Instance: whole.Instance, App: whole.App, Task: uint32(i) + 1},
		}
		text, err := intent.AppendJSON(nil)
		require.NoError(t, err)
		d.Anchors = append(d.Anchors, dossier.Anchor{Intent: text})
	}
	r := w.verify(d)
	require.Empty(t, r.Faults)
	require.Len(t, r.Notes, 1)
	require.Contains(t, r.Notes[0], fmt.Sprintf("the log took %d signatures that are gone", len(whole.Signatures())-there))
	r = d.Verify(dossier.Options{Bundles: w.bundles(), Anchored: true})
	require.Equal(t, []dossier.Kind{dossier.NoAnchor}, kinds(r))
}

// Nor one whose signatures are others than the log took.
func TestReplacedSignaturesWithIntents(t *testing.T) {
	w := newWorld(t)
	whole := w.whole()
	d := dossierOf(whole)
	last := len(d.Anchors) - 1
	intent := receipt.Intent{
		ID: "put", Decided: w.at, Action: receipt.Action{Kind: dossier.KindHistory, Name: whole.Instance},
		RequestDigest: receipt.Sum(whole.Signatures()[last]), Workflow: &receipt.Workflow{Instance: whole.Instance, App: whole.App, Task: uint32(last) + 1},
	}
	text, err := intent.AppendJSON(nil)
	require.NoError(t, err)
	foreign := whole.Receipt(dossier.KindHistory, whole.Instance, uint32(last)+1, receipt.StatusAnchored)
	foreign.RequestDigest, foreign.Prev = receipt.Sum([]byte("another")), nil
	foreign.Workflow = &receipt.Workflow{Instance: whole.Instance, App: whole.App, Task: uint32(last) + 1}
	d.Anchors = []dossier.Anchor{{Envelope: whole.Sign(w.intake, foreign).AppendJSON(nil)}, {Intent: text}}
	r := w.verify(d)
	require.Empty(t, r.Faults)
	require.Len(t, r.Notes, 1)
	require.Contains(t, kinds(d.Verify(dossier.Options{Bundles: w.bundles(), Anchored: true})), dossier.NoAnchor)
}
