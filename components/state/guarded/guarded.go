// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded

import (
	"cmp"
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
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
)

// Door is what the component calls itself in receipts.
const Door = "state"

// Options are what the process gives its stores.
type Options struct {
	// Backends makes the stores that can be the backend, by name.
	Backends map[string]func(logger.Logger) state.Store
	// Access has the requests of all stores decided. Nil leaves it to each store's metadata: with policyDir a door stands
	// before it, without it is a witness, before which everything passes.
	Access *Access
	// Sidecar is that in which the stores live. Nil makes only witnesses: policyDir is then an error.
	Sidecar *Sidecar
	// JournalSuffix is added to each journal folder and file of rates, because they have one writer.
	JournalSuffix string
	// Now is the clock. Nil means the system's.
	Now func() time.Time
}

// Store is a state store with a witness, and with a door where policy decides. It is safe for concurrent use once Init
// has returned.
type Store struct {
	options Options
	log     logger.Logger

	name    string
	backend state.Store
	anchors *gate.Anchors
	access  *Access      // nil for a witness
	outbox  *outbox      // nil where Dapr keeps none here
	close   func() error // what is the store's own of journal, policies and rates
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
	own, rest, err := s.settings(ctx, meta)
	if err != nil {
		return fmt.Errorf("state.custody %q: %w", meta.Name, err)
	}
	svids, ok := spiffecontext.X509From(ctx)
	if !ok {
		return fmt.Errorf("state.custody %q: there is no identity to sign with: start with mTLS", meta.Name)
	}
	backend := s.options.Backends[own.backend](s.log)
	if err := backend.Init(ctx, rest); err != nil {
		return fmt.Errorf("state.custody %q: backend %s: %w", meta.Name, own.backend, err)
	}
	if err := s.open(meta.Name, own, svids); err != nil {
		return errors.Join(fmt.Errorf("state.custody %q: %w", meta.Name, err), backend.Close())
	}
	if own.outbox {
		s.outbox = &outbox{}
	}
	s.name, s.backend = meta.Name, backend
	return nil
}

// settings are what metadata says. Behind Access that is what it says of the caller's component.
func (s *Store) settings(ctx context.Context, meta state.Metadata) (own settings, rest state.Metadata, err error) {
	access := s.options.Access
	if access != nil {
		if err := errors.Join(access.check(), unserved(meta.Properties)); err != nil {
			return own, rest, err
		}
		if meta.Properties, err = access.Metadata(access.Caller(ctx), meta.Name, meta.Properties); err != nil {
			return own, rest, err
		}
	}
	return parse(meta, slices.Sorted(maps.Keys(s.options.Backends)), access != nil)
}

// open takes what decides and records for the store, or nothing.
func (s *Store) open(name string, own settings, svids x509svid.Source) error {
	access, writer, close, err := s.doors(name, own)
	if err != nil {
		return err
	}
	anchors, err := gate.NewAnchors(gate.AnchorOptions{Door: Door, SVIDs: svids, Journal: writer, Now: s.options.Now})
	if err != nil {
		return errors.Join(err, close())
	}
	s.access, s.anchors, s.close = access, anchors, close
	return nil
}

// doors gives the door, nil for a witness, the journal for anchors, and what ends the store's part in them.
func (s *Store) doors(name string, own settings) (*Access, *journal.Writer, func() error, error) {
	if s.options.Access != nil {
		return s.options.Access, s.options.Access.Journal, func() error { return nil }, nil
	}
	own.journalDir += s.options.JournalSuffix
	if own.rateFile != "" {
		own.rateFile += s.options.JournalSuffix
	}
	sidecar := s.options.Sidecar
	if sidecar == nil {
		sidecar = NewSidecar(noHost)
	}
	writer, release, err := sidecar.journal(own)
	if err != nil {
		return nil, nil, nil, err
	}
	if own.policyDir == "" {
		s.log.Warnf("state.custody %q: requests are NOT decided by policy here: whoever reaches this store may do everything; "+
			"give the component metadata policyDir to have them decided", name)
		return nil, writer, release, nil
	}
	access, end, err := sidecar.door(name, own, writer, s)
	if err != nil {
		return nil, nil, nil, errors.Join(err, release())
	}
	return access, writer, func() error { return errors.Join(end(), release()) }, nil
}

// Close closes the backend, and what the store has of its own: the door, its policies and counts, and the journal.
func (s *Store) Close() error {
	if s.backend == nil {
		return nil
	}
	return errors.Join(s.backend.Close(), s.close())
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

// Get reads one row.
func (s *Store) Get(ctx context.Context, req *state.GetRequest) (resp *state.GetResponse, err error) {
	r := s.request(ctx)
	own := *req
	own.Metadata = r.add(policy.KindStateGet, req.Key, nil, req.Metadata)
	err = r.do(func() (*answer, error) {
		if resp, err = s.backend.Get(ctx, &own); err != nil || resp == nil {
			return nil, err
		}
		a := &answer{}
		a.tell(req.Key, resp.Data)
		return a, nil
	})
	if err = s.outbox.tried(req.Key, resp != nil && len(resp.Data) > 0, err); err != nil {
		return nil, err
	}
	return resp, nil
}

// BulkGet reads rows, all or none.
func (s *Store) BulkGet(ctx context.Context, req []state.GetRequest, opts state.BulkGetOpts) (resp []state.BulkGetResponse, err error) {
	if len(req) == 0 {
		return []state.BulkGetResponse{}, nil
	}
	r, own := s.request(ctx), slices.Clone(req)
	for i := range own {
		own[i].Metadata = r.add(policy.KindStateGet, own[i].Key, nil, own[i].Metadata)
	}
	err = r.do(func() (*answer, error) {
		if resp, err = s.backend.BulkGet(ctx, own, opts); err != nil {
			return nil, err
		}
		a := &answer{}
		for i := range resp {
			a.row(resp[i].Key, resp[i].Data, &resp[i].Error)
		}
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Set writes one row.
func (s *Store) Set(ctx context.Context, req *state.SetRequest) error {
	r := s.request(ctx)
	own := *req
	own.Metadata = r.add(policy.KindStateSet, req.Key, req.Value, req.Metadata)
	anchor, err := s.written(req)
	if err != nil {
		return err
	}
	return r.do(func() (*answer, error) {
		return nil, s.witnessed(listed(anchor), func() error { return s.backend.Set(ctx, &own) })
	})
}

// BulkSet writes rows, each by itself. All have to be allowed.
func (s *Store) BulkSet(ctx context.Context, req []state.SetRequest, opts state.BulkStoreOpts) error {
	if len(req) == 0 {
		return nil
	}
	r, own := s.request(ctx), slices.Clone(req)
	var anchors []gate.Anchor
	for i := range own {
		own[i].Metadata = r.add(policy.KindStateSet, own[i].Key, own[i].Value, own[i].Metadata)
		anchor, err := s.written(&own[i])
		if err != nil {
			return err
		}
		anchors = append(anchors, listed(anchor)...)
	}
	return r.do(func() (*answer, error) {
		return nil, s.witnessed(anchors, func() error { return s.backend.BulkSet(ctx, own, opts) })
	})
}

// Delete deletes one row.
func (s *Store) Delete(ctx context.Context, req *state.DeleteRequest) error {
	r := s.request(ctx)
	own := *req
	own.Metadata = r.add(policy.KindStateDelete, req.Key, nil, req.Metadata)
	err := r.do(func() (*answer, error) {
		return nil, s.witnessed(listed(s.removed(req)), func() error { return s.backend.Delete(ctx, &own) })
	})
	return s.outbox.tried(req.Key, err == nil, err)
}

// BulkDelete deletes rows, each by itself. All have to be allowed.
func (s *Store) BulkDelete(ctx context.Context, req []state.DeleteRequest, opts state.BulkStoreOpts) error {
	if len(req) == 0 {
		return nil
	}
	r, own := s.request(ctx), slices.Clone(req)
	var anchors []gate.Anchor
	for i := range own {
		own[i].Metadata = r.add(policy.KindStateDelete, own[i].Key, nil, own[i].Metadata)
		anchors = append(anchors, listed(s.removed(&own[i]))...)
	}
	return r.do(func() (*answer, error) {
		return nil, s.witnessed(anchors, func() error { return s.backend.BulkDelete(ctx, own, opts) })
	})
}

// Multi writes and deletes rows, all or none.
func (s *Store) Multi(ctx context.Context, req *state.TransactionalStateRequest) error {
	backend, ok := s.backend.(state.TransactionalStore)
	if !ok {
		return s.unsupported("transactions")
	}
	if len(req.Operations) == 0 {
		return nil
	}
	r := s.request(ctx)
	own := state.TransactionalStateRequest{Operations: slices.Clone(req.Operations), Metadata: r.take(req.Metadata)}
	var anchors []gate.Anchor
	for i := range own.Operations {
		anchor, err := s.operated(r, &own.Operations[i])
		if err != nil {
			return err
		}
		anchors = append(anchors, listed(anchor)...)
	}
	return r.do(func() (*answer, error) {
		return nil, s.witnessed(anchors, func() error { return backend.Multi(ctx, &own) })
	})
}

// operated adds an operation of a transaction, and makes it the one that the backend is to see.
func (s *Store) operated(r *request, operation *state.TransactionalStateOperation) (*gate.Anchor, error) {
	switch o := (*operation).(type) {
	case state.SetRequest:
		o.Metadata = r.add(policy.KindStateSet, o.Key, o.Value, o.Metadata)
		r.add(policy.KindStateTransact, o.Key, nil, nil)
		*operation = o
		return s.written(&o)
	case state.DeleteRequest:
		o.Metadata = r.add(policy.KindStateDelete, o.Key, nil, o.Metadata)
		r.add(policy.KindStateTransact, o.Key, nil, nil)
		*operation = o
		return s.removed(&o), nil
	default:
		return nil, fmt.Errorf("%s: a transaction holds a %T, which is not known", s.name, o)
	}
}

// MultiMaxSize is the backend's, -1 for no limit.
func (s *Store) MultiMaxSize() int {
	if backend, ok := s.backend.(state.TransactionalStoreMultiMaxSize); ok {
		return backend.MultiMaxSize()
	}
	return -1
}

// KeysLike lists keys. The caller has to be allowed to list all that the pattern means, and to get each that is found.
func (s *Store) KeysLike(ctx context.Context, req *state.KeysLikeRequest) (resp *state.KeysLikeResponse, err error) {
	backend, ok := s.backend.(state.KeysLiker)
	if !ok {
		return nil, s.unsupported("listing of keys")
	}
	r := s.request(ctx)
	r.add(policy.KindStateKeys, cmp.Or(ranging(req.Pattern), everyKey), nil, nil)
	r.write([]byte(req.Pattern))
	err = r.do(func() (*answer, error) {
		if resp, err = backend.KeysLike(ctx, req); err != nil {
			return nil, err
		}
		a := &answer{kind: policy.KindStateGet}
		for _, key := range resp.Keys {
			a.tell(key, nil)
			a.keys = append(a.keys, r.name(key))
		}
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// Query finds rows by what they hold. Each that is found has to be one that the caller may get.
func (s *Store) Query(ctx context.Context, req *state.QueryRequest) (resp *state.QueryResponse, err error) {
	backend, ok := s.backend.(state.Querier)
	if !ok {
		return nil, s.unsupported("queries")
	}
	r := s.request(ctx)
	own := *req
	own.Metadata = r.add(policy.KindStateQuery, everyKey, nil, req.Metadata)
	r.write(fmt.Appendf(nil, "%#v", req.Query.QueryFields))
	err = r.do(func() (*answer, error) {
		if resp, err = backend.Query(ctx, &own); err != nil {
			return nil, err
		}
		a := &answer{kind: policy.KindStateGet}
		for i := range resp.Results {
			a.row(resp.Results[i].Key, resp.Results[i].Data, &resp.Results[i].Error)
			a.keys = append(a.keys, r.name(resp.Results[i].Key))
		}
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
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
