// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// stepSegments is how many segments of the journal are read for steps when a door starts, the newest. With segments of
// 64 MiB that is half a second of work, and some 20,000 calls of workflows or more.
const stepSegments = 2

// linkMark stands in every intent and payload of a step, and in few others.
var linkMark = []byte(`"workflow":{"chain":`)

// OpenSteps recalls from the journal in a folder which steps were passed on. A journal whose newest segments are not what
// was written is an error.
func OpenSteps(dir string, now time.Time) (*Steps, error) {
	s := newSteps(dir)
	reading := recall{steps: s, missing: map[string]bool{}}
	err := journal.ReadTail(dir, stepSegments, reading.record)
	if err == nil {
		err = s.certificates.find(reading.missing)
	}
	if err != nil {
		return nil, fmt.Errorf("gate: read the steps of the journal: %w", err)
	}
	if reading.older && !reading.begun {
		s.forget(now)
	}
	return s, nil
}

// recall reads the steps out of a journal.
type recall struct {
	steps *Steps
	read  bool // a record was read
	older bool // there are records before those that are read
	begun bool // a record was read that says its time
	open  int  // steps without a receipt so far
	// missing are the key IDs of answers whose certificates stand before what is read.
	missing map[string]bool
}

func (r *recall) record(record journal.Record) error {
	if !r.read {
		r.read, r.older = true, record.Seq > 1
	}
	switch record.Kind {
	case journal.KindIntent:
		return r.intent(&record)
	case journal.KindReceipt:
		return r.receipt(&record)
	case journal.KindCertificates:
		return r.steps.certificates.add(record.Place(), record.Payload)
	}
	return nil
}

func (r *recall) receipt(record *journal.Record) error {
	if r.begun && r.open == 0 {
		return nil
	}
	envelope, err := receipt.DecodeEnvelope(record.Payload)
	if err != nil {
		return err
	}
	if r.begun && !bytes.Contains(envelope.Payload, linkMark) {
		return nil
	}
	answer, err := envelope.UnsafeReceipt()
	if err != nil {
		return err
	}
	r.begin(answer.Times.Settled) // what was written before may have been decided later than this was
	if len(answer.Prev) != 1 {
		return nil
	}
	if step := r.steps.byQuestion[answer.Prev[0]]; step != nil && step.receipt.IsZero() {
		r.steps.settle(step, record.Place(), envelope.PayloadDigest())
		r.open--
		for _, signature := range envelope.Signatures {
			if !r.steps.certificates.has(signature.KeyID) {
				r.missing[signature.KeyID] = true
			}
		}
	}
	return nil
}

func (r *recall) intent(record *journal.Record) error {
	if r.begun && !bytes.Contains(record.Payload, linkMark) {
		return nil
	}
	intent, err := receipt.DecodeIntent(record.Payload)
	if err != nil {
		return err
	}
	r.begin(intent.Decided)
	if intent.Workflow == nil || intent.Workflow.Chain == nil || len(intent.Prev) != 1 {
		return nil
	}
	if id := idOf(intent.Caller, intent.Workflow); !r.steps.knows(id) {
		step := &passed{id: id, chain: chainOf(intent.Workflow.Chain), tool: toolOf(intent.Action), question: intent.Prev[0]}
		r.steps.enroll(step)
		r.steps.pass(step, intent.Decided, record.Place())
		r.open++
	}
	return nil
}

// begin notes how far back the reading goes: what was decided before its first record was written is forgotten.
func (r *recall) begin(written time.Time) {
	if !r.begun && r.older {
		r.steps.forget(written)
	}
	r.begun = true
}

// Passed is a step that was passed on before.
type Passed struct {
	// Question is the one that it was passed on for.
	Question *receipt.Envelope
	// Answer is what came of it. It is nil where that is not known: the door was stopped between intent and receipt, could
	// not write the receipt, or is still at it.
	Answer *receipt.Envelope
}

// errNotKept says that the journal does not hold what it held.
var errNotKept = errors.New("the journal does not hold the record of a step any more")

// Passed gives what came of the caller's question; nil if no step was passed on for it.
func (s *Steps) Passed(caller spiffeid.ID, question receipt.Digest) (*Passed, error) {
	s.mu.Lock()
	step := s.byQuestion[question]
	s.mu.Unlock()
	if step == nil {
		return nil, nil
	}
	return s.read(step, caller)
}

// read gives nil for a step of another caller.
func (s *Steps) read(step *passed, caller spiffeid.ID) (*Passed, error) {
	s.mu.Lock()
	intentAt, receiptAt, digest := step.intent, step.receipt, step.answer
	s.mu.Unlock()
	kind, payload, err := journal.ReadAt(s.dir, intentAt)
	if err != nil {
		return nil, err
	}
	if kind != journal.KindIntent {
		return nil, errNotKept
	}
	intent, err := receipt.DecodeIntent(payload)
	if err != nil {
		return nil, err
	}
	if intent.Caller != caller {
		return nil, nil
	}
	known := &Passed{}
	if known.Question, err = receipt.DecodeEnvelope(intent.Question); err != nil {
		return nil, err
	}
	if known.Question.PayloadDigest() != step.question {
		return nil, errNotKept
	}
	if receiptAt.IsZero() {
		return known, nil
	}
	known.Answer, err = s.readAnswer(receiptAt, digest)
	return known, err
}

func (s *Steps) readAnswer(at journal.Place, digest receipt.Digest) (*receipt.Envelope, error) {
	_, payload, err := journal.ReadAt(s.dir, at)
	if err != nil {
		return nil, err
	}
	bare, err := receipt.DecodeEnvelope(payload)
	if err != nil {
		return nil, err
	}
	if bare.PayloadDigest() != digest {
		return nil, errNotKept
	}
	return bare.WithCertificates(s.certificates.of)
}
