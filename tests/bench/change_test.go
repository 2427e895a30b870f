// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runGuards has two guards in this process, over a policy that allows the echo.
func runGuards(t *testing.T) *guards {
	t.Helper()
	g := &guards{folder: t.TempDir()}
	require.NoError(t, os.Mkdir(g.policies(), 0o700))
	require.NoError(t, g.write("bench.yaml", guardPolicy))
	alive, end := io.Pipe()
	line, ready := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveGuards(alive, ready, []string{g.policies(), g.folder, "0", "2"}) }()
	addresses, err := bufio.NewReader(line).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, end.Close())
		require.NoError(t, <-ended)
	})
	g.addresses = strings.Fields(addresses)
	require.Len(t, g.addresses, 2)
	return g
}

func TestChangeIsSeenAtEveryGuard(t *testing.T) {
	t.Parallel()
	g := runGuards(t)
	saved := g.savers("")[0]
	for _, l := range changeLoads() {
		got, err := g.underLoad(t.Context(), l, func() (Change, error) { return g.change(t.Context(), saved, 4) })
		require.NoError(t, err)
		require.Equal(t, 4, got.Changes)
		require.Positive(t, got.Median)
		require.LessOrEqual(t, got.Median, got.P99)
		require.LessOrEqual(t, got.P99, got.Max)
		require.Zero(t, got.Command)
		require.Zero(t, got.Late, "calls before a change are late after a command only")
	}
	for _, address := range g.addresses {
		status, _, err := once(t.Context(), address, request(address, "/mcp", probeTool))
		require.NoError(t, err)
		require.Equal(t, http.StatusForbidden, status, "the tool is left as it was found")
	}
	require.DirExists(t, filepath.Join(g.folder, "guard-1"))
}

// A change that is not in force, and a load that is refused, end the measurement.
func TestChangeFails(t *testing.T) {
	t.Parallel()
	g := runGuards(t)
	idle := saver{"nothing", func(context.Context, bool) (time.Duration, error) { return 0, nil }}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, context.DeadlineExceeded)
	defer cancel()
	_, err := g.change(ctx, idle, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	require.NoError(t, g.write("bench.yaml", strings.ReplaceAll(guardPolicy, "allow", "deny")))
	_, err = g.underLoad(t.Context(), changeLoads()[2], func() (Change, error) { return g.change(t.Context(), g.savers("")[0], 2) })
	require.ErrorContains(t, err, "a call under load: status 403")
}

func TestChangeAims(t *testing.T) {
	t.Parallel()
	times := func(ms ...int) []time.Duration {
		var all []time.Duration
		for _, n := range ms {
			all = append(all, time.Duration(n)*time.Millisecond)
		}
		return all
	}
	tests := []struct {
		name  string
		times []time.Duration
		want  Change
	}{
		{"met", times(9, 1, 49), Change{Median: 9, P90: 49, P99: 49, Max: 49, Aim: "median below 10 ms, p99 below 50 ms: met"}},
		{"the median", times(10, 1, 49), Change{Median: 10, P90: 49, P99: 49, Max: 49, Aim: "median below 10 ms, p99 below 50 ms: missed"}},
		{"the p99", times(9, 1, 50), Change{Median: 9, P90: 50, P99: 50, Max: 50, Aim: "median below 10 ms, p99 below 50 ms: missed"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got Change
			got.summarise(test.times, times(3, 5, 4))
			test.want.Command = 4
			require.Equal(t, test.want, got)
		})
	}
	r := twoRounds()
	r.Changes = []Change{{Saved: "a plain write", Load: "none", Changes: 3, Median: 9, Aim: "met"}, {Saved: "custody policy --wait", Load: "none", Command: 17, Late: 2}}
	var text strings.Builder
	require.NoError(t, r.writeTable(&text))
	require.Contains(t, text.String(), "by the last of 8 guards")
	require.Regexp(t, `a plain write +none +3 +9\.0 .* - +- +met`, text.String())
	require.Regexp(t, `custody policy --wait +none .* 17 +2`, text.String())
}
