// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// loadTimeVariable says how long the load lasts; ten seconds by default.
const loadTimeVariable = "CUSTODY_LOAD_TIME"

const loadCallers = 64

// maxServerMemory is far above what 64 callers need, and far below what a leak would take in a minute.
const maxServerMemory = 512 // MiB

// What became of a request, as its caller was told.
const (
	wasAnswered  = "answered"
	wasUnchanged = "unchanged" // refused, or failed with the word that nothing was changed
	isUnknown    = "unknown"
)

// classify goes by what callers are told: whatever does not say that nothing was done may have been done.
func classify(got answer, err error) string {
	switch {
	case err != nil:
		return isUnknown
	case got.status == http.StatusOK || got.status == http.StatusNoContent:
		return wasAnswered
	}
	for _, says := range []string{
		"nothing was changed", "Denied by policy", "The database cannot be reached", "The guard of this database cannot decide",
		"nothing was done", "it was cancelled", "all connections", "connect: connection refused", "connect: no such file", "error reading server preface",
		"SQLSTATE", "remaining connection slots", "could not be made ready",
	} {
		if strings.Contains(got.text, says) {
			return wasUnchanged
		}
	}
	return isUnknown
}

// load is what 64 callers do and were told.
type load struct {
	d        *databases
	answered atomic.Int64
	told     report

	mu      sync.Mutex
	ledger  map[string]string // what became of the insert of each request
	moves   map[string]int    // how many transfers became what
	rotten  []string          // what no caller may ever be told
	stopped atomic.Bool
}

func ledgerSQL(request string) string {
	return fmt.Sprintf("INSERT INTO shop.ledger (request, part) VALUES ('%[1]s', 1), ('%[1]s', 2)", request)
}

const (
	transferSQL = "UPDATE shop.accounts SET balance = balance + CASE WHEN id = $1 THEN -1 ELSE 1 END, moves = moves + 1 WHERE id IN ($1, $2)"
	pointSQL    = "SELECT id, balance FROM shop.accounts WHERE id = $1"
	slowSQL     = "SELECT count(*) FROM shop.numbers a, shop.numbers b, shop.numbers c WHERE a.n + b.n + c.n > 0"
)

// call is what one caller does until the load ends: four kinds of request in turn.
func (l *load) call(ctx context.Context, caller int) {
	cart := &cartOf{key: fmt.Sprintf("caller-%d", caller), may: map[string]bool{"": true}}
	for i := 0; !l.stopped.Load(); i++ {
		var got answer
		var err error
		switch i % 4 {
		case 0:
			request := fmt.Sprintf("r-%d-%d", caller, i)
			got, err = l.d.ask(ctx, "exec", ledgerSQL(request), "")
			l.note(func() { l.ledger[request] = classify(got, err) })
		case 1:
			got, err = l.d.ask(ctx, "exec", transferSQL, fmt.Sprintf("[%d, %d]", 1+(caller+i)%200, 1+(caller+i+1)%200))
			l.note(func() { l.moves[classify(got, err)]++ })
		case 2:
			got, err = l.d.ask(ctx, "query", pointSQL, fmt.Sprintf("[%d]", 1+caller))
			if want := fmt.Sprintf("[[%d,", 1+caller); classify(got, err) == wasAnswered && !strings.HasPrefix(got.text, want) {
				l.note(func() { l.rotten = append(l.rotten, "asked for "+want+" and was given "+got.text) })
			}
		case 3:
			got, err = l.visit(ctx, cart, i)
		}
		switch {
		case err != nil:
			l.told.add(err.Error())
		case classify(got, err) == wasAnswered:
			l.answered.Add(1)
		default:
			l.told.add(got.text)
		}
	}
}

func (l *load) note(what func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what()
}

// cartOf is a key of one caller alone, with the values that it may have now.
type cartOf struct {
	key string
	may map[string]bool
}

// visit sets the key and gets it again.
func (l *load) visit(ctx context.Context, cart *cartOf, i int) (answer, error) {
	value := strconv.Itoa(i)
	got, err := l.d.call(ctx, http.MethodPost, "state/cart", []map[string]any{{"key": cart.key, "value": i}})
	if classify(got, err) != wasAnswered {
		cart.may[value] = true // for all that the caller knows
		return got, err
	}
	cart.may = map[string]bool{value: true}
	got, err = l.d.call(ctx, http.MethodGet, "state/cart/"+cart.key, nil)
	if classify(got, err) == wasAnswered && !cart.may[got.text] {
		l.note(func() { l.rotten = append(l.rotten, "set "+cart.key+" to "+value+" and was given "+got.text) })
	}
	return got, err
}

// more waits until that many more requests were answered.
func (l *load) more(n int64) {
	l.d.t.Helper()
	from := l.answered.Load()
	require.Eventually(l.d.t, func() bool { return l.answered.Load() >= from+n }, patience, 20*time.Millisecond, "nothing is answered any more")
}

// breakings are what happens in the middle, each under load that is answered before and after it.
func (l *load) breakings() map[string]func() {
	d := l.d
	return map[string]func(){
		"1 the component server is killed": func() {
			d.server.kill(d.t)
			d.startServer()
		},
		"2 PostgreSQL is killed": func() {
			require.NoError(d.t, d.scratch.Kill())
			require.Eventually(d.t, func() bool { return d.scratch.Resume(d.t.Context()) == nil }, patience, 100*time.Millisecond)
		},
		"3 connections are exhausted": func() {
			d.exec("ALTER ROLE custody_orders_mcp CONNECTION LIMIT 1")
			d.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'custody_orders_mcp'")
			l.more(loadCallers)
			d.exec("ALTER ROLE custody_orders_mcp CONNECTION LIMIT -1")
		},
		"4 a client goes in the middle of a result": l.clientGoes,
		"5 the authority is replaced":               func() { d.db("rotate-ca") },
		"6 the component server is killed again": func() {
			d.server.kill(d.t)
			d.startServer()
		},
	}
}

// clientGoes has a client ask for what takes long, and go once the database works on it.
func (l *load) clientGoes() {
	running := "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%shop.numbers c%' AND usename = 'custody_orders_mcp'"
	ctx, cancel := context.WithCancel(l.d.t.Context())
	gone := make(chan error, 1)
	go func() { _, err := l.d.ask(ctx, "query", slowSQL, ""); gone <- err }()
	require.Eventually(l.d.t, func() bool { return scalar[int](l.d, running) > 0 }, patience, 20*time.Millisecond)
	cancel()
	require.ErrorIs(l.d.t, <-gone, context.Canceled)
	// Its own time would be over after thirty seconds.
	require.Eventually(l.d.t, func() bool { return scalar[int](l.d, running) == 0 }, 20*time.Second, 20*time.Millisecond)
}

// 64 callers go on while everything around them is killed. What they were told is what the tables hold, whatever changed a
// row was allowed on the record before, and whatever was answered has a signed receipt.
func TestDatabasesUnderLoad(t *testing.T) {
	lasts := 10 * time.Second
	if text := os.Getenv(loadTimeVariable); text != "" {
		var err error
		lasts, err = time.ParseDuration(text)
		require.NoError(t, err, loadTimeVariable)
	}
	d := startDatabases(t)
	l := &load{d: d, ledger: map[string]string{}, moves: map[string]int{}}
	end := time.NewTimer(lasts)
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for caller := range loadCallers {
		callers.Go(func() { l.call(ctx, caller) })
	}
	halt := func() {
		l.stopped.Store(true)
		callers.Wait()
		cancel()
	}
	defer halt()
	l.more(loadCallers)
	breakings := l.breakings()
	for _, name := range slices.Sorted(maps.Keys(breakings)) {
		before := l.answered.Load()
		breakings[name]()
		l.more(4 * loadCallers)
		t.Logf("%s; %d requests were answered meanwhile", name, l.answered.Load()-before)
	}
	<-end.C
	halt()
	for _, text := range slices.Sorted(maps.Keys(l.told.said)) {
		t.Logf("%6d times: %.300s", l.told.said[text], text)
	}
	require.Empty(t, l.rotten)
	l.tables()
	l.leftovers()
	l.journal()
}

// tables compares what callers were told with what is there.
func (l *load) tables() {
	t := l.d.t
	require.Zero(t, scalar[int](l.d, "SELECT count(*) FROM (SELECT FROM shop.ledger GROUP BY request HAVING count(*) <> 2) half"), "half of a statement")
	require.Zero(t, scalar[int](l.d, "SELECT sum(balance) FROM shop.accounts"), "half of a statement")
	written := strings.Fields(scalar[string](l.d, "SELECT coalesce(string_agg(DISTINCT request, ' '), '') FROM shop.ledger"))
	in := map[string]bool{}
	for _, request := range written {
		in[request] = true
	}
	became := map[string]int{}
	for request, told := range l.ledger {
		became[told]++
		switch told {
		case wasAnswered:
			require.True(t, in[request], "%s was answered and is not there", request)
		case wasUnchanged:
			require.False(t, in[request], "%s was refused and is there", request)
		}
	}
	moved := scalar[int](l.d, "SELECT sum(moves) FROM shop.accounts") / 2
	require.GreaterOrEqual(t, moved, l.moves[wasAnswered])
	require.LessOrEqual(t, moved, l.moves[wasAnswered]+l.moves[isUnknown])
	t.Logf("inserts: %v, of which %d are there; transfers: %v, of which %d were made", became, len(written), l.moves, moved)
	require.NotZero(t, became[wasAnswered])
	require.NotZero(t, l.moves[wasAnswered])
}

// leftovers wants no connection, no process and no memory to be left over.
func (l *load) leftovers() {
	t := l.d.t
	const sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
	// Eight for the binding's role, and eight for the store, once the server has seen off those that were this test's.
	require.Eventually(t, func() bool { return scalar[int](l.d, sessions) <= 16 }, patience, 20*time.Millisecond)
	peak := l.d.server.peak(t)
	t.Logf("the component server had at most %d MiB", peak)
	require.Less(t, peak, maxServerMemory)
	l.d.server.end(t)
	require.Eventually(t, func() bool { return scalar[int](l.d, sessions) == 0 }, patience, 20*time.Millisecond)
	require.NoFileExists(t, fmt.Sprintf("/proc/%d/stat", l.d.server.cmd.Process.Pid))
}

// journal wants an intent before each change, and a receipt that verifies of each answer.
func (l *load) journal() {
	t := l.d.t
	journal := testkit.ReadJournal(t, l.d.folder+"/journal", l.d.bundle())
	intents, allowed := map[receipt.Digest]bool{}, map[string]bool{}
	for _, intent := range journal.Intents {
		intents[intent.RequestDigest] = true
		allowed[intent.ID] = true
	}
	ok := map[receipt.Digest]int64{}
	transfers := 0
	for _, r := range journal.Receipts {
		delete(allowed, r.ID)
		if r.Outcome.Status != receipt.StatusOK {
			continue
		}
		ok[r.RequestDigest] = r.Outcome.Rows
		if r.RequestDigest == receipt.Sum([]byte(transferSQL)) {
			transfers++
		}
	}
	for _, request := range strings.Fields(scalar[string](l.d, "SELECT coalesce(string_agg(DISTINCT request, ' '), '') FROM shop.ledger")) {
		require.True(t, intents[receipt.Sum([]byte(ledgerSQL(request)))], "%s was written without an intent", request)
	}
	for request, told := range l.ledger {
		if told == wasAnswered {
			require.Equal(t, int64(2), ok[receipt.Sum([]byte(ledgerSQL(request)))], "%s was answered without a receipt", request)
		}
	}
	require.GreaterOrEqual(t, transfers, l.moves[wasAnswered])
	t.Logf("%d receipts verified, %d intents, of which %d were open when the server was killed", len(journal.Receipts), len(journal.Intents), len(allowed))
	// Two kills, and a caller waits for one request at a time.
	require.LessOrEqual(t, len(allowed), 2*loadCallers)
}
