// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policydir"
)

// A writer that pauses in the middle leaves a whole, valid and wider policy in
// the file for as long as it likes.
func TestHalfWrittenFileIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	f := &folder{t: t, dir: dir}
	f.write("a.yaml", text("a", "*", "!x"))
	f = open(t, dir, func(o *policydir.Options) { o.Rescan = 20 * time.Millisecond })

	stop := watchFor(f.watcher)
	file, err := os.OpenFile(filepath.Join(dir, "a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	whole := text("a", "*", "!x", "!y")
	half := len(text("a", "*"))
	_, err = file.WriteString(whole[:half])
	require.NoError(t, err)
	status := f.next(broken)
	require.Equal(t, policydir.StateKept, status.State())
	require.Equal(t, filepath.Join(dir, "a.yaml")+": it is open for writing: close it so that the policy can be read",
		status.LastError)

	_, err = file.WriteString(whole[half:])
	require.NoError(t, err)
	require.NoError(t, file.Close())
	f.until(func() bool { return !f.allowed("y") })
	_, allows := stop()
	require.Zero(t, allows)
}

// At the start there is no Set to keep.
func TestHalfWrittenFileAtTheStartRefuses(t *testing.T) {
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "a.yaml"))
	require.NoError(t, err)
	_, err = file.WriteString(text("a", "*"))
	require.NoError(t, err)
	f := open(t, dir, func(o *policydir.Options) { o.Rescan = 20 * time.Millisecond })
	require.Nil(t, f.watcher.Current())
	require.Equal(t, policydir.StateRefusing, f.watcher.Status().State())
	require.True(t, strings.Contains(f.watcher.Status().LastError, "open for writing"))
	require.NoError(t, file.Close())
	f.next(inForce)
	require.True(t, f.allowed("x"))
}
