// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
)

// DoorName names this kind of door in receipts.
const DoorName = "mcpcaller"

// Host is the sidecar that a caller lives in.
type Host struct {
	// ID is the sidecar's own SPIFFE ID.
	ID spiffeid.ID
	// SVIDs gives the sidecar's X.509-SVID and key, with which links are signed.
	SVIDs x509svid.Source
	// Bundles gives the roots of a trust domain, for that trust domain only.
	Bundles x509bundle.Source
	// JournalSuffix is added to the name of the journal folder, where a second
	// sidecar of the same component runs beside the first; empty for nothing.
	JournalSuffix string
	// Log takes what an operator should see. It must not be nil.
	Log func(format string, args ...any)
}

// Factory makes callers, and makes them anew when their component is reloaded.
// What must outlive a reload stands here: the journals, which one process holds
// open once, with what is known of the links in them.
type Factory struct {
	host func() (Host, error)

	mu      sync.Mutex
	books   map[string]book
	callers map[string]*Caller
}

// book is a journal and who writes in it.
type book struct {
	journal *journal.Writer
	scribe  *gate.Scribe
}

// NewFactory makes a factory of callers that live in the host of the moment.
func NewFactory(host func() (Host, error)) *Factory {
	return &Factory{host: host, books: map[string]book{}, callers: map[string]*Caller{}}
}

// Made reports whether the component of this name was made into a caller and is
// still there.
func (f *Factory) Made(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.callers[name] != nil
}

// Forget says that the component of this name is gone.
func (f *Factory) Forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.callers, name)
}

// Close closes the journals, after which the callers that were made refuse every
// step. It is called when the process ends.
func (f *Factory) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.callers)
	var errs []error
	for dir, book := range f.books {
		errs = append(errs, book.journal.Close())
		delete(f.books, dir)
	}
	return errors.Join(errs...)
}

// Make makes the caller of a component.
func (f *Factory) Make(name string, properties map[string]string) (*Caller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	caller, err := f.make(properties)
	if err != nil {
		return nil, fmt.Errorf("mcpcaller %q: %w", name, err)
	}
	f.callers[name] = caller
	return caller, nil
}

func (f *Factory) make(properties map[string]string) (*Caller, error) {
	meta, err := ParseMetadata(properties)
	if err != nil {
		return nil, err
	}
	host, err := f.host()
	if err != nil {
		return nil, err
	}
	if host.ID.IsZero() || host.SVIDs == nil || host.Bundles == nil {
		return nil, errors.New("the sidecar has no identity: start it with mTLS")
	}
	meta.JournalDir += host.JournalSuffix
	book, err := f.open(meta)
	if err != nil {
		return nil, err
	}
	return newCaller(meta, host, book.scribe), nil
}

// open opens a journal once per process.
func (f *Factory) open(meta Metadata) (book, error) {
	if known, ok := f.books[meta.JournalDir]; ok {
		return known, nil
	}
	writer, err := journal.Open(journal.Options{Dir: meta.JournalDir, Durability: meta.Durability})
	if err != nil {
		return book{}, err
	}
	scribe, err := gate.NewScribe(gate.ScribeOptions{
		Door: DoorName, SVIDs: svids{f.host}, Journal: writer, Dir: meta.JournalDir, Now: time.Now,
	})
	if err != nil {
		return book{}, errors.Join(err, writer.Close())
	}
	opened := book{journal: writer, scribe: scribe}
	f.books[meta.JournalDir] = opened
	return opened, nil
}

// svids are those of the host of the moment: a scribe outlives a restart of the
// runtime, which takes a new identity.
type svids struct{ host func() (Host, error) }

func (s svids) GetX509SVID() (*x509svid.SVID, error) {
	host, err := s.host()
	if err != nil {
		return nil, err
	}
	if host.SVIDs == nil {
		return nil, errors.New("the sidecar has no identity")
	}
	return host.SVIDs.GetX509SVID()
}
