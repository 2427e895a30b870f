// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
)

func TestCheckIsToldWithTheWarnings(t *testing.T) {
	dir := t.TempDir()
	var say atomic.Value
	say.Store("")
	var watcher atomic.Pointer[policydir.Watcher]
	var early atomic.Bool
	open := open(t, dir, func(o *policydir.Options) {
		o.Tools = "/x/tools.json"
		o.Check = func(documents []policy.Document) []policy.Warning {
			// What is checked is in force already: a check takes its time.
			if w := watcher.Load(); w != nil {
				if _, rules := w.Current().Size(); rules < len(documents) {
					early.Store(true)
				}
			}
			if say.Load() == "" {
				return nil
			}
			var all []policy.Warning
			for _, d := range documents {
				all = append(all, policy.Warning{Message: d.Name() + say.Load().(string)})
			}
			return all
		}
	})
	watcher.Store(open.watcher)
	require.Equal(t, "/x/tools.json", open.watcher.Status().Tools)
	say.Store(" is odd")
	open.write("a.yaml", text("a", "x"))
	require.Equal(t, []string{"a is odd"}, open.next(func(s policydir.Status) bool { return len(s.Files) == 1 }).Warnings)

	say.Store(" is very odd")
	open.watcher.Recheck()
	after := open.next(func(s policydir.Status) bool { return slices.Equal(s.Warnings, []string{"a is very odd"}) })
	require.Equal(t, []string{"a.yaml"}, after.Files)
	require.Equal(t, policydir.StateInForce, after.State())

	// A check that finds the same is not told again; one that finds nothing is.
	open.watcher.Recheck()
	open.write("a.yaml", "x")
	next := <-open.changes
	require.True(t, broken(next))
	say.Store("")
	open.watcher.Recheck()
	require.Empty(t, open.next(func(s policydir.Status) bool { return len(s.Warnings) == 0 }).Warnings)
	require.True(t, broken(open.watcher.Status()), "an error stays")
	require.False(t, early.Load())
	require.NoError(t, open.watcher.Close())
	open.watcher.Recheck()
}

func TestNothingIsCheckedWithoutASet(t *testing.T) {
	var checked atomic.Bool
	f := open(t, t.TempDir()+"/missing", func(o *policydir.Options) {
		o.Check = func([]policy.Document) []policy.Warning {
			checked.Store(true)
			return nil
		}
	})
	f.watcher.Recheck()
	require.NoError(t, f.watcher.Close())
	require.False(t, checked.Load())
}
