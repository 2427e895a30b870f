// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package stage_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/stage"
)

func TestSum(t *testing.T) {
	var out bytes.Buffer
	printer, c := &stage.Printer{Out: &out}, stage.Checks{}
	c.Check(true, "no matter")
	require.NoError(t, c.Sum(printer, 0))
	require.Contains(t, out.String(), "demo: 1 checks as expected")
	c.Check(false, "the %s", "moon")
	require.ErrorIs(t, c.Sum(printer, 0), stage.ErrDiffered)
	require.Contains(t, out.String(), "demo: 1 of 2 checks not as expected:\n  - the moon\n")
}

func TestAwait(t *testing.T) {
	asked := 0
	require.NoError(t, stage.Await(t.Context(), time.Minute, func(context.Context) (bool, error) {
		asked++
		return asked == 3, nil
	}))
	require.Equal(t, 3, asked)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := stage.Await(ended, time.Minute, func(context.Context) (bool, error) { return false, nil })
	require.ErrorContains(t, err, "it did not come about")
	require.ErrorIs(t, err, context.Canceled)
	err = stage.Await(t.Context(), 0, func(context.Context) (bool, error) { return false, nil })
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	names, rows := []string{"a", "long-name"}, [][]stage.Cell{{{"allow", true}, {"x, y", true}}, {{"deny", false}, {"", true}}}
	(&stage.Printer{Out: &out}).Table([]string{"agent", "tool", "shows"}, names, rows)
	require.Equal(t, "  agent      tool   shows\n  a          allow  x, y\n  long-name  deny\n", out.String())
	out.Reset()
	(&stage.Printer{Out: &out, Colour: true}).Table([]string{"agent", "tool", "shows"}, names, rows)
	require.Contains(t, out.String(), "\x1b[32m"+"allow"+"\x1b[0m"+"  ")
	require.Contains(t, out.String(), "\x1b[31m"+"deny"+"\x1b[0m"+"   ")
}

func TestOneLineCannotSteerTheTerminal(t *testing.T) {
	require.Equal(t, "a [2J b c", stage.OneLine("a\x1b[2J\r\n\tb\x7fc"))
	require.Len(t, stage.OneLine(strings.Repeat("x", 1000)), 163)
}

func TestStageHoldsACopyOfWhatIsTaken(t *testing.T) {
	source, bin := filepath.Join(t.TempDir(), "thing"), t.TempDir()
	for _, file := range []string{"dapr.yaml", "config/a.yaml", "secret/b.yaml"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(source, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(source, file), []byte(file), 0o600))
	}
	options := stage.Options{Source: source, Take: []string{"dapr.yaml", "config"}, Bin: bin, Programs: []string{"custody"}}
	_, err := stage.New(options)
	require.ErrorContains(t, err, "no custody in "+bin+": run make build first")

	require.NoError(t, os.WriteFile(filepath.Join(bin, "custody"), nil, 0o755))
	s, err := stage.New(options)
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(s.Example, "config", "a.yaml"))
	require.NoError(t, err)
	require.Equal(t, "config/a.yaml", string(text))
	require.FileExists(t, filepath.Join(s.Example, "dapr.yaml"))
	require.NoDirExists(t, filepath.Join(s.Example, "secret"))
	require.FileExists(t, filepath.Join(s.Example, "..", "..", "bin", "custody"))
	require.NoError(t, s.Close())
	require.NoDirExists(t, s.Dir)

	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	options.Take = append(options.Take, "missing")
	_, err = stage.New(options)
	require.ErrorContains(t, err, "missing")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}
