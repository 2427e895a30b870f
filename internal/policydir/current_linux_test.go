// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policydir"
)

// waiting has Current wait for as long as a slow machine needs.
func waiting(o *policydir.Options) { o.Patience, o.Rescan = time.Hour, time.Hour }

// Whoever asks after a save is told of it at once, without trying again.
func TestWhoeverAsksAfterASaveHasItInForce(t *testing.T) {
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := &folder{t: t, dir: dir}
			f.write("a.yaml", text("a", "x", "!y"))
			f = open(t, dir, waiting)
			for i := range 200 {
				tool, other := "y", "z"
				if i%2 == 1 {
					tool, other = other, tool
				}
				edit(t, filepath.Join(dir, "a.yaml"), text("a", "*", "!"+tool))
				require.Equal(t, []bool{false, true}, []bool{f.allowed(tool), f.allowed(other)}, "edit %d", i)
			}
			f.write("b.yaml", text("b", "!x"))
			require.False(t, f.allowed("x"), "a new file")
			require.NoError(t, os.Rename(filepath.Join(dir, "b.yaml"), filepath.Join(dir, "c.yaml")))
			require.False(t, f.allowed("x"), "a new name")
		})
	}
}

// A file that someone keeps open is not waited for, however patient Current is.
func TestCurrentDoesNotWaitForAWriter(t *testing.T) {
	f := open(t, t.TempDir(), waiting)
	f.write("a.yaml", text("a", "*", "!x"))
	require.True(t, f.allowed("y"))
	file, err := os.OpenFile(filepath.Join(f.dir, "a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	require.NoError(t, err)
	_, err = file.WriteString(text("a", "*"))
	require.NoError(t, err)
	f.write("b.yaml", text("b", "!y")) // which has everyone look
	for range 10 {
		require.Equal(t, []bool{false, true}, []bool{f.allowed("x"), f.allowed("y")}, "the Set before")
	}
	require.NoError(t, file.Close())
	require.Equal(t, []bool{true, false}, []bool{f.allowed("x"), f.allowed("y")})
}

// A file that was not at rest is looked at again for whoever asks: no event tells
// that a writer has closed it who has opened it by its name in another directory.
func TestCurrentLooksAgainAtAFileThatWasNotAtRest(t *testing.T) {
	f := open(t, t.TempDir(), waiting)
	f.write("a.yaml", text("a", "*"))
	require.True(t, f.allowed("x"))
	elsewhere := filepath.Join(t.TempDir(), "a.yaml")
	require.NoError(t, os.Link(filepath.Join(f.dir, "a.yaml"), elsewhere))
	for i := range 50 {
		tool, other := "y", "z"
		if i%2 == 1 {
			tool, other = other, tool
		}
		file, err := os.OpenFile(elsewhere, os.O_WRONLY|os.O_TRUNC, 0)
		require.NoError(t, err)
		_, err = file.WriteString(text("a", "*", "!"+tool))
		require.NoError(t, err)
		f.write("b.yaml", text("b", "!x")) // which has everyone look
		require.True(t, f.allowed(tool))
		require.NoError(t, file.Close())
		require.Equal(t, []bool{false, true}, []bool{f.allowed(tool), f.allowed(other)}, "save %d", i)
	}
}

// Patience ends, and then the Set before is in force until the change is loaded.
func TestCurrentWithoutPatience(t *testing.T) {
	f := open(t, t.TempDir(), func(o *policydir.Options) { o.Patience = 1 })
	for range 20 {
		f.write("a.yaml", text("a", "x"))
		f.until(func() bool { return f.allowed("x") })
		f.write("a.yaml", text("a", "y"))
		f.until(func() bool { return f.allowed("y") })
	}
}

// What is in force does not wait for those who are told of it, and they are told
// the last state only.
func TestAChangeDoesNotWaitForOnChange(t *testing.T) {
	told, proceed := make(chan policydir.Status), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first := true
	f := &folder{t: t, dir: t.TempDir()}
	f = open(t, f.dir, func(o *policydir.Options) {
		waiting(o)
		tell := o.OnChange
		o.OnChange = func(s policydir.Status) {
			if first { // in Open
				first = false
				tell(s)
				return
			}
			select {
			case told <- s:
			case <-ctx.Done():
			}
			select {
			case <-proceed:
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(cancel)
	f.write("a.yaml", text("a", "x"))
	before := <-told
	require.True(t, f.allowed("x"))
	f.write("a.yaml", "broken")
	require.True(t, f.allowed("x"))
	f.write("a.yaml", text("a", "y"))
	require.True(t, f.allowed("y"))
	require.Equal(t, before, f.watcher.Status())
	proceed <- struct{}{}
	after := <-told
	require.Equal(t, f.watcher.Current().Digest(), after.Digest)
	require.Empty(t, after.LastError)
	proceed <- struct{}{}
}

func TestCurrentAfterClose(t *testing.T) {
	f := open(t, t.TempDir(), waiting)
	f.write("a.yaml", text("a", "x"))
	require.True(t, f.allowed("x"))
	require.NoError(t, f.watcher.Close())
	require.Contains(t, f.watcher.Status().Files, "a.yaml", "the last Status is told")
	f.write("a.yaml", text("a", "y"))
	require.True(t, f.allowed("x"))
	require.NoError(t, f.watcher.Close(), "closing twice is no error")
}
