// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

func TestPlumbing(t *testing.T) {
	for _, m := range []string{
		"initialize", "notifications/initialized", "notifications/cancelled", "notifications/progress",
		"notifications/roots/list_changed", "ping", "server/discover", "tools/list",
	} {
		require.True(t, toolcall.Plumbing(m), m)
	}
	for _, m := range []string{
		"", "tools/call", "Tools/list", "tools/list ", "resources/list", "resources/read", "prompts/list", "prompts/get",
		"completion/complete", "logging/setLevel", "tasks/get", "tasks/list", "subscriptions/listen",
		"notifications/tasks/status", "notifications/unknown",
	} {
		require.False(t, toolcall.Plumbing(m), m)
	}
}

func TestKnown(t *testing.T) {
	const a, b, c, d = toolcall.Version20250326, toolcall.Version20250618, toolcall.Version20251125, toolcall.Version20260728
	tests := []struct {
		method string
		in     []string
	}{
		{"tools/call", []string{a, b, c, d}},
		{"tools/list", []string{a, b, c, d}},
		{"completion/complete", []string{a, b, c, d}},
		{"initialize", []string{a, b, c}},
		{"ping", []string{a, b, c}},
		{"logging/setLevel", []string{a, b, c}},
		{"resources/subscribe", []string{a, b, c}},
		{"tasks/get", []string{c, d}},
		{"tasks/list", []string{c}},
		{"tasks/update", []string{d}},
		{"server/discover", []string{d}},
		{"subscriptions/listen", []string{d}},
		{"sampling/createMessage", nil},
		{"TOOLS/CALL", nil},
		{"", nil},
	}
	for _, tt := range tests {
		for _, v := range []string{a, b, c, d, "2024-11-05", ""} {
			require.Equal(t, contains(tt.in, v), toolcall.Known(tt.method, v), "%s in %s", tt.method, v)
		}
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}
