// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/rate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/txn"
)

// Options are the parts of a gate. All up to Now are required.
type Options struct {
	// Door names the kind of door in receipts, for example "mcpguard".
	Door string
	// Policy gives the Set in force; nil from it closes the gate.
	Policy func() *policy.Set
	// SVIDs gives the identity that the door signs with.
	SVIDs x509svid.Source
	// Journal takes intents and receipts.
	Journal *journal.Writer
	// Now is the clock.
	Now func() time.Time
	// Rates counts for rules that allow something so and so often. Without it what
	// they allow is refused.
	Rates *rate.Limiter
	// Steps remembers which steps of workflows were passed on, Verifier verifies the questions of who asks for one, and
	// QuestionAge is how long ago one may have been signed. Without them no step of a workflow is allowed.
	Steps       *Steps
	Verifier    *receipt.Verifier
	QuestionAge time.Duration
}

// Gate decides and records for one door. It is safe for concurrent use.
type Gate struct {
	options  Options
	signers  signers
	buffers  buffers
	receipts receipts
}

// New makes a gate. A part that is missing is an error.
func New(options Options) (*Gate, error) {
	if options.Door == "" || options.Policy == nil || options.SVIDs == nil || options.Journal == nil || options.Now == nil {
		return nil, errors.New("gate: every part is required")
	}
	options.Now = wall(options.Now)
	g := &Gate{options: options, signers: signers{source: options.SVIDs, journal: options.Journal}}
	if options.Steps != nil {
		g.signers.noted = options.Steps.certificates
	}
	return g, nil
}

// Ask is one action that somebody wants done.
type Ask struct {
	// Caller asks. The zero Caller is always denied.
	Caller identity.Caller
	Action policy.Action
	// Parts are what the action consists of, where it is a request to a state store or a database: each key, each use of
	// a table. All of them have to be allowed. Action is then their policy.Headline, by which the request is called,
	// recorded and counted. Empty for an action that is decided by itself.
	Parts []policy.Action
	// Touched are what the receipt says was touched; where it is empty, Parts are. What is over the limits of a receipt is
	// counted in it. Intents do not name them.
	Touched []receipt.Touched
	// Statement is the statement of SQL that the receipt names. Nil for what is none.
	Statement *receipt.Statement
	// Request is the digest of the exact bytes that would be passed on.
	Request receipt.Digest
	// Arguments is the digest of the arguments in RFC 8785 form; zero where there are none.
	Arguments receipt.Digest
	// Facts are what conditions of rules may ask about. Now, Proof and Actor are
	// filled in by Check: the time of the record, the proof of Caller, and what
	// Token says.
	Facts policy.Facts
	// Token is the transaction token that the caller sent, which the door has verified. Nil for none. What it does not
	// cover is denied, and Facts.Actor is filled in by Check from it.
	Token *txn.Token
	// Plumbing says that the action needs no rule that allows it: it is a step of
	// the protocol, or its answer is filtered. It is allowed to whom the policy lets
	// reach the server at all, unless a rule denies it by its method.
	Plumbing bool
	// Continues is an action of the caller's that was allowed before and that this
	// one is a part of; the zero Action is none. If rules allow it no more, whatever
	// its arguments, this one is denied.
	Continues policy.Action
	// Step is the step of a workflow that the action is, which Asked says. Nil for none. Intent and receipt name the step
	// and continue its question. Where the rules ask for the chain and Facts.Past is nil, the gate is closed to it.
	Step *Step
	// Refusal is why the door itself can not let the action pass, whatever the
	// policy says: it could not be understood, or it is not the caller's. Empty
	// where the policy is to decide.
	Refusal string
}

// Permit lets one action pass, once. It must be settled.
type Permit struct {
	gate     *Gate
	set      *policy.Set
	ask      Ask
	decision policy.Decision
	digest   receipt.Digest // of the set
	id       string
	decided  time.Time
	intent   journal.Position
	place    journal.Place     // of the intent
	step     *passed           // that the action is; nil for none
	answer   *receipt.Envelope // the receipt, where the action is a step
	// retryAfter is when a rate that is used up has room again.
	retryAfter time.Duration
}

// Answer is the receipt with its certificates, once the action is settled. It is nil where the action is no step of a
// workflow.
func (p *Permit) Answer() *receipt.Envelope { return p.answer }

// Reference is the ID under which the action is recorded.
func (p *Permit) Reference() string { return p.id }

// Obligations are what the allow obliges the door to, nil for nothing. The rates
// among them have been kept already. What the door cannot keep must not pass.
func (p *Permit) Obligations() *policy.Obligations { return p.decision.Obligations }

// Allows reports whether the caller may do another action at the same server now,
// by the very rules that decided this one. It is for what the server asks for in
// its answer, and records nothing. Conditions see no arguments.
func (p *Permit) Allows(kind, name string) bool {
	facts := p.ask.Facts
	facts.Arguments, facts.Now = nil, p.gate.options.Now()
	return freely(p.set.Decide(p.other(kind, name, &facts)))
}

// Shows reports whether the caller could be allowed another action at the same
// server, with the right arguments and at the right time, by the very rules that
// decided this one. It is for what a list shows or hides, and records nothing.
func (p *Permit) Shows(kind, name string) bool {
	return p.covers(kind, name) && p.set.MayAllow(p.other(kind, name, nil))
}

// ShowsTemplate is Shows for the resources that a URI template makes: whether the
// caller could be allowed to read some of them.
func (p *Permit) ShowsTemplate(template string) bool {
	return p.coversSome(template) && p.set.MayAllowTemplate(p.other(policy.KindResourceRead, template, nil))
}

// AllowsNow is Allows by the rules in force now, for what comes long after the
// action was decided. It allows nothing where none are in force.
func (p *Permit) AllowsNow(kind, name string) bool {
	facts := p.ask.Facts
	facts.Arguments, facts.Now = nil, p.gate.options.Now()
	return p.covers(kind, name) && freely(p.gate.options.Policy().Decide(p.other(kind, name, &facts)))
}

// Stands reports whether the rules in force now would allow the action again.
func (p *Permit) Stands() bool {
	ask := p.ask
	ask.Facts.Now = p.gate.options.Now()
	return decide(p.gate.options.Policy(), &ask).Effect == policy.Allow
}

// Action is what was allowed.
func (p *Permit) Action() policy.Action { return p.ask.Action }

// freely reports whether a decision allows without a rate, which is counted for
// what callers ask alone.
func freely(d policy.Decision) bool {
	return d.Effect == policy.Allow && (d.Obligations == nil || len(d.Obligations.Rates) == 0)
}

func (p *Permit) other(kind, name string, facts *policy.Facts) policy.Request {
	action := policy.Action{Kind: kind, Server: p.ask.Action.Server, Name: name}
	return policy.Request{Caller: p.ask.Caller.ID(), Action: action, Facts: facts}
}

// Check decides the action. It returns a Permit only after the intent has been
// written. Every error is a [DeniedError], a [ClosedError] or, for a step that
// was passed on before, a [RepeatedError]; after any of them nothing may pass.
func (g *Gate) Check(ask Ask) (*Permit, error) {
	if ask.Step != nil {
		return g.once(ask)
	}
	return g.check(ask)
}

func (g *Gate) check(ask Ask) (*Permit, error) {
	p := &Permit{gate: g, ask: ask, decided: g.options.Now()}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, &ClosedError{Reference: "none", Cause: err}
	}
	p.id = id.String()
	signer, err := g.signers.current(p.decided)
	if err != nil {
		return nil, &ClosedError{Reference: p.id, Cause: err}
	}
	set := g.options.Policy()
	if set == nil {
		return nil, &ClosedError{Reference: p.id, Cause: ErrNoPolicy}
	}
	if ask.Step != nil && ask.Facts.Past == nil && ask.Refusal == "" && set.AsksChain(ask.Action.Server) {
		return nil, &ClosedError{Reference: p.id, Cause: ErrNoPast} // as one that is in no workflow it would have done nothing before
	}
	p.set = set
	if p.digest, err = receipt.ParseDigest(set.Digest()); err != nil {
		return nil, &ClosedError{Reference: p.id, Cause: err}
	}
	p.ask.Facts.Now, p.ask.Facts.Proof = p.decided, string(ask.Caller.Proof())
	p.ask.Facts.ArgumentsDigest = policy.Digest(ask.Arguments)
	p.ask.Facts.Actor = actorOf(ask.Token)
	p.decision = decide(set, &p.ask)
	if err := p.charge(); err != nil {
		return nil, &ClosedError{Reference: p.id, Cause: err}
	}
	if p.decision.Effect != policy.Allow {
		if err := p.deny(signer); err != nil {
			return nil, &ClosedError{Reference: p.id, Cause: err}
		}
		return nil, &DeniedError{Reference: p.id, Decision: p.decision, RetryAfter: p.retryAfter, Answer: p.answer}
	}
	if err := p.intend(); err != nil {
		return nil, &ClosedError{Reference: p.id, Cause: err}
	}
	return p, nil
}

// decide asks the policy. What it does not say itself is the caller being
// nobody, the door's own refusal, what an action continues, and what its
// transaction covers.
func decide(set *policy.Set, ask *Ask) policy.Decision {
	refused := policy.Decision{Effect: policy.Deny, Set: set.Digest()}
	switch {
	case ask.Refusal != "":
		refused.Reason = ask.Refusal
		return refused
	case ask.Caller.IsZero():
		refused.Reason = "the caller is not known"
		return refused
	case ask.Continues != policy.Action{} && !set.MayAllow(policy.Request{Caller: ask.Caller.ID(), Action: ask.Continues}):
		refused.Reason = "the call that this is a part of is not allowed any more"
		return refused
	}
	if refused.Reason = ask.outside(); refused.Reason != "" {
		return refused
	}
	if refused.Reason = ask.elsewhere(); refused.Reason != "" {
		return refused
	}
	if len(ask.Parts) > 0 {
		return set.DecideAll(ask.Caller.ID(), ask.Parts, &ask.Facts)
	}
	request := policy.Request{Caller: ask.Caller.ID(), Action: ask.Action, Facts: &ask.Facts}
	if ask.Plumbing {
		return set.DecideDefault(request)
	}
	return set.Decide(request)
}

func (p *Permit) intend() error {
	intent := receipt.Intent{
		ID: p.id, Decided: p.decided, Caller: p.ask.Caller.ID(), Action: receiptAction(p.ask.Action),
		RequestDigest: p.ask.Request, SetDigest: p.digest,
	}
	if t := p.ask.Token; t != nil {
		intent.Txn, intent.Actors = t.Txn, t.Actors
	}
	if step := p.ask.Step; step != nil {
		intent.Workflow, intent.Prev, intent.Question = step.receipt.Workflow, step.asPrev(), step.question.AppendJSON(nil)
	}
	record := p.gate.buffers.get()
	defer p.gate.buffers.put(record)
	var err error
	if *record, err = intent.AppendJSON((*record)[:0]); err != nil {
		return err
	}
	p.intent, p.place, err = p.gate.options.Journal.AppendPlaced(journal.KindIntent, *record)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

func (p *Permit) deny(signer *doorSigner) error {
	p.intent = p.gate.options.Journal.Head()
	_, err := p.record(signer, receipt.Outcome{Status: receipt.StatusDenied})
	return err
}

// Settle signs and writes what came of the action and returns the digest of
// the receipt. It must be called once, also where the call failed. On an error
// the answer must be withheld: its outcome is not on record.
func (p *Permit) Settle(outcome receipt.Outcome) (string, error) {
	signer, err := p.gate.signers.current(p.gate.options.Now())
	if err != nil {
		return "", &ClosedError{Reference: p.id, Cause: err}
	}
	digest, err := p.record(signer, outcome)
	if err != nil {
		return "", &ClosedError{Reference: p.id, Cause: err}
	}
	return digest, nil
}

func (p *Permit) record(signer *doorSigner, outcome receipt.Outcome) (string, error) {
	r := p.gate.receipts.get()
	defer p.gate.receipts.put(r)
	if err := p.fill(r, outcome, signer); err != nil {
		return "", err
	}
	record := p.gate.buffers.get()
	defer p.gate.buffers.put(record)
	var digest receipt.Digest
	var answer *receipt.Envelope
	var err error
	if p.ask.Step == nil {
		*record, digest, err = receipt.AppendSigned((*record)[:0], r, signer.Signer)
	} else if answer, err = receipt.Sign(r, signer.Signer); err == nil {
		digest = answer.PayloadDigest()
		*record = answer.WithoutCertificates().AppendJSON((*record)[:0])
	}
	if err != nil {
		return "", err
	}
	_, place, err := p.gate.options.Journal.AppendPlaced(journal.KindReceipt, *record)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrJournal, err)
	}
	p.answer = answer
	if p.step != nil {
		p.gate.options.Steps.settle(p.step, place, digest)
	}
	return digest.String(), nil
}

// fill makes r the receipt.
func (p *Permit) fill(r *receipt.Receipt, outcome receipt.Outcome, signer *doorSigner) error {
	*r = receipt.Receipt{
		ID:              p.id,
		Door:            receipt.Door{SPIFFEID: signer.door, Name: p.gate.options.Door},
		Action:          receiptAction(p.ask.Action),
		RequestDigest:   p.ask.Request,
		ArgumentsDigest: p.ask.Arguments,
		Decision: receipt.Decision{
			Effect: string(p.decision.Effect), Policy: p.decision.Policy, Rule: p.decision.Rule,
			Reason: p.decision.Reason, SetDigest: p.digest, Shadow: receiptShadow(p.decision.Shadow),
		},
		Journal: receipt.Journal{ID: p.gate.options.Journal.ID(), Seq: p.intent.Seq, Chain: p.intent.Chain},
		Times:   receipt.Times{Decided: p.decided, Settled: p.gate.options.Now()},
		Outcome: outcome, Statement: p.ask.Statement,
	}
	r.Touched, r.TouchedMore = p.ask.touched()
	if t := p.ask.Token; t != nil {
		r.Txn, r.Actors = t.Txn, t.Actors
	}
	if step := p.ask.Step; step != nil {
		r.Workflow, r.Prev = step.receipt.Workflow, step.asPrev()
	}
	// A clock that was set back must not make a receipt that says it was settled before it was decided.
	if r.Times.Settled.Before(r.Times.Decided) {
		r.Times.Settled = r.Times.Decided
	}
	if p.ask.Caller.IsZero() {
		return nil
	}
	var err error
	r.Caller, err = receiptCaller(p.ask.Caller)
	return err
}

func receiptAction(a policy.Action) receipt.Action {
	return receipt.Action{Kind: a.Kind, Server: a.Server, Name: a.Name}
}

func receiptShadow(d *policy.Decision) *receipt.Shadow {
	if d == nil {
		return nil
	}
	return &receipt.Shadow{Effect: string(d.Effect), Policy: d.Policy, Rule: d.Rule, Reason: d.Reason}
}

func receiptCaller(c identity.Caller) (receipt.Caller, error) {
	caller := receipt.Caller{SPIFFEID: c.ID(), Proof: string(c.Proof())}
	if c.CertificateDigest() == "" {
		return caller, nil
	}
	digest, err := receipt.ParseDigest(c.CertificateDigest())
	caller.CertificateDigest = digest
	return caller, err
}
