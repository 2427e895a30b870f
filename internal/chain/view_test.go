// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// tangle makes links at random, most of them good, with branches, joins, forks, second and wrong answers, and some that
// are left out.
func (w *world) tangle(random *rand.Rand, n int) []*receipt.Envelope {
	w.tb.Helper()
	var all, kept []*receipt.Envelope
	pick := func() []*receipt.Envelope {
		var prev []*receipt.Envelope
		for range random.IntN(4) {
			if p := all[max(0, len(all)-1-random.IntN(6))]; !slices.Contains(prev, p) {
				prev = append(prev, p)
			}
		}
		return prev
	}
	add := func(e *receipt.Envelope) {
		all = append(all, e)
		if random.IntN(20) > 0 {
			kept = append(kept, e)
		}
	}
	add(w.state("start"))
	for range n {
		twice := workflow(func(w *receipt.Workflow) { w.Task = uint32(len(all) - random.IntN(2)) })
		switch random.IntN(10) {
		case 0:
			add(w.link(chain.KindJoin, "join", app("intake"), pick()))
		case 1:
			add(w.link(chain.KindAttest, "late", app("intake"), pick(), later(-time.Duration(random.IntN(3))*time.Minute)))
		case 2:
			add(w.link(chain.KindAttest, "twice", app("intake"), pick(), twice))
		case 3:
			add(w.link(chain.KindApproval, "approve", app("approver"), pick()))
		case 4, 5, 6:
			q := w.ask("charge", pick()...)
			add(q)
			for range 1 + random.IntN(7)/6 {
				add(w.answer(q))
			}
		default:
			add(w.state(fmt.Sprintf("step-%d", random.IntN(5)), pick()...))
		}
	}
	if random.IntN(4) == 0 {
		add(w.end(pick()...))
	}
	return kept
}

// seen is all that a view lets be seen.
type seen struct {
	complete bool
	steps    []chain.Step
	named    map[string][]int
	faults   []*chain.Fault
}

func look(v *chain.View) seen {
	s := seen{complete: v.Complete(), named: map[string][]int{}, faults: v.Faults()}
	for i := range v.Len() {
		s.steps = append(s.steps, v.Step(i))
	}
	for _, name := range []string{"charge", "approve", "start", "late", "twice", "step-0", "step-1", "step-2", "step-3", "step-4", "none"} {
		s.named[name] = append([]int{}, v.Named(name)...)
	}
	return s
}

// model is what a view has to be, looked up the long way.
func (w *world) model(c *chain.Chain, heads []receipt.Digest) map[receipt.Digest]bool {
	out := map[receipt.Digest]bool{}
	for _, f := range c.Faults() {
		switch f.Kind {
		case chain.FaultMissing, chain.FaultPredecessor, chain.FaultBesideEnd:
		default:
			out[f.Link] = false
		}
	}
	for todo := heads; len(todo) > 0; {
		d := todo[0]
		todo = todo[1:]
		l := c.Link(d)
		if _, done := out[d]; l == nil || done {
			continue
		}
		out[d] = true
		todo = append(slices.Clone(todo), l.Receipt.Prev...)
	}
	return out
}

// What is seen depends on the links alone: not on the order in which they were added, nor on what was looked at between.
func TestOrderDoesNotMatter(t *testing.T) {
	for round := range uint64(12) {
		random := rand.New(rand.NewPCG(round, 1))
		w := newWorld(t)
		links := w.tangle(random, 60)
		all := digests(links...)
		var asked [][]receipt.Digest
		for range 20 {
			heads := slices.Clone(all)
			random.Shuffle(len(heads), func(i, j int) { heads[i], heads[j] = heads[j], heads[i] })
			asked = append(asked, heads[:random.IntN(4)])
		}
		straight := w.all(links...)
		asked = append(asked, straight.Heads())
		report := chain.Verify(links, w.options())
		for range 3 {
			random.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
			c := w.chain()
			for _, e := range links {
				_, err := c.Add(e)
				require.NoError(t, err)
				c.View(asked[random.IntN(len(asked))])
			}
			require.Equal(t, straight.Faults(), c.Faults())
			require.Equal(t, straight.Missing(), c.Missing())
			require.Equal(t, straight.Heads(), c.Heads())
			for _, heads := range asked {
				require.Equal(t, look(straight.View(heads)), look(c.View(heads)))
			}
			require.Equal(t, report, chain.Verify(links, w.options()))
		}
		w.requireModel(straight, asked)
	}
}

func (w *world) requireModel(c *chain.Chain, asked [][]receipt.Digest) {
	w.tb.Helper()
	ended := !c.View(nil).Complete()
	for _, heads := range asked {
		got := look(c.View(heads))
		require.Equal(w.tb, got.complete, len(got.faults) == 0)
		if ended {
			continue
		}
		want := w.model(c, heads)
		place := map[receipt.Digest]int{}
		for i, s := range got.steps {
			require.True(w.tb, want[s.Link], "a step that the heads do not continue")
			require.True(w.tb, s.Answer.IsZero() || want[s.Answer])
			place[s.Link] = i
			require.Contains(w.tb, got.named[s.Name], i)
			for _, p := range c.Link(s.Link).Receipt.Prev {
				before, is := place[p]
				require.True(w.tb, !is || before < i, "a step before what it continues")
			}
		}
		steps := 0
		for d, in := range want {
			l := c.Link(d)
			status := ""
			if in {
				status = l.Receipt.Outcome.Status
			}
			kind := ""
			if in {
				kind = l.Receipt.Action.Kind
			}
			if status == receipt.StatusAsked || status == receipt.StatusApproved || (status == receipt.StatusStated && kind == chain.KindAttest) {
				steps++
				require.Contains(w.tb, place, d)
			}
		}
		require.Len(w.tb, got.steps, steps)
	}
}

// A chain of rounds, each of parallel calls that the next round continues: in the order in which they come, with a view
// for each, as a guard makes them. Spans are stacked and laid flat many times.
func TestFanOut(t *testing.T) {
	w := newWorld(t)
	c := w.chain()
	heads := []*receipt.Envelope{w.state("start")}
	_, err := c.Add(heads[0])
	require.NoError(t, err)
	calls := 0
	for range 150 {
		var questions, answers []*receipt.Envelope
		for range 3 {
			questions = append(questions, w.ask("charge", heads...))
		}
		for i := range questions {
			q := questions[len(questions)-1-i]
			a := w.answer(q)
			answers = append(answers, a)
			for _, e := range []*receipt.Envelope{q, a} {
				_, err := c.Add(e)
				require.NoError(t, err)
			}
			v := c.View(digests(a))
			require.Equal(t, calls+2, v.Len())
			require.True(t, v.Complete())
			require.Len(t, v.Named("charge"), calls+1)
			require.Equal(t, receipt.StatusOK, v.Step(v.Len()-1).Status)
		}
		calls += 3
		heads = answers
	}
	v := c.View(digests(heads...))
	require.Equal(t, calls+1, v.Len())
	places := v.Named("charge")
	require.True(t, slices.IsSorted(places))
	require.Equal(t, 1, places[0])
	require.Len(t, slices.Compact(places), calls)
	for i := 1; i < v.Len(); i++ {
		require.Equal(t, receipt.StatusOK, v.Step(i).Status)
	}
}

func TestConcurrentUse(t *testing.T) {
	w := newWorld(t)
	links := w.linear(200)
	c := w.chain()
	var workers sync.WaitGroup
	for start := range 4 {
		workers.Go(func() {
			for i := range links {
				e := links[(i+start*50)%len(links)]
				if _, err := c.Add(e); err != nil {
					t.Error(err)
				}
				v := c.View(digests(e))
				for i := range v.Len() {
					v.Step(i)
				}
				v.Named("charge")
				v.Faults()
				c.Missing()
				c.Faults()
			}
		})
	}
	workers.Wait()
	last := c.View(digests(links[len(links)-1]))
	require.True(t, last.Complete())
	require.Equal(t, 101, last.Len())
}
