// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

// Refuses says why a link would not count beside those that are there; nil if it would. The link has to verify as a
// receipt, and need not be kept. That predecessors are missing, or do not count, is no reason.
func (c *Chain) Refuses(l *Link) *Fault {
	what, f := checkLink(&c.id, l)
	if f != nil {
		return f
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if n := c.nodes[l.Digest]; n != nil && n.link != nil {
		return c.flaw(n)
	}
	n := &node{digest: l.Digest, link: l, role: what}
	for _, d := range l.Receipt.Prev {
		p := c.nodes[d]
		if p == nil || p.link == nil {
			continue
		}
		if detail := older(p, n); detail != "" {
			return l.fault(FaultTime, "%s", detail)
		}
		if detail := c.afterEnd(p, n); detail != "" {
			return l.fault(FaultAfterEnd, "%s", detail)
		}
		if detail := otherGeneration(p, n); detail != "" {
			return l.fault(FaultGeneration, "%s", detail)
		}
	}
	if f := c.refusesGeneration(n); f != nil {
		return f
	}
	if rivals := c.done[keyOf(n)]; what != answer && len(rivals) > 0 {
		return l.fault(FaultFork, "step %s is done by %s", stepText(l.Receipt.Workflow), names(rivals))
	}
	return nil
}

// refusesGeneration says that a link is of a generation that was not begun; nil where the beginning may be what is missing.
func (c *Chain) refusesGeneration(n *node) *Fault {
	w := n.link.Receipt.Workflow
	if w.Generation == 0 || n.role == begin || len(c.missing) > 0 {
		return nil
	}
	for _, d := range n.link.Receipt.Prev {
		if c.nodes[d] == nil {
			return nil
		}
	}
	n.of = c.generations[generationKey{w.App, w.Instance, w.Generation}]
	if n.of == nil {
		n.of = &generation{}
	}
	if detail := n.unbegun(); detail != "" {
		return n.link.fault(FaultGeneration, "%s", detail)
	}
	return nil
}

// flawOf is flaw, also for what is missing, which has none.
func (c *Chain) flawOf(n *node) *Fault {
	if n.link == nil {
		return nil
	}
	return c.flaw(n)
}

// SomeFaults gives what Faults does, less predecessors that are missing, and no more than so many: of which links, if there
// are more, is not said. A chain can have a thousand faults for each link.
func (c *Chain) SomeFaults(most int) []*Fault {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*Fault
	torn := len(c.missing) > 0
	for _, n := range c.nodes {
		if n.link == nil {
			continue
		}
		if f := c.flaw(n); f != nil && !n.follows() {
			out = append(out, f)
		}
		for _, p := range n.prev {
			flaw := c.flawOf(p)
			if flaw != nil && len(out) < most {
				out = append(out, n.link.fault(FaultPredecessor, "%s: %s", p.digest, flaw.Kind.Sentence()))
			}
			torn = torn || flaw != nil
		}
		if len(out) >= most {
			break
		}
	}
	if c.ended() && !torn {
		heads := c.heads()
		out = append(out, c.besideEnd(heads[:min(len(heads), most)])...)
	}
	sortFaults(out)
	return out[:min(len(out), most)]
}
