// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/receipt"
)

const (
	version = 1
	// MaxBytes is the largest JSON form that is read.
	MaxBytes = 1 << 30
	// MaxHistories is the largest number of instances that a chain is followed through.
	MaxHistories = 1000
)

// ErrDossier: what was read is not an exported chain.
var ErrDossier = errors.New("it is not an exported chain")

// Dossier is what is known of one chain. Nothing in it is verified.
type Dossier struct {
	// Version is 1.
	Version int `json:"custodyChain"`
	// App, Namespace and Instance are those that the dossier was made for.
	App       string    `json:"app"`
	Namespace string    `json:"namespace"`
	Instance  string    `json:"instance"`
	Exported  time.Time `json:"exported,omitzero"`
	// Histories are the rows of the instances that the chain runs through: that of Instance first, as far as they are
	// stored. Those of an instance of which nothing is stored are empty.
	Histories []history.Rows `json:"histories"`
	// Links are envelopes of links that journals have. Those that stand in histories need not stand here too.
	Links []jsontext.Value `json:"links,omitempty"`
	// Anchors are in the order of the journals. Nil means that there was no journal to ask.
	Anchors []Anchor `json:"anchors,omitzero"`
	// Journals are those that were read, and how far.
	Journals []Journal `json:"journals,omitempty"`
	// TrustBundle tells by what roots it was verified when it was exported.
	TrustBundle *TrustBundle `json:"trustBundle,omitempty"`
}

// Anchor is what a journal says of a signature of a history: a receipt or, where its outcome is unknown, an intent.
type Anchor struct {
	Envelope jsontext.Value `json:"envelope,omitempty"`
	Intent   jsontext.Value `json:"intent,omitempty"`
}

// Journal is a journal with its head.
type Journal struct {
	ID    string         `json:"id"`
	Seq   uint64         `json:"seq"`
	Chain receipt.Digest `json:"chain"`
	// Wrong is what was wrong with the journal itself when it was read.
	Wrong []string `json:"wrong,omitempty"`
}

// TrustBundle names a bundle by the digest of its file and of its roots. It is for people: whoever verifies brings roots.
type TrustBundle struct {
	File  receipt.Digest   `json:"file"`
	Roots []receipt.Digest `json:"roots,omitempty"`
}

// Decode reads the JSON form. Unknown members and members twice are refused.
func Decode(text []byte) (*Dossier, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("dossier: %w: it has more than %d bytes", ErrDossier, MaxBytes)
	}
	d := &Dossier{}
	if err := json.Unmarshal(text, d, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("dossier: %w: %w", ErrDossier, err)
	}
	switch {
	case d.Version != version:
		return nil, fmt.Errorf("dossier: %w: custodyChain is %d, not %d", ErrDossier, d.Version, version)
	case d.App == "" || d.Namespace == "" || d.Instance == "":
		return nil, fmt.Errorf("dossier: %w: app, namespace and instance must be named", ErrDossier)
	case len(d.Histories) > MaxHistories:
		return nil, fmt.Errorf("dossier: %w: it has more than %d histories", ErrDossier, MaxHistories)
	}
	return d, nil
}

// Encode gives the JSON form.
func (d *Dossier) Encode() ([]byte, error) {
	d.Version = version
	text, err := json.Marshal(d, json.Deterministic(true), jsontext.Multiline(true))
	if err != nil {
		return nil, fmt.Errorf("dossier: %w", err)
	}
	return append(text, '\n'), nil
}
