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
		code int
		want string
	}{
		{[]string{"nosuch"}, 2, `there is no command "custody nosuch"; see custody --help`},
		{[]string{"polcy"}, 2, `there is no command "custody polcy"; did you mean policy?`},
		{[]string{"--x"}, 2, "unknown flag: --x; see custody --help"},
		{[]string{"up", "--x"}, 2, "unknown flag: --x; see custody up --help"},
		{[]string{"up", "--listen-sentry", "127.0.0.1:1"}, 2, "--listen-sentry needs --control-plane-only"},
		{[]string{"up", "--control-plane-only", "--listen-sentry", "0.0.0.0:1"}, 2, "must be a port of 127.0.0.1"},
		{[]string{"up", "extra"}, 2, `custody up does not take the argument "extra": write custody up [flags]; see custody up --help`},
		{[]string{"up", "--daprd", "/none"}, 1, `no executable at`},
		{[]string{"down", "x", "--all"}, 2, "only one of them"},
		{[]string{"down", "x", "-f", "y"}, 2, "only one of them"},
		{[]string{"down", "x", "y"}, 2, `custody down does not take the argument "y": write custody down [RUN-ID] [flags]`},
		{[]string{"down"}, 1, "no such run"},
		{[]string{"down", "gone-1"}, 1, "no such run"},
		{[]string{"ps", "-o", "xml"}, 2, `-o xml is not known; write table or json`},
		{[]string{"ps", "x"}, 2, `custody ps does not take the argument "x"`},
		{[]string{"version", "x"}, 2, `custody version does not take the argument "x"`},
		{[]string{"resources", "nosuch"}, 2, `there is no resource "nosuch"; there are`},
		{[]string{"policy", "lits"}, 2, `there is no command "custody policy lits"; did you mean lint?; see custody policy --help`},
		{[]string{"policy", "list", "policies"}, 2, "custody policy list takes no argument \"policies\"; a folder is named with --dir policies"},
		{[]string{"policy", "deny-all", "--wait", "5s"}, 2, "the time belongs to the flag: write --wait=5s; see custody policy deny-all --help"},
		{[]string{"policy", "revoke-rule", "deny-all", "--wait", "5s"}, 2, "the time belongs to the flag: write --wait=5s"},
		{[]string{"policy", "deny-all", "5s"}, 2, `takes no argument "5s"`},
		{[]string{"policy", "get"}, 2, "an argument is missing: write custody policy get POLICY [flags]; see custody policy get --help"},
		{[]string{"policy", "diff", "a"}, 2, "1 argument is not what it takes: write custody policy diff OLD NEW [flags]"},
		{[]string{"receipts", "show", "a", "b"}, 2, "2 arguments are not what it takes: write custody receipts show ID [flags]"},
		{[]string{"chain", "verify", "--x"}, 2, "unknown flag: --x; see custody chain verify --help"},
	} {
		_, err := custody(t, tc.args...)
		require.ErrorContains(t, err, tc.want, tc.args)
		require.Equal(t, tc.code, exitStatus(err), tc.args)
	}
	t.Setenv("CUSTODY_HOME", "/dev/null")
	for _, args := range [][]string{{"ps"}, {"down"}} {
		_, err := custody(t, args...)
		require.ErrorContains(t, err, "/dev/null/runs: not a directory")
		require.Equal(t, 2, exitStatus(err), args)
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
	require.Equal(t, 1, exitStatus(err))
	require.ErrorContains(t, err, "there is no such run to stop")
	out, err = custody(t, "down", "-f", home)
	require.NoError(t, err)
	require.Equal(t, "stopped shop-1\n", out)
	require.NoDirExists(t, dir)
	out, err = custody(t, "down", "--all")
	require.NoError(t, err)
	require.Equal(t, "there is no run to stop\n", out)
}
