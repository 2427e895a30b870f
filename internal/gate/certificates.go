// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"crypto/x509"
	"sync"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

const (
	// mostSigners bounds how many signers of answers are remembered, the newest: with a new SVID every half hour those of
	// 85 days, in some 600 KiB.
	mostSigners = 4096
	// mostCertificates bounds the chains of certificates that are kept in memory.
	mostCertificates = 16
)

// certificates finds those of the journal's signers. It knows where in the journal they stand, so that finding them reads
// one record, however long the journal is. Those of a signer that it does not remember are not found. It is safe for
// concurrent use.
type certificates struct {
	dir    string
	most   int
	readAt func(dir string, at journal.Place) (journal.Kind, []byte, error)

	mu     sync.Mutex
	places map[string]journal.Place // by key ID
	order  []string                 // of places, as they were noted; a ring once it is full
	next   int                      // where in the ring the next one goes
	known  map[string][]*x509.Certificate
}

func newCertificates(dir string) *certificates {
	return &certificates{
		dir: dir, most: mostSigners, readAt: journal.ReadAt,
		places: map[string]journal.Place{}, known: map[string][]*x509.Certificate{},
	}
}

// note says where the certificates of a key stand; the oldest key is forgotten for it.
func (c *certificates) note(keyID string, at journal.Place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, noted := c.places[keyID]; noted {
		c.places[keyID] = at // The beginning of a journal may be cut off.
		return
	}
	c.places[keyID] = at
	if len(c.order) < c.most {
		c.order = append(c.order, keyID)
		return
	}
	delete(c.places, c.order[c.next])
	delete(c.known, c.order[c.next])
	c.order[c.next] = keyID
	c.next = (c.next + 1) % c.most
}

// add notes a record of the journal.
func (c *certificates) add(at journal.Place, record []byte) error {
	chain, err := receipt.DecodeCertificates(record)
	if err != nil {
		return err
	}
	c.note(receipt.KeyID(chain[0]), at)
	return nil
}

func (c *certificates) has(keyID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, noted := c.places[keyID]
	return noted
}

// find looks through the journal once, from its end, for those of the keys. What it does not find was cut off.
func (c *certificates) find(keys map[string]bool) error {
	if len(keys) == 0 {
		return nil
	}
	var failed error
	err := journal.Find(c.dir, journal.KindCertificates, func(at journal.Place, payload []byte) bool {
		chain, err := receipt.DecodeCertificates(payload)
		if err != nil {
			failed = err
			return true
		}
		if id := receipt.KeyID(chain[0]); keys[id] {
			c.note(id, at)
			delete(keys, id)
		}
		return len(keys) == 0
	})
	if failed != nil {
		return failed
	}
	return err
}

// of gives nil for a key ID that is not remembered.
func (c *certificates) of(keyID string) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if chain := c.known[keyID]; chain != nil {
		return chain
	}
	at, noted := c.places[keyID]
	if !noted {
		return nil
	}
	kind, payload, err := c.readAt(c.dir, at)
	if err != nil || kind != journal.KindCertificates {
		return nil
	}
	chain, err := receipt.DecodeCertificates(payload)
	if err != nil || receipt.KeyID(chain[0]) != keyID {
		return nil
	}
	if len(c.known) >= mostCertificates {
		clear(c.known)
	}
	c.known[keyID] = chain
	return chain
}
