// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"
	"errors"
	"slices"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
)

var errNoTransactions = errors.New("the store has no transactions")

func stateCodec(make func() state.Store) codec[state.Store] {
	return codec[state.Store]{make: make, init: func(ctx context.Context, store state.Store, name string, properties map[string]string) error {
		return store.Init(ctx, state.Metadata{Base: metadata.Base{Name: name, Properties: properties}})
	}}
}

// stateDoor is what components-go-sdk calls for one request: the store of the caller.
type stateDoor struct{ slot *slot[state.Store] }

var (
	_ state.Store              = (*stateDoor)(nil)
	_ state.TransactionalStore = (*stateDoor)(nil)
	_ state.Querier            = (*stateDoor)(nil)
)

func (d *stateDoor) Init(ctx context.Context, meta state.Metadata) error {
	return d.slot.initialise(ctx, meta.Properties)
}

// Features are the store's, but for those that Dapr's protocol for pluggable components has no call for.
func (d *stateDoor) Features() []state.Feature {
	store, ok := d.slot.current()
	if !ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(store.Features()), func(f state.Feature) bool {
		return f == state.FeatureKeysLike || f == state.FeatureDeleteWithPrefix
	})
}

func (d *stateDoor) GetComponentMetadata() metadata.MetadataMap { return metadata.MetadataMap{} }

// Close is not called by components-go-sdk; the server closes what it has.
func (d *stateDoor) Close() error { return nil }

func (d *stateDoor) Get(ctx context.Context, req *state.GetRequest) (resp *state.GetResponse, err error) {
	req.Options.Consistency = consistency(req.Options.Consistency)
	err = d.slot.use(ctx, func(s state.Store) error { resp, err = s.Get(ctx, req); return err })
	if err == nil && resp == nil {
		resp = &state.GetResponse{}
	}
	return resp, err
}

func (d *stateDoor) BulkGet(ctx context.Context, req []state.GetRequest, opts state.BulkGetOpts) (resp []state.BulkGetResponse, err error) {
	for i := range req {
		req[i].Options.Consistency = consistency(req[i].Options.Consistency)
	}
	err = d.slot.use(ctx, func(s state.Store) error { resp, err = s.BulkGet(ctx, req, opts); return err })
	return resp, err
}

func (d *stateDoor) Set(ctx context.Context, req *state.SetRequest) error {
	if err := restored(ctx, req, 0); err != nil {
		return err
	}
	return d.slot.use(ctx, func(s state.Store) error { return s.Set(ctx, req) })
}

func (d *stateDoor) BulkSet(ctx context.Context, req []state.SetRequest, opts state.BulkStoreOpts) error {
	for i := range req {
		if err := restored(ctx, &req[i], i); err != nil {
			return err
		}
	}
	return d.slot.use(ctx, func(s state.Store) error { return s.BulkSet(ctx, req, opts) })
}

func (d *stateDoor) Delete(ctx context.Context, req *state.DeleteRequest) error {
	return d.slot.use(ctx, func(s state.Store) error { return s.Delete(ctx, req) })
}

func (d *stateDoor) BulkDelete(ctx context.Context, req []state.DeleteRequest, opts state.BulkStoreOpts) error {
	return d.slot.use(ctx, func(s state.Store) error { return s.BulkDelete(ctx, req, opts) })
}

func (d *stateDoor) Multi(ctx context.Context, req *state.TransactionalStateRequest) error {
	for i, operation := range req.Operations {
		if set, ok := operation.(state.SetRequest); ok {
			if err := restored(ctx, &set, i); err != nil {
				return err
			}
			req.Operations[i] = set
		}
	}
	return d.slot.use(ctx, func(s state.Store) error {
		store, ok := s.(state.TransactionalStore)
		if !ok {
			return errNoTransactions
		}
		return store.Multi(ctx, req)
	})
}

func (d *stateDoor) Query(ctx context.Context, req *state.QueryRequest) (resp *state.QueryResponse, err error) {
	err = d.slot.use(ctx, func(s state.Store) error {
		store, ok := s.(state.Querier)
		if !ok {
			return errors.New("the store has no queries")
		}
		resp, err = store.Query(ctx, req)
		return err
	})
	return resp, err
}

// consistency is what components-go-sdk gives as the name of a protobuf value, as stores know it.
func consistency(name string) string {
	switch name {
	case proto.StateOptions_CONSISTENCY_STRONG.String():
		return state.Strong
	case proto.StateOptions_CONSISTENCY_EVENTUAL.String():
		return state.Eventual
	}
	return ""
}

// multiMaxSize is the service that components-go-sdk lacks.
type multiMaxSize struct {
	proto.UnimplementedTransactionalStoreMultiMaxSizeServer

	of func(context.Context) *slot[state.Store]
}

func (m *multiMaxSize) MultiMaxSize(ctx context.Context, _ *proto.MultiMaxSizeRequest) (*proto.MultiMaxSizeResponse, error) {
	size := -1
	err := m.of(ctx).use(ctx, func(s state.Store) error {
		if store, ok := s.(state.TransactionalStoreMultiMaxSize); ok {
			size = store.MultiMaxSize()
		}
		return nil
	})
	return &proto.MultiMaxSizeResponse{MaxSize: int64(size)}, err
}
