// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/sqlguard"
)

const (
	// refreshAfter is how old a catalogue may be before it is read again beside the requests, and uselessAfter how old
	// before they wait for it.
	refreshAfter = time.Minute
	uselessAfter = 5 * time.Minute
	readTimeout  = 30 * time.Second
)

// knowledge is what statements for a database are judged by: its catalogue, and the functions that rules name. It never
// changes.
type knowledge struct {
	*catalogue

	set   *policy.Set // whose functions they are
	named *sqlguard.FunctionSet
	guard *sqlguard.Guard
}

// memory is the knowledge of now.
type memory struct {
	mu         sync.Mutex
	known      *knowledge
	era        int // the catalogues of earlier ones have been overtaken
	refreshing bool

	// failed is when reading it failed last, and why. They belong to who is reading.
	failed  time.Time
	failure error
}

// recall gives what is known, nil if it has to be read first, and whether it is time to read it again.
func (m *memory) recall(now time.Time) (known *knowledge, refresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || m.known.era != m.era {
		return nil, false
	}
	age := now.Sub(m.known.read)
	if age >= uselessAfter || age < 0 {
		return nil, false
	}
	refresh = age >= refreshAfter && !m.refreshing
	m.refreshing = m.refreshing || refresh
	return m.known, refresh
}

func (m *memory) keep(k *knowledge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || m.known.era <= k.era {
		m.known = k
	}
}

// forget says that the catalogue has changed.
func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.era++
}

func (m *memory) now() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.era
}

func (m *memory) refreshed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refreshing = false
}

// know gives what statements are judged by now, and reads it as w where it has to.
func (b *base) know(ctx context.Context, w who) (*knowledge, error) {
	set := b.door.options.Policy()
	known, refresh := b.memory.recall(b.door.options.Now())
	if refresh {
		b.refresh(w)
	}
	if known != nil {
		return b.under(known, set)
	}
	began := time.Now()
	select {
	case b.reading <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.reading }()
	known, _ = b.memory.recall(b.door.options.Now())
	switch {
	case known != nil:
		return b.under(known, set)
	case b.memory.failed.After(began): // Who waited does not try what has just failed, one after the other.
		return nil, b.memory.failure
	}
	c, err := b.read(ctx, w)
	if err != nil {
		b.memory.failed, b.memory.failure = time.Now(), err
		return nil, err
	}
	return b.learn(c, set)
}

// under gives the knowledge with the functions that the rules of a set name.
func (b *base) under(known *knowledge, set *policy.Set) (*knowledge, error) {
	if known.set == set {
		return known, nil
	}
	return b.learn(known.catalogue, set)
}

func (b *base) learn(c *catalogue, set *policy.Set) (*knowledge, error) {
	named := c.naming(set, b.at.Name, b.door.options.Log)
	guard, err := sqlguard.New(named, sqlguard.Options{})
	if err != nil {
		return nil, err
	}
	known := &knowledge{catalogue: c, set: set, named: named, guard: guard}
	b.memory.keep(known)
	return known, nil
}

func (b *base) read(ctx context.Context, w who) (*catalogue, error) {
	var c *catalogue
	era := b.memory.now()
	err := b.use(ctx, w, func(s *session) (err error) {
		c, err = readCatalogue(ctx, s, b.at.Schemas, b.door.options.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	c.era = era
	return c, nil
}

// refresh reads the catalogue beside the requests.
func (b *base) refresh(w who) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.behind.Go(func() {
		defer b.memory.refreshed()
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		defer cancel()
		b.reading <- struct{}{}
		defer func() { <-b.reading }()
		c, err := b.read(ctx, w)
		if err == nil {
			_, err = b.learn(c, b.door.options.Policy())
		}
		if err != nil {
			b.complain("its catalogue could not be read again", err)
		}
	})
}
