// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/receipt"
)

// skew is how far the clocks of two sidecars may be apart.
const skew = time.Minute

// Step is a step of a workflow that a caller asks for: a question that Asked has verified.
type Step struct {
	question *receipt.Envelope
	digest   receipt.Digest
	receipt  *receipt.Receipt
	id       stepID
}

// Question is the question as it was signed.
func (s *Step) Question() *receipt.Envelope { return s.question }

// Receipt is what the question says. It must not be changed.
func (s *Step) Receipt() *receipt.Receipt { return s.receipt }

// asPrev is what intent and answer continue.
func (s *Step) asPrev() []receipt.Digest { return []receipt.Digest{s.digest} }

// ErrNotHeld says that a question came without certificates, and that those of its signer are not known here.
var ErrNotHeld = errors.New("it comes without certificates, and those of its signer are not known here")

// Asked makes the action the step of a chain that the question asks for, if the question is the caller's own and asks for
// exactly this, of this door: it is signed by nobody but the caller, with a certificate that is valid now, and names the
// caller's app, the door's identity, the action and the digests of ask. The error says which of these is not so. Questions that were signed long before, or
// in the future, are refused too; a gate without Steps or Verifier refuses all. A question may come without certificates
// where those of its signer were found good before; otherwise that is [ErrNotHeld], and nothing else is.
func (g *Gate) Asked(ask *Ask, question *receipt.Envelope) error {
	o, now := &g.options, g.options.Now()
	switch {
	case o.Steps == nil || o.Verifier == nil:
		return errors.New("this door takes no questions")
	case ask.Caller.IsZero():
		return errors.New("the caller is not known")
	case len(question.Signatures) != 1:
		return fmt.Errorf("it has %d signatures, not that of the caller alone", len(question.Signatures))
	}
	question, err := g.completed(question)
	if err != nil {
		return err
	}
	verified, err := o.Verifier.Verify(question, receipt.VerifyOptions{
		Door: ask.Caller.ID(), At: func(*receipt.Receipt) time.Time { return now },
	})
	if err != nil {
		return err
	}
	r := verified.Receipt
	if differs := differs(r, ask); differs != "" {
		return fmt.Errorf("its %s is not that of the call", differs)
	}
	if err := ownStep(r.Workflow, ask.Caller); err != nil {
		return err
	}
	own, err := g.signers.current(now)
	if err != nil {
		return err
	}
	if r.To != own.door {
		return fmt.Errorf("it is for %s, and this is the door of %s", r.To, own.door)
	}
	switch signed := r.Times.Settled; {
	case signed.After(now.Add(skew)):
		return fmt.Errorf("it was signed at %s, which is yet to come", stamp(signed))
	case signed.Before(now.Add(-o.QuestionAge - skew)):
		return fmt.Errorf("it was signed at %s, longer than %s ago", stamp(signed), o.QuestionAge)
	}
	// What is forgotten of a chain is told by when it began.
	if started := r.Workflow.Chain.Started; started.After(now.Add(skew)) {
		return fmt.Errorf("its workflow.chain.started %s is yet to come", stamp(started))
	}
	ask.Step = &Step{question: question, digest: question.PayloadDigest(), receipt: r, id: idOf(ask.Caller.ID(), r.Workflow)}
	return nil
}

// completed puts the certificates that are known here into a question that comes without.
func (g *Gate) completed(question *receipt.Envelope) (*receipt.Envelope, error) {
	if len(question.Signatures[0].Certificate) > 0 {
		return question, nil
	}
	full, err := question.WithCertificates(g.options.Verifier.Certificates)
	if errors.Is(err, receipt.ErrCertificate) {
		return nil, ErrNotHeld
	}
	return full, err
}

// Repeats reports whether the action is a step that was passed on before, which Check refuses.
func (g *Gate) Repeats(ask *Ask) bool { return ask.Step != nil && g.options.Steps.knows(ask.Step.id) }

// once decides an action that is a step, unless that was passed on before.
func (g *Gate) once(ask Ask) (*Permit, error) {
	step, own, err := g.options.Steps.take(ask.Facts.Context, ask.Step)
	var forgotten *forgottenError
	switch {
	case errors.As(err, &forgotten):
		return nil, g.refuse(ask, err.Error())
	case err != nil:
		return nil, &ClosedError{Reference: "none", Cause: err}
	case !own:
		return nil, g.repeated(ask, step)
	}
	passes := false
	defer func() {
		if !passes {
			g.options.Steps.release(step)
		}
	}()
	started := ask.Step.receipt.Workflow.Chain.Started
	ask.Facts.Passed = func(tool string) (int, error) { return g.options.Steps.before(step, started, tool) }
	p, err := g.check(ask)
	if err != nil {
		return nil, err
	}
	passes, p.step = true, step
	g.options.Steps.pass(step, p.decided, p.place)
	return p, nil
}

// repeated records that a step was asked for again, and gives what came of it.
func (g *Gate) repeated(ask Ask, step *passed) error {
	known, err := g.options.Steps.read(step, ask.Caller.ID())
	if err == nil && known == nil {
		err = errNotKept
	}
	if err != nil {
		return &ClosedError{Reference: "none", Cause: err}
	}
	err = g.refuse(ask, fmt.Sprintf("the step was passed on before, at %s, for the question %s", stamp(step.decided), step.question))
	var denied *DeniedError
	if !errors.As(err, &denied) {
		return err
	}
	return &RepeatedError{Reference: denied.Reference, Passed: *known}
}

// refuse records a refusal that is no answer to the question.
func (g *Gate) refuse(ask Ask, reason string) error {
	ask.Step, ask.Refusal = nil, reason
	_, err := g.check(ask)
	return err
}

// differs names the member of a question that does not fit the call; "" if all fit.
func differs(r *receipt.Receipt, ask *Ask) string {
	switch {
	case r.Outcome.Status != receipt.StatusAsked:
		return fmt.Sprintf("outcome.status %q", r.Outcome.Status)
	case r.Caller.SPIFFEID != ask.Caller.ID():
		return "caller"
	case r.Action.Kind != ask.Action.Kind:
		return "action.kind"
	case r.Action.Server != ask.Action.Server:
		return "action.server"
	case r.Action.Name != ask.Action.Name:
		return "action.name"
	case r.RequestDigest != ask.Request:
		return "requestDigest"
	case r.ArgumentsDigest != ask.Arguments:
		return "argumentsDigest"
	}
	return ""
}

// ownStep says why the workflow step of a question is not one of the caller's app.
func ownStep(w *receipt.Workflow, caller identity.Caller) error {
	if w == nil || w.Chain == nil {
		return errors.New("it names no chain")
	}
	namespace, _, ok := identity.App(w.Chain.App)
	switch {
	case caller.AppID() == "" || w.App != caller.AppID():
		return fmt.Errorf("its workflow.app %.80q is not that of the caller", w.App)
	case w.Chain.App.TrustDomain() != caller.ID().TrustDomain():
		return fmt.Errorf("its workflow.chain.app %s is of another trust domain than the caller", w.Chain.App)
	case !ok:
		return fmt.Errorf("its workflow.chain.app %s is no app of Dapr's", w.Chain.App)
	case namespace != caller.Namespace():
		return fmt.Errorf("its workflow.chain.app %s is of another namespace than the caller", w.Chain.App)
	case w.Task == 0 || w.Step == "":
		return errors.New("it names no step: workflow.task or workflow.step is missing")
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
