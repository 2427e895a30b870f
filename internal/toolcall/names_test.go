// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

func TestDefaultOf(t *testing.T) {
	for _, m := range []string{
		"initialize", "notifications/initialized", "notifications/cancelled", "notifications/progress",
		"notifications/roots/list_changed", "ping", "server/discover", "tools/list", "resources/list",
		"resources/templates/list", "prompts/list", "tasks/list",
	} {
		require.Equal(t, toolcall.Reach, toolcall.DefaultOf(m), m)
		require.Equal(t, strings.HasSuffix(m, "/list"), toolcall.Listing(m), m)
	}
	for _, m := range []string{"tasks/get", "tasks/result", "tasks/cancel", "tasks/update"} {
		require.Equal(t, toolcall.Owner, toolcall.DefaultOf(m), m)
	}
	for _, m := range []string{
		"", "tools/call", "Tools/list", "tools/list ", "resources/read", "resources/subscribe", "prompts/get",
		"completion/complete", "logging/setLevel", "subscriptions/listen", "notifications/tasks/status",
		"notifications/unknown", "roots/list", "sampling/createMessage", "elicitation/create", "tasks/unknown",
	} {
		require.Equal(t, toolcall.Named, toolcall.DefaultOf(m), m)
		require.False(t, toolcall.Listing(m), m)
	}
}

func TestMethods(t *testing.T) {
	asked := map[string]bool{}
	for _, m := range toolcall.Methods() {
		name := fmt.Sprint(m.Name, m.FromServer)
		require.False(t, asked[name], name)
		asked[name] = true
		require.NotEmpty(t, m.Versions, m.Name)
		require.NotEmpty(t, m.Lists, m.Name)
		require.Equal(t, m.Name != "tools/call", slices.Contains(m.Lists, "methods"), m.Name)
		if m.FromServer {
			require.Equal(t, toolcall.Named, m.Default, "what a server asks of a client is off")
			continue
		}
		require.Equal(t, toolcall.DefaultOf(m.Name), m.Default)
		require.Equal(t, toolcall.Listing(m.Name), m.Filtered)
		for _, version := range []string{toolcall.Version20250326, toolcall.Version20250618, toolcall.Version20251125, toolcall.Version20260728} {
			require.Equal(t, slices.Contains(m.Versions, version), toolcall.Known(m.Name, version), "%s in %s", m.Name, version)
		}
	}
	require.True(t, asked["sampling/createMessagetrue"])
	require.Equal(t, "named reach owner unknown", fmt.Sprint(toolcall.Named, toolcall.Reach, toolcall.Owner, toolcall.Default(9)))
}

// The table in docs/policy.md says what the code does.
func TestDocumentedDefaults(t *testing.T) {
	var table strings.Builder
	table.WriteString("| method | default | matched by | revisions |\n|---|---|---|---|\n")
	for _, m := range toolcall.Methods() {
		name := "`" + m.Name + "`"
		if m.FromServer {
			name += ", asked of the client"
		}
		by := m.Default.String()
		if m.Filtered {
			by += ", filtered"
		}
		revisions := strings.Join(m.Versions, ", ")
		if len(m.Versions) == 4 {
			revisions = "all"
		}
		fmt.Fprintf(&table, "| %s | %s | `%s` | %s |\n", name, by, strings.Join(m.Lists, "`, `"), revisions)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), table.String(), "put this table into docs/policy.md")
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
