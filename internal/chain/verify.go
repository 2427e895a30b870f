// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"cmp"
	"container/heap"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Report is what Verify found.
type Report struct {
	// Chains are those that at least one link was good for, sorted by app, instance and start.
	Chains []*Found
	// Faults are those of links by themselves, of all chains.
	Faults []*Fault
}

// Found is a chain among the links that were verified.
type Found struct {
	Chain receipt.Chain
	// Links are those that verify by themselves, Steps what was done in those that count. Both are in an order in which
	// each comes after what it continues; of those that could change places the older is first, then the smaller digest.
	Links []*Link
	Steps []Step
	// Heads are the links that no other continues, sorted.
	Heads []receipt.Digest
	// Ended says that the chain has one end, and nothing beside it.
	Ended bool
	// Faults are those between links.
	Faults []*Fault
}

// OK says whether there is a chain, and no fault.
func (r *Report) OK() bool { return len(r.Chains) > 0 && len(r.All()) == 0 }

// All gives the faults of links and those of chains.
func (r *Report) All() []*Fault {
	all := slices.Clone(r.Faults)
	for _, c := range r.Chains {
		all = append(all, c.Faults...)
	}
	return all
}

// Verify verifies all links, in whatever order they are given, on all cores. What it finds depends on the links alone. A
// link that is there twice has a fault, and a chain without an end has one unless Options.Running.
func Verify(links []*receipt.Envelope, o Options) *Report {
	o = o.withDefaults()
	report := &Report{}
	good := map[receipt.Digest]*single{}
	refused := map[receipt.Digest]*Fault{}
	for _, s := range verifyAll(links, &o) {
		switch before := good[s.digest]; {
		case s.fault != nil:
			refused[s.digest] = s.fault
			report.Faults = append(report.Faults, s.fault)
		case before == nil:
			good[s.digest] = s
		default:
			before.copies++
		}
	}
	for id, group := range byChain(good) {
		report.Chains = append(report.Chains, findChain(id, group, refused, o))
	}
	slices.SortFunc(report.Chains, func(a, b *Found) int {
		return cmp.Or(strings.Compare(a.Chain.App.String(), b.Chain.App.String()),
			strings.Compare(a.Chain.Instance, b.Chain.Instance), a.Chain.Started.Compare(b.Chain.Started))
	})
	sortFaults(report.Faults)
	return report
}

// single is a link by itself.
type single struct {
	digest receipt.Digest
	link   *Link
	role   role
	size   int
	copies int // beside itself
	fault  *Fault
}

// verifyAll verifies each link by itself.
func verifyAll(links []*receipt.Envelope, o *Options) []*single {
	out := make([]*single, len(links))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(links)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(links) {
					return
				}
				out[i] = verifySingle(links[i], o)
			}
		})
	}
	workers.Wait()
	return out
}

func verifySingle(e *receipt.Envelope, o *Options) *single {
	s := &single{}
	if e != nil {
		s.digest, s.size = e.PayloadDigest(), len(e.Payload)
	}
	if s.link, s.fault = verify(o.Verifier, e, s.digest, o); s.fault != nil {
		return s
	}
	id := o.Expect
	if id == nil {
		if w := s.link.Receipt.Workflow; w != nil && w.Chain != nil {
			id = w.Chain
		} else {
			s.fault = s.link.fault(FaultOtherChain, "it names no chain")
			return s
		}
	}
	s.role, s.fault = checkLink(id, s.link)
	return s
}

// byChain sorts links into their chains, whose starts are in UTC.
func byChain(good map[receipt.Digest]*single) map[receipt.Chain][]*single {
	out := map[receipt.Chain][]*single{}
	for _, s := range good {
		id := *s.link.Receipt.Workflow.Chain
		id.Started = id.Started.UTC()
		out[id] = append(out[id], s)
	}
	return out
}

// findChain puts links that are good by themselves together.
func findChain(id receipt.Chain, group []*single, refused map[receipt.Digest]*Fault, o Options) *Found {
	slices.SortFunc(group, func(a, b *single) int { return byTime(a.link, b.link) })
	c := newChain(id, o, len(group))
	c.refused = refused
	found := &Found{Chain: id}
	for _, s := range group {
		if f := c.insert(s.link, s.role, s.size); f != nil {
			found.Faults = append(found.Faults, f)
		}
		if s.copies > 0 {
			found.Faults = append(found.Faults, s.link.fault(FaultDuplicate, "it is there %d times", s.copies+1))
		}
	}
	for _, n := range c.ordered() {
		found.Links = append(found.Links, n.link)
		if !n.isStep() || !n.sound() {
			continue
		}
		a := (*node)(nil)
		if at := slices.IndexFunc(n.fits, (*node).sound); at >= 0 {
			a = n.fits[at]
		}
		found.Steps = append(found.Steps, stepOf(n, a))
	}
	found.Heads = c.heads()
	found.Faults = append(found.Faults, c.Faults()...)
	the := c.end()
	found.Ended = the != nil && len(found.Heads) == 1
	if !c.ended() && !o.Running {
		found.Faults = append(found.Faults, &Fault{
			Kind: FaultNotEnded, Detail: fmt.Sprintf("instance %.140q of %s started at %s", id.Instance, id.App, stamp(id.Started)),
		})
	}
	sortFaults(found.Faults)
	return found
}

func byTime(a, b *Link) int {
	return cmp.Or(a.Receipt.Times.Settled.Compare(b.Receipt.Times.Settled), compareDigests(a.Digest, b.Digest))
}

// ordered gives the links that are there, each after those that it continues. It is for a chain that nobody else has.
func (c *Chain) ordered() []*node {
	ready := &queue{}
	for _, n := range c.nodes {
		if n.link == nil {
			continue
		}
		for _, p := range n.prev {
			if p.link != nil {
				n.waits++
			}
		}
		if n.waits == 0 {
			*ready = append(*ready, n)
		}
	}
	heap.Init(ready)
	out := make([]*node, 0, c.known)
	for ready.Len() > 0 {
		n := heap.Pop(ready).(*node)
		out = append(out, n)
		for _, next := range n.next {
			if next.waits--; next.waits == 0 {
				heap.Push(ready, next)
			}
		}
	}
	return out
}

// queue is a heap of nodes by time.
type queue []*node

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return byTime(q[i].link, q[j].link) < 0 }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*node)) }

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
