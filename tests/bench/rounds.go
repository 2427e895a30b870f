// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// rotated starts the order one further each round, so that none is always first
// or always after the same pause.
func rotated[T any](all []T, round int) []T {
	at := round % len(all)
	return slices.Concat(all[at:], all[:at])
}

// measure fills in the cells. Those that are compared follow each other: in a
// round, all variants at one number of connections.
func (r *Report) measure(ctx context.Context, b *bench, s settings, progress io.Writer) error {
	for round := range s.rounds {
		for _, connections := range s.connections {
			for _, t := range rotated(b.targets, round) {
				cell, err := b.cell(ctx, t, connections, s.duration)
				if err != nil {
					return err
				}
				cell.Round = round + 1
				r.Cells = append(r.Cells, cell)
				fmt.Fprintf(progress, "round %d of %d  %2d connections  %-10s  p50 %7.2f ms  p99 %7.2f ms  %6.0f requests/s\n",
					cell.Round, s.rounds, connections, t.name, cell.P50, cell.P99, cell.PerSecond)
			}
		}
	}
	return nil
}
