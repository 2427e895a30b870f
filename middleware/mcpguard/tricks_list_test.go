// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// pagingServer lists four tools on two pages, wherever a cursor comes from, and
// says that everybody may keep its answers.
type pagingServer struct {
	events bool

	mu   sync.Mutex
	seen []string
}

func (s *pagingServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, string(body))
	s.mu.Unlock()
	page := `"tools":[{"name":"echo","inputSchema":{"type":"object"}},{"name":"reverse","inputSchema":{"type":"object"}}],"nextCursor":"page-2"`
	if strings.Contains(string(body), "page-2") {
		page = `"tools":[{"name":"fail","inputSchema":{"type":"object"}},{"name":"reverse2","inputSchema":{"type":"object"}}]`
	}
	answer := `{"jsonrpc":"2.0","id":7,"result":{` + page + `,"ttlMs":600000,"cacheScope":"public"}}`
	w.Header().Set("Cache-Control", "public, max-age=600")
	w.Header().Set("ETag", `"same-for-all"`)
	w.Header().Set("Content-Type", "application/json")
	if s.events {
		w.Header().Set("Content-Type", "text/event-stream")
		answer = "data: " + answer + "\n\n"
	}
	_, _ = io.WriteString(w, answer) // the caller may be gone
}

func (s *pagingServer) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

// listed is a tools/list as a caller sees it.
type listed struct {
	Result struct {
		Tools      []struct{ Name string }
		NextCursor string
		CacheScope string
	}
}

func (l listed) names() []string {
	names := []string{}
	for _, tool := range l.Result.Tools {
		names = append(names, tool.Name)
	}
	return names
}

const listPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: alice, effect: allow, from: [alice], to: {server: server, tools: [echo, fail]}}
  - {name: bob, effect: allow, from: [bob], to: {server: server, tools: [reverse, reverse2]}}
`

// Lists go to each caller as the policy of the moment has them for it, whoever
// got a cursor or a list before.
func TestTricksOfLists(t *testing.T) {
	for name, events := range map[string]bool{"json": false, "events": true} {
		t.Run(name, func(t *testing.T) {
			server := &pagingServer{events: events}
			backend := httptest.NewServer(server)
			t.Cleanup(backend.Close)
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(backend)
				r.setPolicy(listPolicy)
			})
			ask := func(as, cursor string) (listed, answered) {
				t.Helper()
				params := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`
				if cursor != "" {
					params += fmt.Sprintf(`,"cursor":%q`, cursor)
				}
				got := r.post(r.as(as), `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{`+params+`}}`,
					"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list")
				var list listed
				if got.status == 200 {
					body := strings.TrimSpace(strings.TrimPrefix(got.body, "data: "))
					require.NoError(t, json.Unmarshal([]byte(body), &list), got.body)
				}
				return list, got
			}

			alices, got := ask("alice", "")
			require.Equal(t, []string{"echo"}, alices.names())
			require.Equal(t, "page-2", alices.Result.NextCursor)
			bobs, _ := ask("bob", alices.Result.NextCursor)
			require.Equal(t, []string{"reverse2"}, bobs.names(), "with the cursor that alice got")
			more, _ := ask("alice", alices.Result.NextCursor)
			require.Equal(t, []string{"fail"}, more.names())
			reached := len(server.received())
			_, strangers := ask("mallory", alices.Result.NextCursor)
			require.Equal(t, 403, strangers.status)
			require.NotContains(t, strangers.body, "echo")
			require.Len(t, server.received(), reached)

			for _, list := range []listed{alices, bobs, more} {
				require.Equal(t, "private", list.Result.CacheScope, "whatever the server says")
			}
			require.Equal(t, []string{"no-store"}, got.header.Values("Cache-Control"))
			require.Empty(t, got.header.Values("ETag"))

			// What an older list shows may be denied by now.
			require.NotEqual(t, 403, r.post(r.as("alice"), call("echo", "x")).status)
			r.setPolicy(strings.Replace(listPolicy, "[echo, fail]", "[fail]", 1))
			require.Eventually(t, func() bool {
				list, _ := ask("alice", "")
				return len(list.names()) == 0
			}, 10*time.Second, time.Millisecond)
			reached = len(server.received())
			require.Equal(t, 403, r.post(r.as("alice"), call("echo", "x")).status)
			require.Len(t, server.received(), reached)
		})
	}
}
