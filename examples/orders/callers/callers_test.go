// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package callers_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/callers"
)

// TestOnlyARefusalIsADeny: that a call fails for another reason must not count.
func TestOnlyARefusalIsADeny(t *testing.T) {
	for _, c := range []struct {
		name string
		r    callers.Report
		want string
	}{
		{"answer", callers.Report{OK: true}, "allow"},
		{"denied", callers.Report{Code: callers.DeniedCode}, "deny"},
		{"denied on opening", callers.Report{Error: "open the MCP session: Denied by policy. Reference: x"}, "deny"},
		{"closed", callers.Report{Error: "The guard of this server cannot decide or record now"}, "error 0"},
		{"tool error", callers.Report{Error: "tool: there is no such order"}, "error 0"},
		{"other code", callers.Report{Code: -32602, Error: "unknown tool"}, "error -32602"},
		{"sidecar down", callers.Report{Error: "connection refused"}, "error 0"},
		{"answer with the code", callers.Report{OK: true, Code: callers.DeniedCode}, "allow"},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, c.r.Outcome()) })
	}
}
