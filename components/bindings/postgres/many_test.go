// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	door "github.com/dapr-custody/custody/components/bindings/postgres"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Many ask at once while connections break: each gets its own answer or an error, what was said to be done was done once,
// what was said not to be was not, and every request has its receipt.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, allowAll, through)
	r.setDocument(r.proxy.address, "{maxConnections: 4, statementTimeout: 20s, lockTimeout: 20s}")
	const callers, requests = 16, 12
	var wait sync.WaitGroup
	var added, unknown, failed, answered atomic.Int64
	for caller := range callers {
		wait.Go(func() {
			for i := range requests {
				if caller%2 == 0 {
					_, err := r.ask("writer", "exec", "UPDATE shop.stock SET on_hand = on_hand + 1 WHERE sku = 'sku-1'")
					switch {
					case err == nil:
						added.Add(1)
					case strings.Contains(err.Error(), "whether it was is not known"):
						unknown.Add(1)
					default:
						failed.Add(1)
					}
					continue
				}
				response, err := r.ask("reader", "query", "SELECT $1::int", "params", fmt.Sprintf("[%d]", caller*1000+i))
				if err == nil {
					answered.Add(1)
					if string(response.Data) != fmt.Sprintf("[[%d]]", caller*1000+i) {
						t.Errorf("caller %d got %s", caller, response.Data)
					}
				}
				if i%4 == 1 && caller%8 == 1 {
					r.proxy.drop()
				}
			}
		})
	}
	wait.Wait()
	hand, err := strconv.ParseInt(r.scalar("SELECT on_hand::text FROM shop.stock WHERE sku = 'sku-1'"), 10, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, hand-10, added.Load())
	require.LessOrEqual(t, hand-10, added.Load()+unknown.Load())
	require.Positive(t, added.Load())
	require.Positive(t, answered.Load())
	statuses := map[string]int64{}
	for _, record := range r.journaled().Receipts {
		statuses[record.Outcome.Status]++
	}
	require.Equal(t, added.Load()+answered.Load(), statuses[receipt.StatusOK])
	r.settled()
	require.NoError(t, r.door.Close())
	require.Eventually(t, func() bool { return r.sessions() == "0" }, waiting, polling, "connections are left behind")
}

// A caller whose role the server does not let in, and one that goes away, keep nobody else from the database.
func TestReadingTheCatalogueFailsForOne(t *testing.T) {
	r := newRig(t, allowAll)
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithCancel(context.Background())
				go cancel()
				_, gone := r.askIn(ctx, "writer", "query", "SELECT 1")
				_, unfit := r.ask("mighty", "query", "SELECT 1")
				if unfit == nil || gone != nil && !strings.Contains(gone.Error(), "Reference: ") {
					t.Errorf("%v, %v", gone, unfit)
					return
				}
			}
		})
	}
	defer others.Wait()
	defer close(stop)
	for range 10 {
		require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
		r.limit("") // The database is begun anew.
	}
}

// A role for which the catalogue cannot be read again leaves it to others for a while.
func TestRefreshIsLeftToOthers(t *testing.T) {
	var ahead time.Duration
	r := newRig(t, allowAll, func(r *rig) {
		r.now = func() time.Time { return time.Now().Add(ahead) }
		r.clients = minter{r.clients, time.Now}
	})
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
	read := r.door.CatalogueRead("orders-db")
	ahead = door.RefreshAfter
	for range 5 {
		r.refused("mighty", "SELECT 1")
		r.door.AwaitRefresh()
	}
	require.Equal(t, 1, strings.Count(r.said(), "could not be read again"))
	require.Equal(t, read, r.door.CatalogueRead("orders-db"))
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
	r.door.AwaitRefresh()
	require.NotEqual(t, read, r.door.CatalogueRead("orders-db"))
}
