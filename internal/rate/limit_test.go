// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/rate"
)

func TestParseLimit(t *testing.T) {
	for text, want := range map[string]rate.Limit{
		"1/second":       {Count: 1, Per: time.Second},
		"30/minute":      {Count: 30, Per: time.Minute},
		"1000000/hour":   {Count: rate.MaxCount, Per: time.Hour},
		"999999/second":  {Count: 999_999, Per: time.Second},
		"10/hour":        {Count: 10, Per: time.Hour},
		"1000000/second": {Count: 1_000_000, Per: time.Second},
	} {
		limit, err := rate.ParseLimit(text)
		require.NoError(t, err, text)
		require.Equal(t, want, limit)
		require.Equal(t, text, limit.String())
	}
	for _, text := range []string{
		"", "/", "30", "30/", "/minute", "0/minute", "-1/minute", "+30/minute", "030/minute", "1000001/hour", "1e3/hour",
		"3.5/hour", "1_000/hour", "30/minutes", "30/min", "30/m", "5/s", "30/Minute", "30/MINUTE", " 30/minute", "30/minute ",
		"30 /minute", "30/ minute", "30/minute\n", "30/1m0s", "30/0s", "30/day", "30/minute/hour", "30//minute", "30 per minute",
		"99999999999999999999/hour", "٣/minute", "0x1e/minute", "30/minute\x00",
	} {
		limit, err := rate.ParseLimit(text)
		require.ErrorContains(t, err, "write a count from 1 to 1000000, a slash, and second, minute or hour", text)
		require.Zero(t, limit, text)
	}
	_, err := rate.ParseLimit(strings.Repeat("9", 1<<20))
	require.Less(t, len(err.Error()), 300)
}

func FuzzParseLimit(f *testing.F) {
	for _, seed := range []string{"30/minute", "5/s", "1/hour", "0/second", "+1/second", "1000001/hour", "/", "\xff/second"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, err := rate.ParseLimit(text)
		if err != nil {
			require.Zero(t, limit)
			return
		}
		require.Equal(t, text, limit.String())
		l, clock := memory(t, 0)
		clock.set(start)
		ok, _, _, err := l.Take(rate.Claim{Key: "k", Limit: limit})
		require.NoError(t, err, "what is parsed can be used")
		require.True(t, ok)
	})
}
