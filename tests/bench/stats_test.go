// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	upTo := func(n int) []time.Duration {
		var values []time.Duration
		for i := range n {
			values = append(values, time.Duration(i+1))
		}
		return values
	}
	for _, test := range []struct {
		name string
		in   []time.Duration
		p    int
		want time.Duration
	}{
		{"none", nil, 50, 0},
		{"one", upTo(1), 99, 1},
		{"the middle of three", upTo(3), 50, 2},
		{"the lower middle of four", upTo(4), 50, 2},
		{"p50 of a hundred", upTo(100), 50, 50},
		{"p99 of a hundred", upTo(100), 99, 99},
		{"p99 of a hundred and one", upTo(101), 99, 100},
		{"p99 of few is the highest", upTo(10), 99, 10},
		{"p0", upTo(10), 0, 1},
		{"p100", upTo(10), 100, 10},
	} {
		require.Equal(t, test.want, percentile(test.in, test.p), test.name)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	in := []float64{3, 1, 2}
	require.Equal(t, Spread{Median: 2, Lowest: 1, Highest: 3}, spread(in))
	require.Equal(t, []float64{3, 1, 2}, in, "the argument is not sorted")
	require.Equal(t, Spread{Median: 2.5, Lowest: 1, Highest: 9}, spread([]float64{9, 2, 3, 1}))
	require.Equal(t, Spread{Median: 4, Lowest: 4, Highest: 4}, spread([]float64{4}))
	require.Equal(t, Spread{}, spread(nil))
}

// The ratio of the medians would be 2 here; in each round it is another.
func TestPairedIsWithinARound(t *testing.T) {
	t.Parallel()
	cells := []Cell{
		{Variant: guard, Connections: 8, Round: 1, P50: 2},
		{Variant: plain, Connections: 8, Round: 1, P50: 1},
		{Variant: plain, Connections: 8, Round: 2, P50: 10},
		{Variant: guard, Connections: 8, Round: 2, P50: 11},
		{Variant: guard, Connections: 8, Round: 3, P50: 105},
		{Variant: plain, Connections: 8, Round: 3, P50: 100},
		{Variant: guard, Connections: 8, Round: 4, P50: 1000}, // its pair was not measured
		{Variant: guard, Connections: 1, Round: 1, P50: 50},
		{Variant: plain, Connections: 1, Round: 1, P50: 25},
		{Variant: opa, Connections: 8, Round: 1, P50: 7},
	}
	c := comparison{of: guard, to: plain}
	got := paired(cells, c, 8, p50, ratio)
	require.InDelta(t, 1.1, got.Median, 1e-9)
	require.InDelta(t, 1.05, got.Lowest, 1e-9)
	require.InDelta(t, 2, got.Highest, 1e-9)
	require.Equal(t, Spread{Median: 1, Lowest: 1, Highest: 5}, paired(cells, c, 8, p50, difference))
	require.Equal(t, Spread{Median: 2, Lowest: 2, Highest: 2}, paired(cells, c, 1, p50, ratio))
	require.Equal(t, Spread{}, paired(cells, c, 32, p50, ratio))
}

func TestRotated(t *testing.T) {
	t.Parallel()
	all := []string{"a", "b", "c"}
	require.Equal(t, []string{"a", "b", "c"}, rotated(all, 0))
	require.Equal(t, []string{"b", "c", "a"}, rotated(all, 1))
	require.Equal(t, []string{"c", "a", "b"}, rotated(all, 2))
	require.Equal(t, []string{"a", "b", "c"}, rotated(all, 3))
	require.Equal(t, []string{"a", "b", "c"}, all)
}
