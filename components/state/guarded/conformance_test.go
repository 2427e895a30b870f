// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dapr/components-contrib/state"
	conformance "github.com/dapr/components-contrib/tests/conformance/state"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/components/state/guarded"
	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/testkit"
)

// identified gives the store an identity with its context, as daprd does.
type identified struct {
	*guarded.Store

	source *source
}

func (i identified) Init(ctx context.Context, meta state.Metadata) error {
	return i.Store.Init(spiffecontext.WithX509(ctx, i.source), meta)
}

// plain is a backend without deletion by prefix.
type plain struct{ actorStore }

func (p plain) Features() []state.Feature {
	return slices.DeleteFunc(p.actorStore.Features(), func(f state.Feature) bool { return f == state.FeatureDeleteWithPrefix })
}

type actorStore interface {
	state.Store
	state.TransactionalStore
	state.KeysLiker
}

// bare is one of which the server behind has no transactions.
type bare struct{ state.Store }

func (b bare) Features() []state.Feature {
	return slices.DeleteFunc(b.Store.Features(), func(f state.Feature) bool {
		return f == state.FeatureTransactional || f == state.FeatureDeleteWithPrefix
	})
}

func postgresql(t *testing.T) map[string]string {
	t.Helper()
	database, err := postgres.StartScratch(t.Context(), postgres.FromEnvironment())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Close()) })
	return map[string]string{"connectionString": database.URL()}
}

// The suite of components-contrib says the same of a backend by itself and behind the witness. Deletion by prefix is not
// offered, and so not tried.
func TestConformance(t *testing.T) {
	everything := []string{"transaction", "etag", "first-write", "ttl", "actorStateStore", "keyslike"}
	for name, c := range map[string]struct {
		// properties are those of a store that nobody else uses.
		properties func(t *testing.T) map[string]string
		badEtag    string
		operations []string // nil for everything
	}{
		"in-memory": {func(*testing.T) map[string]string { return map[string]string{} }, "", nil},
		"sqlite": {func(t *testing.T) map[string]string {
			return map[string]string{"connectionString": filepath.Join(t.TempDir(), "state.db")}
		}, "", nil},
		"postgresql": {postgresql, "e9b9e142-74b1-4a2e-8e90-3f4ffeea2e70", nil},
		"redis": {func(t *testing.T) map[string]string {
			return map[string]string{"redisHost": testkit.Redis(t), "redisPassword": ""}
		}, "9999999", nil},
		// It cannot list keys, and dynalite has no transactions.
		"dynamodb": {func(t *testing.T) map[string]string {
			return map[string]string{
				"endpoint": testkit.DynamoDB(t, "conformance"), "table": "conformance", "region": "us-east-1", "ttlAttributeName": "expiresAt",
				"accessKey": "test", "secretKey": "test",
			}
		}, "", []string{"etag", "first-write", "ttl"}},
	} {
		change := map[string]any{}
		if c.badEtag != "" {
			change["badEtag"] = c.badEtag
		}
		operations := c.operations
		if operations == nil {
			operations = everything
		}
		config, err := conformance.NewTestConfig(name, operations, change)
		require.NoError(t, err)
		t.Run(name+" by itself", func(t *testing.T) {
			t.Parallel()
			store := backends()[name](quiet)
			if name == "dynamodb" {
				store = bare{store}
			} else {
				store = plain{store.(actorStore)}
			}
			conformance.ConformanceTests(t, c.properties(t), store, config)
		})
		t.Run(name+" guarded", func(t *testing.T) {
			t.Parallel()
			properties := c.properties(t)
			properties["backend"], properties["journalDir"] = name, filepath.Join(t.TempDir(), "journal")
			ca := testkit.NewCA(t, "custody.test")
			var store state.Store = identified{Store: guarded.New(guarded.Options{Backends: backends()}, quiet), source: &source{svid: ca.SVID("intake")}}
			if name == "dynamodb" {
				store = bare{store}
			}
			conformance.ConformanceTests(t, properties, store, config)
		})
	}
}
