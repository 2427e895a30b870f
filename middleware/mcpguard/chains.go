// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"container/list"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
)

// What one guard remembers of chains. Beyond that the chain is forgotten that was
// unused for the longest time, of the caller whose chains take most. A worker whose
// chain that was is told so and presents it again.
const (
	maxChains     = 1_000
	maxLinks      = 200_000
	maxLinkBytes  = 256 << 20
	maxChainLinks = 40_000
)

// bytesPerPrev is what is kept of a predecessor that is missing.
const bytesPerPrev = 384

// chainSkew is how far ahead the clock of who signs a link may be.
const chainSkew = time.Minute

// chains remembers the links of each caller's chains. What one caller presents is
// not seen by another, so that none can spoil or push out what is not its own.
type chains struct {
	verifier *receipt.Verifier
	limits   share

	mu     sync.Mutex
	held   map[chainKey]*heldChain
	owners map[spiffeid.ID]*chainOwner
	all    share
}

// share is how much somebody's chains are.
type share struct{ chains, links, bytes int }

type chainKey struct {
	caller   spiffeid.ID
	app      spiffeid.ID
	instance string
	started  time.Time
}

type chainOwner struct {
	share
	recent *list.List // of *heldChain
}

type heldChain struct {
	*chain.Chain
	share

	key     chainKey
	element *list.Element
}

func newChains(bundles x509bundle.Source) *chains {
	return &chains{
		verifier: receipt.NewVerifier(bundles), limits: share{chains: maxChains, links: maxLinks, bytes: maxLinkBytes},
		held: map[chainKey]*heldChain{}, owners: map[spiffeid.ID]*chainOwner{},
	}
}

func keyOfChain(caller spiffeid.ID, id *receipt.Chain) chainKey {
	return chainKey{caller: caller, app: id.App, instance: id.Instance, started: id.Started.UTC()}
}

// view is what a question of the caller's continues. The error is why the question itself would not count in its chain.
func (c *chains) view(question *chain.Link) (*chain.View, error) {
	said := question.Receipt
	in := c.empty(said.Workflow.Chain)
	if known := c.find(keyOfChain(question.Signer, said.Workflow.Chain)); known != nil {
		in = known.Chain
	}
	if fault := in.Refuses(question); fault != nil {
		return nil, fault
	}
	return in.View(said.Prev), nil
}

func (c *chains) empty(id *receipt.Chain) *chain.Chain {
	return chain.New(*id, chain.Options{Verifier: c.verifier, At: signedAt, MaxLinks: maxChainLinks})
}

// signedAt is when the certificates of a link must have been valid: when it says
// that it was signed, unless that is yet to come.
func signedAt(r *receipt.Receipt) time.Time {
	if r.Times.Settled.After(time.Now().Add(chainSkew)) {
		return time.Time{}
	}
	return r.Times.Settled
}

// find gives nil for a chain that is not held.
func (c *chains) find(key chainKey) *heldChain {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.held[key]
	if known != nil {
		c.owners[key.caller].recent.MoveToFront(known.element)
	}
	return known
}

// open gives the chain, which is held from then on.
func (c *chains) open(caller spiffeid.ID, id *receipt.Chain) *heldChain {
	key := keyOfChain(caller, id)
	if known := c.find(key); known != nil {
		return known
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.held[key]; known != nil {
		return known
	}
	owner := c.owners[caller]
	if owner == nil {
		owner = &chainOwner{recent: list.New()}
		c.owners[caller] = owner
	}
	known := &heldChain{Chain: c.empty(id), key: key}
	known.element = owner.recent.PushFront(known)
	c.held[key] = known
	c.grow(known, share{chains: 1, bytes: len(id.Instance)})
	return known
}

// add verifies and keeps one link.
func (c *chains) add(caller spiffeid.ID, id *receipt.Chain, link *receipt.Envelope) error {
	return c.keep(c.open(caller, id), link)
}

func (c *chains) keep(known *heldChain, link *receipt.Envelope) error {
	if known.Knows(link.PayloadDigest()) {
		return nil
	}
	kept, err := known.Add(link)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[known.key] == known {
		c.grow(known, share{links: 1, bytes: len(link.Payload) + bytesPerPrev*len(kept.Receipt.Prev)})
	}
	return nil
}

// grow is called with mu.
func (c *chains) grow(known *heldChain, by share) {
	for _, s := range [3]*share{&known.share, &c.owners[known.key.caller].share, &c.all} {
		s.add(by, 1)
	}
	for c.all.chains > c.limits.chains || c.all.links > c.limits.links || c.all.bytes > c.limits.bytes {
		c.drop(c.largest().recent.Back().Value.(*heldChain))
	}
}

// largest is the owner that takes most of what there is too much of.
func (c *chains) largest() *chainOwner {
	measure := func(s *share) int { return s.chains }
	switch {
	case c.all.links > c.limits.links:
		measure = func(s *share) int { return s.links }
	case c.all.bytes > c.limits.bytes:
		measure = func(s *share) int { return s.bytes }
	}
	var most *chainOwner
	for _, owner := range c.owners {
		if most == nil || measure(&owner.share) > measure(&most.share) {
			most = owner
		}
	}
	return most
}

func (c *chains) drop(known *heldChain) {
	owner := c.owners[known.key.caller]
	owner.recent.Remove(known.element)
	delete(c.held, known.key)
	owner.add(known.share, -1)
	c.all.add(known.share, -1)
	if owner.recent.Len() == 0 {
		delete(c.owners, known.key.caller)
	}
}

func (s *share) add(by share, sign int) {
	s.chains += sign * by.chains
	s.links += sign * by.links
	s.bytes += sign * by.bytes
}

// past is a view as the conditions of rules see it.
type past struct {
	*chain.View

	instance string
}

var _ policy.Past = past{}

// Instance is that of the workflow that the chain began with.
func (p past) Instance() string { return p.instance }

// Step gives step i.
func (p past) Step(i int) policy.PastStep {
	s := p.View.Step(i)
	return policy.PastStep{
		Name: s.Name, Kind: s.Kind, Server: s.Server, Tool: s.Tool, Status: s.Status, Instance: s.Instance, By: s.By, Door: s.Door, At: s.At,
		Digest: policy.Digest(s.Digest),
	}
}

// unsound says in a few words which of the links that were presented do not hold.
func unsound(presented int, faults []linkFault) string {
	if len(faults) == 0 {
		return ""
	}
	text := fmt.Sprintf("%d of %d links that were presented do not hold", len(faults), presented)
	const most = 10
	for i, f := range faults {
		if i == most {
			return text + ", and others"
		}
		text += fmt.Sprintf("; %s: %s", f.Digest, f.Kind)
	}
	return text
}
