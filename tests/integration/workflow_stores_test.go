// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// guardedBy is state.custody before a backend with metadata of its own.
func guardedBy(backend, metadata string) store {
	return func(folder, app string) (string, string) {
		return "state.custody", fmt.Sprintf("  - {name: backend, value: %s}\n  - {name: journalDir, value: %s/anchors/%s}\n", backend, folder, app) +
			metadata
	}
}

// Workflows run on state.custody over every backend that it has, and each signature of their histories is anchored.
func TestWorkflowsOnEveryBackend(t *testing.T) {
	t.Parallel()
	database, err := postgres.StartScratch(t.Context(), postgres.FromEnvironment())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Close()) })
	for backend, in := range map[string]store{
		"in-memory": guardedBy("in-memory", ""),
		"sqlite": func(folder, app string) (string, string) {
			_, own := sqlite(folder, app)
			return guardedBy("sqlite", own)(folder, app)
		},
		"postgresql": guardedBy("postgresql", fmt.Sprintf("  - {name: connectionString, value: %q}\n", database.URL())),
		"redis":      guardedBy("redis", fmt.Sprintf("  - {name: redisHost, value: %q}\n  - {name: redisPassword, value: ''}\n", testkit.Redis(t))),
	} {
		t.Run(backend, func(t *testing.T) {
			w := startWorks(t, in)
			w.worker("refunds")
			w.worker("fraud")
			require.JSONEq(t, `{"text":"charge order"}`, w.run(t, "linear", "linear-1"))
			_, steps := w.verified(t, "linear-1")
			require.Equal(t, []string{"received stated", "fraud-check ok", "checked stated", "charge ok"}, steps)
			require.JSONEq(t, `{"text":"charge check order"}`, w.run(t, "parent", "parent-1"))
			w.run(t, "loop", "loop-1")
			_, steps = w.verified(t, "loop-1")
			require.Equal(t, []string{"fraud-check ok", "fraud-check ok", "charge ok"}, steps)

			signatures := map[string]int{}
			for _, r := range testkit.ReadJournal(t, filepath.Join(w.folder, "anchors", "refunds"), w.bundle()).Receipts {
				require.Equal(t, receipt.StatusAnchored, r.Outcome.Status)
				signatures[r.Action.Kind+" "+r.Workflow.Instance]++
			}
			require.Greater(t, signatures["custody.history linear-1"], 3)
			require.Greater(t, signatures["custody.history parent-1"], 3)
			require.NotZero(t, signatures["custody.history-removed loop-1"], "what a workflow that goes on as new leaves behind")
		})
	}
}
