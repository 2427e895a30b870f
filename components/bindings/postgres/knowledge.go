// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/sqlguard"
)

const (
	// refreshAfter is how old a catalogue may be before it is read again beside the requests, and uselessAfter how old
	// before they wait for it.
	refreshAfter = time.Minute
	uselessAfter = 5 * time.Minute
	readTimeout  = 30 * time.Second
	// retryAfter is how long a role for which reading it beside the requests has failed leaves it to others.
	retryAfter = 10 * time.Second
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

	// failures are those to read it, by the role: one that the server does not let in says nothing of the others. Those of
	// everybody are for all: the server does not answer.
	failures map[string]failure
}

// failure is when reading the catalogue failed last, and why.
type failure struct {
	at  time.Time
	err error
}

// recall gives what is known, nil if it has to be read first, and whether it is time for a role to read it again.
func (m *memory) recall(now time.Time, role string) (known *knowledge, refresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || m.known.era != m.era {
		return nil, false
	}
	age := now.Sub(m.known.read)
	if age >= uselessAfter || age < 0 {
		return nil, false
	}
	refresh = age >= refreshAfter && !m.refreshing && time.Since(m.failures[role].at) >= retryAfter
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

// everybody is no role: CheckRole refuses the name.
const everybody = ""

// note remembers what came of reading the catalogue as a role.
func (m *memory) note(role string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if silent(err) {
		role = everybody
	}
	if err == nil {
		delete(m.failures, role)
		return
	}
	if m.failures == nil {
		m.failures = map[string]failure{}
	}
	m.failures[role] = failure{time.Now(), err}
}

// failedSince is why reading it as a role has failed since then, nil if it has not.
func (m *memory) failedSince(began time.Time, role string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range []failure{m.failures[role], m.failures[everybody]} {
		if f.at.After(began) {
			return f.err
		}
	}
	return nil
}

// silent says that the server was not to be reached, or did not answer.
func silent(err error) bool {
	var answered *pgconn.PgError
	var network net.Error
	return errors.As(err, &network) && !errors.As(err, &answered)
}

// know gives what statements are judged by now, and reads it as w where it has to.
func (b *base) know(ctx context.Context, w who) (*knowledge, error) {
	set := b.door.options.Policy()
	known, refresh := b.memory.recall(b.door.options.Now(), w.role)
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
	if known, _ = b.memory.recall(b.door.options.Now(), w.role); known != nil {
		return b.under(known, set)
	}
	// Who waited does not try what has just failed, one after the other.
	if err := b.memory.failedSince(began, w.role); err != nil {
		return nil, err
	}
	c, err := b.read(ctx, w)
	if err != nil {
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
	if err == nil || ctx.Err() == nil { // That one has gone away fails nobody else.
		b.memory.note(w.role, err)
	}
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
