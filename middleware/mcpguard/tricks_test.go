// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// A trick is one way in which somebody could try to get round the guard. There
// is a table for each family: tricks_parse_test.go, tricks_path_test.go (methods
// too), tricks_header_test.go, tricks_session_test.go, tricks_list_test.go and
// tricks_body_test.go; those that need whole sidecars are in
// tests/integration/tricks_test.go. What counts is what the server saw.
type trick struct {
	name string
	as   string // the caller; empty means alice, who may echo and not reverse
	// do is the method and path; empty means "POST /mcp".
	do     string
	body   string
	header []string
	status int
	// reached is all that the server saw, as "METHOD path body"; empty means nothing.
	reached string
	// silent says that the guard answers without a record, because it refuses nothing.
	silent bool
	// sees looks further at what reached the server.
	sees func(*testing.T, testkit.Received)
}

// decided is what the server sees of an MCP message that was let through.
func decided(body string) string { return "POST /mcp " + body }

func tryAll(t *testing.T, r *rig, tricks []trick) {
	t.Helper()
	for _, trick := range tricks {
		t.Run(trick.name, func(t *testing.T) { r.try(t, trick) })
	}
}

// tryJSON tries each trick on a server that answers in one piece. A new guard
// every few rows keeps the journals short, which are read and verified for each.
func tryJSON(t *testing.T, tricks []trick) {
	t.Helper()
	for part := range slices.Chunk(tricks, 10) {
		tryAll(t, newRig(t, testkit.MCPOptions{JSON: true}), part)
	}
}

func (r *rig) try(t *testing.T, trick trick) {
	t.Helper()
	as, do := trick.as, trick.do
	if as == "" {
		as = "alice"
	}
	if do == "" {
		do = "POST /mcp"
	}
	method, path, _ := strings.Cut(do, " ")
	seen, recorded := len(r.server.Requests()), len(r.records())
	got := r.do(method, r.as(as)+path, trick.body, trick.header...)
	require.Equal(t, trick.status, got.status, got.body)

	var reached string
	for _, request := range r.server.Requests()[seen:] {
		reached += request.Method + " " + request.Path + " " + request.Body
		if trick.sees != nil {
			trick.sees(t, request)
		}
	}
	require.Equal(t, trick.reached, reached, "what the server saw")
	records := r.records()[recorded:]
	if trick.silent {
		require.Empty(t, records)
		return
	}
	require.Len(t, records, 1)
	if trick.reached != "" {
		require.Equal(t, "allow", records[0].Decision.Effect)
		return
	}
	require.Equal(t, "deny", records[0].Decision.Effect)
	require.NotEmpty(t, records[0].Decision.Reason)
	if trick.do == "" && slices.Contains([]int{400, 413, 415}, trick.status) {
		require.Equal(t, "mcp.unparsed", records[0].Action.Kind)
	}
	if method != http.MethodHead {
		require.Contains(t, got.body, records[0].ID, "the caller is told the reference")
	}
}
