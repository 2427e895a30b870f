// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// What Refuses says of a link is what becomes of it when it is added.
func TestRefuses(t *testing.T) {
	ended := func(w *world, change func(*receipt.Receipt)) *receipt.Envelope {
		return w.link(chain.KindEnd, "end", app("intake"), nil, change)
	}
	for name, tt := range map[string]struct {
		make func(w *world) (there, link *receipt.Envelope)
		want chain.FaultKind
	}{
		"good": {func(w *world) (there, link *receipt.Envelope) {
			there = w.state("plan")
			return there, w.ask("charge", there)
		}, ""},
		"missing predecessor": {func(w *world) (there, link *receipt.Envelope) {
			return w.state("plan"), w.ask("charge", w.state("missing"))
		}, ""},
		"after the end of another instance": {func(w *world) (there, link *receipt.Envelope) {
			there = ended(w, func(r *receipt.Receipt) { r.Workflow.Instance = "child" })
			return there, w.ask("charge", there)
		}, ""},
		"after the end": {func(w *world) (there, link *receipt.Envelope) {
			there = ended(w, func(*receipt.Receipt) {})
			return there, w.ask("charge", there)
		}, chain.FaultAfterEnd},
		"a minute before": {func(w *world) (there, link *receipt.Envelope) {
			there = w.link(chain.KindAttest, "plan", app("intake"), nil, later(chain.MaxSkewForTest))
			return there, w.ask("charge", there)
		}, ""},
		"more than a minute before": {func(w *world) (there, link *receipt.Envelope) {
			there = w.link(chain.KindAttest, "plan", app("intake"), nil, later(chain.MaxSkewForTest+time.Second))
			return there, w.ask("charge", there)
		}, chain.FaultTime},
		"of a task that was done": {func(w *world) (there, link *receipt.Envelope) {
			there = w.state("plan")
			w.n--
			return there, w.ask("charge", there)
		}, chain.FaultFork},
		"of a generation that was begun": {func(w *world) (there, link *receipt.Envelope) {
			there = w.link(chain.KindBegin, "begin", app("intake"), []*receipt.Envelope{w.state("missing")}, generation(1))
			return there, w.link("mcp.tools/call", "charge", app("intake"), []*receipt.Envelope{there}, generation(1))
		}, ""},
		"of a later generation, by a predecessor that is missing": {func(w *world) (there, link *receipt.Envelope) {
			return w.state("plan"), w.link("mcp.tools/call", "charge", app("intake"), []*receipt.Envelope{w.state("missing")}, generation(1))
		}, ""},
		"of a generation that was not begun": {func(w *world) (there, link *receipt.Envelope) {
			there = w.link(chain.KindAttest, "in the child", app("intake"), nil, workflow(func(w *receipt.Workflow) { w.Instance = "child" }))
			return there, w.link("mcp.tools/call", "charge", app("intake"), []*receipt.Envelope{there}, generation(1))
		}, chain.FaultGeneration},
		"of a generation that goes on from the one before": {func(w *world) (there, link *receipt.Envelope) {
			there = w.state("plan")
			return there, w.link("mcp.tools/call", "charge", app("intake"), []*receipt.Envelope{there}, generation(1))
		}, chain.FaultGeneration},
		"in the generation that has ended": {func(w *world) (there, link *receipt.Envelope) {
			there = w.link(chain.KindContinue, "continue", app("intake"), nil)
			return there, w.ask("charge", there)
		}, chain.FaultGeneration},
		"of another chain": {func(w *world) (there, link *receipt.Envelope) {
			there = w.state("plan")
			return there, w.link("mcp.tools/call", "charge", app("intake"), nil, func(r *receipt.Receipt) {
				r.Workflow.Chain.Instance = "another"
			})
		}, chain.FaultOtherChain},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			there, envelope := tt.make(w)
			c := w.all(there)
			r, err := envelope.UnsafeReceipt()
			require.NoError(t, err)
			link := &chain.Link{Digest: envelope.PayloadDigest(), Receipt: r, Signer: r.Door.SPIFFEID}
			for _, f := range []*chain.Fault{c.Refuses(link), w.added(c, envelope, link)} {
				if tt.want == "" {
					require.Nil(t, f)
				} else {
					require.NotNil(t, f)
					require.Equal(t, tt.want, f.Kind)
				}
			}
		})
	}
}

// added is what a chain says of a link that it has, or refuses.
func (w *world) added(c *chain.Chain, e *receipt.Envelope, link *chain.Link) *chain.Fault {
	w.tb.Helper()
	if _, err := c.Add(e); err != nil {
		var f *chain.Fault
		require.ErrorAs(w.tb, err, &f)
		return f
	}
	return c.Refuses(link)
}

// SomeFaults are Faults, as far as there is room.
func TestSomeFaults(t *testing.T) {
	w := newWorld(t)
	task := func(n uint32) func(*receipt.Receipt) {
		return workflow(func(w *receipt.Workflow) { w.Task = n })
	}
	var forks, joins []*receipt.Envelope
	for range 8 {
		forks = append(forks, w.link(chain.KindAttest, "fork", app("intake"), nil, task(100)))
	}
	for i := range 4 {
		joins = append(joins, w.link(chain.KindJoin, "", app("intake"), append(forks, w.state("missing")), task(uint32(200+i))))
	}
	c := w.all(append(forks, joins...)...)
	var want []*chain.Fault
	for _, f := range c.Faults() {
		if f.Kind != chain.FaultMissing {
			want = append(want, f)
		}
	}
	require.Len(t, want, 8+4*8)
	require.Equal(t, want, c.SomeFaults(len(want)))
	require.Equal(t, want, c.SomeFaults(1000))
	require.Len(t, c.SomeFaults(5), 5)

	beside := w.all(w.end(), w.state("late"))
	require.Equal(t, beside.Faults(), beside.SomeFaults(10))
	require.Len(t, beside.SomeFaults(10), 1)
}

// A chain can be made so that what each of its links continues is as long as the chain, and no two are a part of one
// another. What is remembered of it stays in proportion to the chain.
func TestPastsTakeNoMoreThanTheChain(t *testing.T) {
	const n = 500
	w := newWorld(t)
	line := func(n int) []*receipt.Envelope {
		out := []*receipt.Envelope{w.state("line")}
		for len(out) < n {
			out = append(out, w.state("line", out[len(out)-1]))
		}
		return out
	}
	long, short := line(n+1), line(n)
	var rungs []*receipt.Envelope
	for _, e := range short {
		rungs = append(rungs, w.state("rung", long[n], e))
	}
	join := w.link(chain.KindJoin, "", app("intake"), rungs)
	links := append(append(append(long, short...), rungs...), join)
	c := w.all(links...)
	v := c.View(digests(join))
	require.True(t, v.Complete())
	require.Equal(t, len(links)-1, v.Len())
	require.LessOrEqual(t, chain.Remembered(c), 2*len(links))
	for i, e := range rungs {
		v := c.View(digests(e))
		require.Equal(t, n+1+i+1+1, v.Len())
		require.True(t, v.Complete())
		require.LessOrEqual(t, chain.Remembered(c), chain.FreelyCopied+4*len(links))
	}
}
