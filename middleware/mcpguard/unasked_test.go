// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// A step that the caller's sidecar did not sign, as while its mcpcaller is not loaded, does not reach the server.
func TestStepWithoutAQuestion(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true})
	alice := r.as("alice")
	for _, path := range []string{"/mcp", "/healthz"} {
		got := r.do(http.MethodPost, alice+path, call("echo", "hi"), mcpguard.HeaderStep, "e30")
		require.Equal(t, http.StatusForbidden, got.status, got.body)
		last := r.lastRecord()
		require.Equal(t, receipt.StatusDenied, last.Outcome.Status)
		require.Contains(t, last.Decision.Reason, "no mcpcaller")
	}
	require.Empty(t, r.server.Requests())
	require.Equal(t, http.StatusOK, r.post(alice, call("echo", "hi")).status)
}
