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
	"github.com/dapr-custody/custody/internal/manifest"
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

// A value that is no text to YAML is taken as it is written, and an empty one as empty.
func TestValuesOfStores(t *testing.T) {
	s, err := loadFrom(t, strings.Replace(cartStore, "value: sqlite", "value: 007}\n  - {name: keys, value: true}\n  - {name: none, value: ''", 1))
	require.NoError(t, err)
	got, err := s.metadata(callers(t)("custody.test", "alice"), "cart", nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"backend": "007", "keys": "true", "none": "", "connectionString": "/srv/carts.db", "keyPrefix": "none"}, got)
}

func TestStoresThatAreNotClear(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"a scope misspelt":        {"scopes:", "scope:", `11:1: scope: unknown field: did you mean "scopes"?`},
		"a scope that is a text":  {"[alice]", "alice", "11:9: scopes: want a list: write [alice]"},
		"scopes for nobody":       {"[alice]", "[]", "11:9: scopes: the list is empty"},
		"another type":            {"state.custody", "state.sqlite", `5:9: spec.type: "state.sqlite" is not state.custody: keep only Components of type state.custody here`},
		"another kind":            {"Component", "Configuration", `2:7: kind: "Configuration" is not Component: keep only`},
		"another version":         {"dapr.io/v1alpha1", "v1", `1:13: apiVersion: "v1" is not dapr.io/v1alpha1: keep only`},
		"a secret":                {"envRef: CARTS", "secretKeyRef: {name: a, key: b}", "9:30: spec.metadata[1].secretKeyRef: unknown field: want one of name, value, envRef"},
		"a variable that is none": {"CARTS", "CART", "9:38: spec.metadata[1].envRef: the component server has no CART in its environment"},
		"both":                    {"envRef: CARTS", "envRef: CARTS, value: x", "9:38: spec.metadata[1].envRef: there is a value too"},
		"no value":                {", envRef: CARTS", "", "9:5: spec.metadata[1]: has no value"},
		"a value of several":      {"envRef: CARTS", "value: [a]", "9:37: spec.metadata[1].value: want one text"},
		"a value of nothing":      {"envRef: CARTS", "value: ~", "9:37: spec.metadata[1].value: want one text"},
		"a value by an anchor":    {"envRef: CARTS", "value: &a x", "9:37: spec.metadata[1].value: anchors (&a) are not supported"},
		"no name of a value":      {"name: keyPrefix, ", "", "10:5: spec.metadata[2].name: is missing"},
		"twice, in other case":    {"name: keyPrefix", "name: Backend", `10:12: spec.metadata[2].name: "Backend" is given twice`},
		"two for one app":         {"scopes: [alice]\n", "scopes: [alice]\n---\n" + cartStore, "13:1: scopes: two documents of component cart are for the same app"},
		"one for all beside":      {"scopes: [alice]\n", "---\n" + cartStore, "12:1: scopes: two documents of component cart are for the same app"},
		"no name":                 {"{name: cart}", "{}", "3:11: metadata.name: is missing"},
		"far too long":            {"kind: Component", "kind: Component\n" + strings.Repeat("#\n", maxComponentFile), "the limit is 1048576"},
	} {
		_, err := loadFrom(t, strings.Replace(cartStore, test.old, test.new, 1))
		require.ErrorContains(t, err, test.want, name)
		require.Regexp(t, "^stores: .*/a.yaml:", err, name)
	}
	_, err := loadFrom(t, strings.NewReplacer("CARTS", "CART", "v1\n", "[v1]\n", "scopes", "scope").Replace(cartStore))
	var list *manifest.ErrorList
	require.ErrorAs(t, err, &list)
	require.Len(t, list.Problems, 3, "all that is wrong is told at once")
	_, err = loadFrom(t, cartStore, cartStore)
	require.ErrorContains(t, err, "b.yaml:1:1: scopes: two documents of component cart are for the same app")
	_, err = loadStores(filepath.Join(t.TempDir(), "gone"), testkit.TrustDomain("custody.test"), "default", environment)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzStores(f *testing.F) {
	f.Add([]byte(cartStore))
	f.Add([]byte(cartStore + "---\n" + cartStore))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := &stores{namespace: "default"}
		if s.read("a.yaml", text, environment) != nil {
			return
		}
		for _, d := range s.documents {
			require.NotEmpty(t, d.name)
			require.NotEmpty(t, d.namespace)
			require.NotContains(t, d.scopes, "")
		}
	})
}
