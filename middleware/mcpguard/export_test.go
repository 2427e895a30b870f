// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Chains is what a guard remembers of chains, with bounds of a test's own.
type Chains struct{ c *chains }

// NewChains makes an empty memory.
func NewChains(bundles x509bundle.Source, chains, links, bytes int) Chains {
	c := newChains(bundles)
	c.limits = share{chains: chains, links: links, bytes: bytes}
	return Chains{c}
}

// Add presents a link.
func (c Chains) Add(caller spiffeid.ID, id *receipt.Chain, link *receipt.Envelope) error {
	return c.c.add(caller, id, link)
}

// Known is how many links are held of a chain, -1 for a chain that is not held.
func (c Chains) Known(caller spiffeid.ID, id *receipt.Chain) int {
	known := c.c.held[keyOfChain(caller, id)]
	if known == nil {
		return -1
	}
	return known.Len()
}

// Sums reports whether what is counted is what is there.
func (c Chains) Sums() bool {
	all := share{}
	owners := map[spiffeid.ID]share{}
	for key, held := range c.c.held {
		all.add(held.share, 1)
		own := owners[key.caller]
		own.add(held.share, 1)
		owners[key.caller] = own
	}
	for id, owner := range c.c.owners {
		if owner.share != owners[id] || owner.recent.Len() != owner.chains {
			return false
		}
	}
	return all == c.c.all && len(owners) == len(c.c.owners)
}

// DecodeQuestion reads the header of a question.
func DecodeQuestion(values []string) (*receipt.Envelope, error) { return decodeQuestion(values) }

// Present takes the body of a request that presents links. It gives how many links
// were read, are known, and do not hold.
func (c Chains) Present(caller spiffeid.ID, body []byte) (read, known, bad int, err error) {
	p, err := decodePresented(body)
	if err != nil {
		return 0, 0, 0, err
	}
	result, faults := c.c.present(caller, p)
	return len(p.Links), result.Known, len(faults), nil
}

// Owners are which caller has which ID.
type Owners struct{ *owners[int] }

// NewOwners makes an empty one of that size.
func NewOwners(most int) Owners { return Owners{newOwners[int]("it", most)} }

// Open gives the ID to the caller, and Has reports whether it is the caller's.
func (o Owners) Open(id string, caller spiffeid.ID) error { return o.open(id, caller, 0) }

func (o Owners) Has(id string, caller spiffeid.ID) bool {
	_, err := o.check(id, caller)
	return err == nil
}

// End forgets the ID, and Len is how many there are, of how many callers.
func (o Owners) End(id string) { o.end(id) }

func (o Owners) Len() (ids, callers int) { return len(o.byID), len(o.of) }
