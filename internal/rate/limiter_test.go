// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/rate"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testClock stands still unless it is moved.
type testClock struct{ nanos atomic.Int64 }

func (c *testClock) Now() time.Time             { return time.Unix(0, c.nanos.Load()) }
func (c *testClock) set(t time.Time)            { c.nanos.Store(t.UnixNano()) }
func (c *testClock) add(d time.Duration)        { c.nanos.Add(int64(d)) }
func (c *testClock) tick(d time.Duration) int64 { return c.nanos.Add(int64(d)) }

func memory(tb testing.TB, maxKeys int) (*rate.Limiter, *testClock) {
	tb.Helper()
	clock := &testClock{}
	clock.set(start)
	l, err := rate.New(rate.Options{Now: clock.Now, MaxKeys: maxKeys})
	require.NoError(tb, err)
	require.False(tb, l.Persistent())
	return l, clock
}

// limit is what String gives as text.
func limit(tb testing.TB, text string) rate.Limit {
	tb.Helper()
	var l rate.Limit
	var unit string
	_, err := fmt.Sscanf(text, "%d/%s", &l.Count, &unit)
	require.NoError(tb, err)
	l.Per = map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour}[unit]
	require.Equal(tb, text, l.String())
	return l
}

func claim(tb testing.TB, key, text string) rate.Claim {
	tb.Helper()
	return rate.Claim{Key: key, Limit: limit(tb, text)}
}

// drain takes until there is no room, and gives how often there was, and when there will be.
func drain(tb testing.TB, l *rate.Limiter, c rate.Claim) (taken int, retryAfter time.Duration) {
	tb.Helper()
	for {
		ok, which, retryAfter, err := l.Take(c)
		require.NoError(tb, err)
		if !ok {
			require.Zero(tb, which)
			require.Positive(tb, retryAfter)
			return taken, retryAfter
		}
		require.Equal(tb, -1, which)
		require.Zero(tb, retryAfter)
		taken++
		require.LessOrEqual(tb, taken, c.Limit.Count, "more at once than the limit")
	}
}

func TestWindows(t *testing.T) {
	for text, every := range map[string]time.Duration{
		"1/second": time.Second, "5/second": 200 * time.Millisecond, "30/minute": 2 * time.Second, "1/minute": time.Minute,
		"7/minute": (time.Minute + 6) / 7, "1/hour": time.Hour, "1000/hour": 3600 * time.Millisecond,
		"999/second": (time.Second + 998) / 999,
	} {
		t.Run(text, func(t *testing.T) {
			l, clock := memory(t, 0)
			c := claim(t, "caller", text)
			n := c.Limit.Count
			taken, wait := drain(t, l, c)
			require.Equal(t, n, taken)
			require.Equal(t, every, wait)

			clock.add(every - 1)
			taken, wait = drain(t, l, c)
			require.Zero(t, taken, "a nanosecond early")
			require.Equal(t, time.Duration(1), wait)
			clock.add(1)
			taken, wait = drain(t, l, c)
			require.Equal(t, 1, taken, "one comes back")
			require.Equal(t, every, wait)

			clock.add(time.Duration(n)*every - 1)
			taken, _ = drain(t, l, c)
			require.Equal(t, n-1, taken, "a nanosecond before it is full")
			clock.add(1000 * time.Hour)
			taken, _ = drain(t, l, c)
			require.Equal(t, n, taken, "never more than full")
		})
	}
}

func TestKeysCountApart(t *testing.T) {
	l, _ := memory(t, 0)
	for _, key := range []string{"", "a", "b", "a\x00b", "ab", string(make([]byte, 10_000))} {
		taken, _ := drain(t, l, claim(t, key, "3/minute"))
		require.Equal(t, 3, taken, "%q", key)
	}
}

func TestAllOrNothing(t *testing.T) {
	l, clock := memory(t, 0)
	a, b, c := claim(t, "a", "10/minute"), claim(t, "b", "2/minute"), claim(t, "c", "1/hour")
	drain(t, l, b)
	ok, which, retryAfter, err := l.Take(a, b, c)
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, 1, which)
	require.Equal(t, 30*time.Second, retryAfter)
	require.Equal(t, 1, l.Keys(), "a key that was not charged is not kept")

	drain(t, l, c)
	_, which, _, err = l.Take(a, b, c)
	require.NoError(t, err)
	require.Equal(t, 1, which, "the first without room")
	_, which, retryAfter, err = l.Take(a, c, b)
	require.NoError(t, err)
	require.Equal(t, 1, which)
	require.Equal(t, time.Hour, retryAfter)
	taken, _ := drain(t, l, a)
	require.Equal(t, 10, taken, "nothing was charged")

	clock.add(time.Hour)
	ok, _, _, err = l.Take(a, b, c)
	require.NoError(t, err)
	require.True(t, ok)
	for c, want := range map[rate.Claim]int{a: 9, b: 1, c: 0} {
		taken, _ = drain(t, l, c)
		require.Equal(t, want, taken, "each was charged one")
	}
}

func TestOneKeyTwice(t *testing.T) {
	l, _ := memory(t, 0)
	c := claim(t, "k", "3/minute")
	ok, _, _, err := l.Take(c, c)
	require.NoError(t, err)
	require.True(t, ok)
	ok, which, retryAfter, err := l.Take(c, c)
	require.NoError(t, err)
	require.False(t, ok, "there is room for one only")
	require.Equal(t, 1, which)
	require.Equal(t, 20*time.Second, retryAfter)
	taken, _ := drain(t, l, c)
	require.Equal(t, 1, taken)

	fresh := claim(t, "fresh", "1/minute")
	ok, which, _, err = l.Take(fresh, fresh)
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, 1, which)
	taken, _ = drain(t, l, fresh)
	require.Equal(t, 1, taken)
}

func TestNoClaims(t *testing.T) {
	l, _ := memory(t, 0)
	ok, which, _, err := l.Take()
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, -1, which)
}

func TestManyClaims(t *testing.T) {
	l, _ := memory(t, 0)
	var claims []rate.Claim
	for i := range 20 {
		claims = append(claims, claim(t, fmt.Sprint(i), "1/minute"))
	}
	ok, _, _, err := l.Take(claims...)
	require.NoError(t, err)
	require.True(t, ok)
	ok, which, _, err := l.Take(claims...)
	require.NoError(t, err)
	require.False(t, ok)
	require.Zero(t, which)
}

// A changed limit leaves the lower of what was left and what it allows, and fills up from there.
func TestChangedLimit(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		use                 int
		pass                time.Duration
		want                int
		wait                time.Duration // after them
	}{
		{"up, used up", "30/minute", "60/minute", 30, 0, 0, time.Second},
		{"up, some left", "30/minute", "60/minute", 10, 0, 20, time.Second},
		{"up, one back", "30/minute", "60/minute", 30, 2 * time.Second, 1, time.Second},
		{"up, half of one back", "30/minute", "60/minute", 30, time.Second, 0, 500 * time.Millisecond},
		{"up, full again", "30/minute", "60/minute", 30, time.Minute, 60, time.Second},
		{"up, not quite full", "30/minute", "60/minute", 30, time.Minute - 1, 29, 1},
		{"up, the last of it back", "1/minute", "1000/hour", 1, time.Minute, 1000, 3600 * time.Millisecond},
		{"down, used up", "60/minute", "30/minute", 60, 0, 0, 2 * time.Second},
		{"down, more left than it allows", "60/minute", "30/minute", 10, 0, 30, 2 * time.Second},
		{"down, less left than it allows", "60/minute", "30/minute", 55, 0, 5, 2 * time.Second},
		{"shorter unit, used up", "1/hour", "1/second", 1, 0, 0, time.Second},
		{"longer unit, used up", "1/second", "1/hour", 1, 0, 0, time.Hour},
		{"longer unit, some left", "100/second", "5/hour", 97, 0, 3, 12 * time.Minute},
		{"from the least to the most", "1/hour", "1000000/second", 1, 0, 0, time.Microsecond},
		{"from the most to the least", "1000000/second", "1/hour", 999_999, 0, 1, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, clock := memory(t, 0)
			old := claim(t, "k", c.before)
			for range c.use {
				ok, _, _, err := l.Take(old)
				require.NoError(t, err)
				require.True(t, ok)
			}
			clock.add(c.pass)
			taken, wait := drain(t, l, claim(t, "k", c.after))
			require.Equal(t, c.want, taken)
			require.InDelta(t, c.wait, wait, 1, "rounded up to the nanosecond")
			clock.add(wait)
			taken, _ = drain(t, l, claim(t, "k", c.after))
			require.Equal(t, 1, taken, "the new limit fills it up, from its first sight on")
		})
	}
}

func TestEditsGiveNothing(t *testing.T) {
	l, clock := memory(t, 0)
	texts := []string{"10/minute", "1000000/second", "1/hour", "7/second", "11/minute"}
	drain(t, l, claim(t, "k", texts[0]))
	for i := range 1000 {
		taken, _ := drain(t, l, claim(t, "k", texts[i%len(texts)]))
		require.Zero(t, taken, "edit %d", i)
	}
	taken := 0
	for range 3600 { // and take nothing: the slower of two gives at least one a minute
		n, _ := drain(t, l, claim(t, "k", "1/minute"))
		m, _ := drain(t, l, claim(t, "k", "2/minute"))
		taken += n + m
		clock.add(time.Second)
	}
	require.GreaterOrEqual(t, taken, 59)
	require.LessOrEqual(t, taken, 120)
}

func TestClockSetBack(t *testing.T) {
	for _, back := range []time.Duration{time.Nanosecond, time.Second, time.Minute, time.Hour, 20 * 365 * 24 * time.Hour} {
		t.Run(back.String(), func(t *testing.T) {
			l, clock := memory(t, 0)
			used, half := claim(t, "used", "6/minute"), claim(t, "half", "6/minute")
			drain(t, l, used)
			for range 3 {
				_, _, _, err := l.Take(half)
				require.NoError(t, err)
			}
			clock.add(-back)
			taken, wait := drain(t, l, used)
			require.Zero(t, taken)
			require.LessOrEqual(t, wait, 10*time.Second, "not locked out")
			taken, _ = drain(t, l, half)
			require.LessOrEqual(t, taken, 3, "nothing is gained")
			clock.add(10 * time.Second)
			taken, _ = drain(t, l, used)
			require.Equal(t, 1, taken)
			clock.add(time.Minute)
			taken, _ = drain(t, l, used)
			require.Equal(t, 6, taken)
		})
	}
}

func TestClockSetBackAndChangedLimit(t *testing.T) {
	for _, back := range []time.Duration{time.Nanosecond, time.Hour, 20 * 365 * 24 * time.Hour} {
		for text, want := range map[string]time.Duration{
			"1000000/second": time.Microsecond, "1/hour": time.Hour, "5/minute": 12 * time.Second,
		} {
			l, clock := memory(t, 0)
			drain(t, l, claim(t, "k", "6/minute"))
			clock.add(-back)
			taken, wait := drain(t, l, claim(t, "k", text))
			require.Zero(t, taken)
			require.Equal(t, want, wait)
		}
	}
}

func TestClockSetForward(t *testing.T) {
	l, clock := memory(t, 0)
	c := claim(t, "k", "6/minute")
	drain(t, l, c)
	clock.add(100 * 365 * 24 * time.Hour)
	taken, _ := drain(t, l, c)
	require.Equal(t, 6, taken, "full, and not more")
	clock.set(start)
	taken, wait := drain(t, l, c)
	require.Zero(t, taken)
	require.Equal(t, 10*time.Second, wait)
}

func TestUnusableClock(t *testing.T) {
	l, clock := memory(t, 0)
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)} {
		bad, err := rate.New(rate.Options{Now: func() time.Time { return at }})
		require.NoError(t, err)
		ok, which, _, err := bad.Take(claim(t, "k", "1/second"))
		require.ErrorIs(t, err, rate.ErrClock)
		require.False(t, ok)
		require.Equal(t, -1, which)
		require.Zero(t, bad.Keys())
	}
	clock.set(time.Date(2199, 12, 31, 23, 59, 59, 0, time.UTC))
	taken, _ := drain(t, l, claim(t, "k", "2/hour"))
	require.Equal(t, 2, taken)
}

func TestRefusedClaims(t *testing.T) {
	l, _ := memory(t, 0)
	good := claim(t, "good", "1/minute")
	for _, bad := range []rate.Limit{
		{},
		{Count: 1},
		{Per: time.Second},
		{Count: -1, Per: time.Second},
		{Count: rate.MaxCount + 1, Per: time.Hour},
		{Count: 1, Per: time.Minute + 1},
		{Count: 1, Per: -time.Second},
		{Count: 1, Per: 24 * time.Hour},
	} {
		ok, which, _, err := l.Take(good, rate.Claim{Key: "k", Limit: bad})
		require.ErrorContains(t, err, "is not a count from 1 to 1000000 for each second, minute or hour")
		require.False(t, ok)
		require.Equal(t, -1, which)
	}
	taken, _ := drain(t, l, good)
	require.Equal(t, 1, taken, "nothing was charged")
}

func TestFullTable(t *testing.T) {
	l, clock := memory(t, 3)
	minute := func(key string) rate.Claim { return claim(t, key, "6/minute") } // a call is forgotten after 10 s
	take := func(claims ...rate.Claim) error {
		ok, _, _, err := l.Take(claims...)
		require.Equal(t, err == nil, ok)
		return err
	}
	require.NoError(t, take(minute("a"), minute("b")))
	require.ErrorIs(t, take(minute("c"), minute("d")), rate.ErrFull)
	require.Equal(t, 2, l.Keys(), "none of the two was charged")
	require.NoError(t, take(minute("c")))
	require.ErrorIs(t, take(minute("d")), rate.ErrFull)
	require.NoError(t, take(minute("a")), "a key that is known goes on")

	clock.add(10*time.Second - 1)
	require.ErrorIs(t, take(minute("d")), rate.ErrFull)
	clock.add(1)
	require.NoError(t, take(minute("d")), "b and c are full")
	require.Equal(t, 2, l.Keys())
	require.NoError(t, take(minute("e")))
	require.ErrorIs(t, take(minute("f")), rate.ErrFull)

	clock.add(-24 * time.Hour)
	require.ErrorIs(t, take(minute("f")), rate.ErrFull)
	clock.add(time.Minute)
	require.NoError(t, take(minute("f")), "what waits for a day that is undone is forgotten in time")
	require.Equal(t, 1, l.Keys())
}

// A limit that is lowered in time brings the end of a bucket forward, which the search for full ones must not miss.
func TestFullTableAfterAnEdit(t *testing.T) {
	l, clock := memory(t, 1)
	_, _, _, err := l.Take(claim(t, "a", "1/hour"))
	require.NoError(t, err)
	_, _, _, err = l.Take(claim(t, "b", "1/hour"))
	require.ErrorIs(t, err, rate.ErrFull)
	drain(t, l, claim(t, "a", "1/second"))
	clock.add(time.Second)
	ok, _, _, err := l.Take(claim(t, "b", "1/hour"))
	require.NoError(t, err)
	require.True(t, ok)
}

func TestOptions(t *testing.T) {
	_, err := rate.New(rate.Options{})
	require.ErrorContains(t, err, "no clock")
	_, err = rate.New(rate.Options{Now: time.Now, MaxKeys: -1})
	require.ErrorContains(t, err, "-1 is not a number of keys")
}

func TestClosed(t *testing.T) {
	l, _ := memory(t, 0)
	require.NoError(t, l.Close())
	ok, _, _, err := l.Take(claim(t, "k", "1/minute"))
	require.ErrorIs(t, err, rate.ErrClosed)
	require.False(t, ok)
	require.ErrorIs(t, l.Close(), rate.ErrClosed)
}

// together has 64 goroutines take from the same keys, and gives how often each key was allowed.
func together(t *testing.T, l *rate.Limiter, rounds int, claims ...rate.Claim) int64 {
	t.Helper()
	var allowed atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for range rounds {
				ok, _, _, err := l.Take(claims...)
				if err != nil {
					t.Error(err)
					return
				}
				if ok {
					allowed.Add(1)
				}
			}
		})
	}
	group.Wait()
	return allowed.Load()
}

func TestTogetherNeverMore(t *testing.T) {
	l, _ := memory(t, 0)
	require.EqualValues(t, 500, together(t, l, 100, claim(t, "a", "600/minute"), claim(t, "b", "500/hour")))
	taken, _ := drain(t, l, claim(t, "a", "600/minute"))
	require.Equal(t, 100, taken)
}

func TestTogetherWhileTimePasses(t *testing.T) {
	clock := &testClock{}
	clock.set(start)
	l, err := rate.New(rate.Options{Now: func() time.Time { return time.Unix(0, clock.tick(time.Millisecond)) }})
	require.NoError(t, err)
	allowed := together(t, l, 100, claim(t, "a", "50/second"))
	require.EqualValues(t, 50+6399/20, allowed, "all at first, and one each 20 ms of the 6399 after the first")
}

func TestTakeDoesNotAllocate(t *testing.T) {
	l, clock := memory(t, 0)
	claims := []rate.Claim{
		claim(t, "policy/rule/spiffe://example.org/ns/default/app/caller/orders/run_report", "1000/second"),
		claim(t, "b", "1/hour"),
	}
	drain(t, l, claims[0])
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		clock.add(time.Millisecond)
		_, _, _, err := l.Take(claims...)
		if err != nil {
			t.Fatal(err)
		}
	}))
}
