// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/metadata"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/dbca"
	"github.com/dapr-custody/custody/internal/receipt"
)

const (
	waiting = 20 * time.Second
	polling = 10 * time.Millisecond
)

// endSessions ends those of the door at the server, and waits for it.
const endSessions = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'custody' AND datname = current_database()"

func TestDatabaseGone(t *testing.T) {
	r := newRig(t, allowAll, through)
	meta := bindings.Metadata{Base: metadata.Base{Name: "orders", Properties: map[string]string{"database": "orders-db"}}}
	r.proxy.set(true, nil, nil)
	require.ErrorContains(t, r.door.Binding().Init(r.as(t.Context(), "reader"), meta), "orders-db")
	// Before it was ever there nobody can judge a statement.
	require.Contains(t, r.refused("reader", "SELECT 1"), "The database cannot be reached.")
	require.Equal(t, receipt.StatusDenied, r.last().Outcome.Status)
	r.proxy.set(false, nil, nil)
	require.NoError(t, r.door.Binding().Init(r.as(t.Context(), "reader"), meta))
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))

	// Once it is known, what was allowed is tried, and what is denied is denied as ever.
	r.proxy.set(true, nil, nil)
	r.proxy.drop()
	require.Contains(t, r.refused("reader", "SELECT 1"), "The database cannot be reached.")
	require.Equal(t, receipt.StatusIncomplete, r.last().Outcome.Status)
	require.Contains(t, r.refused("reader", "DELETE FROM shop.orders"), sayDenied)
	r.proxy.set(false, nil, nil)
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"), "it is back by itself")
	r.settled()
}

// A session that broke while nobody used it is replaced without anybody's notice.
func TestSessionsThatBrokeAtRest(t *testing.T) {
	r := newRig(t, allowAll, through)
	for range 3 {
		require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
		r.proxy.drop()
		_, err := r.ask("writer", "exec", "UPDATE shop.stock SET on_hand = on_hand + 1 WHERE sku = 'sku-1'")
		require.NoError(t, err)
		run(t, r.admin, endSessions)
	}
	require.Equal(t, "13", r.scalar("SELECT on_hand::text FROM shop.stock WHERE sku = 'sku-1'"), "each was done once")
	r.settled()
}

// A server that keeps silent is not waited for longer than a statement may take.
func TestSilence(t *testing.T) {
	r := newRig(t, allowAll, through)
	r.setDocument(r.proxy.address, "{statementTimeout: 1s, lockTimeout: 1s}")
	r.query("reader", "SELECT 1")
	var flights atomic.Int64
	r.proxy.set(false, func(int) verdict {
		if flights.Add(1) == 1 {
			return swallow
		}
		return pass
	}, nil)
	require.Equal(t, "[[2]]", r.query("reader", "SELECT 2"), "another session answers")
	require.Greater(t, flights.Load(), int64(2))
	r.settled()
}

func TestServerRestarted(t *testing.T) {
	r := newRig(t, allowAll)
	require.Equal(t, "[[60]]", r.query("reader", "SELECT count(*) FROM orders"))
	read := r.door.CatalogueRead("orders-db")
	require.NoError(t, r.admin.Close(t.Context()))
	require.NoError(t, server.database.Halt())
	require.Contains(t, r.refused("reader", "SELECT count(*) FROM orders"), "The database cannot be reached.")
	require.NoError(t, server.database.Resume(t.Context()))
	r.admin = connect(t, inDatabase(t, server.database.URL(), r.database))
	// What it holds now is not known any more: it is read again before the statement runs.
	require.Equal(t, "[[60]]", r.query("reader", "SELECT count(*) FROM orders"))
	require.NotEqual(t, read, r.door.CatalogueRead("orders-db"))
	r.settled()
}

// After a restart a name may mean something else than when it was judged.
func TestServerRestartedAsAnother(t *testing.T) {
	r := newRig(t, `
  - {name: reads, effect: allow, from: [reader], to: {server: orders-db, sql: {operations: [select], tables: ["shop.*", "pg_catalog.*"]}}}
`)
	require.Equal(t, "[[60]]", r.query("reader", "SELECT count(*) FROM orders"))
	require.NoError(t, server.database.Halt())
	require.NoError(t, server.database.Resume(t.Context()))
	require.NoError(t, r.admin.Close(t.Context()))
	r.admin = connect(t, inDatabase(t, server.database.URL(), r.database))
	run(t, r.admin, "ALTER TABLE shop.orders RENAME TO orders_2025")
	require.Contains(t, r.refused("reader", "SELECT count(*) FROM orders"), "The definitions of the database changed meanwhile")
	require.Equal(t, receipt.StatusWithheld, r.last().Outcome.Status)
	require.Contains(t, r.refused("reader", "SELECT count(*) FROM orders"), sayDenied)
	require.Equal(t, "[[60]]", r.query("reader", "SELECT count(*) FROM orders_2025"))
}

func TestOutOfConnections(t *testing.T) {
	r := newRig(t, allowAll)
	blocker := connect(t, inDatabase(t, server.database.URL(), r.database))
	defer func() { require.NoError(t, blocker.Close(context.Background())) }()
	run(t, blocker, "BEGIN; LOCK TABLE shop.stock")
	r.query("narrow", "SELECT 1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.askIn(ctx, "narrow", "query", "SELECT sku FROM shop.stock")
		done <- err
	}()
	r.awaitBlocked(1)
	// Role narrow may have one connection.
	require.Contains(t, r.refused("narrow", "SELECT 1"), "the database takes no more connections (SQLSTATE 53300 too_many_connections)")
	require.Equal(t, receipt.StatusFailed, r.last().Outcome.Status)
	cancel()
	require.ErrorContains(t, <-done, "it was cancelled")
	require.Eventually(t, func() bool { return r.sessions() == "0" }, waiting, polling)
	require.Equal(t, "[[1]]", r.query("narrow", "SELECT 1"))
	r.settled()
}

// awaitBlocked waits until so many statements of the door wait for a lock.
func (r *rig) awaitBlocked(n int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		return r.scalar("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'custody' AND wait_event_type = 'Lock' AND datname = current_database()") == fmt.Sprint(n)
	}, waiting, polling)
}

func TestDoorBoundsConnections(t *testing.T) {
	r := newRig(t, allowAll)
	r.limit("{maxConnections: 2, statementTimeout: 3s, lockTimeout: 3s}")
	blocker := connect(t, inDatabase(t, server.database.URL(), r.database))
	defer func() { require.NoError(t, blocker.Close(context.Background())) }()
	run(t, blocker, "BEGIN; LOCK TABLE shop.stock")
	var wait sync.WaitGroup
	var failed atomic.Int64
	r.query("reader", "SELECT 1")
	for range 2 {
		wait.Go(func() {
			if _, err := r.ask("reader", "query", "SELECT sku FROM shop.stock"); err != nil {
				failed.Add(1)
			}
		})
	}
	r.awaitBlocked(2)
	for range 3 {
		wait.Go(func() {
			if _, err := r.ask("reader", "query", "SELECT sku FROM shop.stock"); err != nil {
				failed.Add(1)
			}
		})
	}
	require.Equal(t, "2", r.sessions())
	wait.Wait()
	require.Equal(t, int64(5), failed.Load(), "two waited for the lock, and three for them, or for it after them")
	require.Equal(t, "[[1]]", r.query("writer", "SELECT 1"), "another role has its own")
	r.settled()
}

func TestSlow(t *testing.T) {
	r := newRig(t, allowAll)
	blocker := connect(t, inDatabase(t, server.database.URL(), r.database))
	defer func() { require.NoError(t, blocker.Close(context.Background())) }()
	run(t, blocker, "BEGIN; LOCK TABLE shop.stock")
	r.limit("{statementTimeout: 5s, lockTimeout: 50ms}")
	require.Contains(t, r.refused("reader", "SELECT sku FROM shop.stock"), "a lock was not to be had in time (SQLSTATE 55P03 lock_not_available)")
	require.Equal(t, receipt.Outcome{Status: receipt.StatusFailed, Reason: "SQLSTATE 55P03 lock_not_available"}, r.last().Outcome)
	r.limit("{statementTimeout: 300ms, lockTimeout: 5s}")
	require.Contains(t, r.refused("reader", "SELECT sku FROM shop.stock"), "took longer than the database document lets it")
	require.Contains(t, r.refused("reader", "SELECT count(*) FROM generate_series(1, 100000000)"), "took longer than the database document lets it")
	require.Equal(t, receipt.Outcome{Status: receipt.StatusFailed, Reason: "SQLSTATE 57014 query_canceled"}, r.last().Outcome)
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
	r.settled()
}

// Whoever goes away ends what it asked for, in the database too.
func TestCallerGone(t *testing.T) {
	r := newRig(t, allowAll)
	blocker := connect(t, inDatabase(t, server.database.URL(), r.database))
	defer func() { require.NoError(t, blocker.Close(context.Background())) }()
	run(t, blocker, "BEGIN; LOCK TABLE shop.stock")
	for app, sql := range map[string]string{"reader": "SELECT sku FROM shop.stock", "writer": "UPDATE shop.stock SET on_hand = 0"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := r.askIn(ctx, app, "query", sql)
			done <- err
		}()
		r.awaitBlocked(1)
		cancel()
		require.ErrorContains(t, <-done, "error executing query: it was cancelled. Reference: ")
		require.Equal(t, receipt.StatusIncomplete, r.last().Outcome.Status)
		require.Eventually(t, func() bool { return r.sessions() == "0" }, waiting, polling, "it waits for the lock still")
	}
	// Before it has begun.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.askIn(ctx, "reader", "query", "SELECT 1")
	require.ErrorContains(t, err, "cancelled")
	r.settled()
}

// A result breaks off in the middle when the caller goes away: the server stops too.
func TestCallerGoneInTheMiddle(t *testing.T) {
	r := newRig(t, allowAll, through)
	r.setDocument(r.proxy.address, "{maxRows: 1000000000, maxBytes: 1000000000, statementTimeout: 60s, lockTimeout: 5s}")
	r.query("reader", "SELECT 1")
	ctx, cancel := context.WithCancel(t.Context())
	var seen atomic.Int64
	r.proxy.set(false, nil, func(n int) verdict {
		if seen.Add(int64(n)) > 1<<20 {
			cancel()
		}
		return pass
	})
	_, err := r.askIn(ctx, "reader", "query", "SELECT repeat('x', 100) FROM shop.items a, shop.items b, shop.items c, shop.items d")
	require.ErrorContains(t, err, "it was cancelled")
	require.Equal(t, receipt.StatusIncomplete, r.last().Outcome.Status)
	require.Zero(t, r.last().Outcome.Rows)
	require.Eventually(t, func() bool { return r.sessions() == "0" }, waiting, polling)
	r.proxy.set(false, nil, nil)
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
	r.settled()
}

// A commit whose answer is lost may have been or not: nobody says that it was, or that it was not.
func TestCommitThatIsNotKnown(t *testing.T) {
	const update = "UPDATE shop.stock SET on_hand = on_hand + 1 WHERE sku = 'sku-1'"
	for name, tt := range map[string]struct {
		upward bool
		want   string
	}{"lost on the way there": {true, "11"}, "lost on the way back": {false, "12"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, allowAll, through)
			_, err := r.ask("writer", "exec", update)
			require.NoError(t, err)
			var flights atomic.Int64 // to the server: the statement, and then the commit
			late := func(flight int64) verdict {
				if flight < 2 {
					return pass
				}
				return cut
			}
			if tt.upward {
				r.proxy.set(false, func(int) verdict { return late(flights.Add(1)) }, nil)
			} else {
				r.proxy.set(false, func(int) verdict { flights.Add(1); return pass }, func(int) verdict { return late(flights.Load()) })
			}
			_, err = r.ask("writer", "exec", update)
			require.EqualError(t, err, "error executing query: the connection broke while the transaction was committed: whether it was is not known. Reference: "+r.last().ID)
			require.Equal(t, receipt.StatusIncomplete, r.last().Outcome.Status)
			r.proxy.set(false, nil, nil)
			require.Eventually(t, func() bool {
				return r.scalar("SELECT on_hand::text FROM shop.stock WHERE sku = 'sku-1'") == tt.want
			}, waiting, polling)
			r.settled()
		})
	}
}

// Breaking before the commit changes nothing, and is said so.
func TestBrokenInTheMiddle(t *testing.T) {
	r := newRig(t, allowAll, through)
	blocker := connect(t, inDatabase(t, server.database.URL(), r.database))
	defer func() { require.NoError(t, blocker.Close(context.Background())) }()
	run(t, blocker, "BEGIN; LOCK TABLE shop.stock")
	done := make(chan error, 1)
	go func() {
		_, err := r.ask("writer", "exec", "UPDATE shop.stock SET on_hand = 0")
		done <- err
	}()
	r.awaitBlocked(1)
	run(t, r.admin, endSessions)
	// The session was used before, so that the statement is tried in another, which breaks too.
	r.awaitBlocked(1)
	r.proxy.set(true, nil, nil)
	r.proxy.drop()
	require.ErrorContains(t, <-done, "error executing query: the connection broke, and nothing was changed. Reference: ")
	require.Equal(t, receipt.StatusIncomplete, r.last().Outcome.Status)
	run(t, blocker, "COMMIT")
	require.Equal(t, "10", r.scalar("SELECT min(on_hand)::text FROM shop.stock"))
	r.settled()
}

// What cannot be recorded does not happen.
func TestJournalGone(t *testing.T) {
	r := newRig(t, allowAll)
	r.query("writer", "SELECT 1")
	before := r.scalar(contents)
	require.NoError(t, r.writer.Close())
	r.writer = nil
	for _, sql := range []string{"SELECT id FROM shop.orders", "DELETE FROM shop.items", "SELECT pg_sleep(1)"} {
		response, err := r.ask("writer", "query", sql)
		require.ErrorContains(t, err, "The guard of this database cannot decide or record now; nothing is let through. Reference: ")
		require.Nil(t, response)
	}
	require.Equal(t, before, r.scalar(contents))
}

// When the certificate of a session is over it is not used again, and what runs in it meanwhile goes on.
func TestCertificateExpires(t *testing.T) {
	var ahead atomic.Int64
	r := newRig(t, allowAll, func(r *rig) {
		r.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		// The database has the real time.
		r.clients = minter{r.clients, time.Now}
	})
	const pid = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'custody' AND datname = current_database()"
	r.query("reader", "SELECT 1")
	first := r.scalar(pid)
	r.query("reader", "SELECT 2")
	require.Equal(t, first, r.scalar(pid), "a session is used again")
	blocker := connect(t, inDatabase(t, server.database.URL(), r.database))
	defer func() { require.NoError(t, blocker.Close(context.Background())) }()
	run(t, blocker, "BEGIN; LOCK TABLE shop.stock")
	done := make(chan error, 1)
	go func() {
		_, err := r.ask("reader", "query", "SELECT sku FROM shop.stock")
		done <- err
	}()
	r.awaitBlocked(1)
	ahead.Store(int64(dbca.Validity + time.Second))
	run(t, blocker, "COMMIT")
	require.NoError(t, <-done)
	require.Eventually(t, func() bool { return r.sessions() == "0" }, waiting, polling, "the session ends after the statement")
	ahead.Store(0)
	r.query("reader", "SELECT 3")
	require.NotEqual(t, first, r.scalar(pid))
}

// A new authority counts from the next session on, and one that the server does not trust opens none.
func TestRotation(t *testing.T) {
	other, err := dbca.Create(filepath.Join(t.TempDir(), "other"), time.Now())
	require.NoError(t, err)
	var strange atomic.Bool
	r := newRig(t, allowAll, func(r *rig) { r.clients = switching{r.clients, other, &strange} })
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
	strange.Store(true)
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"), "the session was opened before")
	run(t, r.admin, endSessions)
	require.Contains(t, r.refused("reader", "SELECT 1"), "The database cannot be reached.")
	strange.Store(false)
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
}

// A server that has another certificate than the document says is not spoken to.
func TestAnotherServer(t *testing.T) {
	r := newRig(t, allowAll)
	at := *r.document.Load()
	for name, change := range map[string]func(){
		"another name": func() { at.ServerName = "other.test" },
		"another root": func() {
			at.ServerCA = filepath.Join(t.TempDir(), "ca.pem")
			text, err := os.ReadFile(filepath.Join(server.dir, "ca", "ca.pem"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(at.ServerCA, text, 0o600))
		},
		"no roots": func() { at.ServerCA = filepath.Join(t.TempDir(), "none") },
		"no TLS": func() {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, listener.Close()) })
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					buffer := make([]byte, 8)
					_, _ = conn.Read(buffer)       // the request for TLS
					_, _ = conn.Write([]byte{'N'}) // not here
					conn.Close()
				}
			}()
			at.Port = listener.Addr().(*net.TCPAddr).Port
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := at
			defer func() { at = was }()
			change()
			changed := at
			r.document.Store(&changed)
			require.Contains(t, r.refused("reader", "SELECT 1"), "The database cannot be reached.")
		})
	}
}
