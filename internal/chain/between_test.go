// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

func later(by time.Duration) func(*receipt.Receipt) {
	return func(r *receipt.Receipt) {
		r.Times.Decided, r.Times.Settled = r.Times.Decided.Add(by), r.Times.Settled.Add(by)
	}
}

// door has an answer signed by another.
func door(id string) func(*receipt.Receipt) {
	return func(r *receipt.Receipt) { r.Door.SPIFFEID = spiffeid.RequireFromString(id) }
}

// Each row is a few links that are all good by themselves, with the faults between them and what the last one, as head,
// lets be seen.
func TestBetweenLinks(t *testing.T) {
	const own = chain.KindAttest
	type links = []*receipt.Envelope
	task := func(n uint32) func(*receipt.Receipt) { return workflow(func(w *receipt.Workflow) { w.Task = n }) }
	for _, tt := range []struct {
		name   string
		make   func(w *world) links
		faults []string
		steps  int
	}{
		{"call", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q)}
		}, nil, 1},
		{"denied call", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, func(r *receipt.Receipt) {
				r.Decision.Effect, r.Outcome = receipt.EffectDeny, receipt.Outcome{Status: receipt.StatusDenied}
			})}
		}, nil, 1},
		{"call without an answer, and what goes on from it", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.state("next", q)}
		}, nil, 2},
		{"answer to another request", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, func(r *receipt.Receipt) { r.RequestDigest = sum("other") })}
		}, []string{"wrong-answer"}, 0},
		{"answer about another tool", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, func(r *receipt.Receipt) { r.Action.Name = "refund" })}
		}, []string{"wrong-answer"}, 0},
		{"answer about another server", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, func(r *receipt.Receipt) { r.Action.Server = "other" })}
		}, []string{"wrong-answer"}, 0},
		{"answer of another step", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, workflow(func(w *receipt.Workflow) { w.Step = "other" }))}
		}, []string{"wrong-answer"}, 0},
		{"answer of another task", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, task(99))}
		}, []string{"wrong-answer"}, 0},
		{"answer of another generation", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, workflow(func(w *receipt.Workflow) { w.Generation++ }))}
		}, []string{"wrong-answer"}, 0},
		{"answer to another caller", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, func(r *receipt.Receipt) { r.Caller.SPIFFEID = app("fraud") })}
		}, []string{"wrong-answer"}, 0},
		{"answer to nobody", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, func(r *receipt.Receipt) { r.Caller = receipt.Caller{} })}
		}, []string{"wrong-answer"}, 0},
		{"answer by another app", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, door("spiffe://custody.test/ns/default/fraud"))}
		}, []string{"wrong-door"}, 0},
		{"answer by the app that asked", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, door("spiffe://custody.test/ns/default/intake"))}
		}, []string{"wrong-door"}, 0},
		{"answer by the app of the name in another namespace", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, door("spiffe://custody.test/ns/prod/payments"))}
		}, []string{"wrong-door"}, 0},
		{"denial by another app", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, door("spiffe://custody.test/ns/default/fraud"), func(r *receipt.Receipt) {
				r.Decision.Effect, r.Outcome = receipt.EffectDeny, receipt.Outcome{Status: receipt.StatusDenied}
			})}
		}, []string{"wrong-door"}, 0},
		{"answer by the other app that was asked", func(w *world) links {
			fraud := door("spiffe://custody.test/ns/default/fraud")
			q := w.link(call, "charge", app("intake"), nil, func(r *receipt.Receipt) { r.To = app("fraud") })
			return links{q, w.answer(q, fraud)}
		}, nil, 1},
		{"an answer, and one by another app", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, door("spiffe://custody.test/ns/default/fraud")), w.answer(q)}
		}, []string{"wrong-door"}, 1},
		{"what goes on from an answer by another app", func(w *world) links {
			q := w.ask("charge")
			a := w.answer(q, door("spiffe://custody.test/ns/default/fraud"))
			return links{q, a, w.state("next", a)}
		}, []string{"wrong-door", "faulty-predecessor"}, 1},
		{"answer to a statement", func(w *world) links {
			s := w.state("charge")
			return links{s, w.answer(s, func(r *receipt.Receipt) { r.Action = receipt.Action{Kind: call} })}
		}, []string{"wrong-answer"}, 0},
		{"answer to an answer", func(w *world) links {
			q := w.ask("charge")
			a := w.answer(q)
			return links{q, a, w.answer(a)}
		}, []string{"wrong-answer"}, 0},
		{"answer to an answer, which asked nothing", func(w *world) links {
			q := w.ask("charge")
			a := w.answer(q)
			return links{q, a, w.answer(a, func(r *receipt.Receipt) { r.Caller.SPIFFEID = app("payments") })}
		}, []string{"wrong-answer"}, 0},
		{"two answers", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q), w.answer(q)}
		}, []string{"two-answers", "two-answers"}, 0},
		{"denied twice", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, denial), w.answer(q, denial)}
		}, nil, 1},
		{"denied, and then not", func(w *world) links {
			q := w.ask("charge")
			d, a := w.answer(q, denial), w.answer(q)
			return links{q, d, a, w.end(a)}
		}, nil, 1},
		{"denied twice, and gone on from the second", func(w *world) links {
			q := w.ask("charge")
			d, again := w.answer(q, denial), w.answer(q, denial)
			return links{q, d, again, w.end(again)}
		}, nil, 1},
		{"two answers and a denial", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, denial), w.answer(q), w.answer(q)}
		}, []string{"two-answers", "two-answers"}, 0},
		{"denied, and what goes on from it beside the end", func(w *world) links {
			q := w.ask("charge")
			d, a := w.answer(q, denial), w.answer(q)
			return links{q, d, a, w.end(a), w.state("other", d)}
		}, []string{"beside-end"}, 0},
		{"an answer, and one that is none", func(w *world) links {
			q := w.ask("charge")
			return links{q, w.answer(q, func(r *receipt.Receipt) { r.RequestDigest = sum("other") }), w.answer(q)}
		}, []string{"wrong-answer"}, 1},
		{"a minute before its predecessor", func(w *world) links {
			s := w.state("one")
			return links{s, w.link(own, "two", app("intake"), links{s}, later(-time.Minute-2*time.Millisecond))}
		}, []string{"time-order"}, 0},
		{"not quite a minute before its predecessor", func(w *world) links {
			s := w.state("one")
			return links{s, w.link(own, "two", app("intake"), links{s}, later(-time.Minute))}
		}, nil, 2},
		{"step done twice", func(w *world) links {
			s := w.link(own, "one", app("intake"), nil, task(7))
			return links{s, w.link(own, "one", app("intake"), links{s}, task(7))}
		}, []string{"faulty-predecessor", "fork", "fork"}, 0},
		{"step done thrice", func(w *world) links {
			return links{
				w.link(own, "one", app("intake"), nil, task(7)), w.link(own, "one", app("intake"), nil, task(7)),
				w.link(call, "one", app("intake"), nil, task(7)),
			}
		}, []string{"fork", "fork", "fork"}, 0},
		{"task of the same number in the next generation", func(w *world) links {
			s := w.link(own, "one", app("intake"), nil, task(7))
			next := w.renewed(s)
			return append(next, s, w.link(own, "one", app("intake"), next[1:], task(7), generation(1)))
		}, nil, 2},
		{"task of the same number in a child", func(w *world) links {
			s := w.link(own, "one", app("intake"), nil, task(7))
			return links{s, w.link(own, "one", app("intake"), links{s}, task(7), workflow(func(w *receipt.Workflow) { w.Instance = "child" }))}
		}, nil, 2},
		{"task of the same number in another app", func(w *world) links {
			s := w.link(own, "one", app("intake"), nil, task(7))
			return links{s, w.link(own, "one", app("fraud"), links{s}, task(7))}
		}, nil, 2},
		{"approval beside the step that asked for it", func(w *world) links {
			s := w.link(own, "one", app("intake"), nil, task(7))
			return links{s, w.link(chain.KindApproval, "one", app("intake"), links{s}, task(7))}
		}, nil, 2},
		{"two approvals by two", func(w *world) links {
			s := w.link(chain.KindApproval, "one", app("anna"), nil, task(7))
			return links{s, w.link(chain.KindApproval, "one", app("bert"), links{s}, task(7))}
		}, nil, 2},
		{"two approvals by one", func(w *world) links {
			return links{w.link(chain.KindApproval, "one", app("anna"), nil, task(7)), w.link(chain.KindApproval, "one", app("anna"), nil, task(7))}
		}, []string{"fork", "fork"}, 0},
		{"two steps without a task", func(w *world) links {
			s := w.link(own, "one", app("intake"), nil, task(0))
			return links{s, w.link(own, "two", app("intake"), links{s}, task(0))}
		}, nil, 2},
		{"a step without a task twice", func(w *world) links {
			return links{w.link(own, "one", app("intake"), nil, task(0)), w.link(own, "one", app("intake"), nil, task(0))}
		}, []string{"fork", "fork"}, 0},
		{"predecessor that is missing", func(w *world) links {
			return links{w.state("two", w.state("one"))}
		}, []string{"missing"}, 1},
		{"end", func(w *world) links {
			s := w.state("one")
			return links{s, w.end(s)}
		}, nil, 1},
		{"what comes after the end", func(w *world) links {
			e := w.end(w.state("one"))
			return links{e, w.state("two", e)}
		}, []string{"missing", "after-end"}, 0},
		{"what stands beside the end", func(w *world) links {
			s := w.state("one")
			return links{s, w.end(s), w.state("two", s)}
		}, []string{"beside-end"}, 0},
		{"two ends", func(w *world) links {
			s := w.state("one")
			return links{s, w.end(s), w.end(s)}
		}, []string{"beside-end", "beside-end"}, 0},
		{"a child that ends, and its parent", func(w *world) links {
			e := w.link(chain.KindEnd, "end", app("fraud"), nil, workflow(func(w *receipt.Workflow) { w.Instance = "child" }))
			return links{e, w.state("next", e)}
		}, nil, 1},
		{"a child that goes on after its end", func(w *world) links {
			child := workflow(func(w *receipt.Workflow) { w.Instance = "child" })
			e := w.link(chain.KindEnd, "end", app("fraud"), nil, child)
			return links{e, w.link(own, "next", app("fraud"), links{e}, child)}
		}, []string{"after-end"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			made := tt.make(w)
			head := digests(made[len(made)-1])
			want := append([]string{}, tt.faults...)
			slices.Sort(want)
			for range 2 { // forwards and backwards
				c := w.all(made...)
				got := kinds(c.Faults())
				slices.Sort(got)
				require.Equalf(t, want, got, "%v", c.Faults())
				v := c.View(head)
				require.Equal(t, tt.steps, v.Len())
				complete := len(tt.faults) == 0 || strings.HasPrefix(tt.name, "an answer, and one ")
				require.Equal(t, complete, v.Complete())
				require.Equal(t, complete, len(v.Faults()) == 0, "what is not complete says why")
				slices.Reverse(made)
			}
		})
	}
}

func denial(r *receipt.Receipt) {
	r.Decision.Effect, r.Outcome = receipt.EffectDeny, receipt.Outcome{Status: receipt.StatusDenied}
}

func TestFaultsSayWhatDiffers(t *testing.T) {
	w := newWorld(t)
	q := w.ask("charge")
	a := w.answer(q, func(r *receipt.Receipt) { r.RequestDigest = sum("other") })
	faults := w.all(q, a).Faults()
	require.Len(t, faults, 1)
	require.Equal(t, a.PayloadDigest(), faults[0].Link)
	require.Equal(t, "charge", faults[0].Step)
	require.EqualError(t, faults[0], "chain: link "+a.Digest()+` (step "charge"): the answer does not fit the question that it continues: `+
		"it is to request "+sum("other").String()+", the question asks "+sum("charge").String())
	require.Equal(t, "chain: the chain has no end", (&chain.Fault{Kind: chain.FaultNotEnded}).Error())
}

// A fault that shows late takes back what was seen before.
func TestViewsAreMadeAnew(t *testing.T) {
	w := newWorld(t)
	task := workflow(func(w *receipt.Workflow) { w.Task = 7 })
	one := w.link(chain.KindAttest, "one", app("intake"), nil, task)
	two := w.state("two", one)
	three := w.state("three", two)
	c := w.all(one, three)

	v := c.View(digests(three))
	require.Equal(t, 1, v.Len())
	require.False(t, v.Complete())
	require.Equal(t, []string{"missing"}, kinds(v.Faults()))
	require.Equal(t, digests(two), c.Missing())

	_, err := c.Add(two)
	require.NoError(t, err)
	after := c.View(digests(three))
	require.Equal(t, 3, after.Len())
	require.True(t, after.Complete())
	require.Equal(t, 1, v.Len(), "a view stays as it is")

	_, err = c.Add(w.link(chain.KindAttest, "one", app("intake"), nil, task))
	require.NoError(t, err)
	forked := c.View(digests(three))
	require.Equal(t, 2, forked.Len())
	require.False(t, forked.Complete())
	require.Equal(t, []string{"fork", "faulty-predecessor"}, kinds(forked.Faults()))
	require.Empty(t, forked.Named("one"))
	require.Equal(t, 3, after.Len())
}

func TestHeadsThatAreNotThere(t *testing.T) {
	w := newWorld(t)
	one, end := w.state("one"), w.end()
	c := w.all(one)
	require.True(t, c.View(nil).Complete())
	require.Zero(t, c.View(nil).Len())

	v := c.View(digests(one, end))
	require.Equal(t, 1, v.Len())
	require.False(t, v.Complete())
	require.Equal(t, "it is named as a head", v.Faults()[0].Detail)

	// Once there is an end, nothing is seen without it.
	_, err := c.Add(end)
	require.NoError(t, err)
	for _, heads := range [][]receipt.Digest{nil, digests(one), digests(one, end)} {
		v := c.View(heads)
		require.Zero(t, v.Len())
		require.False(t, v.Complete())
		require.Equal(t, []string{"beside-end"}, kinds(v.Faults()))
	}
	require.True(t, c.View(digests(end)).Complete())
}
