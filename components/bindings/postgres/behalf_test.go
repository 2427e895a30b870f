// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/txn"
)

// hands makes transaction tokens that callers of the rig's door are sent.
type hands struct{ r *rig }

func (r *rig) hands() hands { return hands{r} }

func (h hands) svid(app string) *x509svid.SVID { return h.r.ca.SVID(app) }

func (h hands) scope(text string) txn.Scope {
	h.r.t.Helper()
	scope, err := txn.ParseScope(text)
	require.NoError(h.r.t, err)
	return scope
}

func (h hands) begin(from, to, scope string) *txn.Token {
	h.r.t.Helper()
	token, err := txn.Begin{Txn: "t-1", To: h.svid(to).ID, Scope: h.scope(scope), Now: time.Now()}.Sign(h.svid(from))
	require.NoError(h.r.t, err)
	return token
}

// through is a token that one app began and another passes on to the door.
func (h hands) through(from, by string) string {
	h.r.t.Helper()
	return h.begin(from, by, "*").Compact
}

func TestOnBehalf(t *testing.T) {
	r := newRig(t, `
  - name: for-alice
    effect: allow
    from: [reader]
    to: {server: orders-db, sql: {operations: [select], tables: [shop.orders]}}
    when: actor.spiffeID == "spiffe://custody.local/ns/default/alice"
  - {name: stock, effect: allow, from: [reader], to: {server: orders-db, sql: {operations: [select], tables: [shop.stock]}}}
`)
	h := r.hands()
	const sql, stock = "SELECT count(*) FROM shop.orders", "SELECT count(*) FROM shop.stock"
	good := h.through("alice", "reader")
	for _, name := range []string{"Txn-Token", "txn-token", "TXN-TOKEN"} {
		require.Equal(t, "[[60]]", r.query("reader", sql, name, good))
	}
	require.Equal(t, "t-1", r.last().Txn)
	require.Equal(t, []spiffeid.ID{h.svid("alice").ID, h.svid("reader").ID}, r.last().Actors)
	require.Contains(t, r.refused("reader", sql), sayDenied)
	require.Contains(t, r.refused("reader", sql, "Txn-Token", h.through("bob", "reader")), sayDenied)
	require.Equal(t, "[[12]]", r.query("reader", stock))

	narrow := h.begin("alice", "reader", "orders-db/shop.orders")
	require.Equal(t, "[[60]]", r.query("reader", sql, "Txn-Token", narrow.Compact))
	require.Contains(t, r.refused("reader", stock, "Txn-Token", narrow.Compact), sayDenied)

	for name, token := range map[string]string{
		"stolen":      h.through("alice", "writer"),
		"for another": h.begin("reader", "writer", "*").Compact,
		"garbage":     "garbage",
		"empty":       "",
		"too large":   strings.Repeat("x", txn.MaxToken+1),
		"cut":         good[:len(good)-4],
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, "Refused: the transaction token that comes with the request is not good here. Reference: ",
				strings.TrimSuffix(r.refused("reader", stock, "Txn-Token", token), r.last().ID))
			require.Empty(t, r.last().Actors, "what was not verified is not said")
		})
	}
	for _, second := range []string{good, ""} {
		require.Contains(t, r.refused("reader", stock, "Txn-Token", good, "txn-token", second), "transaction token")
		require.Equal(t, "there is more than one transaction token", r.last().Decision.Reason)
	}
}
