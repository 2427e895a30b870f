// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded_test

import (
	"context"
	"errors"
	"testing"

	"github.com/dapr/components-contrib/state"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

// The words of a backend may name what is nobody's business; the record has the reference.
func TestWordsOfABackendStay(t *testing.T) {
	d := newDoor(t, cartRules)
	d.options.Backends["leaky"] = func(log logger.Logger) state.Store {
		return &leaky{Store: d.options.Backends["in-memory"](log)}
	}
	require.NoError(t, d.store.Close())
	d.open(map[string]string{"backend": "leaky"})
	_, err := d.store.Get(by(t, "shop"), &state.GetRequest{Key: "shop||cart-1"})
	require.EqualError(t, err, "the store answered with an error (reference "+d.last().ID+")")
	require.Equal(t, receipt.StatusFailed, d.last().Outcome.Status)
	many := []state.GetRequest{{Key: "shop||cart-1"}, {Key: "shop||cart-2"}}
	rows, err := d.store.BulkGet(by(t, "shop"), many, state.BulkGetOpts{})
	require.NoError(t, err)
	require.Len(t, rows, 2)
	for _, row := range rows {
		require.Equal(t, "the store answered with an error (reference "+d.last().ID+")", row.Error)
	}
	require.Equal(t, receipt.StatusFailed, d.last().Outcome.Status)
	etag := "7"
	var mismatch *state.ETagError
	err = d.store.Set(by(t, "shop"), &state.SetRequest{Key: "shop||cart-1", Value: []byte("1"), ETag: &etag})
	require.ErrorAs(t, err, &mismatch)
	require.Equal(t, state.ETagMismatch, mismatch.Kind())
	require.NotContains(t, err.Error(), "host=")
	err = d.store.BulkSet(by(t, "shop"), []state.SetRequest{
		{Key: "shop||cart-1", Value: []byte("1"), ETag: &etag}, {Key: "shop||cart-2", Value: []byte("1")},
	}, state.BulkStoreOpts{})
	require.ErrorAs(t, err, &mismatch)
	require.NotContains(t, err.Error(), "host=")
	told := map[string]bool{}
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
		var row state.BulkStoreError
		require.ErrorAs(t, one, &row)
		told[row.Key()] = row.ETagError() != nil
	}
	require.Equal(t, map[string]bool{"shop||cart-1": true, "shop||cart-2": false}, told)
}

// leaky is a store that says more than it should.
type leaky struct{ state.Store }

func (*leaky) Get(context.Context, *state.GetRequest) (*state.GetResponse, error) {
	return nil, errors.New("failed to connect to user=postgres host=10.0.0.7")
}

func (l *leaky) Set(_ context.Context, req *state.SetRequest) error {
	err := errors.New("failed to write to host=10.0.0.7")
	if req.ETag != nil {
		return state.NewETagError(state.ETagMismatch, err)
	}
	return err
}

func (l *leaky) BulkSet(ctx context.Context, req []state.SetRequest, opts state.BulkStoreOpts) error {
	return state.DoBulkSetDelete(ctx, req, l.Set, opts)
}

func (l *leaky) BulkGet(ctx context.Context, req []state.GetRequest, opts state.BulkGetOpts) ([]state.BulkGetResponse, error) {
	return state.DoBulkGet(ctx, req, opts, l.Get)
}
