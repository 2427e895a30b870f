// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
)

// waiting schedules the workflow waits, and returns when its timer runs.
func (w *works) waiting(t *testing.T, id string) {
	t.Helper()
	w.schedule(w.refunds(), "waits", id)
	require.Eventually(t, func() bool {
		history, err := w.refunds().GetInstanceHistory(t.Context(), id)
		if err != nil {
			return false
		}
		timers := 0
		for _, event := range history.Events {
			if event.GetTimerCreated() != nil {
				timers++
			}
		}
		return timers == 2 // the first is that which a chain begins with
	}, time.Minute, 50*time.Millisecond)
}

// A workflow that waits while its run ends goes on in the next, and its chain verifies, where the root was kept. Without
// it the next run does not take its history.
func TestWorkflowOutlivesTheRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ kept bool }{"kept": {true}, "not kept": {false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorks(t, func(folder, app string) (string, string) {
				_, own := sqlite(folder, app)
				return guardedBy("sqlite", own)(folder, app)
			})
			persist := ""
			if c.kept {
				persist = filepath.Join(w.folder, "persisted")
			}
			w.start(persist)
			worker := w.worker("refunds")
			w.waiting(t, "waits-1")
			before := w.bundle()
			worker.kill()
			require.NoError(t, w.domain.Stop())

			w.start(persist)
			w.worker("refunds")
			require.Equal(t, c.kept, w.bundle().Equal(before))
			if !c.kept {
				_, err := w.refunds().FetchWorkflowMetadata(t.Context(), "waits-1")
				require.ErrorContains(t, err, "certificate")
				return
			}
			require.JSONEq(t, `{"text":"charge order"}`, completed(t, w.refunds(), "waits-1"))
			require.EqualValues(t, 1, w.server.calls["check"].Load())
			out, code := w.custody("chain", "verify", "waits-1")
			require.Zero(t, code, out)
			require.Contains(t, out, "GOOD: ")
			_, err := localdomain.Start(t.Context(), w.here(localdomain.Options{Persist: persist}))
			require.ErrorContains(t, err, "--persist: another run uses "+persist)
		})
	}
}
