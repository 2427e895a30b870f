// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/rate"
)

// roleEnv makes a re-executed test binary do the work of a child process instead of running tests.
const roleEnv = "CUSTODY_RATE_TEST_ROLE"

func TestMain(m *testing.M) {
	var child func(file string) error
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "taker":
		child = takeUntilKilled
	case "limited":
		child = hitFileSizeLimit
	case "headerless":
		child = failToBegin
	}
	if err := child(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// kept opens a file with a clock that stands at start.
func kept(tb testing.TB, file string, maxKeys int) (*rate.Limiter, *testClock) {
	tb.Helper()
	clock := &testClock{}
	clock.set(start)
	return reopen(tb, file, maxKeys, clock), clock
}

func reopen(tb testing.TB, file string, maxKeys int, clock *testClock) *rate.Limiter {
	tb.Helper()
	l, err := rate.New(rate.Options{File: file, Now: clock.Now, MaxKeys: maxKeys})
	require.NoError(tb, err)
	require.True(tb, l.Persistent())
	tb.Cleanup(func() {
		if err := l.Close(); !errors.Is(err, rate.ErrClosed) {
			require.NoError(tb, err)
		}
	})
	return l
}

func newFile(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "rates")
}

// copyOf is what a process that was killed now would leave behind.
func copyOf(tb testing.TB, file string) string {
	tb.Helper()
	data, err := os.ReadFile(file)
	require.NoError(tb, err)
	return fileOf(tb, data)
}

func fileOf(tb testing.TB, data []byte) string {
	tb.Helper()
	file := newFile(tb)
	require.NoError(tb, os.WriteFile(file, data, 0o600))
	return file
}

func slots(tb testing.TB, file string) int {
	tb.Helper()
	info, err := os.Stat(file)
	require.NoError(tb, err)
	require.Zero(tb, info.Size()%rate.SlotSize)
	return int(info.Size()/rate.SlotSize) - 1
}

func TestRestartKeeps(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 0)
	used, some := claim(t, "used", "6/minute"), claim(t, "some", "100/hour")
	drain(t, l, used)
	for range 40 {
		_, _, _, err := l.Take(some)
		require.NoError(t, err)
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoError(t, l.Close())
	_, _, _, err = l.Take(some)
	require.ErrorIs(t, err, rate.ErrClosed)
	require.ErrorIs(t, l.Close(), rate.ErrClosed)

	for range 3 {
		l = reopen(t, file, 0, clock)
		taken, wait := drain(t, l, used)
		require.Zero(t, taken)
		require.Equal(t, 10*time.Second, wait)
		require.NoError(t, l.Close())
	}
	clock.add(10 * time.Second)
	l = reopen(t, file, 0, clock)
	taken, _ := drain(t, l, used)
	require.Equal(t, 1, taken, "one came back while nobody was there")
	taken, _ = drain(t, l, some)
	require.Equal(t, 60, taken)
}

// What stands in the file after each Take is what was charged, without Close.
func TestKilledAtAnyTime(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 0)
	a, b := claim(t, "a", "10/minute"), claim(t, "b", "7/hour")
	for used := 1; used <= 7; used++ {
		ok, _, _, err := l.Take(a, b)
		require.NoError(t, err)
		require.True(t, ok)
		after := reopen(t, copyOf(t, file), 0, clock)
		taken, _ := drain(t, after, a)
		require.Equal(t, 10-used, taken)
		taken, _ = drain(t, after, b)
		require.Equal(t, 7-used, taken)
	}
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	ok, _, _, err := l.Take(a, b)
	require.NoError(t, err)
	require.False(t, ok)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after, "a refused call writes nothing")
}

func TestSecondOpenerIsRefused(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 0)
	c := claim(t, "k", "5/minute")
	drain(t, l, c)
	_, err := rate.New(rate.Options{File: file, Now: clock.Now})
	require.ErrorIs(t, err, rate.ErrLocked)
	require.ErrorContains(t, err, file)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))
	require.NoError(t, l.Close())
	taken, _ := drain(t, reopen(t, file, 0, clock), c)
	require.Zero(t, taken)
}

func TestRestartWithChangedLimitAndClock(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 0)
	drain(t, l, claim(t, "k", "10/minute"))
	require.NoError(t, l.Close())

	l = reopen(t, file, 0, clock)
	taken, wait := drain(t, l, claim(t, "k", "100/second"))
	require.Zero(t, taken, "an edit while nobody was there gives nothing")
	require.Equal(t, 10*time.Millisecond, wait)
	require.NoError(t, l.Close())

	clock.add(-24 * time.Hour)
	l = reopen(t, file, 0, clock)
	taken, wait = drain(t, l, claim(t, "k", "10/minute"))
	require.Zero(t, taken)
	require.Equal(t, 6*time.Second, wait, "not locked out for a day")
	clock.add(wait)
	taken, _ = drain(t, l, claim(t, "k", "10/minute"))
	require.Equal(t, 1, taken)
}

func TestSlotsAreReused(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 4)
	for round := range 20 {
		for i := range 4 {
			ok, _, _, err := l.Take(claim(t, fmt.Sprintf("%d of round %d", i, round), "1/second"))
			require.NoError(t, err)
			require.True(t, ok)
		}
		_, _, _, err := l.Take(claim(t, "one more", "1/second"))
		require.ErrorIs(t, err, rate.ErrFull)
		require.Equal(t, 4, slots(t, file))
		clock.add(time.Second)
	}
}

func TestOpeningCompacts(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 0)
	take := func(key string, limit string) {
		ok, _, _, err := l.Take(claim(t, key, limit))
		require.NoError(t, err)
		require.True(t, ok)
	}
	for i := range 1000 {
		limit := "1/second"
		if i%7 == 3 || i > 990 {
			limit = "1/hour"
		}
		take(fmt.Sprint(i), limit)
	}
	require.Equal(t, 1000, slots(t, file))
	clock.add(time.Second)
	live := 0
	for range 3 {
		require.NoError(t, l.Close())
		l = reopen(t, file, 0, clock)
		live = 0
		for i := range 1000 {
			if i%7 == 3 || i > 990 {
				taken, _ := drain(t, l, claim(t, fmt.Sprint(i), "1/hour"))
				require.Zero(t, taken, "%d is kept", i)
				live++
			}
		}
		require.Equal(t, live, slots(t, file))
		require.Equal(t, live, l.Keys())
	}
	take("new", "1/second")
	require.Equal(t, live+1, slots(t, file))
	clock.add(time.Hour)
	require.NoError(t, l.Close())
	l = reopen(t, file, 0, clock)
	require.Zero(t, slots(t, file))
	take("anew", "1/hour")
	require.Equal(t, 1, slots(t, file))
}

// A key that was forgotten and comes back can have two slots. So it has if the process is killed in the compaction.
func TestKeyInTwoSlots(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 2)
	first, second, c := claim(t, "first", "1/second"), claim(t, "second", "1/second"), claim(t, "third", "2/minute")
	for _, c := range []rate.Claim{c, first} {
		_, _, _, err := l.Take(c)
		require.NoError(t, err)
	}
	one, err := os.ReadFile(file)
	require.NoError(t, err)
	clock.add(time.Second)
	for _, c := range []rate.Claim{second, c} {
		_, _, _, err = l.Take(c)
		require.NoError(t, err)
	}
	two, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, l.Close())

	older, newer := one[rate.SlotSize:2*rate.SlotSize], two[rate.SlotSize:2*rate.SlotSize]
	require.NotEqual(t, older, newer)
	for name, order := range map[string][][]byte{
		"newer last": {older, newer}, "newer first": {newer, older}, "thrice": {older, newer, older}, "equal": {newer, newer},
	} {
		t.Run(name, func(t *testing.T) {
			data := append([]byte(nil), two[:rate.SlotSize]...)
			for _, slot := range order {
				data = append(data, slot...)
			}
			file := fileOf(t, data)
			for range 2 {
				l := reopen(t, file, 0, clock)
				require.Equal(t, 1, slots(t, file))
				taken, _ := drain(t, l, c)
				require.Zero(t, taken, "the one that says more was used counts")
				require.NoError(t, l.Close())
			}
		})
	}
}

func TestMoreKeysThanMayBe(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 10)
	for i := range 10 {
		drain(t, l, claim(t, fmt.Sprint(i), "6/minute"))
	}
	require.NoError(t, l.Close())
	l = reopen(t, file, 3, clock)
	require.Equal(t, 10, l.Keys(), "what was used is not forgotten")
	for i := range 10 {
		taken, _ := drain(t, l, claim(t, fmt.Sprint(i), "6/minute"))
		require.Zero(t, taken)
	}
	_, _, _, err := l.Take(claim(t, "new", "6/minute"))
	require.ErrorIs(t, err, rate.ErrFull)
	clock.add(time.Minute)
	ok, _, _, err := l.Take(claim(t, "new", "6/minute"))
	require.NoError(t, err)
	require.True(t, ok)
}

func TestFilesThatCannotBe(t *testing.T) {
	folder := t.TempDir()
	for name, file := range map[string]string{
		"folder": folder, "no folder": filepath.Join(folder, "missing", "rates"), "device": "/dev/null",
		"name": filepath.Join(folder, strings.Repeat("x", 300)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := rate.New(rate.Options{File: file, Now: time.Now})
			require.ErrorContains(t, err, file)
			require.ErrorContains(t, err, "rate: ")
		})
	}
	_, err := rate.New(rate.Options{File: newFile(t), Now: func() time.Time { return time.Time{} }})
	require.ErrorIs(t, err, rate.ErrClock)
}
