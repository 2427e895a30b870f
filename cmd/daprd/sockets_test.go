// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dapr/dapr/pkg/components/pluggable"
	"github.com/stretchr/testify/require"
)

// Whoever can put a socket where Dapr looks for components would be the store of apps.
func TestWhoMayHavePutSocketsIntoAFolder(t *testing.T) {
	dir, own := t.TempDir(), os.Getuid()
	folder := filepath.Join(dir, "sockets")
	require.ErrorIs(t, othersMayWrite(folder, own), os.ErrNotExist)
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, othersMayWrite(folder, own))
	for mode, want := range map[os.FileMode]string{0o755: "", 0o770: "mode 0770", 0o702: "mode 0702", 0o777 | os.ModeSticky: "mode 0777"} {
		require.NoError(t, os.Chmod(folder, mode))
		err := othersMayWrite(folder, own)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, os.Chmod(folder, 0o700))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(folder, link))
	require.ErrorContains(t, othersMayWrite(link, own), "is no folder")
	if own == 0 {
		require.NoError(t, os.Chown(folder, 4711, 0))
		require.NoError(t, othersMayWrite(folder, 4711))
	}
	require.ErrorContains(t, othersMayWrite(folder, 4712), "belongs to another user")
}

// The folder that nobody names is passed over unless it is there and safe; one that is named is the operator's word.
func TestSocketsThatNobodyNames(t *testing.T) {
	unset := func() {
		t.Setenv(pluggable.SocketFolderEnvVar, "so that it is as before in the end")
		require.NoError(t, os.Unsetenv(pluggable.SocketFolderEnvVar))
	}
	stock := func() string {
		unset()
		return pluggable.GetSocketFolderPath()
	}()
	dir, own := t.TempDir(), os.Getuid()
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, foreignSockets(dir, own))
	require.Equal(t, stock, pluggable.GetSocketFolderPath(), "nothing is set")

	require.NoError(t, foreignSockets(filepath.Join(dir, "none"), own))
	require.Empty(t, pluggable.GetSocketFolderPath())

	unset()
	require.NoError(t, os.Chmod(dir, 0o707))
	require.NoError(t, foreignSockets(dir, own))
	require.Empty(t, pluggable.GetSocketFolderPath())

	t.Setenv(pluggable.SocketFolderEnvVar, dir)
	require.NoError(t, foreignSockets(dir, own))
	require.Equal(t, dir, pluggable.GetSocketFolderPath())
}
