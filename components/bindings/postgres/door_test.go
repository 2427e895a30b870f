// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

func TestOneStatement(t *testing.T) {
	r := newRig(t, allowAll)
	require.Equal(t, `[[7,"24.50"]]`, r.query("reader", "SELECT id, total::text FROM shop.orders WHERE id = $1", "params", "[7]"))
	got := r.last()
	require.Equal(t, receipt.StatusOK, got.Outcome.Status)
	require.Equal(t, int64(1), got.Outcome.Rows)
	say := r.refused("reader", "SELECT secret FROM vault.secrets")
	require.Equal(t, "Denied by policy. Reference: "+r.last().ID, say)
}
