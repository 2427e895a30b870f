// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// custody db hands everything to custody-components, and its exit code back.
func TestDBIsThatOfTheComponents(t *testing.T) {
	reader, err := besideMe(componentsBinary)
	require.NoError(t, err)
	run := func(args ...string) (out, errOut string, err error) {
		var stdout, stderr bytes.Buffer
		root := newRootCommand()
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		root.SetArgs(append([]string{"db"}, args...))
		err = root.ExecuteContext(t.Context())
		return stdout.String(), stderr.String(), err
	}
	_, _, err = run("check")
	require.ErrorContains(t, err, "is not beside custody")
	require.Equal(t, exitUsage, exitStatus(err))

	script := "#!/bin/sh\necho \"$@\"\necho why >&2\nexit $CODE\n"
	require.NoError(t, os.WriteFile(reader, []byte(script), 0o700))
	t.Cleanup(func() { require.NoError(t, os.Remove(reader)) })
	for code, want := range map[string]int{"0": 0, "1": 1, "2": 2} {
		t.Setenv("CODE", code)
		out, errOut, err := run("setup", "--print", "--databases=a b", "--help")
		require.Equal(t, "db setup --print --databases=a b --help\n", out)
		require.Equal(t, "why\n", errOut)
		if want == 0 {
			require.NoError(t, err)
			continue
		}
		require.Equal(t, want, exitStatus(err))
	}
}
