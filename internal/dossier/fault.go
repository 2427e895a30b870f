// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dossier

import (
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/history"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Kind says what is wrong. Those of package history and of package chain keep their text, with "history/" and "link/" in
// front.
type Kind string

// What can be wrong between a chain and its histories.
const (
	// NoChain: there is no link at all.
	NoChain Kind = "no-chain"
	// HistoryMissing: nothing is stored of an instance that the chain runs through.
	HistoryMissing Kind = "history-missing"
	// OtherRun: the history began at another time than the chain says.
	OtherRun Kind = "other-run"
	// LinkMissing: a step of the history has no link.
	LinkMissing Kind = "link-missing"
	// StepMissing: a link is of a step that the history does not have.
	StepMissing Kind = "step-missing"
	// NotRecorded: the step is in the history, and its result does not bear the link.
	NotRecorded Kind = "not-recorded"
	// OtherStep: the history asked for another step than the link is of.
	OtherStep Kind = "other-step"
	// TimeOutside: a link says a time at which its step was not yet scheduled, or recorded already.
	TimeOutside Kind = "time-outside"
	// ForgedApproval: an approval is by one who may not give it.
	ForgedApproval Kind = "forged-approval"
	// NotRaised: an approval was taken that no event brought.
	NotRaised Kind = "not-raised"
	// AnchorInvalid: an anchor does not verify, or is not by the app of the history.
	AnchorInvalid Kind = "anchor"
	// NoAnchor: an anchor is demanded, and there is none.
	NoAnchor Kind = "no-anchor"
	// JournalWrong: a journal was damaged, or says what it must not, so that links and anchors may be missing.
	JournalWrong Kind = "journal"
	// Unreadable: a part of the dossier cannot be read.
	Unreadable Kind = "unreadable"
)

// Fault is one thing that is wrong.
type Fault struct {
	Kind Kind `json:"kind"`
	// Instance is that of the history, Row the row of it, Link the link, Step its name; each "" where it is not about one.
	Instance string         `json:"instance,omitempty"`
	Row      string         `json:"row,omitempty"`
	Link     receipt.Digest `json:"link,omitzero"`
	Step     string         `json:"step,omitempty"`
	Detail   string         `json:"detail"`
}

// Error gives the fault as one line.
func (f *Fault) Error() string {
	text := string(f.Kind)
	if f.Step != "" {
		text += ", step " + f.Step
	}
	if f.Instance != "" {
		text += ", instance " + f.Instance
	}
	if f.Row != "" {
		text += ", row " + f.Row
	}
	if !f.Link.IsZero() {
		text += ", link " + f.Link.String()
	}
	return text + ": " + f.Detail
}

func ofHistory(instance string, f *history.Fault) *Fault {
	return &Fault{Kind: "history/" + Kind(f.Kind), Instance: instance, Row: f.Row, Detail: f.Detail}
}

// ofLink gives the fault of a link, which may be an approval.
func ofLink(f *chain.Fault, approval bool) *Fault {
	detail := f.Kind.Sentence()
	if f.Detail != "" {
		detail += ": " + f.Detail
	}
	switch f.Kind {
	case chain.FaultSignature, chain.FaultSigner, chain.FaultCaller, chain.FaultTrustDomain:
		if approval {
			detail = "forged approval: " + detail
		}
	}
	return &Fault{Kind: "link/" + Kind(f.Kind), Link: f.Link, Step: f.Step, Detail: detail}
}

// causesFirst puts what follows from other faults behind them.
func causesFirst(faults []*Fault) {
	slices.SortStableFunc(faults, func(a, b *Fault) int {
		switch follows := a.follows(); {
		case follows == b.follows():
			return 0
		case follows:
			return 1
		}
		return -1
	})
}

func (f *Fault) follows() bool {
	kind, ok := strings.CutPrefix(string(f.Kind), "link/")
	return ok && chain.FaultKind(kind).Follows()
}
