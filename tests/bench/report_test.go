// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
)

// twoRounds is a report of plain and guard, whose guard costs p50 5 % and 20 us.
func twoRounds() *Report {
	r := &Report{
		Setup:  Setup{Go: "go1.26", Platform: "linux/amd64", Cores: 2, Dapr: "v1", Contrib: "v2", MCPServer: "SDK", Request: "echo", Disk: "ext4"},
		Rounds: 2, CellSeconds: 2, Connections: []int{8},
		Variants: []On{{Variant: direct, Says: "no sidecar"}, {Variant: guard, Says: "signed", Daprd: "daprd", Profile: "default.pgo"}},
		Notes:    []string{"A note."},
		Cells: []Cell{
			{Variant: direct, Connections: 8, Round: 1, P50: 5, P99: 10, PerSecond: 2000},
			{Variant: plain, Connections: 8, Round: 1, P50: 10, P99: 20, PerSecond: 1000, CalleeCPU: 500, CallerCPU: 400},
			{Variant: guard, Connections: 8, Round: 1, P50: 10.5, P99: 30, PerSecond: 970, CalleeCPU: 520, CallerCPU: 400},
			{Variant: direct, Connections: 8, Round: 2, P50: 5, P99: 10, PerSecond: 2000},
			{Variant: plain, Connections: 8, Round: 2, P50: 20, P99: 20, PerSecond: 500, CalleeCPU: 700, CallerCPU: 600},
			{Variant: guard, Connections: 8, Round: 2, P50: 21, P99: 20, PerSecond: 485, CalleeCPU: 720, CallerCPU: 600},
		},
	}
	chosen, err := chosen("plain,guard,direct")
	if err != nil {
		panic(err)
	}
	r.summarise(chosen)
	return r
}

func TestSummarise(t *testing.T) {
	t.Parallel()
	r := twoRounds()
	require.Len(t, r.Rows, 3)
	require.Equal(t, direct, r.Rows[0].Variant)
	require.Equal(t, Spread{Median: 15, Lowest: 10, Highest: 20}, r.Rows[1].P50)
	require.Len(t, r.Ratios, 2, "only of what was measured")
	guarded := r.Ratios[1]
	require.Equal(t, []string{guard, plain}, []string{guarded.Of, guarded.To})
	require.InDelta(t, 1.05, guarded.P50.Median, 1e-9)
	require.InDelta(t, 1.25, guarded.P99.Median, 1e-9)
	require.InDelta(t, 0.97, guarded.PerSecond.Median, 1e-9)
	require.Empty(t, r.Ratios[0].Aim)
	require.Equal(t, []Difference{{guard, plain, 8, Spread{Median: 20, Lowest: 20, Highest: 20}}}, r.CPU)
}

func TestAim(t *testing.T) {
	t.Parallel()
	aimed := comparison{p50AtMost: 1.05, perSecondAtLeast: 0.97}
	at := func(p50, perSecond float64) Ratio {
		return Ratio{P50: Spread{Median: p50}, PerSecond: Spread{Median: perSecond}}
	}
	for _, test := range []struct {
		name string
		got  Ratio
		want string
	}{
		{"just met", at(1.05, 0.97), "met"},
		{"too slow", at(1.0501, 1), "missed"},
		{"too few", at(1, 0.9699), "missed"},
	} {
		require.Equal(t, "p50 at most 1.05, requests/s at least 0.97: "+test.want, aimed.aim(test.got), test.name)
	}
	require.Empty(t, comparison{}.aim(at(9, 0)))
}

func TestTable(t *testing.T) {
	t.Parallel()
	r := twoRounds()
	var text strings.Builder
	require.NoError(t, r.writeTable(&text))
	require.Equal(t, `go1.26, linux/amd64, 2 cores, Dapr v1, components-contrib v2
Server: SDK. Journals on ext4.
Calls: echo.
Rounds: 2, each cell 2 s; client, sidecars and server share the cores.

direct      no sidecar
guard       signed [daprd, profile: default.pgo]

Medians over the rounds
variant  connections  p50 ms  p99 ms  requests/s  callee CPU us/call  caller CPU us/call
direct   8            5.00    10.00   2000        -                   -
plain    8            15.00   20.00   750         600                 500
guard    8            15.75   25.00   728         620                 500

Ratios: the median over the rounds of the ratios within a round (lowest-highest)
ratio           connections  p50               p99               requests/s        aim
plain / direct  8            3.00 (2.00-4.00)  2.00 (2.00-2.00)  0.38 (0.25-0.50)
guard / plain   8            1.05 (1.05-1.05)  1.25 (1.00-1.50)  0.97 (0.97-0.97)  p50 at most 1.05, requests/s at least 0.97: met

CPU time of the callee's daprd per call: the median over the rounds of the differences within a round (lowest-highest).
It holds whatever the process does and is noisy; go test -bench Guard ./middleware/mcpguard has the guard's own time.
difference     connections  us/call
guard - plain  8            +20 (+20 to +20)

A note.
`, text.String())
}

func TestJSON(t *testing.T) {
	t.Parallel()
	r := twoRounds()
	var text strings.Builder
	require.NoError(t, r.writeJSON(&text))
	var back Report
	require.NoError(t, json.Unmarshal([]byte(text.String()), &back))
	require.Equal(t, *r, back)
}

func TestJournalMustHoldEveryCall(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name              string
		intents, receipts int
		fails             bool
	}{
		{"two allowed and one refused", 2, 3, false},
		{"a receipt is missing", 2, 2, true},
		{"an intent is missing", 1, 3, true},
		{"nothing was written", 0, 0, true},
	} {
		dir := filepath.Join(t.TempDir(), "journal")
		w, err := journal.Open(journal.Options{Dir: dir})
		require.NoError(t, err)
		for kind, count := range map[journal.Kind]int{journal.KindIntent: test.intents, journal.KindReceipt: test.receipts} {
			for range count {
				_, err = w.Append(kind, []byte("x"))
				require.NoError(t, err)
			}
		}
		require.NoError(t, w.Close())
		r := &Report{}
		err = r.readJournals(&bench{targets: []*target{
			{variant: variant{name: plain}, calls: 9},
			{variant: variant{name: guard, journal: true}, journalDir: dir, calls: 3},
		}})
		require.Equal(t, test.fails, err != nil, test.name)
		require.Equal(t, test.fails, len(r.Notes) == 0, test.name)
	}
}
