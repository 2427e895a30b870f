// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import "time"

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
