// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policydir"
)

// watchFor decides the tool "x" from 8 goroutines until stop, and counts decisions
// and allows. The allow of "open" shows that the Set was there at all.
func watchFor(w *policydir.Watcher) (stop func() (decided, allows int64)) {
	var group sync.WaitGroup
	var decided, allows atomic.Int64
	done := make(chan struct{})
	for range 8 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				decided.Add(1)
				if allowed(w, "x") {
					allows.Add(1)
				}
			}
		})
	}
	return func() (int64, int64) {
		close(done)
		group.Wait()
		return decided.Load(), allows.Load()
	}
}

// edits are ways in which a file is saved.
var edits = map[string]func(t *testing.T, path, content string){
	"truncate and write": func(t *testing.T, path, content string) {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	},
	"write in two parts": func(t *testing.T, path, content string) {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|os.O_CREATE, 0o600)
		require.NoError(t, err)
		half := len(text("a", "*")) // all but the deny
		for _, part := range []string{content[:half], content[half:]} {
			_, err = file.WriteString(part)
			require.NoError(t, err)
		}
		require.NoError(t, file.Close())
	},
	"rename over": func(t *testing.T, path, content string) {
		temp := filepath.Join(filepath.Dir(path), ".new")
		require.NoError(t, os.WriteFile(temp, []byte(content), 0o600))
		require.NoError(t, os.Rename(temp, path))
	},
	"move away and write anew": func(t *testing.T, path, content string) {
		require.NoError(t, os.Rename(path, path+"~"))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Remove(path+"~"))
	},
	"remove and write anew": func(t *testing.T, path, content string) {
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	},
}

func TestNeverOpenBetweenTwoPoliciesThatDeny(t *testing.T) {
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := &folder{t: t, dir: dir}
			// The deny stands last, so that a part of the file is the worse policy, and
			// the other file allows everything by itself.
			f.write("all.yaml", text("all", "*"))
			f.write("a.yaml", text("a", "*", "!x"))
			f = open(t, dir, nil)

			stop := watchFor(f.watcher)
			for i := range 200 {
				content := text("a", "*", "!x", "!y")
				if i%2 == 1 {
					content = text("a", "*", "!x", "!z")
				}
				edit(t, filepath.Join(dir, "a.yaml"), content)
				if i%20 == 0 {
					// Some edits are waited for, others follow at once.
					f.until(func() bool { return !f.allowed("y") })
				}
			}
			decided, allows := stop()
			require.Zero(t, allows, "of %d decisions", decided)
			require.Greater(t, decided, int64(1000))
			require.True(t, f.allowed("other"))
			f.until(func() bool { return !f.allowed("z") })
		})
	}
}

func TestRemovedAndRestoredWithinTheGraceTime(t *testing.T) {
	dir := t.TempDir()
	f := &folder{t: t, dir: dir}
	f.write("all.yaml", text("all", "*"))
	f.write("deny.yaml", text("deny", "!x"))
	f = open(t, dir, func(o *policydir.Options) { o.Grace = time.Minute })
	path := filepath.Join(dir, "deny.yaml")

	stop := watchFor(f.watcher)
	for i := range 20 {
		require.NoError(t, os.Rename(path, filepath.Join(dir, ".away")))
		// Another file shows that the directory was looked at while the deny was gone.
		tool := []string{"!p", "!q"}[i%2]
		f.write("other.yaml", text("other", tool))
		f.until(func() bool { return !f.allowed(tool[1:]) })
		require.NoError(t, os.Rename(filepath.Join(dir, ".away"), path))
	}
	_, allows := stop()
	require.Zero(t, allows)
	require.Contains(t, f.watcher.Status().Files, "deny.yaml")
}

// Kubernetes mounts a ConfigMap as links to ..data/NAME, where ..data is a link
// to a directory that is replaced in one step. The versions here move the deny
// from one file to the other, so that a mixture of both allows everything.
func TestConfigMapMount(t *testing.T) {
	dir := t.TempDir()
	swap := func(version int) {
		files := [2]string{"a.yaml", "b.yaml"}
		name := fmt.Sprintf("..%d", version)
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		deny := "!" + []string{"even", "odd"}[version%2]
		for i, content := range []string{text("a", "*"), text("b", "!x", deny)} {
			if version%2 == 1 {
				content = []string{text("a", "!x", deny), text("b", "*")}[i]
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, name, files[i]), []byte(content), 0o600))
		}
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
		if version > 0 {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", version-1))))
		}
	}
	swap(0)
	for _, file := range []string{"a.yaml", "b.yaml"} {
		require.NoError(t, os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)))
	}
	f := open(t, dir, nil)
	require.False(t, f.allowed("even"))

	stop := watchFor(f.watcher)
	for version := 1; version <= 501; version++ {
		swap(version)
	}
	f.until(func() bool { return !f.allowed("odd") })
	require.True(t, f.allowed("even"))
	_, allows := stop()
	require.Zero(t, allows)
}

func TestChangeWithoutAnEventIsFound(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "policy")
	require.NoError(t, os.WriteFile(elsewhere, []byte(text("a", "x")), 0o600))
	dir := t.TempDir()
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "a.yaml")))
	f := open(t, dir, func(o *policydir.Options) { o.Rescan = 20 * time.Millisecond })
	require.True(t, f.allowed("x"))

	require.NoError(t, os.WriteFile(elsewhere, []byte(text("a", "y")), 0o600))
	f.until(func() bool { return f.allowed("y") })
	require.False(t, f.allowed("x"))
}

func TestLinkToAnotherDirectory(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{"one": text("a", "x"), "two": text("a", "y")} {
		require.NoError(t, os.Mkdir(filepath.Join(root, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(root, name, "a.yaml"), []byte(content), 0o600))
	}
	link := filepath.Join(root, "current")
	require.NoError(t, os.Symlink("one", link))
	f := open(t, link, func(o *policydir.Options) { o.Rescan = 20 * time.Millisecond })
	require.True(t, f.allowed("x"))

	require.NoError(t, os.Symlink("two", link+"2"))
	require.NoError(t, os.Rename(link+"2", link))
	f.until(func() bool { return f.allowed("y") })
	require.False(t, f.allowed("x"))
}

// A directory that is moved away and back goes on to tell of its changes.
func TestDirectoryMovedAwayAndBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	require.NoError(t, os.Mkdir(dir, 0o700))
	f := &folder{t: t, dir: dir}
	f.write("a.yaml", text("a", "x"))
	f = open(t, dir, func(o *policydir.Options) { o.Rescan = time.Hour })
	for i := range 10 {
		require.NoError(t, os.Rename(dir, dir+"-away"))
		require.NoError(t, os.Rename(dir+"-away", dir))
		tool := fmt.Sprintf("y%d", i)
		f.write("a.yaml", text("a", tool))
		f.until(func() bool { return f.allowed(tool) })
	}
}
