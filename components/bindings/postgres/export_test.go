// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"errors"
	"time"
)

// WithoutGuard has the door pass every text as a harmless SELECT, as if sqlguard had misjudged it.
func (d *Door) WithoutGuard() { d.unguarded = true }

// Limits of knowledge.
const (
	RefreshAfter = refreshAfter
	UselessAfter = uselessAfter
)

// AwaitRefresh waits for catalogues that are being read again.
func (d *Door) AwaitRefresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.bases {
		b.behind.Wait()
	}
}

// CatalogueRead is when the catalogue of a database was read.
func (d *Door) CatalogueRead(name string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.bases[name]
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	return b.memory.known.read
}

// BreakSessions closes the connections of a database's resting sessions beneath them.
func (d *Door) BreakSessions(name string) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.bases[name].pools {
		p.mu.Lock()
		for _, s := range p.resting {
			err = errors.Join(err, s.conn.Conn().Close())
		}
		p.mu.Unlock()
	}
	return err
}

// Parse and fit what tests look into.
var (
	Matches  = matches
	Survives = survives
)

// ParseParams reads params and gives what it made of them.
func ParseParams(text, types string) (args []any, typed []string, err error) {
	p, err := parseParams(text, types)
	return p.args, p.types, err
}
