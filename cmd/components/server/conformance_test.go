// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/dapr/components-contrib/state"
	stateredis "github.com/dapr/components-contrib/state/redis"
	statesqlite "github.com/dapr/components-contrib/state/sqlite"
	conformance "github.com/dapr/components-contrib/tests/conformance/state"
	"github.com/dapr/dapr/pkg/components/pluggable"
	statecomponents "github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// named is a store with a name, as daprd gives it one.
type named struct {
	state.Store
	state.TransactionalStore

	name, badEtag string
}

func (n named) Init(ctx context.Context, meta state.Metadata) error {
	meta.Name = n.name
	return n.Store.Init(ctx, meta)
}

// BulkSet and BulkDelete say which of the keys was refused, which the suite wants to know and Dapr's protocol does not
// tell: it is the one with the bad etag.
func (n named) BulkSet(ctx context.Context, req []state.SetRequest, opts state.BulkStoreOpts) error {
	return n.refused(n.Store.BulkSet(ctx, req, opts), len(req), func(i int) (string, *string) { return req[i].Key, req[i].ETag })
}

func (n named) BulkDelete(ctx context.Context, req []state.DeleteRequest, opts state.BulkStoreOpts) error {
	return n.refused(n.Store.BulkDelete(ctx, req, opts), len(req), func(i int) (string, *string) { return req[i].Key, req[i].ETag })
}

func (n named) refused(err error, count int, request func(int) (key string, etag *string)) error {
	var refusal *state.ETagError
	if !errors.As(err, &refusal) {
		return err
	}
	var all []error
	for i := range count {
		if key, etag := request(i); etag != nil && *etag == n.badEtag {
			all = append(all, state.NewBulkStoreError(key, refusal))
		}
	}
	return errors.Join(all...)
}

// The suite of components-contrib says the same of a store in daprd and of one that daprd's own client reaches through
// the server. Listing of keys and deletion by prefix are not in Dapr's protocol for pluggable components.
func TestConformanceThroughTheSocket(t *testing.T) {
	operations := []string{"transaction", "etag", "first-write", "ttl", "actorStateStore"}
	for name, c := range map[string]struct {
		make       func(logger.Logger) state.Store
		properties func(t *testing.T) map[string]string
		change     map[string]any
	}{
		"sqlite": {statesqlite.NewSQLiteStateStore, func(t *testing.T) map[string]string {
			return map[string]string{"connectionString": filepath.Join(t.TempDir(), "state.db")}
		}, map[string]any{}},
		"redis": {stateredis.NewRedisStateStore, func(t *testing.T) map[string]string {
			return map[string]string{"redisHost": testkit.Redis(t), "redisPassword": ""}
		}, map[string]any{"badEtag": "9999999"}},
	} {
		config, err := conformance.NewTestConfig(name, operations, c.change)
		require.NoError(t, err)
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.options.State = func() state.Store { return c.make(quiet) }
			r.start()
			t.Setenv(pluggable.SocketFolderEnvVar, r.options.Sockets)
			require.NoError(t, pluggable.Discover(t.Context()))
			store, err := statecomponents.DefaultRegistry.Create("state.custody", "v1", name)
			require.NoError(t, err)
			conformance.ConformanceTests(t, c.properties(t), named{store, store.(state.TransactionalStore), name, config.BadEtag}, config)
		})
	}
}
