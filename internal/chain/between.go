// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"fmt"
	"slices"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Every rule here depends on a link and the links beside it alone, never on whether those have faults themselves: what is
// taken out then does not depend on the order in which links came.

// relate holds next to a predecessor of its, now that both are known.
func (c *Chain) relate(p, next *node) {
	if older(p, next) != "" || c.afterEnd(p, next) != "" || otherGeneration(p, next) != "" {
		c.takeOut(next)
	}
	if next.role != answer {
		return
	}
	if misfit(p, next) != "" || wrongDoor(p, next) != "" {
		c.takeOut(next)
		return
	}
	at, _ := slices.BinarySearchFunc(p.fits, next, byRank)
	p.fits = slices.Insert(p.fits, at, next)
	// A step that was denied may be asked for again, and is decided anew.
	given := 0
	for _, a := range p.fits {
		if !a.denied() {
			given++
		}
	}
	for _, a := range p.fits[:given] {
		if given > 1 {
			c.takeOut(a)
		}
	}
}

// denied says whether a node is an answer that denies.
func (n *node) denied() bool {
	return n.role == answer && n.link.Receipt.Outcome.Status == receipt.StatusDenied
}

// byRank puts answers to one question in order: what was given before denials, then by time.
func byRank(a, b *node) int {
	if a.denied() != b.denied() {
		if a.denied() {
			return 1
		}
		return -1
	}
	return byTime(a.link, b.link)
}

// outdone says whether a denial that nothing continues is not what became of its step: there is another answer that is
// no denial, or is continued, or comes first.
func (n *node) outdone() bool {
	if !n.denied() || len(n.prev) != 1 {
		return false
	}
	for i, a := range n.prev[0].fits {
		first := i < slices.Index(n.prev[0].fits, n)
		if a != n && a.sound() && (first || slices.ContainsFunc(a.next, (*node).sound)) {
			return true
		}
	}
	return false
}

// claim notes that a node does a step.
func (c *Chain) claim(n *node) {
	if n.role == answer {
		return
	}
	key := keyOf(n)
	rivals := append(c.done[key], n)
	c.done[key] = rivals
	c.takeOutRivals(rivals)
}

// takeOutRivals takes out those of which there may be one; the last is new.
func (c *Chain) takeOutRivals(rivals []*node) {
	if len(rivals) == 1 {
		return
	}
	c.takeOut(rivals[0])
	c.takeOut(rivals[len(rivals)-1])
}

func keyOf(n *node) stepKey {
	w := n.link.Receipt.Workflow
	key := stepKey{
		by: n.link.Signer, instance: w.Instance, generation: w.Generation, task: w.Task, approval: n.role == approval,
	}
	if n.role == begin || n.role == goesOn { // whatever task it says
		key.task, key.step = 0, n.link.Receipt.Action.Kind
	} else if w.Task == 0 {
		key.step = w.Step
		if key.step == "" {
			key.step = n.link.Receipt.Action.Kind
		}
	}
	return key
}

// ofRoot says whether a link is of the workflow that the chain began with.
func (c *Chain) ofRoot(n *node) bool {
	return n.link.Signer == c.id.App && n.link.Receipt.Workflow.Instance == c.id.Instance
}

// older says how next lies before p; "" if it does not.
func older(p, next *node) string {
	before, after := p.link.Receipt.Times.Settled, next.link.Receipt.Times.Decided
	if !after.Before(before.Add(-maxSkew)) {
		return ""
	}
	return fmt.Sprintf("it is of %s, and continues %s, which is of %s", stamp(after), p.digest, stamp(before))
}

// afterEnd says what has ended before next; "" if nothing has.
func (c *Chain) afterEnd(p, next *node) string {
	if p.role != end {
		return ""
	}
	if c.ofRoot(p) {
		return fmt.Sprintf("the chain ended with %s", p.digest)
	}
	of, by := p.link.Receipt.Workflow, next.link.Receipt.Workflow
	if of.App != by.App || of.Instance != by.Instance {
		return ""
	}
	return fmt.Sprintf("instance %.140q of app %.80q ended with %s", of.Instance, of.App, p.digest)
}

// misfit says what makes a no answer to q; "" if it is one.
func misfit(q, a *node) string {
	asked, said := q.link.Receipt, a.link.Receipt
	switch {
	case q.role != question:
		return fmt.Sprintf("%s is no question", q.digest)
	case !sameStep(asked.Workflow, said.Workflow):
		return fmt.Sprintf("it is of step %s, the question of %s", stepText(said.Workflow), stepText(asked.Workflow))
	case asked.Action != said.Action:
		return fmt.Sprintf("it is about %+q, the question about %+q", said.Action, asked.Action)
	case asked.RequestDigest != said.RequestDigest:
		return fmt.Sprintf("it is to request %s, the question asks %s", said.RequestDigest, asked.RequestDigest)
	case said.Caller.SPIFFEID != q.link.Signer:
		return fmt.Sprintf("it is to %q, the question is by %s", said.Caller.SPIFFEID.String(), q.link.Signer)
	}
	return ""
}

// wrongDoor says what makes a an answer by another than q is for; "" if it is by that one.
func wrongDoor(q, a *node) string {
	to := q.link.Receipt.To
	if a.link.Signer == to {
		return ""
	}
	return fmt.Sprintf("it is by %s, the question for %s", a.link.Signer, to)
}

func sameStep(a, b *receipt.Workflow) bool {
	return a.Instance == b.Instance && a.App == b.App && a.Name == b.Name && a.Generation == b.Generation &&
		a.Task == b.Task && a.Step == b.Step // the chain is that of both
}

func stepText(w *receipt.Workflow) string {
	return fmt.Sprintf("%.80q (task %d, generation %d of %.140q of workflow %.80q in app %.80q)",
		w.Step, w.Task, w.Generation, w.Instance, w.Name, w.App)
}

// flaw gives the fault for which a node was taken out, or nil. Of several it is always the same one.
func (c *Chain) flaw(n *node) *Fault {
	switch detail := n.unbegun(); {
	case !n.void && (detail == "" || len(c.missing) > 0): // The beginning may be what is missing.
		return nil
	case !n.void:
		return n.link.fault(FaultGeneration, "%s", detail)
	}
	for _, p := range n.prev {
		if p.link == nil {
			continue
		}
		if n.role == answer {
			if detail := misfit(p, n); detail != "" {
				return n.link.fault(FaultAnswer, "%s", detail)
			}
			if detail := wrongDoor(p, n); detail != "" {
				return n.link.fault(FaultDoor, "%s", detail)
			}
		}
		if detail := older(p, n); detail != "" {
			return n.link.fault(FaultTime, "%s", detail)
		}
		if detail := c.afterEnd(p, n); detail != "" {
			return n.link.fault(FaultAfterEnd, "%s", detail)
		}
		if detail := otherGeneration(p, n); detail != "" {
			return n.link.fault(FaultGeneration, "%s", detail)
		}
	}
	if n.role == answer {
		q := n.prev[0]
		return n.link.fault(FaultTwoAnswers, "question %s is answered by %s", q.digest, names(q.fits))
	}
	return n.link.fault(FaultFork, "step %s is done by %s", stepText(n.link.Receipt.Workflow), names(c.done[keyOf(n)]))
}

// gaps gives a fault for each predecessor of n that does not count.
func (c *Chain) gaps(n *node) []*Fault {
	var out []*Fault
	for _, p := range n.prev {
		refused := c.refused[p.digest]
		switch {
		case p.link == nil && refused != nil:
			out = append(out, n.link.fault(FaultPredecessor, "%s: %s", p.digest, refused.Kind.Sentence()))
		case p.link == nil:
			out = append(out, n.link.fault(FaultMissing, "%s", p.digest))
		default:
			if flaw := c.flaw(p); flaw != nil {
				out = append(out, n.link.fault(FaultPredecessor, "%s: %s", p.digest, flaw.Kind.Sentence()))
			}
		}
	}
	return out
}

// end gives the end of the chain; nil if it has none or more than one.
func (c *Chain) end() *node {
	var found *node
	for _, n := range c.ends {
		if n.sound() {
			if found != nil {
				return nil
			}
			found = n
		}
	}
	return found
}

// ended says whether there is any end that counts.
func (c *Chain) ended() bool { return slices.ContainsFunc(c.ends, (*node).sound) }

// Faults gives what is wrong between links, in an order that depends on the links alone: links that are taken out and
// why, and predecessors that are missing or taken out; where there are none of those, heads beside the end of the chain
// (otherwise what is not there may be what continues them). It takes time in proportion to the number of links.
func (c *Chain) Faults() []*Fault {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*Fault
	torn := false
	for _, n := range c.nodes {
		if n.link == nil {
			continue
		}
		if f := c.flaw(n); f != nil && !n.follows() {
			out = append(out, f)
		}
		gaps := c.gaps(n)
		torn = torn || len(gaps) > 0
		out = append(out, gaps...)
	}
	if c.ended() && !torn {
		out = append(out, c.besideEnd(c.heads())...)
	}
	sortFaults(out)
	return out
}

// besideEnd gives a fault for each head that is not the one end.
func (c *Chain) besideEnd(heads []receipt.Digest) []*Fault {
	var out []*Fault
	the, ends := c.end(), names(c.soundEnds())
	for _, d := range heads {
		if n := c.nodes[d]; n != nil && n.link != nil && n != the {
			out = append(out, n.link.fault(FaultBesideEnd, "the chain ended with %s", ends))
		}
	}
	return out
}

func (c *Chain) soundEnds() []*node {
	var out []*node
	for _, n := range c.ends {
		if n.sound() {
			out = append(out, n)
		}
	}
	return out
}
