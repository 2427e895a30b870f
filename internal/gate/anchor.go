// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// What an anchor is of.
const (
	// KindHistory is a signature in the history of a workflow that was written.
	KindHistory = "custody.history"
	// KindHistoryRemoved is a signature in the history of a workflow that was deleted.
	KindHistoryRemoved = "custody.history-removed"
)

// AnchorOptions are the parts of Anchors. All are required.
type AnchorOptions struct {
	// Door names the kind of door in receipts, for example "state".
	Door string
	// SVIDs gives the identity that the door signs with.
	SVIDs x509svid.Source
	// Journal takes intents and receipts.
	Journal *journal.Writer
	// Now is the clock.
	Now func() time.Time
}

// Anchors signs and writes what records somebody else keeps, so that whoever has
// the journal can tell that one of them is gone or was put back to an earlier
// state. It is safe for concurrent use.
type Anchors struct {
	options AnchorOptions
	signers signers
	buffers buffers
}

// Anchor says what happens to one record.
type Anchor struct {
	Action receipt.Action
	// Record is the digest of the record.
	Record   receipt.Digest
	Workflow receipt.Workflow
}

// Anchoring is a change of records that was begun. If it is not settled, nobody
// knows whether it happened.
type Anchoring struct {
	anchors *Anchors
	began   time.Time
	each    []anchoring
}

type anchoring struct {
	Anchor

	id     string
	intent journal.Position
}

// NewAnchors makes Anchors. A part that is missing is an error.
func NewAnchors(options AnchorOptions) (*Anchors, error) {
	if options.Door == "" || options.SVIDs == nil || options.Journal == nil || options.Now == nil {
		return nil, errors.New("gate: every part is required")
	}
	options.Now = wall(options.Now)
	return &Anchors{options: options, signers: signers{source: options.SVIDs, journal: options.Journal}}, nil
}

// Begin writes what is about to be done to records. On an error, which is a
// [ClosedError], it must not be done.
func (a *Anchors) Begin(each []Anchor) (*Anchoring, error) {
	begun := &Anchoring{anchors: a, began: a.options.Now()}
	// An identity that cannot sign now shall be known before.
	if _, err := a.signers.current(begun.began); err != nil {
		return nil, &ClosedError{Reference: "none", Cause: err}
	}
	for _, anchor := range each {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, &ClosedError{Reference: "none", Cause: err}
		}
		position, err := a.intend(id.String(), begun.began, &anchor)
		if err != nil {
			return nil, &ClosedError{Reference: id.String(), Cause: err}
		}
		begun.each = append(begun.each, anchoring{Anchor: anchor, id: id.String(), intent: position})
	}
	return begun, nil
}

func (a *Anchors) intend(id string, now time.Time, anchor *Anchor) (journal.Position, error) {
	intent := receipt.Intent{
		ID: id, Decided: now, Action: anchor.Action, RequestDigest: anchor.Record, Workflow: &anchor.Workflow,
	}
	record := a.buffers.get()
	defer a.buffers.put(record)
	var err error
	if *record, err = intent.AppendJSON((*record)[:0]); err != nil {
		return journal.Position{}, err
	}
	position, err := a.options.Journal.Append(journal.KindIntent, *record)
	if err != nil {
		return journal.Position{}, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return position, nil
}

// Settle signs and writes that it was done. On an error, which is a
// [ClosedError], it was done and is not vouched for.
func (b *Anchoring) Settle() error {
	for i := range b.each {
		if err := b.anchors.settle(&b.each[i], b.began); err != nil {
			return &ClosedError{Reference: b.each[i].id, Cause: err}
		}
	}
	return nil
}

func (a *Anchors) settle(e *anchoring, began time.Time) error {
	now := a.options.Now()
	signer, err := a.signers.current(now)
	if err != nil {
		return err
	}
	if now.Before(began) { // A clock that was set back; see Permit.
		now = began
	}
	r := &receipt.Receipt{
		ID:            e.id,
		Door:          receipt.Door{SPIFFEID: signer.door, Name: a.options.Door},
		Action:        e.Action,
		RequestDigest: e.Record,
		Decision:      receipt.Decision{Effect: receipt.EffectAllow},
		Workflow:      &e.Workflow,
		Journal:       receipt.Journal{ID: a.options.Journal.ID(), Seq: e.intent.Seq, Chain: e.intent.Chain},
		Times:         receipt.Times{Decided: began, Settled: now},
		Outcome:       receipt.Outcome{Status: receipt.StatusAnchored},
	}
	record := a.buffers.get()
	defer a.buffers.put(record)
	if *record, _, err = receipt.AppendSigned((*record)[:0], r, signer.Signer); err != nil {
		return err
	}
	if _, err := a.options.Journal.Append(journal.KindReceipt, *record); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}
