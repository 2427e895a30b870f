// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Registration is one WorkloadRegistration: a process of which all its selectors
// hold is the workload with its SPIFFE ID. It is made by [ParseRegistrations] and
// immutable; the zero Registration is taken by nothing.
type Registration struct {
	name      string
	file      string
	line      int
	id        spiffeid.ID
	selectors []selector
}

// Name is the name of the document.
func (r Registration) Name() string { return r.name }

// ID is the SPIFFE ID that it gives.
func (r Registration) ID() spiffeid.ID { return r.id }

// Source is file:line of the document.
func (r Registration) Source() string { return fmt.Sprintf("%s:%d", r.file, r.line) }

func (r Registration) label() string { return fmt.Sprintf("%s (%s)", r.name, r.Source()) }

// unmet are the selectors that do not hold of a process.
func (r Registration) unmet(p Process) []selector {
	var unmet []selector
	for _, s := range r.selectors {
		if !s.holds(p) {
			unmet = append(unmet, s)
		}
	}
	return unmet
}

// Registrations are the documents in force. They are made by [NewRegistrations],
// immutable and safe for concurrent use; nil holds none.
type Registrations struct {
	all []Registration
}

// NewRegistrations puts the documents of all files together. Two of one name are
// an error, and so are more than [MaxRegistrations].
func NewRegistrations(documents []Registration) (*Registrations, error) {
	if len(documents) > MaxRegistrations {
		return nil, fmt.Errorf("identity: %d workload registrations, the limit is %d", len(documents), MaxRegistrations)
	}
	names := make(map[string]Registration, len(documents))
	for _, d := range documents {
		if d.id.IsZero() || len(d.selectors) == 0 {
			return nil, fmt.Errorf("identity: a workload registration was not made by ParseRegistrations")
		}
		if before, twice := names[d.name]; twice {
			return nil, fmt.Errorf("identity: %s: metadata.name: %q is already used at %s: choose another", d.Source(), d.name, before.Source())
		}
		names[d.name] = d
	}
	return &Registrations{all: append([]Registration(nil), documents...)}, nil
}

// Len is the number of documents.
func (r *Registrations) Len() int {
	if r == nil {
		return 0
	}
	return len(r.all)
}

// Match makes a Caller of a process, with [ProofUnixPeer]. It fails with
// [ErrUnregistered] where no document matches, and with [ErrAmbiguous] where two
// match that give different SPIFFE IDs; the error says what would have to be
// otherwise and is for the operator, not for the peer. Whoever calls it vouches that
// p is what the kernel said at this moment (package peer).
func (r *Registrations) Match(p Process) (Caller, error) {
	if p.PID <= 0 {
		return Caller{}, fmt.Errorf("identity: %w: there is no process", ErrUnregistered)
	}
	var found, nearest *Registration
	var missing []selector
	for i := range r.documents() {
		d := &r.all[i]
		unmet := d.unmet(p)
		switch {
		case len(unmet) > 0:
			if nearest == nil || len(unmet) < len(missing) {
				nearest, missing = d, unmet
			}
		case found == nil:
			found = d
		case found.id != d.id:
			return Caller{}, fmt.Errorf("identity: %w: %s is %s by %s and %s by %s: add selectors until one of them matches",
				ErrAmbiguous, p, found.id, found.label(), d.id, d.label())
		}
	}
	if found != nil {
		return Caller{id: found.id, proof: ProofUnixPeer}, nil
	}
	return Caller{}, unregistered(p, r.Len(), nearest, missing)
}

func (r *Registrations) documents() []Registration {
	if r == nil {
		return nil
	}
	return r.all
}

func unregistered(p Process, count int, nearest *Registration, missing []selector) error {
	if nearest == nil {
		return fmt.Errorf("identity: %w: %s: there is no registration at all", ErrUnregistered, p)
	}
	wants := make([]string, len(missing))
	for i, s := range missing {
		wants[i] = fmt.Sprintf("%s is %s and not %q", s.key, cmp.Or(quoted(s.of(p)), "not known"), s.want)
	}
	return fmt.Errorf("identity: %w: %s: nearest of %d is %s, but %s",
		ErrUnregistered, p, count, nearest.label(), strings.Join(wants, ", "))
}

func quoted(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%q", text)
}
