// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package guarded_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/dapr/components-contrib/state"
	"github.com/dapr/kit/logger"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/txn"
)

// token is one that an app began and sent to another.
func (d *door) token(app, to string) string {
	d.t.Helper()
	scope, err := txn.ParseScope(txn.Everything)
	require.NoError(d.t, err)
	token, err := txn.Begin{Txn: "t-1", To: d.ca.SVID(to).ID, Scope: scope, Now: time.Now()}.Sign(d.ca.SVID(app))
	require.NoError(d.t, err)
	return token.Compact
}

// A request on somebody's behalf is decided as that, and the store never sees the token.
func TestTokens(t *testing.T) {
	d := newDoor(t, `
  - name: on-behalf
    effect: allow
    from: [shop]
    to: {server: carts, state: {operations: [set, get], keys: ["*"]}}
    when: actor.spiffeID == "spiffe://custody.test/ns/default/agent"
`)
	var seen map[string]string
	d.options.Backends["looks"] = func(log logger.Logger) state.Store {
		return &looks{Store: d.options.Backends["in-memory"](log), seen: &seen}
	}
	require.NoError(t, d.store.Close())
	d.open(map[string]string{"backend": "looks"})
	set := func(app string, meta map[string]string) error {
		return d.store.Set(by(t, app), &state.SetRequest{Key: app + "||key", Value: []byte("1"), Metadata: meta})
	}
	require.NoError(t, set("shop", map[string]string{"Txn-Token": d.token("agent", "shop"), "ttlInSeconds": "60"}))
	require.Equal(t, map[string]string{"ttlInSeconds": "60"}, seen)
	last := d.receipts()[0]
	require.Equal(t, "t-1", last.Txn)
	require.Equal(t, []spiffeid.ID{d.ca.SVID("agent").ID, d.ca.SVID("shop").ID}, last.Actors)

	for name, meta := range map[string]map[string]string{
		"none":              nil,
		"of another":        {"txn-token": d.token("other", "shop")},
		"sent to another":   {"txn-token": d.token("agent", "other")},
		"no token":          {"txn-token": "x"},
		"two that disagree": {"txn-token": d.token("agent", "shop"), "TXN-TOKEN": d.token("other", "shop")},
	} {
		var refusal *gate.DeniedError
		require.ErrorAs(t, set("shop", meta), &refusal, name)
	}
	batch := func(tokens ...string) error {
		var all []state.SetRequest
		for _, token := range tokens {
			all = append(all, state.SetRequest{Key: "shop||a", Value: []byte("1"), Metadata: map[string]string{"txn-token": token}})
		}
		return d.store.BulkSet(by(t, "shop"), all, state.BulkStoreOpts{})
	}
	good := d.token("agent", "shop")
	require.NoError(t, batch(good, good))
	d.denied(batch(good, "x"))
	d.denied(batch(good, ""))
	d.denied(batch("", good))
}

// An empty token is one too, and is refused where none is needed. Maps have no order: each is tried often.
func TestTokensThatAreOdd(t *testing.T) {
	d := newDoor(t, cartRules)
	set := func(meta map[string]string) error {
		return d.store.Set(by(t, "shop"), &state.SetRequest{Key: "shop||cart-1", Value: []byte("1"), Metadata: maps.Clone(meta)})
	}
	good := d.token("agent", "shop")
	require.NoError(t, set(nil))
	require.NoError(t, set(map[string]string{"txn-token": good}))
	for name, test := range map[string]struct {
		meta   map[string]string
		reason string
	}{
		"empty":              {map[string]string{"txn-token": ""}, "token"},
		"empty, in any case": {map[string]string{"Txn-Token": ""}, "token"},
		"one empty":          {map[string]string{"txn-token": good, "Txn-Token": ""}, "there is more than one transaction token"},
		"both empty":         {map[string]string{"txn-token": "", "Txn-Token": ""}, "there is more than one transaction token"},
		"twice the same":     {map[string]string{"txn-token": good, "Txn-Token": good}, "there is more than one transaction token"},
	} {
		for range 8 {
			d.denied(set(test.meta))
			last := d.last()
			require.Contains(t, last.Decision.Reason, test.reason, name)
			require.Empty(t, last.Actors, "what was not verified is not said")
		}
	}
	multi := save(nil, "shop||cart-1")
	require.NoError(t, d.store.Multi(by(t, "shop"), multi))
	multi.Metadata = map[string]string{"txn-token": ""}
	d.denied(d.store.Multi(by(t, "shop"), multi))
}

// Dapr asks again with the very same request where Resiliency says so, and what is on its way may be read meanwhile. A token
// that was taken out of it would have the second one decided without.
func TestTokensStandWhenAskedAgain(t *testing.T) {
	d := newDoor(t, `
  - {name: all, effect: allow, from: [shop], to: {server: carts, state: {operations: ["*"], keys: ["*"]}}}
`)
	meta := map[string]string{"Txn-Token": "x", "ttlInSeconds": "60"}
	ctx, key := by(t, "shop"), "shop||cart-1"
	set := state.SetRequest{Key: key, Value: []byte("1"), Metadata: meta}
	get, remove := state.GetRequest{Key: key, Metadata: meta}, state.DeleteRequest{Key: key, Metadata: meta}
	operations := []state.TransactionalStateOperation{set, state.DeleteRequest{Key: "shop||cart-2", Metadata: meta}}
	ways := map[string]func() error{
		"get": func() error { _, err := d.store.Get(ctx, &get); return err },
		"bulk get": func() error {
			_, err := d.store.BulkGet(ctx, []state.GetRequest{get, get}, state.BulkGetOpts{})
			return err
		},
		"set":      func() error { return d.store.Set(ctx, &set) },
		"bulk set": func() error { return d.store.BulkSet(ctx, []state.SetRequest{set, set}, state.BulkStoreOpts{}) },
		"delete":   func() error { return d.store.Delete(ctx, &remove) },
		"bulk delete": func() error {
			return d.store.BulkDelete(ctx, []state.DeleteRequest{remove, remove}, state.BulkStoreOpts{})
		},
		"transaction": func() error { return d.store.Multi(ctx, &state.TransactionalStateRequest{Operations: operations}) },
		"transaction as a whole": func() error {
			return d.store.Multi(ctx, &state.TransactionalStateRequest{Operations: save(nil, key).Operations, Metadata: meta})
		},
	}
	for name, ask := range ways {
		for range 3 {
			d.denied(ask())
			require.Len(t, meta, 2, name)
		}
	}
	meta["Txn-Token"] = d.token("agent", "shop")
	for name, ask := range ways {
		for range 2 {
			require.NoError(t, ask(), name)
			require.Equal(t, "t-1", d.last().Txn, name)
		}
	}
}

// looks is a store that tells which metadata reached it.
type looks struct {
	state.Store

	seen *map[string]string
}

func (l *looks) Set(ctx context.Context, req *state.SetRequest) error {
	*l.seen = req.Metadata
	return l.Store.Set(ctx, req)
}
