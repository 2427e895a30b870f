// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxQuestion is the largest question in an intent, in bytes.
const maxQuestion = MaxPayload / 2

// Intent is what a door writes to its journal before an action goes on: if no receipt with the same ID follows, the
// action may have happened and its outcome is unknown. An intent is not signed; the receipt that follows vouches for it
// through the chain of the journal.
type Intent struct {
	// ID is that of the receipt to come. Required, in the form of Receipt.ID.
	ID      string    `json:"id"`
	Decided time.Time `json:"decided"`
	// Caller is zero when the caller could not be established.
	Caller spiffeid.ID `json:"caller,omitzero"`
	// Txn and Actors are those of the receipt to come.
	Txn           string        `json:"txn,omitempty"`
	Actors        []spiffeid.ID `json:"actors,omitempty"`
	Action        Action        `json:"action"`
	RequestDigest Digest        `json:"requestDigest"`
	// SetDigest names the Set of rules that decided. Zero if there was none to decide.
	SetDigest Digest `json:"setDigest,omitzero"`
	// Workflow is nil for an action outside a workflow.
	Workflow *Workflow `json:"workflow,omitempty"`
	// Prev are the digests that the receipt to come continues.
	Prev []Digest `json:"prev,omitempty"`
	// Question is the JSON form, with certificates, of the envelope of the question that Prev names, so that whoever asks
	// what became of it can be given it. Nil for an action that continues no question. It is not looked into here.
	Question jsontext.Value `json:"question,omitempty"`
}

// AppendJSON appends the JSON form to dst. An intent that DecodeIntent would refuse is ErrPayload.
func (i *Intent) AppendJSON(dst []byte) ([]byte, error) {
	if err := i.validate(); err != nil {
		return nil, err
	}
	dst = appendString(append(dst, `{"id":`...), i.ID)
	dst = appendTime(append(dst, `,"decided":`...), i.Decided)
	if !i.Caller.IsZero() {
		dst = appendString(append(dst, `,"caller":`...), i.Caller.String())
	}
	dst = appendBehalf(dst, i.Txn, i.Actors)
	dst = appendAction(append(dst, `,"action":`...), i.Action)
	dst = appendDigest(dst, `,"requestDigest":`, i.RequestDigest)
	dst = appendDigest(dst, `,"setDigest":`, i.SetDigest)
	dst = appendPast(dst, i.Workflow, i.Prev)
	if len(i.Question) > 0 {
		dst = append(append(dst, `,"question":`...), i.Question...)
	}
	return append(dst, '}'), nil
}

// DecodeIntent reads the JSON form, as strictly as a payload is read.
func DecodeIntent(text []byte) (*Intent, error) {
	if len(text) > MaxPayload {
		return nil, payloadError("the intent has more than %d bytes", MaxPayload)
	}
	var i Intent
	if err := json.Unmarshal(text, &i); err != nil {
		return nil, payloadError("intent: %w", err)
	}
	if err := i.validate(); err != nil {
		return nil, err
	}
	return &i, nil
}

func (i *Intent) validate() error {
	switch {
	case !validID(i.ID):
		return payloadError("id %.140q of the intent is not 1 to 128 letters, digits, '.', '_' or '-'", i.ID)
	case !validTime(i.Decided):
		return payloadError("decided of the intent is missing or not in the years 1 to 9999")
	case i.Action.Kind == "":
		return payloadError("action.kind of the intent is missing")
	case i.RequestDigest.IsZero():
		return payloadError("requestDigest of the intent is missing")
	}
	if len(i.Question) > maxQuestion {
		return payloadError("question of the intent has more than %d bytes", maxQuestion)
	}
	if err := validateBehalf(i.Txn, i.Actors); err != nil {
		return err
	}
	if err := validatePrev(i.Prev); err != nil {
		return err
	}
	return i.Workflow.validate()
}
