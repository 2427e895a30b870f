// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

func generation(n uint32) func(*receipt.Receipt) {
	return workflow(func(w *receipt.Workflow) { w.Generation = n })
}

// renewed is the last link of the first generation, and the first of the second.
func (w *world) renewed(heads ...*receipt.Envelope) []*receipt.Envelope {
	last := w.link(chain.KindContinue, "continue", app("intake"), heads)
	return []*receipt.Envelope{last, w.link(chain.KindBegin, "begin", app("intake"), []*receipt.Envelope{last}, generation(1))}
}

// Each row is a chain over generations; the last link is the head.
func TestGenerations(t *testing.T) {
	type links = []*receipt.Envelope
	const own = chain.KindAttest
	in := func(instance string, n uint32) func(*receipt.Receipt) {
		return workflow(func(w *receipt.Workflow) { w.Instance, w.Generation = instance, n })
	}
	for _, tt := range []struct {
		name   string
		make   func(w *world) links
		faults []string
		steps  int
	}{
		{"two generations", func(w *world) links {
			s := w.state("one")
			next := w.renewed(s)
			return append(links{s}, append(next, w.link(own, "two", app("intake"), next[1:], generation(1)))...)
		}, nil, 2},
		{"three generations", func(w *world) links {
			next := w.renewed()
			last := w.link(chain.KindContinue, "continue", app("intake"), next[1:], generation(1))
			third := w.link(chain.KindBegin, "begin", app("intake"), links{last}, generation(2))
			return append(next, last, third, w.link(own, "three", app("intake"), links{third}, generation(2)))
		}, nil, 1},
		{"children in both", func(w *world) links {
			s := w.link(own, "in the first child", app("fraud"), nil, in("child-1", 0))
			next := w.renewed(s)
			child := w.link(own, "in the second child", app("fraud"), next[1:], in("child-2", 0))
			return append(next, s, child, w.link(own, "two", app("intake"), links{child}, generation(1)))
		}, nil, 3},
		{"approved in the second", func(w *world) links {
			next := w.renewed(w.state("one"))
			asked := w.link(own, "ask", app("intake"), next[1:], generation(1))
			return append(next, asked, w.link(chain.KindApproval, "two", app("manager"), links{asked}, generation(1)))
		}, []string{"missing"}, 2},
		{"the last link of the first is missing", func(w *world) links {
			next := w.renewed()
			return links{next[1], w.link(own, "two", app("intake"), next[1:], generation(1))}
		}, []string{"missing"}, 1},
		{"no last link of the first", func(w *world) links {
			s := w.state("one")
			begun := w.link(chain.KindBegin, "begin", app("intake"), links{s}, generation(1))
			return links{s, begun, w.link(own, "two", app("intake"), links{begun}, generation(1))}
		}, []string{"wrong-generation", "faulty-predecessor"}, 0},
		{"no first link of the second", func(w *world) links {
			last := w.link(chain.KindContinue, "continue", app("intake"), nil)
			return links{last, w.link(own, "two", app("intake"), links{last}, generation(1))}
		}, []string{"wrong-generation"}, 0},
		{"neither", func(w *world) links {
			s := w.state("one")
			return links{s, w.link(own, "two", app("intake"), links{s}, generation(1))}
		}, []string{"wrong-generation"}, 0},
		{"neither, by way of a child", func(w *world) links {
			s := w.link(own, "one", app("fraud"), nil, in("child", 0))
			return links{s, w.link(own, "two", app("intake"), links{s}, generation(1))}
		}, []string{"wrong-generation"}, 0},
		{"the last link of another instance", func(w *world) links {
			last := w.link(chain.KindContinue, "continue", app("intake"), nil, in("another", 0))
			begun := w.link(chain.KindBegin, "begin", app("intake"), links{last}, generation(1))
			return links{last, begun, w.link(own, "two", app("intake"), links{begun}, generation(1))}
		}, []string{"wrong-generation", "faulty-predecessor"}, 0},
		{"the last link by another app", func(w *world) links {
			last := w.link(chain.KindContinue, "continue", app("fraud"), nil)
			begun := w.link(chain.KindBegin, "begin", app("intake"), links{last}, generation(1))
			return links{last, begun, w.link(own, "two", app("intake"), links{begun}, generation(1))}
		}, []string{"wrong-generation", "faulty-predecessor"}, 0},
		{"the first link by another app", func(w *world) links {
			last := w.link(chain.KindContinue, "continue", app("intake"), nil)
			begun := w.link(chain.KindBegin, "begin", app("fraud"), links{last}, generation(1))
			return links{last, begun, w.link(own, "two", app("intake"), links{begun}, generation(1))}
		}, []string{"wrong-generation", "wrong-generation", "faulty-predecessor"}, 0},
		{"a generation is left out", func(w *world) links {
			last := w.link(chain.KindContinue, "continue", app("intake"), nil)
			begun := w.link(chain.KindBegin, "begin", app("intake"), links{last}, generation(2))
			return links{last, begun, w.link(own, "three", app("intake"), links{begun}, generation(2))}
		}, []string{"wrong-generation", "faulty-predecessor"}, 0},
		{"two generations begin with the same link", func(w *world) links {
			next := w.renewed()
			return append(next, w.link(chain.KindBegin, "begin", app("intake"), next[:1], generation(2)))
		}, []string{"wrong-generation"}, 0},
		{"one generation begins twice", func(w *world) links {
			next := w.renewed()
			return append(next, w.link(chain.KindBegin, "begin", app("intake"), next[:1], generation(1)))
		}, []string{"fork", "fork"}, 0},
		{"one generation ends twice", func(w *world) links {
			next := w.renewed()
			return append(next, w.link(chain.KindContinue, "continue", app("intake"), nil))
		}, []string{"fork", "fork", "faulty-predecessor"}, 0},
		{"the first goes on after its last link", func(w *world) links {
			last := w.link(chain.KindContinue, "continue", app("intake"), nil)
			return links{last, w.state("more", last)}
		}, []string{"wrong-generation"}, 0},
		{"a child goes on from the last link", func(w *world) links {
			last := w.link(chain.KindContinue, "continue", app("intake"), nil)
			return links{last, w.link(own, "more", app("fraud"), links{last}, in("child", 0))}
		}, []string{"wrong-generation"}, 0},
		{"the first goes on from the second", func(w *world) links {
			next := w.renewed()
			return append(next, w.state("back", next[1]))
		}, []string{"wrong-generation"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			made := tt.make(w)
			head := digests(made[len(made)-1])
			want := append([]string{}, tt.faults...)
			slices.Sort(want)
			for range 6 { // in whatever order they come
				c := w.all(made...)
				got := kinds(c.Faults())
				slices.Sort(got)
				require.Equalf(t, want, got, "%v", c.Faults())
				require.Len(t, c.SomeFaults(100), len(slices.DeleteFunc(slices.Clone(want), func(k string) bool { return k == "missing" })))
				v := c.View(head)
				require.Equal(t, tt.steps, v.Len())
				require.Equal(t, len(tt.faults) == 0, v.Complete())
				require.Equal(t, v.Complete(), len(v.Faults()) == 0, "what is not complete says why")
				rand.Shuffle(len(made), func(i, j int) { made[i], made[j] = made[j], made[i] })
			}
		})
	}
}

// What was seen before the beginning of its generation was known is seen when it is.
func TestBeginningComesLate(t *testing.T) {
	w := newWorld(t)
	s := w.state("one")
	next := w.renewed(s)
	two := w.link(chain.KindAttest, "two", app("intake"), next[1:], generation(1))
	c := w.all(s, next[0], two)
	v := c.View(digests(two))
	require.False(t, v.Complete())
	require.Zero(t, v.Len())
	_, err := c.Add(next[1])
	require.NoError(t, err)
	v = c.View(digests(two))
	require.True(t, v.Complete())
	require.Equal(t, 2, v.Len())

	// And no longer when the generation turns out to begin twice.
	_, err = c.Add(w.link(chain.KindBegin, "begin", app("intake"), next[:1], generation(1)))
	require.NoError(t, err)
	v = c.View(digests(two))
	require.False(t, v.Complete())
	require.Zero(t, v.Len())
}

func TestFormOfGenerations(t *testing.T) {
	w := newWorld(t)
	last := w.link(chain.KindContinue, "", app("intake"), nil)
	for _, tt := range []struct {
		name string
		link *receipt.Envelope
		want chain.FaultKind
	}{
		{"a continue without a name", last, ""},
		{"a begin without a name", w.link(chain.KindBegin, "", app("intake"), []*receipt.Envelope{last}, generation(1)), ""},
		{"a begin of the first generation", w.link(chain.KindBegin, "b", app("intake"), []*receipt.Envelope{last}), chain.FaultForm},
		{"a begin of nothing", w.link(chain.KindBegin, "b", app("intake"), nil, generation(1)), chain.FaultPrev},
		{"a begin of two", w.link(chain.KindBegin, "b", app("intake"), []*receipt.Envelope{last, w.state("x")}, generation(1)), chain.FaultPrev},
		{"a later generation of nothing", w.link(chain.KindAttest, "two", app("intake"), nil, generation(1)), chain.FaultPrev},
		{"asked, and not stated", w.link(chain.KindBegin, "b", app("intake"), []*receipt.Envelope{last}, generation(1),
			func(r *receipt.Receipt) { r.Outcome.Status, r.To = receipt.StatusAsked, app("payments") }), chain.FaultStatus},
	} {
		_, err := w.chain().Add(tt.link)
		if tt.want == "" {
			require.NoError(t, err, tt.name)
			continue
		}
		var fault *chain.Fault
		require.ErrorAs(t, err, &fault, tt.name)
		require.Equal(t, tt.want, fault.Kind, tt.name)
	}
}
