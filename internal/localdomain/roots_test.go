// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

func root(t *testing.T) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: testkit.NewCA(t, "custody.local").Bundle().X509Authorities()[0].Raw})
}

func TestRootsOfAllRunsAreKept(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, RootsFile)
	roots := [][]byte{root(t), root(t), root(t), root(t)}
	var group sync.WaitGroup
	for _, anchors := range append(roots, roots...) {
		group.Go(func() {
			if err := keepRoots(home, anchors, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, len(roots), bytes.Count(kept, []byte("BEGIN CERTIFICATE")), "each once, also when runs start together")
	for _, anchors := range roots {
		require.Contains(t, string(kept), string(anchors))
	}

	later := root(t)
	require.NoError(t, keepRoots(home, later, time.Now().Add(48*time.Hour)))
	kept, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Empty(t, string(kept), "all of them have expired by then")
}

// A file that somebody broke is not overwritten.
func TestRootsThatAreNone(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, RootsFile)
	for _, text := range []string{"hello", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.Error(t, keepRoots(home, root(t), time.Now()))
		kept, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, text, string(kept))
	}
}
