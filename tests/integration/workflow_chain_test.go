// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/workflows/custody"
)

// Chains of real workflows verify with the history that Dapr signed, also from a file on a machine that has nothing else.
func TestChainsOfRealWorkflows(t *testing.T) {
	t.Parallel()
	w := startWorks(t, sqlite)
	w.worker("refunds")
	w.worker("fraud")
	for name, id := range map[string]string{"linear": "linear-9", "wide": "wide-9", "parent": "parent-9", "loop": "loop-9", "family": "family-9", "hasty": "hasty-9", "late": "late-9"} {
		w.run(t, name, id)
	}
	w.schedule(w.refunds(), "approved", "approved-9")
	good, err := custody.Approve(t.Context(), custody.Options{
		DaprHTTPEndpoint: fmt.Sprintf("http://127.0.0.1:%d", w.app("manager").DaprHTTPPort),
	}, w.asks(t, "approved-9", 0))
	require.NoError(t, err)
	w.raise(t, "approved-9", good)
	completed(t, w.refunds(), "approved-9")

	roots, elsewhere := w.domain.Info().TrustBundle, t.TempDir()
	for _, id := range []string{"linear-9", "wide-9", "parent-9", "loop-9", "family-9", "hasty-9", "late-9", "approved-9"} {
		t.Run(id, func(t *testing.T) {
			out, code := w.custody("chain", "verify", id)
			require.Zero(t, code, out)
			require.Contains(t, out, "GOOD: ")
			file := filepath.Join(elsewhere, id+".json")
			out, code = w.custody("chain", "export", id, "--file", file)
			require.Zero(t, code, out)
			out, code = custodyAt(t, elsewhere, "chain", "verify", file, "--trust-bundle", roots, "--trust-domain", "custody.local")
			require.Zero(t, code, out)
		})
	}
	t.Run("show", func(t *testing.T) {
		out, code := w.custody("chain", "show", "linear-9", "-o", "json")
		require.Zero(t, code, out)
		var view struct {
			Steps []struct {
				Step, Kind, Status, AnsweredBy string
				Verified                       bool
				Scheduled, Recorded            int
			}
			Histories []struct{ Events, Verified int }
		}
		require.NoError(t, json.Unmarshal([]byte(out), &view), out)
		require.Len(t, view.Steps, 4)
		for _, s := range view.Steps {
			require.True(t, s.Verified)
			require.Less(t, s.Scheduled, s.Recorded)
		}
		require.Equal(t, "spiffe://custody.local/ns/default/payments", view.Steps[1].AnsweredBy)
		require.Equal(t, view.Histories[0].Events, view.Histories[0].Verified)
		out, code = w.custody("chain", "show", "parent-9", "--graph", "mermaid")
		require.Zero(t, code, out)
		require.Contains(t, out, "flowchart TD")
	})
	t.Run("an answer of another chain in the file", func(t *testing.T) {
		var a, b map[string]any
		for id, into := range map[string]*map[string]any{"linear-9": &a, "late-9": &b} {
			text, err := os.ReadFile(filepath.Join(elsewhere, id+".json"))
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, into))
		}
		a["links"] = b["links"]
		text, err := json.Marshal(a)
		require.NoError(t, err)
		file := filepath.Join(elsewhere, "mixed.json")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		out, code := custodyAt(t, elsewhere, "chain", "verify", file, "--trust-bundle", roots, "--trust-domain", "custody.local")
		require.Equal(t, 1, code, out)
		require.Contains(t, out, "link/other-chain")
	})
}
