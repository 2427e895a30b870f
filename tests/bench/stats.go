// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"slices"
	"time"
)

func sorted[T cmp.Ordered](values []T) []T {
	values = slices.Clone(values)
	slices.Sort(values)
	return values
}

// percentile gives the smallest value that at least p per cent of the sorted
// values do not exceed (nearest rank). It is 0 of none.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	rank := (len(values)*p + 99) / 100
	return values[max(rank, 1)-1]
}

// Spread is the median of some values, with the lowest and the highest.
type Spread struct {
	Median  float64 `json:"median"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
}

// spread is zero of no values. The median of an even number is the mean of the
// two in the middle.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	values = sorted(values)
	n := len(values)
	return Spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Lowest: values[0], Highest: values[n-1]}
}

// paired combines one number of two variants' cells of the same round and
// number of connections, for every round in which both were measured.
func paired(cells []Cell, c comparison, connections int, number func(Cell) float64, combine func(of, to float64) float64) Spread {
	find := func(variant string, round int) int {
		return slices.IndexFunc(cells, func(x Cell) bool {
			return x.Variant == variant && x.Connections == connections && x.Round == round
		})
	}
	var values []float64
	for _, x := range cells {
		if x.Variant != c.of || x.Connections != connections {
			continue
		}
		if to := find(c.to, x.Round); to >= 0 {
			values = append(values, combine(number(x), number(cells[to])))
		}
	}
	return spread(values)
}

func ratio(of, to float64) float64      { return of / to }
func difference(of, to float64) float64 { return of - to }

func p50(c Cell) float64       { return c.P50 }
func p99(c Cell) float64       { return c.P99 }
func perSecond(c Cell) float64 { return c.PerSecond }
func calleeCPU(c Cell) float64 { return c.CalleeCPU }
func callerCPU(c Cell) float64 { return c.CallerCPU }
