// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// lockFile waits until nobody else holds the lock on a file, and gives what lets it go.
func lockFile(tb testing.TB, path string) (unlock func()) {
	tb.Helper()
	file, err := os.Open(path)
	require.NoError(tb, err)
	require.NoError(tb, unix.Flock(int(file.Fd()), unix.LOCK_EX))
	return func() { require.NoError(tb, file.Close()) }
}
