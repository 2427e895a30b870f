// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemo(t *testing.T) { runDemo(t, "orders") }

func TestRefundDemo(t *testing.T) { runDemo(t, "refund") }

func TestOrdersDBDemo(t *testing.T) { runDemo(t, "orders-db") }

func TestAnyStoreDemo(t *testing.T) { runDemo(t, "any-store") }

// runDemo: a demo of the README runs to its end, all is as it expects, and no folder of it is left.
func runDemo(t *testing.T, example string) {
	t.Helper()
	temp := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(temp), 0o755)) //nolint:gosec // PostgreSQL runs as another user below it
	require.NoError(t, os.Chmod(temp, 0o777))               //nolint:gosec // likewise
	command := exec.CommandContext(t.Context(), "go", "run", "./examples/"+example+"/demo")
	command.Dir = filepath.Join("..", "..")
	command.Env = append(os.Environ(), "TMPDIR="+temp, "GOTMPDIR="+t.TempDir())
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Regexp(t, `demo: \d\d checks as expected`, string(out))
	require.NotRegexp(t, `not as expected`, string(out))
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}
