// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/receipt"

	"github.com/dapr-custody/custody/internal/identity"
)

// The kinds of action that links have beside those of calls.
const (
	KindAttest   = "custody.attest"
	KindJoin     = "custody.join"
	KindEnd      = "custody.end"
	KindApproval = "custody.approval"
	// KindContinue is the last link of a generation of a workflow, and KindBegin the first of the next.
	KindContinue = "custody.continue"
	KindBegin    = "custody.begin"
)

// Limits on a link. What goes beyond is FaultTooMany or FaultPrev.
const (
	// MaxPayload is the largest payload of a link, in bytes.
	MaxPayload = 128 << 10
	// MaxPrev is the largest number of predecessors of a link that is no join. A join has up to receipt.MaxPrev.
	MaxPrev = 16
)

// Link is a link that verifies by itself.
type Link struct {
	Digest  receipt.Digest
	Receipt *receipt.Receipt
	Signer  spiffeid.ID
}

// role is what a link is to others.
type role uint8

const (
	question role = iota + 1
	answer
	statement
	approval
	join
	end
	goesOn // the last of a generation
	begin  // the first of the next
)

// roleOf says what a receipt is by kind and status; 0 where they do not go together.
func roleOf(r *receipt.Receipt) role {
	stated := r.Outcome.Status == receipt.StatusStated
	switch kind := r.Action.Kind; {
	case kind == KindAttest && stated:
		return statement
	case kind == KindJoin && stated:
		return join
	case kind == KindEnd && stated:
		return end
	case kind == KindContinue && stated:
		return goesOn
	case kind == KindBegin && stated:
		return begin
	case kind == KindApproval && r.Outcome.Status == receipt.StatusApproved:
		return approval
	case strings.HasPrefix(kind, "custody."):
		return 0
	}
	switch r.Outcome.Status {
	case receipt.StatusAsked:
		return question
	case receipt.StatusDenied, receipt.StatusOK, receipt.StatusToolError, receipt.StatusRPCError,
		receipt.StatusHTTPError, receipt.StatusIncomplete, receipt.StatusWithheld:
		return answer
	}
	return 0
}

// checkLink gives the fault that a link of the chain has by itself, or its role.
func checkLink(id *receipt.Chain, l *Link) (role, *Fault) {
	r := l.Receipt
	if detail := otherChain(id, r.Workflow); detail != "" {
		return 0, l.fault(FaultOtherChain, "%s", detail)
	}
	if l.Signer.TrustDomain() != id.App.TrustDomain() {
		return 0, l.fault(FaultTrustDomain, "the signer is %s, the chain that of %s", l.Signer, id.App)
	}
	what := roleOf(r)
	if what == 0 { // That effect and status go together was seen to when the payload was decoded.
		return 0, l.fault(FaultStatus, "kind %.80q with status %q", r.Action.Kind, r.Outcome.Status)
	}
	if f := l.checkForm(what); f != nil {
		return 0, f
	}
	if f := l.checkSigner(id, what); f != nil {
		return 0, f
	}
	return what, l.checkPrev(what)
}

// otherChain says what makes a receipt one of another chain than id; "" if it is one of this.
func otherChain(id *receipt.Chain, w *receipt.Workflow) string {
	switch {
	case w == nil || w.Chain == nil:
		return "it names no chain"
	case w.Chain.App != id.App:
		return fmt.Sprintf("its chain is that of %s, this one of %s", w.Chain.App, id.App)
	case w.Chain.Instance != id.Instance:
		return fmt.Sprintf("its chain is that of instance %.140q, this one of %.140q", w.Chain.Instance, id.Instance)
	case !w.Chain.Started.Equal(id.Started):
		return fmt.Sprintf("its chain started at %s, this one at %s", stamp(w.Chain.Started), stamp(id.Started))
	}
	return ""
}

func (l *Link) checkForm(what role) *Fault {
	r := l.Receipt
	step := r.Workflow.Step
	switch {
	case step == "" && what != join && what != end && what != goesOn && what != begin:
		return l.fault(FaultForm, "workflow.step is missing")
	case what == begin && r.Workflow.Generation == 0:
		return l.fault(FaultForm, "a %s of the first generation, which nothing continues as new", KindBegin)
	case what == question || what == answer:
		return nil
	case r.Action.Name != step:
		return l.fault(FaultForm, "action.name is %.80q, workflow.step %.80q", r.Action.Name, step)
	case r.Action.Server != "":
		return l.fault(FaultForm, "action.server is %.80q in what no server is asked", r.Action.Server)
	}
	return nil
}

// checkSigner holds a link to the app that makes it. Who may answer its question says, and who may approve policy.
func (l *Link) checkSigner(id *receipt.Chain, what role) *Fault {
	r := l.Receipt
	if what == answer {
		return nil
	}
	if what != approval {
		namespace, _, ok := identity.App(id.App)
		ofSigner, app, is := identity.App(l.Signer)
		if !ok || !is || namespace != ofSigner || app != r.Workflow.App {
			return l.fault(FaultSigner, "the step is of app %.80q in the namespace of %s, the signer is %s",
				r.Workflow.App, id.App, l.Signer)
		}
	}
	if r.Caller.SPIFFEID != l.Signer {
		return l.fault(FaultCaller, "the caller is %q, the signer %s", r.Caller.SPIFFEID.String(), l.Signer)
	}
	return nil
}

func (l *Link) checkPrev(what role) *Fault {
	prev := l.Receipt.Prev
	switch {
	case what == answer && len(prev) != 1:
		return l.fault(FaultPrev, "an answer continues its question and nothing else, this one continues %d links", len(prev))
	case what == begin && len(prev) != 1:
		return l.fault(FaultPrev, "a generation begins with the %s of the one before and nothing else, this one with %d links", KindContinue, len(prev))
	case what != answer && len(prev) == 0 && l.Receipt.Workflow.Generation > 0:
		return l.fault(FaultPrev, "it is of generation %d and continues nothing", l.Receipt.Workflow.Generation)
	case what != join && len(prev) > MaxPrev:
		return l.fault(FaultPrev, "it continues %d links; more than %d are first joined by a %s", len(prev), MaxPrev, KindJoin)
	}
	for i, d := range prev {
		if slices.Contains(prev[:i], d) {
			return l.fault(FaultPrev, "it names %s twice", d)
		}
	}
	return nil
}

func (l *Link) fault(kind FaultKind, format string, args ...any) *Fault {
	f := &Fault{Kind: kind, Link: l.Digest, Detail: fmt.Sprintf(format, args...)}
	if w := l.Receipt.Workflow; w != nil {
		f.Step = w.Step
	}
	return f
}

// verify verifies an envelope as a receipt.
func verify(v *receipt.Verifier, e *receipt.Envelope, digest receipt.Digest, o *Options) (*Link, *Fault) {
	if e != nil && len(e.Payload) > MaxPayload {
		return nil, &Fault{
			Kind: FaultTooMany, Link: digest,
			Detail: fmt.Sprintf("the payload has %d bytes, a link at most %d", len(e.Payload), MaxPayload),
		}
	}
	got, err := v.Verify(e, receipt.VerifyOptions{At: o.At})
	if err != nil {
		f := &Fault{Kind: kindOf(err), Link: digest, Detail: err.Error(), cause: err}
		if e != nil {
			f.Step = stepIn(e.Payload)
		}
		return nil, f
	}
	return &Link{Digest: digest, Receipt: got.Receipt, Signer: got.Signer}, nil
}

// stepIn finds the name of the step in a payload that is not good, so that the fault can be told; "" where there is none.
func stepIn(payload []byte) string {
	var in struct {
		Predicate struct {
			Workflow struct {
				Step string `json:"step"`
			} `json:"workflow"`
		} `json:"predicate"`
	}
	err := json.Unmarshal(payload, &in, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return ""
	}
	return in.Predicate.Workflow.Step
}

func kindOf(err error) FaultKind {
	switch {
	case errors.Is(err, receipt.ErrSignature):
		return FaultSignature
	case errors.Is(err, receipt.ErrCertificate), errors.Is(err, receipt.ErrKey):
		return FaultCertificate
	case errors.Is(err, receipt.ErrTrustDomain):
		return FaultTrustDomain
	case errors.Is(err, receipt.ErrSigner):
		return FaultSigner
	case errors.Is(err, receipt.ErrPayload):
		return FaultPayload
	}
	return FaultEnvelope
}
