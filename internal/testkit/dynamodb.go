// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// installing keeps tests of one process from installing the same packages at once.
var installing sync.Mutex //nolint:gochecknoglobals // npm's folder is one, too

// DynamoDB starts a server of its own on loopback that speaks DynamoDB's API (dynalite, an npm package), keeps nothing
// on disk and ends with the test, and gives its URL. It has the named tables, with the partition key "key". Without npm
// the test fails.
func DynamoDB(tb testing.TB, tables ...string) string {
	tb.Helper()
	_, file, _, _ := runtime.Caller(0)
	folder := filepath.Join(filepath.Dir(file), "..", "..", "tests", "dynalite")
	installPackages(tb, folder)
	cmd := exec.Command("node", append([]string{"server.js"}, tables...)...)
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	stdin, err := cmd.StdinPipe() // It ends when nobody holds the other end.
	require.NoError(tb, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		require.NoError(tb, stdin.Close())
		require.NoError(tb, cmd.Wait())
	})
	url, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(tb, err, "dynalite did not start")
	return strings.TrimSpace(url)
}

// installPackages installs what the package-lock.json of a folder fixes, once for each change of it. Packages of
// several processes at once are kept apart by a lock on the folder's package.json.
func installPackages(tb testing.TB, folder string) {
	tb.Helper()
	installing.Lock()
	defer installing.Unlock()
	unlock := lockFile(tb, filepath.Join(folder, "package.json"))
	defer unlock()
	lock, err := os.Stat(filepath.Join(folder, "package-lock.json"))
	require.NoError(tb, err)
	// npm writes its own note of it last.
	note, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if err == nil && !note.ModTime().Before(lock.ModTime()) {
		return
	}
	require.True(tb, err == nil || errors.Is(err, fs.ErrNotExist), err)
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	require.NoError(tb, err, "npm ci in %s: %s", folder, out)
}
