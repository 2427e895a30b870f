// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
)

// onlyOnce allows alice one echo in a chain.
const onlyOnce = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: once, effect: allow, from: [alice], to: {server: orders, tools: [echo]}, when: chain.passed("echo") == 0 && chain.passed("other") == 0}
`

// asked is alice's ask for a step of a chain that began at a time.
func (p *parts) asked(g *gate.Gate, task uint32, started time.Time) gate.Ask {
	p.tb.Helper()
	q := question(p, task)
	q.Workflow.Chain.Started = started
	ask := echo(p.alice)
	require.NoError(p.tb, g.Asked(&ask, sign(p.tb, q, p.ca.SVID("alice"))))
	ask.Facts.Past = noSteps{}
	return ask
}

// noSteps is a chain of which nothing is seen yet.
type noSteps struct{}

func (noSteps) Instance() string         { return "i" }
func (noSteps) Len() int                 { return 0 }
func (noSteps) Complete() bool           { return true }
func (noSteps) Step(int) policy.PastStep { return policy.PastStep{} }
func (noSteps) Named(string) []int       { return nil }

// Where the rules have begun to ask for the chain after the door looked whether they do, a step is decided by them only
// when it comes again: as it is they would take it for one of a chain in which nothing was done.
func TestRulesThatBeginToAskForTheChain(t *testing.T) {
	p := working(t)
	g := p.chained()
	ask, again := p.step(g, 1), p.asked(g, 1, p.now)
	p.set = compile(t, `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: unless-revoked, effect: allow, from: [alice], to: {server: orders, tools: [echo]}, when: '!chain.has("revoke")'}
`)
	_, err := g.Check(ask)
	var closed *gate.ClosedError
	require.ErrorAs(t, err, &closed)
	require.ErrorIs(t, err, gate.ErrNoPast)
	require.Empty(t, p.read().Intents)
	done(t, g, again)
	done(t, g, echo(p.alice)) // outside a workflow there is none
}

func denied(t *testing.T, g *gate.Gate, ask gate.Ask) {
	t.Helper()
	_, err := g.Check(ask)
	var refusal *gate.DeniedError
	require.ErrorAs(t, err, &refusal)
}

// What was passed on counts for the whole chain, whatever a later step continues, also after a restart.
func TestPassedBefore(t *testing.T) {
	p := working(t)
	p.set = compile(t, onlyOnce)
	g := p.chained()
	denied(t, g, echo(p.alice)) // outside a workflow nothing is known
	done(t, g, p.asked(g, 1, p.now))
	denied(t, g, p.asked(g, 2, p.now))
	done(t, g, p.asked(g, 2, p.now.Add(-time.Second))) // of another chain

	again := p.chained()
	denied(t, again, p.asked(again, 3, p.now))
	done(t, again, p.asked(again, 3, p.now.Add(-2*time.Second)))
}

// What has the name of a tool and is none does not count as a call of it.
func TestPassedCountsToolsAlone(t *testing.T) {
	p := working(t)
	p.set = compile(t, onlyOnce+"  - {name: prompts, effect: allow, from: [alice], to: {server: orders, prompts: [echo]}}\n")
	g := p.chained()
	q := question(p, 1)
	q.Action.Kind = policy.KindPromptGet
	prompt := echo(p.alice)
	prompt.Action.Kind, prompt.Facts.Past = policy.KindPromptGet, noSteps{}
	require.NoError(t, g.Asked(&prompt, sign(t, q, p.ca.SVID("alice"))))
	done(t, g, prompt)
	done(t, p.chained(), p.asked(g, 2, p.now)) // recalled
	denied(t, p.chained(), p.asked(g, 3, p.now))
}

// A step that was not passed on does not count.
func TestDeniedDoesNotCount(t *testing.T) {
	p := working(t)
	p.set = compile(t, rules)
	g := p.chained()
	p.set = compile(t, `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec: {rules: [{name: none, effect: deny, from: [alice], to: {server: orders, tools: [echo]}}]}
`)
	denied(t, g, p.asked(g, 1, p.now))
	p.set = compile(t, onlyOnce)
	done(t, g, p.asked(g, 2, p.now))
}

func TestPassedBeforeAtOnce(t *testing.T) {
	p := working(t)
	p.set = compile(t, onlyOnce)
	g := p.chained()
	var passes, refusals atomic.Int32
	var all sync.WaitGroup
	for task := range uint32(16) {
		ask := p.asked(g, task+1, p.now)
		all.Go(func() {
			permit, err := g.Check(ask)
			var refusal *gate.DeniedError
			switch {
			case err == nil:
				passes.Add(1)
				_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
				if err != nil {
					t.Error(err)
				}
			case errors.As(err, &refusal):
				refusals.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, passes.Load())
	require.EqualValues(t, 15, refusals.Load())
}

// A chain that says that it begins only later would never be one of which something may be forgotten.
func TestPassedInAChainOfTheFuture(t *testing.T) {
	p := working(t)
	p.set = compile(t, onlyOnce)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	gate.LimitForTest(steps, 1)
	g := p.chainedBy(steps)
	began := p.now.Add(time.Minute) // as far ahead as clocks may be
	done(t, g, p.asked(g, 1, began))
	done(t, g, p.asked(g, 2, p.now)) // for which the first is forgotten
	p.now = p.now.Add(10 * time.Minute)
	denied(t, g, p.asked(g, 3, began))
}

// Of a chain that began before what is remembered nobody knows.
func TestPassedBeforeIsNotForgotten(t *testing.T) {
	p := working(t)
	p.set = compile(t, onlyOnce)
	steps, err := gate.OpenSteps(p.dir, p.now)
	require.NoError(t, err)
	gate.LimitForTest(steps, 1)
	g := p.chainedBy(steps)
	old := p.now.Add(-10 * time.Minute)
	done(t, g, p.asked(g, 1, old))
	p.now = p.now.Add(5 * time.Minute)
	done(t, g, p.asked(g, 2, p.now)) // for which the first is forgotten
	p.now = p.now.Add(5 * time.Minute)
	denied(t, g, p.asked(g, 3, old))
	done(t, g, p.asked(g, 4, p.now))
}
