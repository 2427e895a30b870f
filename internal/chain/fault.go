// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/receipt"
)

// FaultKind says which rule a link breaks. Its text is fixed, so that programs can ask for it.
type FaultKind string

// Faults that a link has by itself. Add refuses such a link, and Verify takes it for absent.
const (
	FaultEnvelope    FaultKind = "envelope"
	FaultSignature   FaultKind = "signature"
	FaultCertificate FaultKind = "certificate"
	FaultPayload     FaultKind = "payload"
	FaultOtherChain  FaultKind = "other-chain"
	FaultTrustDomain FaultKind = "other-trust-domain"
	FaultSigner      FaultKind = "wrong-signer"
	FaultCaller      FaultKind = "wrong-caller"
	FaultStatus      FaultKind = "wrong-status"
	FaultForm        FaultKind = "wrong-form"
	FaultPrev        FaultKind = "wrong-prev"
	FaultTooMany     FaultKind = "too-many"
)

// Faults of a link beside others, which take it out of every View.
const (
	FaultAnswer     FaultKind = "wrong-answer"
	FaultDoor       FaultKind = "wrong-door"
	FaultTime       FaultKind = "time-order"
	FaultFork       FaultKind = "fork"
	FaultTwoAnswers FaultKind = "two-answers"
	FaultAfterEnd   FaultKind = "after-end"
	FaultGeneration FaultKind = "wrong-generation"
)

// Faults that are found beside a link which stays: something is wrong with what it continues, or with the chain.
const (
	FaultMissing     FaultKind = "missing"
	FaultPredecessor FaultKind = "faulty-predecessor"
	FaultBesideEnd   FaultKind = "beside-end"
	FaultNotEnded    FaultKind = "not-ended"
	FaultDuplicate   FaultKind = "duplicate"
)

// Follows says whether a fault of this kind is found because of what is wrong elsewhere: with what the link continues, or
// with the chain. Those come after all others, so that the first fault is one that something is wrong with itself.
func (k FaultKind) Follows() bool {
	switch k {
	case FaultMissing, FaultPredecessor, FaultBesideEnd, FaultNotEnded:
		return true
	}
	return false
}

// Sentence says in words what the rule is that was broken. It is "" for a kind that there is none of.
func (k FaultKind) Sentence() string {
	switch k {
	case FaultEnvelope:
		return "the envelope is not one of a receipt"
	case FaultSignature:
		return "a signature does not fit the payload and its certificate"
	case FaultCertificate:
		return "a certificate was not that of a workload of the trust domain at the moment of signing"
	case FaultPayload:
		return "the payload is not well formed or contradicts itself"
	case FaultOtherChain:
		return "the receipt is no link of this chain"
	case FaultTrustDomain:
		return "the signer is not of the chain's trust domain, or that has no bundle"
	case FaultSigner:
		return "the signer is not the app that the step names"
	case FaultCaller:
		return "the caller that the link names is not its signer"
	case FaultStatus:
		return "effect, status and kind do not go together"
	case FaultForm:
		return "step, name or server do not go with the kind of link"
	case FaultPrev:
		return "a link of this kind does not continue these predecessors"
	case FaultTooMany:
		return "the chain or the link is larger than is accepted"
	}
	return k.between()
}

func (k FaultKind) between() string {
	switch k {
	case FaultAnswer:
		return "the answer does not fit the question that it continues"
	case FaultDoor:
		return "the answer is not by the app that the question is for"
	case FaultTime:
		return "the link is older than one that it continues"
	case FaultFork:
		return "one step was done twice"
	case FaultTwoAnswers:
		return "one question has two answers"
	case FaultAfterEnd:
		return "the link continues what has ended"
	case FaultGeneration:
		return "the generation of the workflow was not begun by what the one before signed"
	case FaultMissing:
		return "a predecessor is missing"
	case FaultPredecessor:
		return "a predecessor has a fault"
	case FaultBesideEnd:
		return "the chain has ended without this link"
	case FaultNotEnded:
		return "the chain has no end"
	case FaultDuplicate:
		return "the link is there twice"
	}
	return ""
}

// Fault is a rule that a link breaks. It is an error.
type Fault struct {
	Kind FaultKind
	// Link is the digest of the link that has the fault. Zero for a chain without links.
	Link receipt.Digest
	// Step is the step that the link says it is of; "" if it cannot be read. It is not to be believed for the faults that
	// a link has by itself.
	Step string
	// Detail says what exactly differs.
	Detail string
	cause  error
}

// Error gives link, step, rule and detail.
func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString("chain: ")
	if !f.Link.IsZero() {
		b.WriteString("link " + f.Link.String())
		if f.Step != "" {
			fmt.Fprintf(&b, " (step %.80q)", f.Step)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Kind.Sentence())
	if f.Detail != "" {
		b.WriteString(": " + f.Detail)
	}
	return b.String()
}

// Unwrap gives the error of package receipt behind the fault, or nil.
func (f *Fault) Unwrap() error { return f.cause }

// sortFaults puts faults into an order that depends on nothing but them, those that follow from others last.
func sortFaults(faults []*Fault) {
	slices.SortFunc(faults, func(a, b *Fault) int {
		if follows := a.Kind.Follows(); follows != b.Kind.Follows() {
			if follows {
				return 1
			}
			return -1
		}
		return cmp.Or(strings.Compare(a.Step, b.Step), slices.Compare(a.Link[:], b.Link[:]),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Detail, b.Detail))
	})
}
