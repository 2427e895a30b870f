// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/receipt"
)

// The kinds of steps.
const (
	StepTool      = "tool"
	StepStatement = "statement"
	StepApproval  = "approval"
)

// StatusUnknown is the status of a tool call whose answer is not there.
const StatusUnknown = "unknown"

// Step is what was done: a question with its answer, a statement, or an approval. Joins and ends are no steps.
type Step struct {
	Name string
	// Kind is StepTool, StepStatement or StepApproval.
	Kind string
	// Server and Tool are those of a tool call, and empty otherwise.
	Server string
	Tool   string
	// Status is that of the answer, or StatusUnknown; and that of the link for what has no answer.
	Status string
	// Instance is that of the workflow that did the step.
	Instance string
	// By asked, stated or approved. Door answered, and is zero where nobody has.
	By   spiffeid.ID
	Door spiffeid.ID
	// At is when the answer settled, or the link where there is none.
	At time.Time
	// Digest is that of what was stated or approved, or of the arguments of a call; zero for a call without arguments.
	Digest receipt.Digest
	// Link is the question, statement or approval. Answer is zero where there is none.
	Link   receipt.Digest
	Answer receipt.Digest
}

// View is what some heads of a chain continue. It stays as it is while the chain grows.
type View struct {
	chain    *Chain
	past     past
	heads    []receipt.Digest
	complete bool
	ended    bool // without the heads
}

// View gives what the heads continue, they included. A head that is missing or has a fault adds nothing and makes the
// view incomplete. Beside a chain that has ended there is nothing to be seen: then the heads have to be its end and
// nothing else. Without heads the view is empty and complete. Where heads continue what was seen before, only what is new
// is looked at.
func (c *Chain) View(heads []receipt.Digest) *View {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := &View{chain: c, heads: heads, complete: true}
	nodes := make([]*node, 0, len(heads))
	for _, d := range heads {
		n := c.nodes[d]
		if n == nil || !n.sound() {
			v.complete = false
			continue
		}
		nodes = append(nodes, n)
	}
	if c.ended() && (len(heads) != 1 || len(nodes) != 1 || nodes[0] != c.end()) {
		v.complete, v.ended = false, true
		return v
	}
	c.memo.ready(c.known)
	if n := c.highest(nodes); n != nil {
		c.pastOf(n)
		v.past = c.union(nodes)
	}
	v.complete = v.complete && v.past.complete()
	return v
}

// Len is the number of steps.
func (v *View) Len() int { return v.past.steps }

// Complete says whether all is there that the heads continue, directly and indirectly, and none of it has a fault.
func (v *View) Complete() bool { return v.complete }

// Step gives step i, from 0 to Len()-1. A step comes after all those that it continues.
func (v *View) Step(i int) Step {
	v.chain.mu.RLock()
	defer v.chain.mu.RUnlock()
	return stepOf(v.past.step(i))
}

// Named gives the places of the steps of that name, in order. The caller must not change it.
func (v *View) Named(name string) []int {
	v.chain.mu.RLock()
	defer v.chain.mu.RUnlock()
	return v.past.places(name)
}

// stepOf makes a step of a link and its answer, which may be nil.
func stepOf(n, a *node) Step {
	r := n.link.Receipt
	s := Step{
		Name: r.Workflow.Step, Kind: StepStatement, Status: r.Outcome.Status, Instance: r.Workflow.Instance,
		By: n.link.Signer, At: r.Times.Settled, Digest: r.RequestDigest, Link: n.digest,
	}
	switch n.role {
	case approval:
		s.Kind = StepApproval
	case question:
		s.Kind, s.Server, s.Tool, s.Status = StepTool, r.Action.Server, r.Action.Name, StatusUnknown
		s.Digest = r.ArgumentsDigest
	}
	if a != nil {
		said := a.link.Receipt
		s.Status, s.Door, s.At, s.Answer = said.Outcome.Status, a.link.Signer, said.Times.Settled, a.digest
	}
	return s
}

// Faults gives what keeps the view from being complete, as the chain is now: heads and predecessors that are missing or
// were taken out, and why, and heads beside the end. It takes time in proportion to the number of links, unless the view
// is complete.
func (v *View) Faults() []*Fault {
	if v.complete {
		return nil
	}
	c := v.chain
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*Fault
	flawed := map[*node]bool{}
	note := func(n *node) {
		if f := c.flawOf(n); f != nil && !flawed[n] {
			flawed[n] = true
			out = append(out, f)
		}
	}
	for _, d := range v.heads {
		n := c.nodes[d]
		if n == nil || n.link == nil {
			out = append(out, &Fault{Kind: FaultMissing, Link: d, Detail: "it is named as a head"})
			continue
		}
		note(n)
	}
	if v.ended {
		out = append(out, c.besideEnd(v.heads)...)
		if len(v.heads) == 0 {
			out = append(out, &Fault{Kind: FaultBesideEnd, Detail: "the chain ended with " + names(c.soundEnds())})
		}
	}
	v.past.each(func(n *node) {
		out = append(out, c.gaps(n)...)
		for _, p := range n.prev {
			note(p)
		}
	})
	sortFaults(out)
	return out
}
