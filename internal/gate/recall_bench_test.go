// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
)

// BenchmarkOpenSteps is the start of a door whose journal has more segments than
// are read, full of calls of workflows: the most that there is to recall.
func BenchmarkOpenSteps(b *testing.B) {
	p := working(b)
	g := p.chained()
	svid := p.ca.SVID("alice")
	const calls = 30_000 // some 170 MB
	for task := range uint32(calls) {
		ask := echo(p.alice)
		require.NoError(b, g.Asked(&ask, sign(b, question(p, task+1), svid)))
		permit, err := g.Check(ask)
		require.NoError(b, err)
		_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
		require.NoError(b, err)
	}
	steps := 0
	for b.Loop() {
		s, err := gate.OpenSteps(p.dir, p.now)
		require.NoError(b, err)
		steps, _ = s.Len()
	}
	b.ReportMetric(float64(steps), "steps")
}
