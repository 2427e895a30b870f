// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"crypto/sha256"
	"math"
	"slices"
	"sort"
)

// What some links continue is kept as an order of links: that of the highest among them (the first named, of several),
// then what the others add in the order in which they are named, then the link itself. That is the same whenever and in
// whatever order links were added, and a chain that grows only appends. How high a link is, the longest way from it to one
// that continues nothing, is known without the pasts of all that it continues: those together can be far larger than the
// chain, where whoever makes it wants them to be.

// maxDepth is how many spans lie under one another before they are made into one.
const maxDepth = 32

// span is a piece of an order: the first links of base, and its own after them. It is only ever appended to, so that all
// that lies before a mark stays as it is.
type span struct {
	base  *span
	from  mark // where in base its own begin
	depth int
	own   []*node
	index map[*node]int // place in the whole order
	done  []*node       // those of its own that are steps
	named map[string][]int
	gap   int // place of the first of its own that continues what does not count; far if there is none
}

// mark is how much of an order is meant: so many links, and steps among them.
type mark struct{ links, steps int }

// past is what some links continue, they included. Without a span it is empty.
type past struct {
	*span
	mark
}

// memo remembers pasts. All in it is void when a node that was looked at changes.
type memo struct {
	nodes   map[*node]past
	unions  map[[sha256.Size]byte]past
	heights map[*node]int
	copied  int // how many links stand in pasts that stand in others too
}

// freelyCopied is how many links may be remembered twice in a chain of any length: some 5 MiB.
const freelyCopied = 1 << 16

// ready makes room for pasts. What is remembered is forgotten where it is more than a chain of so many links is worth.
func (m *memo) ready(links int) {
	if m.nodes == nil || m.copied > freelyCopied+2*links {
		*m = memo{nodes: map[*node]past{}, unions: map[[sha256.Size]byte]past{}, heights: map[*node]int{}}
	}
}

// maxUnions bounds how many pasts of several links are remembered.
const maxUnions = 1024

const far = math.MaxInt

func newSpan(base past) *span {
	s := &span{base: base.span, from: base.mark, depth: 1, index: map[*node]int{}, named: map[string][]int{}, gap: far}
	if base.span != nil {
		s.depth += base.depth
	}
	return s
}

func (s *span) end() mark { return mark{s.from.links + len(s.own), s.from.steps + len(s.done)} }

// contains says whether n is in the past.
func (p past) contains(n *node) bool {
	most := p.links
	for s := p.span; s != nil; s = s.base {
		if at, ok := s.index[n]; ok {
			return at < most
		}
		most = s.from.links
	}
	return false
}

func (p past) complete() bool {
	most := p.links
	for s := p.span; s != nil; s = s.base {
		if s.gap < most {
			return false
		}
		most = s.from.links
	}
	return true
}

// with gives the past with one link more, which is not in it and continues only what is.
func (p past) with(n *node) past {
	if p.span == nil || p.mark != p.end() {
		p = past{newSpan(p), p.mark}
	}
	p.append(n)
	return past{p.span, p.end()}
}

func (s *span) append(n *node) {
	at := s.end()
	s.own = append(s.own, n)
	s.index[n] = at.links
	for _, p := range n.prev {
		p.reached = true
		if !p.sound() && s.gap == far {
			s.gap = at.links
		}
	}
	n.reached = true
	if n.isStep() {
		name := n.link.Receipt.Workflow.Step
		s.done = append(s.done, n)
		s.named[name] = append(s.named[name], at.steps)
	}
}

// flat gives the same past in one span.
func (p past) flat() past {
	s := newSpan(past{})
	p.each(func(n *node) { s.append(n) })
	return past{s, s.end()}
}

// each calls f for each link in order.
func (p past) each(f func(*node)) {
	if p.span == nil {
		return
	}
	if p.base != nil {
		past{p.base, p.from}.each(f)
	}
	for _, n := range p.own[:p.links-p.from.links] {
		f(n)
	}
}

// step gives step i of the past and its answer, or nil where the answer is not in the past.
func (p past) step(i int) (n, a *node) {
	s, most := p.span, p.links
	for i < s.from.steps {
		s, most = s.base, s.from.links
	}
	n = s.done[i-s.from.steps]
	for _, a := range n.fits {
		if at, ok := s.index[a]; ok && at < most { // mostly they stand together
			return n, a
		}
		if p.contains(a) {
			return n, a
		}
	}
	return n, nil
}

// places gives the steps of that name. It allocates only where spans lie under one another.
func (p past) places(name string) []int {
	if p.span == nil {
		return nil
	}
	own := p.named[name]
	own = own[:sort.SearchInts(own, p.steps):sort.SearchInts(own, p.steps)]
	if p.base == nil {
		return own
	}
	if under := (past{p.base, p.from}).places(name); len(under) > 0 {
		return append(under, own...)
	}
	return own
}

// pastOf gives what a node that counts continues, itself included.
func (c *Chain) pastOf(n *node) past {
	var todo []*node // a chain is too long for a recursion
	for at := n; at != nil; at = c.highest(at.prev) {
		if _, known := c.memo.nodes[at]; known {
			break
		}
		todo = append(todo, at)
	}
	for _, at := range slices.Backward(todo) {
		c.memo.nodes[at] = c.union(at.prev).with(at)
	}
	return c.memo.nodes[n]
}

// highest gives the one of the nodes that counts and is highest, the first of several; nil if none counts.
func (c *Chain) highest(nodes []*node) *node {
	var found *node
	most := 0
	for _, n := range nodes {
		if !n.sound() {
			continue
		}
		if height := c.height(n); height > most {
			found, most = n, height
		}
	}
	return found
}

// height gives how many links the longest way from a node that counts has, itself included.
func (c *Chain) height(n *node) int {
	todo := []*node{n}
	for len(todo) > 0 {
		last := todo[len(todo)-1]
		if _, known := c.memo.heights[last]; known { // there were two ways to it
			todo = todo[:len(todo)-1]
			continue
		}
		before, height := len(todo), 0
		for _, p := range last.prev {
			if !p.sound() {
				continue
			}
			under, known := c.memo.heights[p]
			if !known {
				todo = append(todo, p)
			}
			height = max(height, under)
		}
		if len(todo) == before {
			c.memo.heights[last] = height + 1
			todo = todo[:len(todo)-1]
		}
	}
	return c.memo.heights[n]
}

// union gives what nodes continue together, they included. Of the highest that counts the past must be known.
func (c *Chain) union(nodes []*node) past {
	longest := c.highest(nodes)
	if longest == nil {
		return past{}
	}
	all := c.memo.nodes[longest]
	if all.depth >= maxDepth {
		all = all.flat()
		c.memo.nodes[longest] = all
		c.memo.copied += all.links
	}
	if !slices.ContainsFunc(nodes, func(n *node) bool { return n.sound() && n != longest }) {
		return all
	}
	key := keyOfUnion(nodes)
	if p, known := c.memo.unions[key]; known {
		return p
	}
	alone := all.links
	for _, n := range nodes {
		if n.sound() {
			all = all.withPast(n)
		}
	}
	if len(c.memo.unions) >= maxUnions {
		clear(c.memo.unions)
	}
	c.memo.unions[key] = all
	c.memo.copied += all.links - alone
	return all
}

// withPast adds what is not in the past of n and what it continues, predecessors first.
func (p past) withPast(n *node) past {
	todo := []*node{n}
	for len(todo) > 0 {
		last := todo[len(todo)-1]
		if p.contains(last) {
			todo = todo[:len(todo)-1]
			continue
		}
		before := len(todo)
		for i := len(last.prev) - 1; i >= 0; i-- {
			if prev := last.prev[i]; prev.sound() && !p.contains(prev) {
				todo = append(todo, prev)
			}
		}
		if len(todo) == before {
			p = p.with(last)
			todo = todo[:len(todo)-1]
		}
	}
	return p
}

func keyOfUnion(nodes []*node) [sha256.Size]byte {
	all := make([]byte, 0, len(nodes)*sha256.Size)
	for _, n := range nodes {
		if n.sound() {
			all = append(all, n.digest[:]...)
		}
	}
	return sha256.Sum256(all)
}
