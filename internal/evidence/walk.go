// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Item is one action: a receipt with its intent, or an intent alone, whose outcome is unknown.
type Item struct {
	// Source is the folder, Journal the ID of the journal; the rest names the record of the receipt, or of the intent if
	// there is no receipt.
	Source  string
	Journal string
	Seq     uint64
	Segment string
	Offset  int64
	// Receipt is nil if the outcome is unknown. It was decoded, not verified.
	Receipt *receipt.Receipt
	// Envelope is that of the receipt, with its certificates put back as far as the journal has them.
	Envelope *receipt.Envelope
	// Intent is nil if none was written before the receipt.
	Intent *receipt.Intent
	// Findings are what is wrong with the item, signatures apart.
	Findings []Finding
}

// ID gives the ID of the action.
func (i *Item) ID() string {
	if i.Receipt != nil {
		return i.Receipt.ID
	}
	return i.Intent.ID
}

// Summary is what reading a whole journal gave.
type Summary struct {
	Source   string `json:"source"`
	Journal  string `json:"journal"`
	Records  uint64 `json:"records"`
	Receipts int    `json:"receipts"`
	// Unsettled counts intents whose outcome is unknown: the door was stopped before it could write a receipt, or is
	// still at it.
	Unsettled int `json:"unsettled"`
	// Torn counts the bytes of a last record that is not complete. Such a record was never acknowledged.
	Torn     int64     `json:"torn,omitempty"`
	Findings []Finding `json:"findings"`
	// Head is the last record that was read, with the chain value that vouches for all before it.
	Head journal.Position `json:"-"`
}

// Walk reads the journal in a folder and gives each item to visit: receipts in the order of the journal, then intents
// without a receipt in theirs. What is wrong stands in the Summary (and, where it belongs to an item, in the item too);
// the reading ends at the first place where the journal is not what was written. An error means that the folder could
// not be read, or is the one that visit gave.
func Walk(dir string, visit func(*Item) error) (*Summary, error) {
	w := &walker{
		summary: &Summary{Source: dir, Findings: []Finding{}}, visit: visit,
		certificates: map[string][]*x509.Certificate{}, intents: map[string]*Item{}, settled: map[string]uint64{},
	}
	info, err := journal.ReadInfo(dir, w.record)
	w.summary.Journal, w.summary.Records, w.summary.Torn = info.ID, info.Head.Seq, info.Torn
	w.summary.Head = info.Head
	var corrupt *journal.CorruptError
	switch {
	case errors.As(err, &corrupt):
		w.summary.Findings = append(w.summary.Findings, Finding{
			Source: dir, Segment: corrupt.Segment, Offset: corrupt.Offset, Seq: corrupt.Seq, Reason: corrupt.Reason,
		})
	case err != nil:
		return w.summary, err
	}
	return w.summary, w.unsettled()
}

type walker struct {
	summary      *Summary
	visit        func(*Item) error
	chains       []receipt.Digest // of record i at i; at 0 what is before the first
	certificates map[string][]*x509.Certificate
	intents      map[string]*Item  // those that no receipt followed yet
	settled      map[string]uint64 // IDs of receipts, with their records
}

func (w *walker) record(r journal.Record) error {
	if len(w.chains) == 0 {
		genesis, err := journal.Genesis(r.Journal)
		if err != nil {
			return err
		}
		w.chains = append(w.chains, genesis)
	}
	w.chains = append(w.chains, r.Chain)
	item := &Item{Source: w.summary.Source, Journal: r.Journal, Seq: r.Seq, Segment: r.Segment, Offset: r.Offset}
	switch r.Kind {
	case journal.KindCertificates:
		chain, err := receipt.DecodeCertificates(r.Payload)
		if err != nil {
			w.find(item, "", err.Error())
			return nil
		}
		w.certificates[receipt.KeyID(chain[0])] = chain
		return nil
	case journal.KindIntent:
		w.intent(item, r.Payload)
		return nil
	case journal.KindReceipt:
		return w.receipt(item, r.Payload)
	}
	w.find(item, "", fmt.Sprintf("records of %s are not known", r.Kind))
	return nil
}

func (w *walker) intent(item *Item, payload []byte) {
	intent, err := receipt.DecodeIntent(payload)
	if err != nil {
		w.find(item, "", err.Error())
		return
	}
	item.Intent = intent
	if before, ok := w.intents[intent.ID]; ok {
		w.find(item, intent.ID, fmt.Sprintf("an intent with this ID stands in record %d", before.Seq))
		return
	}
	if before, ok := w.settled[intent.ID]; ok {
		w.find(item, intent.ID, fmt.Sprintf("a receipt with this ID stands before it, in record %d", before))
		return
	}
	w.intents[intent.ID] = item
}

func (w *walker) receipt(item *Item, payload []byte) error {
	w.summary.Receipts++
	envelope, err := receipt.DecodeEnvelope(payload)
	if err != nil {
		w.find(item, "", err.Error())
		return nil
	}
	if item.Receipt, err = envelope.UnsafeReceipt(); err != nil {
		w.find(item, "", err.Error())
		return nil
	}
	id := item.Receipt.ID
	item.Envelope, err = envelope.WithCertificates(func(keyID string) []*x509.Certificate { return w.certificates[keyID] })
	if err != nil {
		item.Envelope = envelope
		w.find(item, id, err.Error())
	}
	w.position(item)
	if before, ok := w.settled[id]; ok {
		w.find(item, id, fmt.Sprintf("a receipt with this ID stands in record %d", before))
		return w.visit(item)
	}
	w.settled[id] = item.Seq
	if intent, ok := w.intents[id]; ok {
		item.Intent = intent.Intent
		delete(w.intents, id)
		w.match(item, intent)
	} else if item.Receipt.Decision.Effect == receipt.EffectAllow && !stated(item.Receipt.Outcome.Status) {
		w.find(item, id, "the action was allowed without an intent before it")
	}
	return w.visit(item)
}

// stated says whether a receipt of that status is of what its door says by itself: nothing is done afterwards that could
// be intended.
func stated(status string) bool {
	switch status {
	case receipt.StatusAsked, receipt.StatusStated, receipt.StatusApproved, receipt.StatusAnchored:
		return true
	}
	return false
}

// position checks that what the receipt says of the journal is what the journal is.
func (w *walker) position(item *Item) {
	stands := item.Receipt.Journal
	switch {
	case stands.ID != item.Journal:
		w.find(item, item.Receipt.ID, fmt.Sprintf("the receipt is of journal %s, this is %s", stands.ID, item.Journal))
	case stands.Seq >= item.Seq:
		w.find(item, item.Receipt.ID, fmt.Sprintf("the receipt stands on record %d, which is not before it", stands.Seq))
	case stands.Chain != w.chains[stands.Seq]:
		w.find(item, item.Receipt.ID, fmt.Sprintf("the receipt stands on record %d with chain value %s, the journal has %s",
			stands.Seq, stands.Chain, w.chains[stands.Seq]))
	}
}

// match checks that the receipt is of the action that was intended, and vouches for the intent.
func (w *walker) match(item, before *Item) {
	r, intent := item.Receipt, before.Intent
	differs := ""
	switch {
	case r.Caller.SPIFFEID != intent.Caller:
		differs = "caller"
	case r.Action != intent.Action:
		differs = "action"
	case r.RequestDigest != intent.RequestDigest:
		differs = "requestDigest"
	case r.Decision.SetDigest != intent.SetDigest:
		differs = "setDigest"
	case !r.Times.Decided.Equal(intent.Decided):
		differs = "time of decision"
	}
	if differs != "" {
		w.find(item, r.ID, fmt.Sprintf("%s is not that of its intent in record %d", differs, before.Seq))
	}
	if r.Journal.Seq < before.Seq {
		w.find(item, r.ID, fmt.Sprintf("the receipt stands on record %d, before its intent in record %d", r.Journal.Seq, before.Seq))
	}
}

func (w *walker) unsettled() error {
	open := make([]*Item, 0, len(w.intents))
	for _, item := range w.intents {
		open = append(open, item)
	}
	slices.SortFunc(open, func(a, b *Item) int { return cmp.Compare(a.Seq, b.Seq) })
	w.summary.Unsettled = len(open)
	for _, item := range open {
		if err := w.visit(item); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) find(item *Item, id, reason string) {
	f := item.finding(id, reason)
	item.Findings = append(item.Findings, f)
	w.summary.Findings = append(w.summary.Findings, f)
}

func (i *Item) finding(id, reason string) Finding {
	return Finding{Source: i.Source, Segment: i.Segment, Offset: i.Offset, Seq: i.Seq, ID: id, Reason: reason}
}
