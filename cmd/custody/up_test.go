// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
)

func TestLoopbackPort(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want int
		ok   bool
	}{
		{"127.0.0.1:50001", 50001, true},
		{"localhost:1", 1, true},
		{"127.0.0.1:0", 0, true},
		{"0.0.0.0:50001", 0, false},
		{":50001", 0, false},
		{"127.0.0.2:50001", 0, false},
		{"127.0.0.1:65536", 0, false},
		{"127.0.0.1:-1", 0, false},
		{"127.0.0.1:x", 0, false},
		{"50001", 0, false},
	} {
		port, err := loopbackPort(tc.in)
		require.Equal(t, tc.ok, err == nil, tc.in)
		require.Equal(t, tc.want, port, tc.in)
	}
}

// custody runs the command line in a home of its own.
func custody(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(io.Discard)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestWrongCommandLines(t *testing.T) {
	t.Setenv("CUSTODY_HOME", t.TempDir())
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"up", "--listen-sentry", "127.0.0.1:1"}, "--listen-sentry needs --control-plane-only"},
		{[]string{"up", "--control-plane-only", "--listen-sentry", "0.0.0.0:1"}, "must be a port of 127.0.0.1"},
		{[]string{"up", "extra"}, "unknown command"},
		{[]string{"up", "--daprd", "/none"}, `no executable at`},
		{[]string{"down", "x", "--all"}, "only one of them"},
		{[]string{"down", "x", "-f", "y"}, "only one of them"},
		{[]string{"down"}, "no such run"},
		{[]string{"down", "gone-1"}, "no such run"},
		{[]string{"ps", "-o", "xml"}, `-o "xml" is not known`},
	} {
		_, err := custody(t, tc.args...)
		require.ErrorContains(t, err, tc.want, tc.args)
	}
}

func TestPsAndDown(t *testing.T) {
	home := t.TempDir()
	t.Setenv("CUSTODY_HOME", home)
	out, err := custody(t, "ps", "-o", "json")
	require.NoError(t, err)
	require.JSONEq(t, "[]", out)

	dir := filepath.Join(home, "runs", "shop-1")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	file := filepath.Join(home, "dapr.yaml")
	text, err := json.Marshal(localdomain.Run{ID: "shop-1", Dir: dir, File: file, Apps: []localdomain.RunApp{
		{AppID: "tools", AppPort: 8080, DaprHTTPPort: 3500, SPIFFEID: "spiffe://custody.local/ns/default/tools"},
	}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "run.json"), text, 0o600))

	out, err = custody(t, "ps")
	require.NoError(t, err)
	require.Regexp(t, `shop-1 +left +tools +8080 +3500 +- +spiffe://custody.local/ns/default/tools\n`, out)
	out, err = custody(t, "ps", "-o", "json")
	require.NoError(t, err)
	require.Contains(t, out, `"status": "left"`)

	_, err = custody(t, "down", "-f", filepath.Join(home, "other.yaml"))
	require.ErrorContains(t, err, "there is no such run to stop")
	out, err = custody(t, "down", "-f", home)
	require.NoError(t, err)
	require.Equal(t, "stopped shop-1\n", out)
	require.NoDirExists(t, dir)
}
