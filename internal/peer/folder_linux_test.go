// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/peer"
)

func registration(name, id string, uid int) string {
	return fmt.Sprintf("apiVersion: custody.dev/v1alpha1\nkind: WorkloadRegistration\nmetadata: {name: %s}\nspec: {spiffeID: %q, selectors: {%s}}\n",
		name, id, uidSelector(uid))
}

// kept is a folder with what it told.
type kept struct {
	t *testing.T
	*peer.Folder
	dir  string
	told []string
	now  time.Time
}

func keep(t *testing.T) *kept {
	t.Helper()
	k := &kept{t: t, dir: filepath.Join(t.TempDir(), "d"), now: time.Unix(1, 0)}
	require.NoError(t, os.Mkdir(k.dir, 0o700))
	put(t, filepath.Join(k.dir, "a.yaml"), registration("a", orders, 1))
	f, err := peer.OpenFolder(k.dir, peer.FolderOptions{
		Changed: func(n int, err error) { k.told = append(k.told, fmt.Sprint(n, " ", err)) },
		Now:     func() time.Time { return k.now },
	})
	require.NoError(t, err)
	k.Folder = f
	return k
}

// who is the SPIFFE ID of a user, empty for nobody.
func (k *kept) who(uid uint32) string {
	k.t.Helper()
	caller, err := k.Match(identity.Process{PID: 1, UID: uid})
	if err != nil {
		require.ErrorIs(k.t, err, identity.ErrUnregistered)
		return ""
	}
	return caller.String()
}

func TestFolderFollowsItsFiles(t *testing.T) {
	k := keep(t)
	require.Equal(t, orders, k.who(1))
	require.Empty(t, k.who(2))
	require.Empty(t, k.told, "nothing changed")

	put(t, filepath.Join(k.dir, "b.YML"), registration("b", cart, 2))
	require.Equal(t, cart, k.who(2))
	require.Equal(t, 2, k.Len())
	put(t, filepath.Join(k.dir, "b.YML"), registration("b", cart, 3))
	require.Empty(t, k.who(2), "of the same size and within one step of the clock")
	require.Equal(t, cart, k.who(3))
	require.NoError(t, os.Remove(filepath.Join(k.dir, "b.YML")))
	require.Empty(t, k.who(3))
	for _, name := range []string{".c.yaml", "#c.yaml", "c.yaml~", "c.txt"} {
		put(t, filepath.Join(k.dir, name), "no registration")
	}
	require.NoError(t, os.Mkdir(filepath.Join(k.dir, "d.yaml"), 0o700))
	require.Equal(t, orders, k.who(1))
	require.Equal(t, []string{"2 <nil>", "2 <nil>", "1 <nil>"}, k.told)
}

// Whatever is wrong with one file keeps the last good ones, all of them, and is told once.
func TestFolderKeepsTheLastGood(t *testing.T) {
	b := func(k *kept) string { return filepath.Join(k.dir, "b.yaml") }
	tests := []struct {
		name  string
		spoil func(t *testing.T, k *kept)
		mend  func(t *testing.T, k *kept)
		want  string
	}{
		{name: "broken", want: "b.yaml:1:1: ", spoil: func(t *testing.T, k *kept) { put(t, b(k), "a: b") }},
		{name: "a name twice", want: "is already used", spoil: func(t *testing.T, k *kept) { put(t, b(k), registration("a", cart, 2)) }},
		{name: "writable by others", want: "chmod go-w", spoil: func(t *testing.T, k *kept) {
			put(t, b(k), registration("b", cart, 2))
			require.NoError(t, os.Chmod(b(k), 0o620))
		}},
		{
			name: "folder writable by others", want: "chmod go-w", spoil: func(t *testing.T, k *kept) {
				put(t, b(k), registration("b", cart, 2))
				require.NoError(t, os.Chmod(k.dir, 0o702))
			},
			mend: func(t *testing.T, k *kept) {
				require.NoError(t, os.Chmod(k.dir, 0o700))
				require.NoError(t, os.Remove(b(k)))
			},
		},
		{name: "a link that leads nowhere", want: "b.yaml", spoil: func(t *testing.T, k *kept) { require.NoError(t, os.Symlink("nowhere", b(k))) }},
		{
			name: "folder away", want: "no such file", spoil: func(t *testing.T, k *kept) { require.NoError(t, os.Rename(k.dir, k.dir+"2")) },
			mend: func(t *testing.T, k *kept) { require.NoError(t, os.Rename(k.dir+"2", k.dir)) },
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := keep(t)
			test.spoil(t, k)
			for range 3 {
				require.Equal(t, orders, k.who(1))
				require.Empty(t, k.who(2))
			}
			require.Len(t, k.told, 1)
			require.Contains(t, k.told[0], "1 peer: registrations: ")
			require.Contains(t, k.told[0], test.want)
			if test.mend == nil {
				require.NoError(t, os.Remove(b(k)))
			} else {
				test.mend(t, k)
			}
			require.Equal(t, orders, k.who(1))
			require.Equal(t, "1 <nil>", k.told[len(k.told)-1])
			require.Len(t, k.told, 2)
		})
	}
}

// A folder that is away registers nobody once the grace is over, and again whom it says
// when it is back. A fault of one of its files ends nothing, however long it lasts.
func TestFolderAwayRegistersNobody(t *testing.T) {
	hide := func(t *testing.T, k *kept) { require.NoError(t, os.Rename(k.dir, k.dir+"2")) }
	back := func(t *testing.T, k *kept) { require.NoError(t, os.Rename(k.dir+"2", k.dir)) }
	tests := []struct {
		name        string
		spoil, mend func(t *testing.T, k *kept)
		want        string
	}{
		{"away", hide, back, "no such file"},
		{"a file in its place", func(t *testing.T, k *kept) {
			hide(t, k)
			put(t, k.dir, registration("a", orders, 1))
		}, func(t *testing.T, k *kept) {
			require.NoError(t, os.Remove(k.dir))
			back(t, k)
		}, "is not a folder"},
		{"a link that leads nowhere", func(t *testing.T, k *kept) {
			hide(t, k)
			require.NoError(t, os.Symlink("nowhere", k.dir))
		}, func(t *testing.T, k *kept) {
			require.NoError(t, os.Remove(k.dir))
			back(t, k)
		}, "no such file"},
		{
			"writable by others", func(t *testing.T, k *kept) { require.NoError(t, os.Chmod(k.dir, 0o702)) },
			func(t *testing.T, k *kept) { require.NoError(t, os.Chmod(k.dir, 0o700)) }, "chmod go-w",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := keep(t)
			k.now = k.now.Add(time.Hour)
			require.Equal(t, orders, k.who(1))
			test.spoil(t, k)
			for range 2 {
				require.Equal(t, orders, k.who(1), "for a moment it may be")
			}
			k.now = k.now.Add(peer.FolderGrace)
			require.Equal(t, orders, k.who(1))
			k.now = k.now.Add(1)
			for range 2 {
				require.Empty(t, k.who(1))
				require.Zero(t, k.Len())
				k.now = k.now.Add(time.Hour)
			}
			require.Len(t, k.told, 2)
			require.Contains(t, k.told[0], "1 peer: registrations: the folder cannot be read: ")
			require.Contains(t, k.told[0], test.want)
			require.Contains(t, k.told[0], "after 5s nobody is registered")
			require.Contains(t, k.told[1], "0 peer: registrations: the folder cannot be read: ")
			require.Contains(t, k.told[1], test.want)
			require.Contains(t, k.told[1], "nobody is registered until it can")

			test.mend(t, k)
			require.Equal(t, orders, k.who(1))
			require.Empty(t, k.who(2))
			require.Equal(t, "1 <nil>", k.told[2])
			require.Len(t, k.told, 3)

			// The grace is the folder's alone, and begins anew.
			put(t, filepath.Join(k.dir, "b.yaml"), "a: b")
			for range 3 {
				k.now = k.now.Add(time.Hour)
				require.Equal(t, orders, k.who(1))
			}
			require.NoError(t, os.Remove(filepath.Join(k.dir, "b.yaml")))
			require.Equal(t, orders, k.who(1))
			test.spoil(t, k)
			require.Equal(t, orders, k.who(1))
		})
	}
}

// Where nobody looked meanwhile there is no grace: that the folder is away may be long ago.
func TestFolderAwayForLong(t *testing.T) {
	k := keep(t)
	require.NoError(t, os.RemoveAll(k.dir))
	k.now = k.now.Add(peer.FolderGrace + 1)
	require.Empty(t, k.who(1))
	require.Len(t, k.told, 1)
	require.Contains(t, k.told[0], "0 peer: registrations: ")

	// What comes back broken is not what was good before.
	require.NoError(t, os.Mkdir(k.dir, 0o700))
	put(t, filepath.Join(k.dir, "a.yaml"), "a: b")
	require.Empty(t, k.who(1))
	put(t, filepath.Join(k.dir, "a.yaml"), registration("a", orders, 1))
	require.Equal(t, orders, k.who(1))

	k.now = k.now.Add(-time.Hour)
	require.Equal(t, orders, k.who(1))
	require.NoError(t, os.RemoveAll(k.dir))
	k.now = k.now.Add(-1)
	require.Empty(t, k.who(1), "a clock that went back is no reason to go on")
}

// A file that is being written to is not read, not even if what stands there is good.
func TestFolderWaitsForWriters(t *testing.T) {
	k := keep(t)
	f, err := os.OpenFile(filepath.Join(k.dir, "b.yaml"), os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(registration("b", cart, 2))
	require.NoError(t, err)
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(f.Name(), old, old), "it looks as if it had long been at rest")
	require.Empty(t, k.who(2))
	require.Equal(t, orders, k.who(1))
	require.Empty(t, k.told)
	require.NoError(t, f.Close())
	require.Equal(t, cart, k.who(2))
}

func TestOpenFolderRefuses(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, dir string)
		want string
	}{
		{"missing", func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir)) }, "no such file"},
		{"a file", func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0o600))
		}, "is not a folder"},
		{"broken", func(t *testing.T, dir string) { put(t, filepath.Join(dir, "a.yaml"), "x") }, "a.yaml:1:1: want a mapping"},
		{"empty file", func(t *testing.T, dir string) { put(t, filepath.Join(dir, "a.yaml"), "") }, "holds no registration"},
		{"open to others", func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o770)) }, "chmod go-w"},
		{"too large", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "a.yaml"), strings.Repeat("#", identity.MaxFileBytes+1))
		}, "the limit is"},
		{"no file", func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("/dev/null", filepath.Join(dir, "a.yaml")))
		}, "a.yaml"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			require.NoError(t, os.Mkdir(dir, 0o700))
			test.make(t, dir)
			f, err := peer.OpenFolder(dir, peer.FolderOptions{})
			require.ErrorContains(t, err, test.want)
			require.Nil(t, f)
		})
	}
	empty, err := peer.OpenFolder(t.TempDir(), peer.FolderOptions{})
	require.NoError(t, err)
	require.Zero(t, empty.Len())
	_, err = empty.Match(identity.Process{PID: 1})
	require.ErrorIs(t, err, identity.ErrUnregistered)
}
