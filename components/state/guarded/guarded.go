// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/logger"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
)

// Door is what the component calls itself in receipts.
const Door = "state"

// Options are what the process gives its stores.
type Options struct {
	// Backends makes the stores that can be the backend, by name.
	Backends map[string]func(logger.Logger) state.Store
	// JournalSuffix is added to each journal folder, because a journal has one writer.
	JournalSuffix string
	// Now is the clock. Nil means the system's.
	Now func() time.Time
}

// Store is a state store with a witness. It is safe for concurrent use once Init has returned.
type Store struct {
	options Options
	log     logger.Logger

	name    string
	backend state.Store
	journal *journal.Writer
	anchors *gate.Anchors
}

var (
	_ state.Store                          = (*Store)(nil)
	_ state.TransactionalStore             = (*Store)(nil)
	_ state.TransactionalStoreMultiMaxSize = (*Store)(nil)
	_ state.KeysLiker                      = (*Store)(nil)
	_ state.Querier                        = (*Store)(nil)
)

// New makes a store that Init has to make ready.
func New(options Options, log logger.Logger) *Store {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Store{options: options, log: log}
}

// Init makes the backend ready and opens the journal. The context has to bear the identity of the sidecar, as Dapr's
// does with mTLS.
func (s *Store) Init(ctx context.Context, meta state.Metadata) error {
	own, rest, err := parse(meta, slices.Sorted(maps.Keys(s.options.Backends)))
	if err != nil {
		return fmt.Errorf("state.custody %q: %w", meta.Name, err)
	}
	svids, ok := spiffecontext.X509From(ctx)
	if !ok {
		return fmt.Errorf("state.custody %q: the sidecar has no identity to sign with: start it with mTLS", meta.Name)
	}
	backend := s.options.Backends[own.backend](s.log)
	if err := backend.Init(ctx, rest); err != nil {
		return fmt.Errorf("state.custody %q: backend %s: %w", meta.Name, own.backend, err)
	}
	writer, err := journal.Open(journal.Options{Dir: own.journalDir + s.options.JournalSuffix, Durability: own.durability})
	if err != nil {
		return errors.Join(fmt.Errorf("state.custody %q: %w", meta.Name, err), backend.Close())
	}
	anchors, err := gate.NewAnchors(gate.AnchorOptions{Door: Door, SVIDs: svids, Journal: writer, Now: s.options.Now})
	if err != nil {
		return errors.Join(fmt.Errorf("state.custody %q: %w", meta.Name, err), backend.Close(), writer.Close())
	}
	s.name, s.backend, s.journal, s.anchors = meta.Name, backend, writer, anchors
	return nil
}

// Close closes the backend and the journal.
func (s *Store) Close() error {
	if s.backend == nil {
		return nil
	}
	return errors.Join(s.backend.Close(), s.journal.Close())
}

// Features are the backend's, but for deletion by prefix: Dapr does not use it, and which signatures it would delete is
// not known.
func (s *Store) Features() []state.Feature {
	if s.backend == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.backend.Features()), func(f state.Feature) bool {
		return f == state.FeatureDeleteWithPrefix
	})
}

// GetComponentMetadata gives nothing: which metadata there is depends on the backend.
func (s *Store) GetComponentMetadata() metadata.MetadataMap { return metadata.MetadataMap{} }

// Ping asks the backend.
func (s *Store) Ping(ctx context.Context) error { return state.Ping(ctx, s.backend) }

// Get is the backend's.
func (s *Store) Get(ctx context.Context, req *state.GetRequest) (*state.GetResponse, error) {
	return s.backend.Get(ctx, req)
}

// BulkGet is the backend's.
func (s *Store) BulkGet(ctx context.Context, req []state.GetRequest, opts state.BulkGetOpts) ([]state.BulkGetResponse, error) {
	return s.backend.BulkGet(ctx, req, opts)
}

// Set writes one row.
func (s *Store) Set(ctx context.Context, req *state.SetRequest) error {
	anchor, err := s.written(req)
	if err != nil {
		return err
	}
	return s.witnessed(listed(anchor), func() error { return s.backend.Set(ctx, req) })
}

// BulkSet writes rows, each by itself.
func (s *Store) BulkSet(ctx context.Context, req []state.SetRequest, opts state.BulkStoreOpts) error {
	var anchors []gate.Anchor
	for i := range req {
		anchor, err := s.written(&req[i])
		if err != nil {
			return err
		}
		anchors = append(anchors, listed(anchor)...)
	}
	return s.witnessed(anchors, func() error { return s.backend.BulkSet(ctx, req, opts) })
}

// Delete deletes one row.
func (s *Store) Delete(ctx context.Context, req *state.DeleteRequest) error {
	return s.witnessed(listed(s.removed(req)), func() error { return s.backend.Delete(ctx, req) })
}

// BulkDelete deletes rows, each by itself.
func (s *Store) BulkDelete(ctx context.Context, req []state.DeleteRequest, opts state.BulkStoreOpts) error {
	var anchors []gate.Anchor
	for i := range req {
		anchors = append(anchors, listed(s.removed(&req[i]))...)
	}
	return s.witnessed(anchors, func() error { return s.backend.BulkDelete(ctx, req, opts) })
}

// Multi writes and deletes rows, all or none.
func (s *Store) Multi(ctx context.Context, req *state.TransactionalStateRequest) error {
	backend, ok := s.backend.(state.TransactionalStore)
	if !ok {
		return s.unsupported("transactions")
	}
	var anchors []gate.Anchor
	for _, operation := range req.Operations {
		anchor, err := s.operated(operation)
		if err != nil {
			return err
		}
		anchors = append(anchors, listed(anchor)...)
	}
	return s.witnessed(anchors, func() error { return backend.Multi(ctx, req) })
}

func (s *Store) operated(operation state.TransactionalStateOperation) (*gate.Anchor, error) {
	switch r := operation.(type) {
	case state.SetRequest:
		return s.written(&r)
	case state.DeleteRequest:
		return s.removed(&r), nil
	default:
		return nil, fmt.Errorf("%s: a transaction holds a %T, which is not known", s.name, r)
	}
}

// MultiMaxSize is the backend's, -1 for no limit.
func (s *Store) MultiMaxSize() int {
	if backend, ok := s.backend.(state.TransactionalStoreMultiMaxSize); ok {
		return backend.MultiMaxSize()
	}
	return -1
}

// KeysLike is the backend's.
func (s *Store) KeysLike(ctx context.Context, req *state.KeysLikeRequest) (*state.KeysLikeResponse, error) {
	backend, ok := s.backend.(state.KeysLiker)
	if !ok {
		return nil, s.unsupported("listing of keys")
	}
	return backend.KeysLike(ctx, req)
}

// Query is the backend's.
func (s *Store) Query(ctx context.Context, req *state.QueryRequest) (*state.QueryResponse, error) {
	backend, ok := s.backend.(state.Querier)
	if !ok {
		return nil, s.unsupported("queries")
	}
	return backend.Query(ctx, req)
}

func (s *Store) unsupported(what string) error {
	return fmt.Errorf("%s: the backend has no %s", s.name, what)
}

// witnessed does something that the anchors are of.
func (s *Store) witnessed(anchors []gate.Anchor, do func() error) error {
	if len(anchors) == 0 {
		return do()
	}
	begun, err := s.anchors.Begin(anchors)
	if err != nil {
		return fmt.Errorf("%s: the history of a workflow is not written without a record: %w", s.name, err)
	}
	// What failed may have been done nevertheless, so it is left as begun.
	if err := do(); err != nil {
		return err
	}
	if err := begun.Settle(); err != nil {
		return fmt.Errorf("%s: the history of a workflow was written without a record: %w", s.name, err)
	}
	return nil
}

func listed(anchor *gate.Anchor) []gate.Anchor {
	if anchor == nil {
		return nil
	}
	return []gate.Anchor{*anchor}
}
