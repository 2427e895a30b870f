// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package budget_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/budget"
)

var (
	alice = spiffeid.RequireFromString("spiffe://custody.test/ns/default/alice")
	bob   = spiffeid.RequireFromString("spiffe://custody.test/ns/default/bob")
)

func TestRequests(t *testing.T) {
	accounts := budget.New(budget.Limits{Requests: 2, Bytes: 10})
	a := accounts.Of(alice)
	require.Same(t, a, accounts.Of(alice))
	first, ok := a.Begin()
	require.True(t, ok)
	require.False(t, a.Full())
	second, ok := a.Begin()
	require.True(t, ok)
	require.True(t, a.Full())
	for range 3 {
		third, ok := a.Begin()
		require.False(t, ok)
		third.End()
		third.End()
	}
	other, ok := accounts.Of(bob).Begin()
	require.True(t, ok, "another caller has room of its own")
	other.End()
	first.End()
	first.End()
	third, ok := a.Begin()
	require.True(t, ok)
	_, ok = a.Begin()
	require.False(t, ok, "an end counts once")
	second.End()
	third.End()
}

func TestBytes(t *testing.T) {
	accounts := budget.New(budget.Limits{Requests: 5, Bytes: 10})
	a := accounts.Of(alice)
	first, _ := a.Begin()
	second, _ := a.Begin()
	require.True(t, first.Hold(6))
	require.False(t, second.Hold(5))
	require.True(t, second.Hold(4))
	require.True(t, a.Full())
	require.False(t, second.Hold(1))
	require.True(t, second.Hold(0), "an answer of nothing needs no room")
	third := func() bool { b, _ := accounts.Of(bob).Begin(); defer b.End(); return b.Hold(10) && !b.Hold(1) }
	require.True(t, third())
	first.End()
	require.True(t, second.Hold(6))
	second.End()
	require.False(t, a.Full())
	whole, _ := a.Begin()
	require.False(t, whole.Hold(11))
	require.True(t, whole.Hold(10))
	whole.End()
	require.False(t, whole.Hold(1), "it has ended")
	var none budget.Use
	require.False(t, none.Hold(0))
	none.Read(nil)
	none.End()
}

// The zero value allows nothing.
func TestNoLimitsNoRoom(t *testing.T) {
	use, ok := budget.New(budget.Limits{}).Of(alice).Begin()
	require.False(t, ok)
	require.False(t, use.Hold(1))
	use.End()
}

// As many messages come in at once as there are readers; the others wait for them, or for nobody to wait.
func TestReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := budget.New(budget.Limits{Requests: 1, Bytes: 1, Readers: 2}).Of(alice)
		first, _ := a.Begin()
		refused, _ := a.Begin()
		first.Read(nil)
		first.Read(nil)
		refused.Read(nil)
		gone := make(chan struct{})
		through := make(chan string, 2)
		go func() {
			use, _ := a.Begin()
			use.Read(gone)
			through <- "nobody waits"
			use.End()
		}()
		synctest.Wait()
		require.Empty(t, through)
		close(gone)
		require.Equal(t, "nobody waits", <-through)
		go func() {
			use, _ := a.Begin()
			use.Read(nil)
			through <- "third"
			use.End()
		}()
		synctest.Wait()
		require.Empty(t, through)
		first.Arrived()
		first.Arrived()
		require.Equal(t, "third", <-through)
		refused.End()
		first.End()
		synctest.Wait()
		for range 2 {
			use, _ := a.Begin()
			use.Read(nil)
			defer use.End()
		}
	})
}

func TestMuchAtOnce(t *testing.T) {
	const limit = 8
	a := budget.New(budget.Limits{Requests: limit, Bytes: limit, Readers: 2}).Of(alice)
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for range 200 {
				use, _ := a.Begin()
				use.Read(nil)
				use.Hold(1)
				use.End()
			}
		})
	}
	group.Wait()
	for range limit {
		use, ok := a.Begin()
		require.True(t, ok && use.Hold(1), "all was given back")
		defer use.End()
	}
	require.True(t, a.Full())
}

// However much is refused, a caller gets one record a second, and none of what was refused goes untold.
func TestRefusalsAreToldOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		accounts := budget.New(budget.Limits{})
		var mu sync.Mutex
		var told []string
		refuse := func(id spiffeid.ID) string {
			return accounts.Of(id).Refused(func(count int) string {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprintf("%v: %d by %s", time.Since(start), count, id.Path()[len("/ns/default/"):]))
				return fmt.Sprint("ref-", len(told))
			})
		}
		require.Equal(t, "ref-1", refuse(alice))
		for range 1000 {
			require.Equal(t, "ref-1", refuse(alice))
		}
		require.Equal(t, "ref-2", refuse(bob))
		time.Sleep(1500 * time.Millisecond)
		for range 10 {
			require.Equal(t, "ref-3", refuse(alice), "that of the second before speaks for this one")
		}
		require.Equal(t, "ref-4", refuse(bob), "it was quiet for a second")
		time.Sleep(time.Hour)
		require.Equal(t, "ref-6", refuse(alice))
		require.Equal(t, "ref-6", refuse(alice))
		require.Equal(t, "ref-6", refuse(alice))
		accounts.Close()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, []string{
			"0s: 1 by alice", "0s: 1 by bob", "1s: 1000 by alice", "1.5s: 1 by bob", "2s: 10 by alice",
			"1h0m1.5s: 1 by alice", "1h0m1.5s: 2 by alice",
		}, told)
	})
}
