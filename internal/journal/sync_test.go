// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
)

// The clock of the bubble stands still while anything runs, a sync too.
func TestGroupSyncsTogetherAndInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := open(t, journal.Options{Dir: dir})
		t.Cleanup(func() { require.NoError(t, w.Close()) })
		start := time.Now()
		until := func(ms int) {
			time.Sleep(time.Duration(ms)*time.Millisecond - time.Since(start))
			synctest.Wait()
		}
		for _, step := range []struct {
			at     int // ms
			append bool
			synced uint64
		}{
			{at: 0, append: true},
			{at: 1, append: true},
			{at: 7, append: true},
			{at: 8, synced: 3},                // 8 ms after the first, and one sync for all three
			{at: 10, append: true, synced: 3}, // what was synced already asks for no sync of its own: this one waits 8 ms again
			{at: 17, append: true, synced: 3},
			{at: 18, synced: 5},
			{at: 1000, append: true, synced: 5},
			{at: 1007, synced: 5},
			{at: 1008, synced: 6},
		} {
			until(step.at)
			if step.append {
				_, err := w.Append(journal.KindIntent, []byte("x"))
				require.NoError(t, err)
			}
			synctest.Wait()
			require.Equalf(t, step.synced, w.Synced(), "at %d ms", step.at)
		}
	})
}
