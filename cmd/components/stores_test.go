// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/testkit"
)

const cartStore = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: cart}
spec:
  type: state.custody
  version: v1
  metadata:
  - {name: backend, value: sqlite}
  - {name: connectionString, envRef: CARTS}
  - {name: keyPrefix, value: none}
scopes: [alice]
`

func environment(name string) (string, bool) { return "/srv/carts.db", name == "CARTS" }

func loadFrom(t *testing.T, files ...string) (*stores, error) {
	t.Helper()
	dir := t.TempDir()
	for i, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".yaml"), []byte(text), 0o600))
	}
	return loadStores(dir, testkit.TrustDomain("custody.test"), "default", environment)
}

func callers(t *testing.T) func(domain, app string) identity.Caller {
	t.Helper()
	return func(domain, app string) identity.Caller {
		ca := testkit.NewCA(t, domain)
		caller, err := identity.NewVerifier(ca.Bundle(), time.Now).Verify(ca.SVID(app).Certificates)
		require.NoError(t, err)
		return caller
	}
}

func TestWhatASidecarMaySayOfAStore(t *testing.T) {
	s, err := loadFrom(t, cartStore, strings.NewReplacer("[alice]", "[bob]", "envRef: CARTS", "value: /srv/bob.db").Replace(cartStore))
	require.NoError(t, err)
	caller := callers(t)
	carts := map[string]string{"backend": "sqlite", "connectionString": "/srv/carts.db", "keyPrefix": "none"}
	for name, test := range map[string]struct {
		domain, app, component string
		said                   map[string]string
		want                   string // the error
	}{
		"nothing":               {"custody.test", "alice", "cart", nil, ""},
		"the same":              {"custody.test", "alice", "cart", carts, ""},
		"the same, other case":  {"custody.test", "alice", "cart", map[string]string{"CONNECTIONSTRING": "/srv/carts.db"}, ""},
		"what daprd reads":      {"custody.test", "alice", "cart", map[string]string{"keyPrefix": "name", "actorStateStore": "true"}, ""},
		"another place":         {"custody.test", "alice", "cart", map[string]string{"connectionString": "/srv/bob.db"}, `metadata "connectionString" is not`},
		"in other case":         {"custody.test", "alice", "cart", map[string]string{"ConnectionString": "/srv/bob.db"}, `metadata "ConnectionString" is not`},
		"by an alias":           {"custody.test", "alice", "cart", map[string]string{"url": "/srv/bob.db"}, `metadata "url" is not`},
		"one more, empty":       {"custody.test", "alice", "cart", map[string]string{"tableName": ""}, `metadata "tableName" is not`},
		"another backend":       {"custody.test", "alice", "cart", map[string]string{"backend": "redis"}, `metadata "backend" is not`},
		"another component":     {"custody.test", "alice", "Cart", nil, "no store of this name"},
		"another app":           {"custody.test", "mallory", "cart", carts, "no store of this name"},
		"another app's":         {"custody.test", "bob", "cart", carts, `metadata "connectionString" is not`},
		"another trust domain":  {"other.test", "alice", "cart", nil, "no store of this name"},
		"nobody":                {"", "", "cart", nil, "no store of this name"},
		"its journal, its keys": {"custody.test", "alice", "cart", map[string]string{"journalDir": "/tmp"}, `metadata "journalDir" is not`},
	} {
		var who identity.Caller
		if test.app != "" {
			who = caller(test.domain, test.app)
		}
		got, err := s.metadata(who, test.component, test.said)
		if test.want != "" {
			require.ErrorContains(t, err, test.want, name)
			require.Nil(t, got, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, carts, got, name)
	}
}

func TestStoresWithoutScopes(t *testing.T) {
	everybody := strings.Replace(cartStore, "scopes: [alice]\n", "", 1)
	s, err := loadFrom(t, everybody)
	require.NoError(t, err)
	_, err = s.metadata(callers(t)("custody.test", "mallory"), "cart", nil)
	require.NoError(t, err)

	s, err = loadFrom(t, strings.Replace(everybody, "name: cart}", "name: cart, namespace: other}", 1))
	require.NoError(t, err)
	_, err = s.metadata(callers(t)("custody.test", "mallory"), "cart", nil)
	require.ErrorContains(t, err, "no store of this name")

	none, err := loadStores("", testkit.TrustDomain("custody.test"), "default", environment)
	require.NoError(t, err)
	_, err = none.metadata(callers(t)("custody.test", "alice"), "cart", nil)
	require.ErrorContains(t, err, "spec.stores")
}

func TestStoresThatAreNotClear(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"a scope misspelt":        {"scopes:", "scope:", "line 11: field scope not found"},
		"another type":            {"state.custody", "state.sqlite", `keep only Components of type state.custody`},
		"a secret":                {"envRef: CARTS", "secretKeyRef: {name: a, key: b}", "field secretKeyRef not found"},
		"a variable that is none": {"CARTS", "CART", "has no CART in its environment"},
		"both":                    {"envRef: CARTS", "envRef: CARTS, value: x", "both value and envRef"},
		"no value":                {", envRef: CARTS", "", "write value"},
		"twice, in other case":    {"name: keyPrefix", "name: Backend", `"Backend" is empty or given twice`},
		"two for one app":         {"scopes: [alice]\n", "scopes: [alice]\n---\n" + cartStore, "two documents are for the same app"},
		"one for all beside":      {"scopes: [alice]\n", "---\n" + cartStore, "two documents are for the same app"},
		"no name":                 {"{name: cart}", "{}", "metadata.name: is missing"},
		"far too long":            {"kind: Component", "kind: Component\n" + strings.Repeat("#\n", maxComponentFile), "is larger than"},
	} {
		_, err := loadFrom(t, strings.Replace(cartStore, test.old, test.new, 1))
		require.ErrorContains(t, err, test.want, name)
		require.ErrorContains(t, err, "a.yaml: ", name)
	}
	_, err := loadStores(filepath.Join(t.TempDir(), "gone"), testkit.TrustDomain("custody.test"), "default", environment)
	require.ErrorIs(t, err, os.ErrNotExist)
}
