// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/txn"
)

func TestScopeCovers(t *testing.T) {
	for _, c := range []struct {
		scope, server, name string
		want                bool
	}{
		{"*", "orders", "get_order", true},
		{"orders/get_order", "orders", "get_order", true},
		{"orders/get_order", "orders", "get_orders", false},
		{"orders/get_order", "orders", "Get_order", false},
		{"orders/get_order", "payments", "get_order", false},
		{"orders/get_*", "orders", "get_", true},
		{"orders/get_*", "orders", "forget_order", false},
		{"orders/*_*_x", "orders", "a_b_c_x", true},
		{"orders/*_*_x", "orders", "a_x", false},
		{"*/get_order", "payments", "get_order", true},
		{"a/b c/d", "c", "d", true},
		{"a/b c/d", "a", "d", false},
		{"files/file:///docs/*", "files", "file:///docs/a/b", true},
	} {
		require.Equal(t, c.want, scope(t, c.scope).Covers(c.server, c.name), "%+v", c)
	}
	require.False(t, txn.Scope{}.Covers("orders", "get_order"))
	require.True(t, scope(t, "orders/x").Reaches("orders"))
	require.False(t, scope(t, "orders/x").Reaches("payments"))
	require.True(t, scope(t, "*/x").Reaches("payments"))
}

func TestScopeWithin(t *testing.T) {
	for _, c := range []struct {
		narrow, wide string
		want         bool
	}{
		{"orders/get_order", "orders/get_*", true},
		{"orders/get_*", "orders/*", true},
		{"orders/get_*", "orders/get_order", false},
		{"orders/*", "orders/get_*", false},
		{"*", "*", true},
		{"*", "orders/*", false},
		{"*/x", "orders/x", false},
		{"orders/x", "*/x", true},
		{"orders/a*c", "orders/a*", true},
		{"orders/a*c", "orders/ab*", false},
		{"a/b c/d", "a/* c/*", true},
		{"a/b c/d", "a/*", false},
	} {
		require.Equal(t, c.want, scope(t, c.narrow).Within(scope(t, c.wide)), "%+v", c)
	}
	require.False(t, txn.Scope{}.Within(scope(t, "*")), "no scope is not a narrow one")
}

func TestParseScopeRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "orders", "orders/", "/x", "a/b  c/d", " a/b", "a/b ", "ord*/x", "a/b\tc/d", "a/\x00", "a/é", `a/"`, `a/\`,
		"a/" + strings.Repeat("x", 5000), strings.TrimSpace(strings.Repeat("a/b ", 33)), "* a/b",
	} {
		_, err := txn.ParseScope(text)
		require.Error(t, err, "%q", text)
	}
}

// What a narrower scope covers, the wider one covers.
func TestWithinMeansCovered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`(a|b|\*)/[ab*]{1,4}`)
		narrow, err := txn.ParseScope(pattern.Draw(t, "narrow"))
		require.NoError(t, err)
		wide, err := txn.ParseScope(pattern.Draw(t, "wide"))
		require.NoError(t, err)
		server, name := rapid.StringMatching(`[ab]`).Draw(t, "server"), rapid.StringMatching(`[ab]{1,5}`).Draw(t, "name")
		if narrow.Within(wide) && narrow.Covers(server, name) {
			require.True(t, wide.Covers(server, name))
		}
	})
}

func FuzzParseScope(f *testing.F) {
	f.Add("orders/get_* payments/refund")
	f.Add("*")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := txn.ParseScope(text)
		if err != nil {
			return
		}
		again, err := txn.ParseScope(s.String())
		require.NoError(t, err)
		require.Equal(t, s, again)
		require.True(t, s.Within(s))
	})
}

func TestScopeOfEverythingAtAServer(t *testing.T) {
	for text, want := range map[string]bool{
		"*": true, "orders/*": true, "orders/**": true, "*/*": true, "payments/echo orders/*": true,
		"orders/a*": false, "orders/*a": false, "payments/*": false,
	} {
		s, err := txn.ParseScope(text)
		require.NoError(t, err)
		require.Equal(t, want, s.CoversAll("orders"), text)
	}
	require.False(t, txn.Scope{}.CoversAll("orders"))
}
