// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// AdminURL starts an empty cluster for the test and returns the connection
// string of its superuser.
func AdminURL(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "custody-orders-")
	require.NoError(t, err)
	c := &cluster{dir: dir, password: randomHex(16)}
	err = c.start(context.Background(), Options{})
	t.Cleanup(func() { require.NoError(t, c.close()) })
	require.NoError(t, err)
	return c.url(adminRole, c.password)
}
