// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/rate"
)

// model keeps the time of every call that was allowed. A further one is allowed if no window that begins with one of
// them or now would see more than Count and one for each full interval.
type model map[string][]time.Time

func (m model) room(key string, limit rate.Limit, now time.Time) bool {
	interval := (limit.Per + time.Duration(limit.Count) - 1) / time.Duration(limit.Count)
	calls := append(m[key][:len(m[key]):len(m[key])], now)
	for i, from := range calls {
		if len(calls)-i > limit.Count+int(now.Sub(from)/interval) {
			return false
		}
	}
	return true
}

// take allows all claims or none, and gives the index of the first without room.
func (m model) take(now time.Time, claims ...rate.Claim) int {
	undo := model{}
	for i, c := range claims {
		if _, ok := undo[c.Key]; !ok {
			undo[c.Key] = m[c.Key]
		}
		if !m.room(c.Key, c.Limit, now) {
			for key, calls := range undo {
				m[key] = calls
			}
			return i
		}
		m[c.Key] = append(m[c.Key][:len(m[c.Key]):len(m[c.Key])], now)
	}
	return -1
}

// limits has one for each key, because the model does not know what to make of a change.
var limits = map[string]rate.Limit{
	"a": {Count: 1, Per: time.Second}, "b": {Count: 3, Per: time.Second}, "c": {Count: 7, Per: time.Minute},
	"d": {Count: 30, Per: time.Minute}, "e": {Count: 2, Per: time.Hour}, "f": {Count: 999_999, Per: time.Hour},
}

func TestAgainstModel(t *testing.T) {
	for _, name := range []string{"memory", "file"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			rapid.Check(t, func(t *rapid.T) {
				clock := &testClock{}
				clock.set(start)
				options := rate.Options{Now: clock.Now, MaxKeys: len(limits)}
				if name == "file" {
					options.File = filepath.Join(dir, rapid.StringMatching(`[a-z]{20}`).Draw(t, "file"))
				}
				l, err := rate.New(options)
				require.NoError(t, err)
				defer func() { require.NoError(t, l.Close()) }()
				m := model{}
				for range rapid.IntRange(1, 60).Draw(t, "steps") {
					if options.File != "" && rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
						require.NoError(t, l.Close())
						l, err = rate.New(options)
						require.NoError(t, err)
					}
					clock.add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pass")))
					step(t, l, m, clock)
				}
			})
		})
	}
}

func step(t *rapid.T, l *rate.Limiter, m model, clock *testClock) {
	keys := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 1, 5).Draw(t, "keys")
	var claims []rate.Claim
	for _, key := range keys {
		claims = append(claims, rate.Claim{Key: key, Limit: limits[key]})
	}
	for range rapid.IntRange(1, 4).Draw(t, "times") {
		ok, which, retryAfter, err := l.Take(claims...)
		require.NoError(t, err)
		require.Equal(t, m.take(clock.Now(), claims...), which)
		require.Equal(t, which == -1, ok)
		require.Equal(t, ok, retryAfter == 0)
		if ok || slices.Contains(keys[:which], keys[which]) {
			continue
		}
		c, then := claims[which], clock.Now().Add(retryAfter)
		require.True(t, m.room(c.Key, c.Limit, then))
		require.False(t, m.room(c.Key, c.Limit, then.Add(-1)))
	}
}
