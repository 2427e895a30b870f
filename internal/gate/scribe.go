// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// ProofSidecar is the proof of the caller in links that the caller's own sidecar signs: the sidecar is that of the app.
const ProofSidecar = "sidecar"

// ScribeOptions are the parts of a Scribe. All but Remember are required.
type ScribeOptions struct {
	// Door names the kind of door in receipts, for example "mcpcaller".
	Door string
	// SVIDs gives the identity that the door signs with. It is that of the app too.
	SVIDs x509svid.Source
	// Journal takes the links, and Dir is its folder, from which earlier ones are read.
	Journal *journal.Writer
	Dir     string
	// Now is the clock.
	Now func() time.Time
	// Remember is how many links are remembered, the newest. 0 is 10,000.
	Remember int
}

// Scribe signs and writes what the sidecar's own app asks, states or approves in a workflow: links of a chain that no
// policy decides. It is safe for concurrent use.
//
// A step makes one link of its kind. Who asks for it again, with the same content, gets the same bytes, also after a
// restart; with another content it is refused. This holds for the links that are remembered, and for no others.
type Scribe struct {
	options ScribeOptions
	signers signers
	buffers buffers
	links   links
}

// Saying is what the own app says.
type Saying struct {
	// Status is receipt.StatusAsked, StatusStated or StatusApproved.
	Status string
	Action receipt.Action
	// Request is the digest of the exact bytes of the call, or of the statement in RFC 8785 form. Required.
	Request receipt.Digest
	// Arguments is the digest of the arguments in RFC 8785 form; zero where there are none.
	Arguments receipt.Digest
	// To is the app that is asked. Required for StatusAsked, and zero otherwise.
	To spiffeid.ID
	// Workflow is the step. Its App, and the App of its Chain, are the own app's where they are zero.
	Workflow receipt.Workflow
	// Prev are the heads that the link continues.
	Prev []receipt.Digest
}

// Link is a signed link with its certificates. It must not be changed.
type Link struct {
	Envelope *receipt.Envelope
	Digest   receipt.Digest
}

// NewScribe makes a Scribe, which reads the newest links of the journal. A part that is missing is an error, and so is
// a journal that is not what was written.
func NewScribe(options ScribeOptions) (*Scribe, error) {
	if options.Door == "" || options.SVIDs == nil || options.Journal == nil || options.Dir == "" || options.Now == nil {
		return nil, errors.New("gate: every part is required")
	}
	options.Now = wall(options.Now)
	if options.Remember == 0 {
		options.Remember = defaultRemember
	}
	s := &Scribe{
		options: options, signers: signers{source: options.SVIDs, journal: options.Journal},
		links: newLinks(options.Remember),
	}
	if err := s.links.recall(options.Dir); err != nil {
		return nil, fmt.Errorf("gate: read the links of the journal: %w", err)
	}
	return s, nil
}

// Write gives the link of what the app says; it returns only after the link has been written. Errors are a
// [SayingError] where the app must not say this, an [OtherContentError] where the step has another link of this kind,
// and a [ClosedError] where nothing can be signed or written. After any of them nothing may pass.
func (s *Scribe) Write(saying Saying) (*Link, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, &ClosedError{Reference: "none", Cause: err}
	}
	now := s.options.Now()
	signer, err := s.signers.current(now)
	if err != nil {
		return nil, &ClosedError{Reference: id.String(), Cause: err}
	}
	if err := saying.complete(signer.door); err != nil {
		return nil, &SayingError{Reason: err.Error()}
	}
	r := s.receipt(id.String(), now, &saying, signer)
	link, err := s.links.once(r, func() (*Link, error) { return s.sign(r, signer) })
	var other *OtherContentError
	switch {
	case err == nil, errors.As(err, &other):
		return link, err
	case errors.Is(err, receipt.ErrPayload):
		return nil, &SayingError{Reason: err.Error()}
	}
	return nil, &ClosedError{Reference: id.String(), Cause: err}
}

func (s *Scribe) receipt(id string, now time.Time, saying *Saying, signer *doorSigner) *receipt.Receipt {
	return &receipt.Receipt{
		ID:              id,
		Door:            receipt.Door{SPIFFEID: signer.door, Name: s.options.Door},
		Caller:          receipt.Caller{SPIFFEID: signer.door, Proof: ProofSidecar},
		Action:          saying.Action,
		To:              saying.To,
		RequestDigest:   saying.Request,
		ArgumentsDigest: saying.Arguments,
		Decision:        receipt.Decision{Effect: receipt.EffectAllow},
		Workflow:        &saying.Workflow,
		Prev:            saying.Prev,
		Times:           receipt.Times{Decided: now, Settled: now},
		Outcome:         receipt.Outcome{Status: saying.Status},
	}
}

// sign signs the link, standing on what the journal holds now, and writes it.
func (s *Scribe) sign(r *receipt.Receipt, signer *doorSigner) (*Link, error) {
	head := s.options.Journal.Head()
	r.Journal = receipt.Journal{ID: s.options.Journal.ID(), Seq: head.Seq, Chain: head.Chain}
	envelope, err := receipt.Sign(r, signer.Signer)
	if err != nil {
		return nil, err
	}
	record := s.buffers.get()
	defer s.buffers.put(record)
	*record = envelope.WithoutCertificates().AppendJSON((*record)[:0])
	if _, err := s.options.Journal.Append(journal.KindReceipt, *record); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return &Link{Envelope: envelope, Digest: envelope.PayloadDigest()}, nil
}

// complete fills in the own app, and says what the app must not say. The own app is that of the certificate: it is what
// a verifier goes by.
func (s *Saying) complete(own spiffeid.ID) error {
	namespace, app, ok := identity.App(own)
	if !ok {
		return fmt.Errorf("the sidecar's identity %s is not that of a Dapr app, /ns/<namespace>/<app>", own)
	}
	w := &s.Workflow
	switch {
	case w.Instance == "":
		return errors.New("workflow.instance is missing")
	case w.Step == "" && !slices.Contains([]string{chain.KindJoin, chain.KindEnd, chain.KindContinue, chain.KindBegin}, s.Action.Kind):
		return errors.New("workflow.step is missing: name the step")
	case w.Task == 0:
		return errors.New("workflow.task is missing: give Dapr's ID of the TaskScheduled event plus one")
	case w.Chain == nil:
		return errors.New("workflow.chain is missing: give instance and started of the workflow that the chain began with")
	case w.Chain.Instance == "" || w.Chain.Started.IsZero():
		return errors.New("workflow.chain needs instance and started")
	}
	if w.App == "" {
		w.App = app
	}
	if w.Chain.App.IsZero() {
		full := *w.Chain
		full.App, w.Chain = own, &full
	}
	if err := s.fits(own.TrustDomain(), namespace, app); err != nil {
		return err
	}
	return s.completePrev()
}

func (s *Saying) fits(domain spiffeid.TrustDomain, namespace, app string) error {
	w := &s.Workflow
	chainNamespace, _, isApp := identity.App(w.Chain.App)
	switch {
	case !isApp || w.Chain.App.TrustDomain() != domain:
		return fmt.Errorf("workflow.chain.app %s is not an app of the trust domain %s", w.Chain.App, domain)
	case s.Status == receipt.StatusApproved:
		return nil // of a workflow of any app
	case w.App != app:
		return fmt.Errorf("workflow.app is %.80q, and this is the sidecar of %q: an app speaks for its own workflows only", w.App, app)
	case chainNamespace != namespace:
		return fmt.Errorf("workflow.chain.app %s is not in the namespace %q", w.Chain.App, namespace)
	}
	return nil
}

func (s *Saying) completePrev() error {
	most := chain.MaxPrev
	if s.Action.Kind == chain.KindJoin {
		most = receipt.MaxPrev
	}
	if len(s.Prev) > most {
		return fmt.Errorf("prev has %d links, more than %d: make a %s of them first", len(s.Prev), most, chain.KindJoin)
	}
	seen := make(map[receipt.Digest]bool, len(s.Prev))
	for _, digest := range s.Prev {
		if seen[digest] {
			return fmt.Errorf("prev names %s twice", digest)
		}
		seen[digest] = true
	}
	return nil
}
