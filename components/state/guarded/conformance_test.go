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
	operations := []string{"transaction", "etag", "first-write", "ttl", "actorStateStore", "keyslike"}
	for name, c := range map[string]struct {
		// properties are those of a store that nobody else uses.
		properties func(t *testing.T) map[string]string
		badEtag    string
	}{
		"in-memory": {func(*testing.T) map[string]string { return map[string]string{} }, ""},
		"sqlite": {func(t *testing.T) map[string]string {
			return map[string]string{"connectionString": filepath.Join(t.TempDir(), "state.db")}
		}, ""},
		"postgresql": {postgresql, "e9b9e142-74b1-4a2e-8e90-3f4ffeea2e70"},
		"redis": {func(t *testing.T) map[string]string {
			return map[string]string{"redisHost": testkit.Redis(t), "redisPassword": ""}
		}, "9999999"},
	} {
		change := map[string]any{}
		if c.badEtag != "" {
			change["badEtag"] = c.badEtag
		}
		config, err := conformance.NewTestConfig(name, operations, change)
		require.NoError(t, err)
		t.Run(name+" by itself", func(t *testing.T) {
			t.Parallel()
			conformance.ConformanceTests(t, c.properties(t), plain{backends()[name](quiet).(actorStore)}, config)
		})
		t.Run(name+" guarded", func(t *testing.T) {
			t.Parallel()
			properties := c.properties(t)
			properties["backend"], properties["journalDir"] = name, filepath.Join(t.TempDir(), "journal")
			store := guarded.New(guarded.Options{Backends: backends()}, quiet)
			ca := testkit.NewCA(t, "custody.test")
			conformance.ConformanceTests(t, properties, identified{Store: store, source: &source{svid: ca.SVID("intake")}}, config)
		})
	}
}
