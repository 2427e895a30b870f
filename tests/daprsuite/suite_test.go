// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The changes fit the version of Dapr that go.mod names.
func TestChangesFitDapr(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/dapr/dapr").Output()
	require.NoError(t, err)
	module, dir := strings.TrimSpace(string(out)), t.TempDir()
	for _, c := range changes() {
		text, err := os.ReadFile(filepath.Join(module, c.file))
		require.NoError(t, err)
		path := filepath.Join(dir, c.file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, text, 0o600))
		require.NoError(t, c.apply(dir))
		changed, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, len(text)+len(c.put), len(changed))
		require.Contains(t, string(changed), c.after+c.put)
	}
	require.FileExists(t, filepath.Join(module, "tests/integration/import.go"))
}

func TestChangeThatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.go"), []byte("one two two"), 0o600))
	require.ErrorContains(t, change{"a.go", "three", "x"}.apply(dir), "stands there 0 times, not once")
	require.ErrorContains(t, change{"a.go", "two", "x"}.apply(dir), "stands there 2 times, not once")
	require.Error(t, change{"b.go", "one", "x"}.apply(dir))
}

func TestReading(t *testing.T) {
	logs := t.TempDir()
	r := &reading{logs: logs, cases: map[string]*outcome{}, files: map[string]*os.File{}, progress: &bytes.Buffer{}}
	require.NoError(t, r.read(strings.NewReader(`{"Action":"start"}
{"Action":"run","Test":"Test_Integration"}
{"Action":"run","Test":"Test_Integration/build_binaries"}
{"Action":"fail","Test":"Test_Integration/build_binaries"}
{"Action":"run","Test":"Test_Integration/daprd/workflow/a"}
{"Action":"run","Test":"Test_Integration/daprd/workflow/b/c"}
{"Action":"output","Test":"Test_Integration/daprd/workflow/a","Output":"    daprd.go:1: custody suite: state.custody before sqlite\n"}
{"Action":"output","Test":"Test_Integration/daprd/workflow/a","Output":"    daprd.go:2: custody suite: 7 signatures anchored\n"}
{"Action":"output","Test":"Test_Integration/daprd/workflow/a","Output":"    daprd.go:2: custody suite: 2 signatures anchored\n"}
{"Action":"run","Test":"Test_Integration/daprd/workflow/a/run"}
{"Action":"run","Test":"Test_Integration/daprd/workflow/a/run/deeper"}
{"Action":"output","Test":"Test_Integration/daprd/workflow/a/run/deeper","Output":"        \tError:      \tNot equal: \n"}
{"Action":"output","Test":"Test_Integration/daprd/workflow/a/run","Output":"        \tError:      \tlater\n"}
{"Action":"fail","Test":"Test_Integration/daprd/workflow/a/run/deeper"}
{"Action":"fail","Test":"Test_Integration/daprd/workflow/a/run"}
{"Action":"fail","Test":"Test_Integration/daprd/workflow/a"}
{"Action":"pass","Test":"Test_Integration/daprd/workflow/b/c"}
{"Action":"fail","Test":"Test_Integration"}
`)))
	require.Equal(t, map[string]*outcome{
		"daprd/workflow/a":   {result: "fail", witnessed: true, anchored: 9, why: "Not equal:"},
		"daprd/workflow/b/c": {result: "pass"},
	}, r.cases)
	text, err := os.ReadFile(filepath.Join(logs, "daprd.workflow.a.log"))
	require.NoError(t, err)
	require.Equal(t, 5, strings.Count(string(text), "\n"))
	require.Empty(t, r.files)
	require.ErrorContains(t, r.read(strings.NewReader("no json")), "output of the tests")
}

func cases(results ...string) map[string]*outcome {
	found := map[string]*outcome{}
	for i := 0; i < len(results); i += 2 {
		found[results[i]] = &outcome{result: results[i+1], identity: identitySigned, why: "because of " + results[i]}
	}
	return found
}

func TestReport(t *testing.T) {
	plain := &column{cases: cases("daprd/workflow/x/a", "pass", "daprd/workflow/x/b", "fail", "daprd/workflow/c", "pass", "daprd/workflow/d", "pass")}
	custody := &column{cases: cases("daprd/workflow/x/a", "pass", "daprd/workflow/x/b", "fail", "daprd/workflow/c", "pass", "daprd/workflow/d", "pass")}
	custody.cases["daprd/workflow/c"].witnessed, custody.cases["daprd/workflow/c"].anchored = true, 12
	plain.cases["daprd/workflow/d"].identity, custody.cases["daprd/workflow/d"].identity = identityUnsigned, identityUnsigned
	custody.cases["daprd/workflow/d"].witnessed = true
	var out bytes.Buffer
	require.NoError(t, report(&out, plain, custody), "what fails in both is no finding")
	for _, want := range []string{
		"(workflow)  2      2 pass          2 pass          2                  12",
		"x           2      1 pass, 1 fail  1 pass, 1 fail  0                  0",
		"all         4      3 pass, 1 fail  3 pass, 1 fail  2                  12",
		"fails in both:\n  daprd/workflow/x/b: because of daprd/workflow/x/b",
		"without signing, with which it fails so:\n  daprd/workflow/d: because of",
	} {
		require.Contains(t, out.String(), want)
	}
	require.NotContains(t, out.String(), "fails with state.custody only")

	custody.cases["daprd/workflow/x/a"].result = "fail"
	out.Reset()
	require.ErrorContains(t, report(&out, plain, custody), "1 cases pass with the store by itself and fail with state.custody")
	require.Contains(t, out.String(), "fails with state.custody only:\n  daprd/workflow/x/a: because of")
	custody.cases["daprd/workflow/x/a"].result = "skip"
	require.Error(t, report(&out, plain, custody), "what was not run is not passed")
	delete(custody.cases, "daprd/workflow/x/a")
	require.ErrorContains(t, report(&out, plain, custody), "daprd/workflow/x/a was run in one column only")
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"more"}, `"more" is not understood`},
		{[]string{"--parallel", "0"}, "--parallel is 0"},
		{[]string{"--focus", "("}, "--focus"},
	} {
		_, err := parseFlags(c.args, &bytes.Buffer{})
		require.ErrorContains(t, err, c.want)
	}
	s, err := parseFlags(nil, &bytes.Buffer{})
	require.NoError(t, err)
	require.Equal(t, settings{focus: "^daprd/workflow/", parallel: 2, bin: "bin"}, s)
	require.Equal(t, `^(a\.b|c)$`, only([]string{"a.b", "c"}))
}
