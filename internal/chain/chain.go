// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/receipt"
)

const (
	defaultMaxLinks = 20_000
	// bytesPerLink is how large links may be on average. It bounds the memory of a chain.
	bytesPerLink = 4 << 10
	// maxSkew is how much the clocks of two sidecars may differ.
	maxSkew = time.Minute
)

// Options say what links are held to.
type Options struct {
	// Bundles are the trust bundles. Without them no link verifies.
	Bundles x509bundle.Source
	// Verifier, if not nil, is used in place of one made for Bundles, so that many chains share what it remembers.
	Verifier *receipt.Verifier
	// At gives the moment at which certificates must have been valid. If nil, that is the settled time that the signer
	// states; see receipt.VerifyOptions.
	At func(*receipt.Receipt) time.Time
	// MaxLinks is the largest number of links of a chain, and of links that are named and missing. 0 means 20,000. All
	// payloads together have at most 4 KiB for each.
	MaxLinks int

	// Expect, for Verify alone, is the chain that all links have to be of. If nil, each chain among them is verified.
	Expect *receipt.Chain
	// Running, for Verify alone, says that a chain without an end has no fault: its workflow may still run.
	Running bool
}

func (o Options) withDefaults() Options {
	if o.MaxLinks <= 0 {
		o.MaxLinks = defaultMaxLinks
	}
	if o.Verifier == nil {
		o.Verifier = receipt.NewVerifier(o.Bundles)
	}
	return o
}

// Chain holds the links of one chain that verify. It grows, and forgets nothing.
type Chain struct {
	id      receipt.Chain
	options Options

	mu      sync.RWMutex
	nodes   map[receipt.Digest]*node // those known, and those that known ones name
	known   int
	size    int // of all payloads
	missing map[receipt.Digest]struct{}
	done    map[stepKey][]*node
	// generations are those after the first.
	generations map[generationKey]*generation
	ends        []*node                   // of the workflow that the chain began with
	refused     map[receipt.Digest]*Fault // what Verify found bad by itself
	memo        memo
}

// node is a link among others.
type node struct {
	digest receipt.Digest
	link   *Link // nil while it is missing
	role   role
	prev   []*node // in the order in which the link names them
	next   []*node
	fits   []*node // answers that fit this question, by rank
	void   bool    // a fault between links takes it out
	of     *generation
	// reached says that a view was made which looked at the node, so that it is to be made anew if the node changes.
	reached bool
	waits   int // for ordered
}

// sound says whether the node counts.
func (n *node) sound() bool { return n.link != nil && !n.void && (n.of == nil || n.of.begun) }

// isStep says whether the node is a step of a view.
func (n *node) isStep() bool { return n.role == question || n.role == statement || n.role == approval }

// stepKey names what may be done once: a step of a workflow instance, by one app.
type stepKey struct {
	by         spiffeid.ID
	instance   string
	generation uint32
	task       uint32
	step       string // only where there is no task
	approval   bool
}

// New makes an empty chain.
func New(id receipt.Chain, o Options) *Chain { return newChain(id, o, 0) }

func newChain(id receipt.Chain, o Options, links int) *Chain {
	return &Chain{
		id: id, options: o.withDefaults(), nodes: make(map[receipt.Digest]*node, links),
		missing: map[receipt.Digest]struct{}{}, done: make(map[stepKey][]*node, links),
		generations: map[generationKey]*generation{},
	}
}

// Add verifies a link and keeps it. Links may come in any order. A link that is there already is no error, and its
// signature is not looked at again. The error is a *Fault, and then nothing is kept; faults that show only beside other
// links are no errors here (see Chain.Faults).
func (c *Chain) Add(e *receipt.Envelope) (*Link, error) {
	var digest receipt.Digest
	if e != nil {
		digest = e.PayloadDigest()
	}
	if known := c.lookup(digest); known != nil {
		return known, nil
	}
	l, f := verify(c.options.Verifier, e, digest, &c.options)
	if f != nil {
		return nil, f
	}
	what, f := checkLink(&c.id, l)
	if f != nil {
		return nil, f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[digest]; n != nil && n.link != nil {
		return n.link, nil // another was quicker
	}
	if f := c.insert(l, what, len(e.Payload)); f != nil {
		return nil, f
	}
	return l, nil
}

func (c *Chain) lookup(d receipt.Digest) *Link {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if n := c.nodes[d]; n != nil {
		return n.link
	}
	return nil
}

// Knows says whether the link is kept.
func (c *Chain) Knows(d receipt.Digest) bool { return c.lookup(d) != nil }

// Link gives a link that is kept, or nil.
func (c *Chain) Link(d receipt.Digest) *Link { return c.lookup(d) }

// Len is the number of links that are kept.
func (c *Chain) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known
}

// Missing gives the predecessors that links name and that are not there, sorted.
func (c *Chain) Missing() []receipt.Digest {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]receipt.Digest, 0, len(c.missing))
	for d := range c.missing {
		out = append(out, d)
	}
	slices.SortFunc(out, compareDigests)
	return out
}

// Heads gives the links that no other link continues, sorted. Links that a fault takes out do not count.
func (c *Chain) Heads() []receipt.Digest {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.heads()
}

func (c *Chain) heads() []receipt.Digest {
	var out []receipt.Digest
	for d, n := range c.nodes {
		if n.sound() && !slices.ContainsFunc(n.next, (*node).sound) && !n.outdone() {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, compareDigests)
	return out
}

// insert puts a link that verifies by itself among the others.
func (c *Chain) insert(l *Link, what role, size int) *Fault {
	if f := c.checkRoom(l, size); f != nil {
		return f
	}
	n := c.node(l.Digest)
	n.link, n.role, n.of = l, what, c.generationOf(l)
	n.prev = make([]*node, len(l.Receipt.Prev))
	c.known++
	c.size += size
	delete(c.missing, l.Digest)
	if n.reached { // as one that was missing
		c.memo = memo{}
	}
	for i, d := range l.Receipt.Prev {
		p := c.node(d)
		n.prev[i], p.next = p, append(p.next, n)
		if p.link == nil {
			c.missing[d] = struct{}{}
		} else {
			c.relate(p, n)
		}
	}
	for _, next := range n.next {
		c.relate(n, next)
	}
	c.claim(n)
	c.beginning(n)
	if what == end && c.ofRoot(n) {
		c.ends = append(c.ends, n)
	}
	return nil
}

func (c *Chain) checkRoom(l *Link, size int) *Fault {
	missing := len(c.missing)
	for _, d := range l.Receipt.Prev {
		if c.nodes[d] == nil {
			missing++
		}
	}
	switch most := c.options.MaxLinks; {
	case c.known >= most:
		return l.fault(FaultTooMany, "the chain has %d links, the most that are accepted", most)
	case missing > most+1: // the link may be one of them
		return l.fault(FaultTooMany, "more than %d links that it names are missing", most)
	case c.size+size > most*bytesPerLink:
		return l.fault(FaultTooMany, "the links have more than %d bytes", most*bytesPerLink)
	}
	return nil
}

func (c *Chain) node(d receipt.Digest) *node {
	n := c.nodes[d]
	if n == nil {
		n = &node{digest: d}
		c.nodes[d] = n
	}
	return n
}

// takeOut makes a node count as absent.
func (c *Chain) takeOut(n *node) {
	if n.void {
		return
	}
	n.void = true
	if n.reached {
		c.memo = memo{}
	}
	c.beginning(n)
}

func compareDigests(a, b receipt.Digest) int { return bytes.Compare(a[:], b[:]) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// names gives the digests of nodes for a detail; of many only the number.
func names(nodes []*node) string {
	const most = 4
	if len(nodes) > most {
		return fmt.Sprintf("%d links", len(nodes))
	}
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.digest.String()
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
