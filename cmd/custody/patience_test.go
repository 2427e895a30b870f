// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Only who sits before a terminal is told that a command takes long.
func TestOnTerminal(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	require.True(t, onTerminal(terminal))
	require.False(t, onTerminal(file))
	require.False(t, onTerminal(w))
	require.False(t, onTerminal(&bytes.Buffer{}))
	for _, f := range []*os.File{file, r, w, terminal} {
		require.NoError(t, f.Close())
	}
	require.False(t, onTerminal(file), "what cannot be asked is none")
	var said bytes.Buffer
	stillAtIt(&said, "custody receipts verify")
	require.Equal(t, "custody receipts verify is still at it; Ctrl-C ends it\n", said.String())
	require.NotNil(t, newRootCommand().PersistentPreRun)
}
