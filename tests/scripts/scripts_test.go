// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package scripts_test

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

// TestScripts runs the real command: receipts and chains on the vectors, policy on files of the
// scripts.
func TestScripts(t *testing.T) {
	watch(t, "cmd/custody", "internal")
	bin := t.TempDir()
	build(t, bin, "custody", "./cmd/custody")
	vectors, err := filepath.Abs(filepath.Join("..", "vectors"))
	require.NoError(t, err)
	for _, folder := range []string{"receipts", "policy", "chain"} {
		t.Run(folder, func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir: filepath.Join("testdata", folder),
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
					env.Setenv("VECTORS", vectors)
					env.Setenv("CUSTODY_HOME", filepath.Join(env.WorkDir, "home"))
					return nil
				},
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
			})
		})
	}
}

// build makes a command of the module, in a folder.
func build(t *testing.T, bin, name, from string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, name), from)
	build.Dir = filepath.Join("..", "..")
	out, err := build.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}

// watch has go test take an earlier result only if these folders of the module are as they were: it sees what a test
// opens, and not what the compiler does that a test starts.
func watch(t *testing.T, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join("..", "..", folder), func(_ string, _ fs.DirEntry, err error) error { return err })
		require.NoError(t, err)
	}
}
