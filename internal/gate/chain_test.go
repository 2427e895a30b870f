// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// chained is a gate that takes questions, with the steps that its journal knows.
func (p *parts) chained() *gate.Gate {
	p.tb.Helper()
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(p.tb, err)
	return p.chainedBy(steps)
}

func (p *parts) chainedBy(steps *gate.Steps) *gate.Gate {
	p.tb.Helper()
	g, err := gate.New(gate.Options{
		Door: "test", Policy: p.current, SVIDs: p.svids, Journal: p.journal, Now: func() time.Time { return p.now },
		Steps: steps, Verifier: receipt.NewVerifier(x509bundle.NewSet(p.ca.Bundle())), QuestionAge: time.Hour,
	})
	require.NoError(p.tb, err)
	return g
}

// question is what alice's sidecar signs for echo(p.alice).
func question(p *parts, task uint32) *receipt.Receipt {
	ask := echo(p.alice)
	return &receipt.Receipt{
		ID: "q", Door: receipt.Door{SPIFFEID: p.alice.ID()}, Caller: receipt.Caller{SPIFFEID: p.alice.ID(), Proof: "sidecar"},
		Action: receipt.Action{Kind: ask.Action.Kind, Server: ask.Action.Server, Name: ask.Action.Name},
		To:     p.svids.svid.ID, RequestDigest: ask.Request, ArgumentsDigest: ask.Arguments, Decision: receipt.Decision{Effect: receipt.EffectAllow},
		Workflow: &receipt.Workflow{
			Chain: &receipt.Chain{App: p.alice.ID(), Instance: "i", Started: p.now}, Instance: "i", App: "alice", Task: task, Step: "echo",
		},
		Journal: receipt.Journal{ID: "j", Chain: receipt.Sum([]byte("j"))}, Times: receipt.Times{Decided: p.now, Settled: p.now},
		Outcome: receipt.Outcome{Status: receipt.StatusAsked},
	}
}

func sign(tb testing.TB, r *receipt.Receipt, svid *x509svid.SVID) *receipt.Envelope {
	tb.Helper()
	r.Door.SPIFFEID = svid.ID
	return testkit.Sign(tb, r, svid)
}

// step is alice's ask for a step.
func (p *parts) step(g *gate.Gate, task uint32) gate.Ask {
	p.tb.Helper()
	ask := echo(p.alice)
	require.NoError(p.tb, g.Asked(&ask, sign(p.tb, question(p, task), p.ca.SVID("alice"))))
	return ask
}

func done(t *testing.T, g *gate.Gate, ask gate.Ask) *gate.Permit {
	t.Helper()
	permit, err := g.Check(ask)
	require.NoError(t, err)
	_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
	require.NoError(t, err)
	return permit
}

// The answer to a question names the step and continues the question, and its intent does.
func TestAnswerToAQuestion(t *testing.T) {
	p := working(t)
	g := p.chained()
	ask := p.step(g, 1)
	permit, err := g.Check(ask)
	require.NoError(t, err)
	require.Nil(t, permit.Answer(), "there is no answer yet")
	digest, err := permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
	require.NoError(t, err)

	verified, err := receipt.Verify(permit.Answer(), x509bundle.NewSet(p.ca.Bundle()), receipt.VerifyOptions{})
	require.NoError(t, err, "it bears its certificates")
	require.Equal(t, digest, permit.Answer().Digest())
	prev := []receipt.Digest{ask.Step.Question().PayloadDigest()}
	require.Equal(t, prev, verified.Receipt.Prev)
	require.Equal(t, ask.Step.Receipt().Workflow, verified.Receipt.Workflow)

	read := p.read()
	require.Equal(t, []string{digest}, read.Digests)
	require.Equal(t, prev, read.Intents[0].Prev)
	require.Equal(t, ask.Step.Receipt().Workflow, read.Intents[0].Workflow)
	asked, err := receipt.DecodeEnvelope(read.Intents[0].Question)
	require.NoError(t, err)
	require.Equal(t, ask.Step.Question(), asked)
}

func TestDenialOfAQuestion(t *testing.T) {
	p := working(t)
	g := p.chained()
	ask := p.step(g, 1)
	p.set = compile(t, strings.Replace(rules, "[echo]", "[other]", 1))
	for range 2 { // What is denied is decided anew.
		_, err := g.Check(ask)
		var denied *gate.DeniedError
		require.ErrorAs(t, err, &denied)
		verified, err := receipt.Verify(denied.Answer, x509bundle.NewSet(p.ca.Bundle()), receipt.VerifyOptions{})
		require.NoError(t, err)
		require.Equal(t, receipt.StatusDenied, verified.Receipt.Outcome.Status)
		require.Equal(t, []receipt.Digest{ask.Step.Question().PayloadDigest()}, verified.Receipt.Prev)
		require.Empty(t, p.read().Intents)
	}
	p.set = compile(t, rules)
	done(t, g, ask)
}

// What is no step has no answer of its own, and an answer that is not on record is none.
func TestNoAnswer(t *testing.T) {
	p := working(t)
	g := p.chained()
	require.Nil(t, done(t, g, echo(p.alice)).Answer())
	require.Nil(t, p.read().Receipts[0].Workflow)
	require.Empty(t, p.read().Receipts[0].Prev)

	permit, err := g.Check(p.step(g, 1))
	require.NoError(t, err)
	require.NoError(t, p.journal.Close())
	_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
	require.ErrorIs(t, err, gate.ErrJournal)
	require.Nil(t, permit.Answer())
}

// For everything that a question says there is one that says something else.
func TestQuestionMustFit(t *testing.T) {
	p := working(t)
	g := p.chained()
	other := testkit.NewCA(t, "elsewhere.local")
	alice := p.ca.SVID("alice")
	ask := echo(p.alice)
	require.NoError(t, g.Asked(&ask, sign(t, question(p, 1), alice)))
	ahead := question(p, 1)
	ahead.Workflow.Chain.Started = p.now.Add(time.Minute)
	require.NoError(t, g.Asked(&ask, sign(t, ahead, alice)))
	late := p.ca.SVID("alice", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = p.now.Add(-2*time.Hour), p.now.Add(-time.Minute)
	})
	for name, tt := range map[string]struct {
		change func(*receipt.Receipt)
		svid   *x509svid.SVID
		want   string
	}{
		"signed by another":             {svid: p.ca.SVID("bob"), want: "the door is"},
		"signed by the other authority": {svid: other.SVIDFor(alice.ID), want: "does not chain"},
		"another trust domain":          {svid: other.SVID("alice"), want: "trust domain"},
		"expired":                       {svid: late, want: "was not valid"},
		"not a question":                {change: func(r *receipt.Receipt) { r.Outcome.Status, r.To = receipt.StatusStated, spiffeid.ID{} }, want: "outcome.status"},
		"caller":                        {change: func(r *receipt.Receipt) { r.Caller.SPIFFEID = p.bob.ID() }, want: "its caller"},
		"no caller":                     {change: func(r *receipt.Receipt) { r.Caller = receipt.Caller{} }, want: "its caller"},
		"for another":                   {change: func(r *receipt.Receipt) { r.To = p.bob.ID() }, want: "it is for " + p.bob.ID().String()},
		"for its own caller":            {change: func(r *receipt.Receipt) { r.To = p.alice.ID() }, want: "it is for "},
		"for another namespace": {change: func(r *receipt.Receipt) {
			r.To = spiffeid.RequireFromString("spiffe://custody.local/ns/prod/orders")
		}, want: "this is the door of spiffe://custody.local/ns/default/orders"},
		"kind":        {change: func(r *receipt.Receipt) { r.Action.Kind = "mcp.prompts/get" }, want: "action.kind"},
		"server":      {change: func(r *receipt.Receipt) { r.Action.Server = "payments" }, want: "action.server"},
		"tool":        {change: func(r *receipt.Receipt) { r.Action.Name = "reverse" }, want: "action.name"},
		"request":     {change: func(r *receipt.Receipt) { r.RequestDigest = receipt.Sum([]byte("x")) }, want: "requestDigest"},
		"arguments":   {change: func(r *receipt.Receipt) { r.ArgumentsDigest = receipt.Sum([]byte("x")) }, want: "argumentsDigest"},
		"no workflow": {change: func(r *receipt.Receipt) { r.Workflow, r.To = nil, spiffeid.ID{} }, want: "no chain"},
		"no chain":    {change: func(r *receipt.Receipt) { r.Workflow.Chain, r.To = nil, spiffeid.ID{} }, want: "no chain"},
		"app":         {change: func(r *receipt.Receipt) { r.Workflow.App = "bob" }, want: "workflow.app"},
		"domain of the chain": {change: func(r *receipt.Receipt) {
			r.Workflow.Chain.App = spiffeid.RequireFromString("spiffe://elsewhere.local/ns/default/alice")
		}, want: "another trust domain"},
		"namespace of the chain": {change: func(r *receipt.Receipt) {
			r.Workflow.Chain.App = spiffeid.RequireFromString("spiffe://custody.local/ns/other/alice")
		}, want: "another namespace"},
		"no app as the chain's": {change: func(r *receipt.Receipt) {
			r.Workflow.Chain.App = spiffeid.RequireFromString("spiffe://custody.local/ns/default/alice/x")
		}, want: "is no app of Dapr's"},
		"no task": {change: func(r *receipt.Receipt) { r.Workflow.Task = 0 }, want: "workflow.task"},
		"no step": {change: func(r *receipt.Receipt) { r.Workflow.Step = "" }, want: "workflow.step"},
		"old": {change: func(r *receipt.Receipt) {
			r.Times.Decided, r.Times.Settled = p.now.Add(-62*time.Minute), p.now.Add(-62*time.Minute)
		}, want: "longer than"},
		"of a chain of the future": {change: func(r *receipt.Receipt) {
			r.Workflow.Chain.Started = p.now.Add(time.Minute + time.Nanosecond)
		}, want: "workflow.chain.started"},
		"of the future": {change: func(r *receipt.Receipt) { r.Times.Settled = p.now.Add(2 * time.Minute) }, want: "yet to come"},
	} {
		t.Run(name, func(t *testing.T) {
			r, svid := question(p, 1), alice
			if tt.change != nil {
				tt.change(r)
			}
			if tt.svid != nil {
				svid = tt.svid
			}
			ask := echo(p.alice)
			require.ErrorContains(t, g.Asked(&ask, sign(t, r, svid)), tt.want)
			require.Nil(t, ask.Step)
		})
	}
	twice := sign(t, question(p, 1), alice)
	twice.Signatures = append(twice.Signatures, twice.Signatures[0])
	for name, e := range map[string]*receipt.Envelope{
		"two signatures": twice, "none": {PayloadType: twice.PayloadType, Payload: twice.Payload},
		"changed": {PayloadType: twice.PayloadType, Payload: append([]byte(" "), twice.Payload...), Signatures: twice.Signatures[:1]},
	} {
		ask := echo(p.alice)
		require.Error(t, g.Asked(&ask, e), name)
	}
	ask = echo(p.alice)
	require.Error(t, p.gate().Asked(&ask, sign(t, question(p, 1), alice)), "a gate without steps takes none")
	ask.Caller = p.bob
	require.Error(t, g.Asked(&ask, sign(t, question(p, 1), alice)), "the caller is another")
}

func TestStepIsPassedOnOnce(t *testing.T) {
	p := working(t)
	g := p.chained()
	ask := p.step(g, 1)
	require.False(t, g.Repeats(&ask))
	permit := done(t, g, ask)
	again := p.step(g, 1) // signed anew
	require.True(t, g.Repeats(&again))
	_, err := g.Check(again)
	var repeated *gate.RepeatedError
	require.ErrorAs(t, err, &repeated)
	require.Equal(t, ask.Step.Question(), repeated.Passed.Question, "that of the first")
	require.Equal(t, permit.Answer(), repeated.Passed.Answer)
	last := p.read().Receipts[1]
	require.Equal(t, repeated.Reference, last.ID)
	require.Contains(t, last.Decision.Reason, "passed on before")
	require.Nil(t, last.Workflow, "the refusal is no answer to the question")
	require.Len(t, p.read().Intents, 1)
	done(t, g, p.step(g, 2))

	for name, change := range map[string]func(*receipt.Workflow){
		"instance":       func(w *receipt.Workflow) { w.Instance = "j" },
		"generation":     func(w *receipt.Workflow) { w.Generation = 1 },
		"chain":          func(w *receipt.Workflow) { w.Chain.Instance = "j" },
		"start of chain": func(w *receipt.Workflow) { w.Chain.Started = p.now.Add(time.Nanosecond) },
	} {
		r := question(p, 1)
		change(r.Workflow)
		ask := echo(p.alice)
		require.NoError(t, g.Asked(&ask, sign(t, r, p.ca.SVID("alice"))))
		require.False(t, g.Repeats(&ask), name)
		done(t, g, ask)
	}
}

func TestOneOfManyPasses(t *testing.T) {
	p := working(t)
	g := p.chained()
	ask := p.step(g, 1)
	var mu sync.Mutex
	var wait sync.WaitGroup
	permits, repeated := 0, 0
	for range 16 {
		wait.Go(func() {
			_, err := g.Check(ask)
			var again *gate.RepeatedError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				permits++
			case errors.As(err, &again) && again.Passed.Answer == nil:
				repeated++
			}
		})
	}
	wait.Wait()
	require.Equal(t, [2]int{1, 15}, [2]int{permits, repeated})
	require.Len(t, p.read().Intents, 1)
}

// Who waits for the decision on the same step gets it, whatever it is.
func TestWaitingForADecision(t *testing.T) {
	p := working(t)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	g := p.chainedBy(steps)
	ask := p.step(g, 1)
	release := gate.TakeForTest(steps, ask.Step)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	impatient := ask
	impatient.Facts.Context = ctx
	_, err = g.Check(impatient)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, p.read().Receipts)

	result := make(chan error, 1)
	go func() {
		_, err := g.Check(ask)
		result <- err
	}()
	release()
	require.NoError(t, <-result, "it was not passed on, so that the next one is")
}

// After a restart what was passed on is known: with its answer, or as unknown.
func TestStepsAreRecalled(t *testing.T) {
	p := working(t)
	g := p.chained()
	settled := p.step(g, 1)
	permit := done(t, g, settled)
	unknown := p.step(g, 2)
	_, err := g.Check(unknown) // and the process is killed here
	require.NoError(t, err)
	p.set = compile(t, strings.Replace(rules, "[echo]", "[other]", 1))
	_, err = g.Check(p.step(g, 3))
	require.Error(t, err)
	p.set = compile(t, rules)

	p.svids.svid = p.ca.SVID("orders") // another one than signed the answer
	g = p.chained()
	var repeated *gate.RepeatedError
	_, err = g.Check(p.step(g, 1))
	require.ErrorAs(t, err, &repeated)
	require.Equal(t, settled.Step.Question(), repeated.Passed.Question)
	require.Equal(t, permit.Answer(), repeated.Passed.Answer)
	_, err = g.Check(p.step(g, 2))
	require.ErrorAs(t, err, &repeated)
	require.Equal(t, unknown.Step.Question(), repeated.Passed.Question)
	require.Nil(t, repeated.Passed.Answer)
	done(t, g, p.step(g, 3))
	done(t, g, p.step(g, 4))
}

func TestPassedIsForTheAsker(t *testing.T) {
	p := working(t)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	g := p.chainedBy(steps)
	permit := done(t, g, p.step(g, 1))
	digest := permit.Answer().PayloadDigest()
	asked := p.read().Intents[0].Prev[0]
	for name, tt := range map[string]struct {
		caller   spiffeid.ID
		question receipt.Digest
		found    bool
	}{
		"own": {p.alice.ID(), asked, true}, "of another": {p.bob.ID(), asked, false},
		"unknown": {p.alice.ID(), receipt.Sum(nil), false}, "the answer's": {p.alice.ID(), digest, false},
	} {
		passed, err := steps.Passed(tt.caller, tt.question)
		require.NoError(t, err, name)
		require.Equal(t, tt.found, passed != nil, name)
	}
}

// A question from before what is forgotten is refused: its step may have been passed on.
func TestWhatIsForgottenIsNotPassedOnAgain(t *testing.T) {
	p := working(t)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	gate.LimitForTest(steps, 2)
	g := p.chainedBy(steps)
	first := p.step(g, 1)
	never := p.step(g, 9)
	done(t, g, first)
	for task := uint32(2); task < 4; task++ {
		p.now = p.now.Add(10 * time.Minute)
		done(t, g, p.step(g, task))
	}
	n, since := steps.Len()
	require.Equal(t, 2, n)
	require.False(t, since.IsZero())
	for _, ask := range []gate.Ask{first, never} {
		_, err = g.Check(ask)
		var denied *gate.DeniedError
		require.ErrorAs(t, err, &denied)
		require.Contains(t, denied.Decision.Reason, "no longer known")
		require.Nil(t, denied.Answer)
	}
	require.Len(t, p.read().Intents, 3)
	done(t, g, p.step(g, 10))
}

// Nor is it after the clock was set back: what is forgotten goes by what the clock has said, and not by how long the
// process has run.
func TestWhatIsForgottenIsNotPassedOnAfterTheClockWasSetBack(t *testing.T) {
	p := working(t)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	gate.LimitForTest(steps, 2)
	g := p.chainedBy(steps)
	p.now = p.now.Add(20 * time.Minute)
	now := p.now
	first := p.step(g, 1)
	done(t, g, first)
	p.now = testkit.SetBack(t, now, 600)
	done(t, g, p.step(g, 2))
	for task, later := range []time.Duration{time.Second, 2 * time.Minute} { // for which the first and the second are forgotten
		p.now = now.Add(later)
		done(t, g, p.step(g, uint32(task)+3))
	}
	_, since := steps.Len()
	require.True(t, now.Equal(since), "the newest of what is forgotten is the first")
	_, err = g.Check(first)
	var denied *gate.DeniedError
	require.ErrorAs(t, err, &denied)
	require.Contains(t, denied.Decision.Reason, "no longer known")
}

// What was passed on in the segments that are not read is forgotten, also where the first receipt that is read is of a call
// that was decided long before it was settled.
func TestLongCallAtTheBeginningOfTheTail(t *testing.T) {
	p := working(t)
	require.NoError(t, p.journal.Close())
	var err error
	p.journal, err = journal.Open(journal.Options{Dir: p.dir, SegmentBytes: 1}) // a record each
	require.NoError(t, err)
	g := p.chained()
	long, err := g.Check(echo(p.alice))
	require.NoError(t, err)
	p.now = p.now.Add(30 * time.Minute)
	first := p.step(g, 1)
	done(t, g, first)
	p.now = p.now.Add(10 * time.Minute)
	_, err = long.Settle(receipt.Outcome{Status: receipt.StatusOK})
	require.NoError(t, err)
	_, err = g.Check(p.step(g, 2))
	require.NoError(t, err)

	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	n, _ := steps.Len()
	require.Equal(t, 1, n, "only the newest step is in the tail")
	g = p.chainedBy(steps)
	var denied *gate.DeniedError
	_, err = g.Check(first)
	require.ErrorAs(t, err, &denied, "it was passed on before")
	require.Contains(t, denied.Decision.Reason, "no longer known")
	p.now = p.now.Add(2 * time.Minute)
	done(t, g, p.step(g, 3))
}
