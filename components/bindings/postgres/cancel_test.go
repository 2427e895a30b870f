// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whenever a caller goes, its statement ends: also where the server was asked to cancel before it had begun, and so had
// nothing to cancel.
func TestCallerGoesAtAnyTime(t *testing.T) {
	r := newRig(t, allowAll)
	const slow = "SELECT count(*) FROM shop.orders a, shop.orders b, shop.orders c, shop.orders d, shop.orders e, shop.orders f, shop.orders g WHERE a.id + b.id + c.id + d.id + e.id + f.id + g.id > 0"
	r.query("reader", "SELECT 1")
	for i := range 120 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*250*time.Microsecond)
		_, err := r.askIn(ctx, "reader", "query", slow)
		cancel()
		require.Error(t, err)
	}
	// The time of a statement is twenty seconds here.
	require.Eventually(t, func() bool {
		return r.scalar("SELECT count(*)::text FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%shop.orders g%' AND pid <> pg_backend_pid() AND datname = current_database()") == "0"
	}, 8*time.Second, 20*time.Millisecond)
	r.settled()
}

// A server that cannot be asked to cancel is told of.
func TestCancelIsNotPossible(t *testing.T) {
	r := newRig(t, allowAll, through)
	blocker := connect(t, inDatabase(t, server.database.URL(), r.database))
	defer func() { require.NoError(t, blocker.Close(context.Background())) }()
	run(t, blocker, "BEGIN; LOCK TABLE shop.stock")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.askIn(ctx, "reader", "query", "SELECT sku FROM shop.stock")
		done <- err
	}()
	r.awaitBlocked(1)
	r.proxy.set(true, nil, nil)
	cancel()
	require.ErrorContains(t, <-done, "it was cancelled")
	require.Eventually(t, func() bool {
		return strings.Contains(r.said(), "custody-postgres: database orders-db: a statement that nobody waits for could not be cancelled, which is tried again: ")
	}, waiting, polling)
	run(t, blocker, "COMMIT")
	r.proxy.drop()
}

// A session that does not end as it should is told of.
func TestSessionEndsBadly(t *testing.T) {
	r := newRig(t, allowAll)
	r.query("reader", "SELECT 1")
	require.NoError(t, r.door.BreakSessions("orders-db"))
	require.NoError(t, r.door.Close())
	require.Contains(t, r.said(), "custody-postgres: database orders-db: a session did not end as it should: ")
}
