// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/testkit"
)

const listTools = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`

// typo names an argument of the testkit's tools that they do not have.
const typo = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: alice, effect: allow, from: [alice], to: {server: server, tools: [echo]}, when: args.txet == "x"}
`

const typoWarning = `test.yaml:6:97: spec.rules[0].when: "txet" is no argument of tool server/echo: did you mean "text"?`

func (r *rig) status() policydir.Status {
	r.t.Helper()
	status, err := policydir.ReadStatus(filepath.Join(r.journal, policydir.StatusFile))
	require.NoError(r.t, err)
	return status
}

// warned waits until the status has warnings, or none.
func (r *rig) warned(want bool) []string {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return (len(r.status().Warnings) > 0) == want }, 10*time.Second, 5*time.Millisecond)
	return r.status().Warnings
}

func TestAMisspelledArgumentIsAWarning(t *testing.T) {
	for name, json := range map[string]bool{"JSON": true, "events": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{JSON: json}, func(r *rig) { r.setPolicy(typo) })
			require.Empty(t, r.status().Warnings, "nothing is known yet")
			require.Equal(t, http.StatusOK, r.post(r.as("alice"), listTools).status)
			require.Equal(t, []string{filepath.Join(r.policies, typoWarning)}, r.warned(true))

			path := r.status().Tools
			require.Equal(t, filepath.Join(r.journal, "tools.json"), path)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			known, err := policy.ParseCatalogue(data)
			require.NoError(t, err)
			require.Len(t, known["server"], 3, "also what the caller may not see")

			// What is warned of decides as before.
			require.Equal(t, http.StatusForbidden, r.post(r.as("alice"), call("echo", "x")).status)
			r.setPolicy(strings.Replace(typo, "txet", "text", 1))
			r.warned(false)
			require.Equal(t, http.StatusOK, r.post(r.as("alice"), call("echo", "x")).status)

			// The same list again leaves the file alone; a reload reads it, before any call.
			require.Equal(t, http.StatusOK, r.post(r.as("alice"), listTools).status)
			r.setPolicy(typo)
			r.warned(true)
			r.guard, err = r.factory.Make("mcpguard", r.meta)
			require.NoError(t, err)
			require.Len(t, r.status().Warnings, 1)
			after, err := os.Stat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(info, after))
		})
	}
}

// lying is a server whose list of tools is what the test says.
func lying(t *testing.T, tools *atomic.Value) func(*rig) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":{"tools":%s}}`, tools.Load())
	}))
	t.Cleanup(server.Close)
	return func(r *rig) {
		address, err := url.Parse(server.URL)
		require.NoError(t, err)
		r.host.AppAddress = address.Host
		r.server.URL = server.URL
		r.setPolicy(typo)
	}
}

func TestAServerThatLiesAboutItsTools(t *testing.T) {
	var tools atomic.Value
	tools.Store("[]")
	r := newRig(t, testkit.MCPOptions{}, lying(t, &tools))
	list := func(text string) answered {
		tools.Store(text)
		return r.post(r.as("alice"), listTools)
	}
	require.Equal(t, http.StatusOK, list(`[{"name":"echo","inputSchema":{"type":"object","properties":{"text":{}}}}]`).status)
	require.Contains(t, r.warned(true)[0], `"txet" is no argument`)
	require.Equal(t, http.StatusOK, list(`[{"name":"echo","inputSchema":{"type":"object","properties":{"txet":{}}}}]`).status, "the newest counts")
	r.warned(false)

	huge := `"` + strings.Repeat("x", policy.MaxSchemaBytes) + `"`
	for _, schema := range []string{huge, `"text"`, `{"type":"array"}`, `null`} {
		require.Equal(t, http.StatusOK, list(`[{"name":"echo","inputSchema":`+schema+`}]`).status, "the list passes")
		warnings := r.warned(true)
		require.Len(t, warnings, 1)
		require.Contains(t, warnings[0], "the input schema of tool server/echo cannot be used")
	}
	require.Equal(t, http.StatusBadGateway, list(`[{"name":"echo","inputSchema":{"type":"object","properties":{"text":{}}}},7]`).status)
	require.Contains(t, r.warned(true)[0], "cannot be used", "a list that does not pass teaches nothing")

	var many strings.Builder
	for i := range policy.MaxServerTools + 5 {
		fmt.Fprintf(&many, `{"name":"t%d"},`, i)
	}
	require.Equal(t, http.StatusOK, list(`[`+many.String()+`{"name":"echo","inputSchema":{"type":"object","properties":{"txet":{}}}}]`).status)
	require.Eventually(t, func() bool {
		return strings.Contains(strings.Join(r.status().Warnings, "\n"), "conditions are not checked against every tool of the server")
	}, 10*time.Second, 5*time.Millisecond)
}

// A tool that the server took away is forgotten, once a list says for certain that
// it is not there: one page from the beginning to the end.
func TestAToolThatIsGone(t *testing.T) {
	const echo, other = `{"name":"echo","inputSchema":{"type":"object","properties":{"text":{}}}}`, `{"name":"other","inputSchema":{}}`
	const paged = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"n"}}`
	tests := []struct {
		name, request, tools string
		status               int
		gone                 bool
	}{
		{"a whole list", listTools, `[` + other + `]`, 200, true},
		{"of nothing", listTools, `[]`, 200, true},
		{"with other parameters", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"a":1}}}`, `[]`, 200, true},
		{"a whole list with the tool", listTools, `[` + other + `,` + echo + `]`, 200, false},
		{"the first page", listTools, `[` + other + `],"nextCursor":"n"`, 200, false},
		{"an empty cursor", listTools, `[],"nextCursor":""`, 200, false},
		{"the last page", paged, `[` + other + `]`, 200, false},
		{"a list that is withheld", listTools, `[` + other + `,7]`, 502, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tools atomic.Value
			tools.Store(`[` + echo + `]`)
			r := newRig(t, testkit.MCPOptions{}, lying(t, &tools))
			list := func(request, text string) int {
				tools.Store(text)
				return r.post(r.as("alice"), request).status
			}
			require.Equal(t, 200, list(listTools, `[`+echo+`]`))
			require.Contains(t, r.warned(true)[0], `"txet" is no argument`)

			require.Equal(t, tt.status, list(tt.request, tt.tools))
			// Behind it another one that says nothing of the tool, so that what is on disk is newer than the list.
			require.Equal(t, 200, list(paged, `[{"name":"last","inputSchema":{}}]`))
			require.Eventually(t, func() bool {
				data, err := os.ReadFile(filepath.Join(r.journal, "tools.json"))
				require.NoError(t, err)
				known, err := policy.ParseCatalogue(data)
				require.NoError(t, err)
				if _, ok := known["server"]["last"]; !ok {
					return false
				}
				_, there := known["server"]["echo"]
				require.Equal(t, tt.gone, !there)
				return true
			}, 10*time.Second, 5*time.Millisecond)
			r.warned(!tt.gone)
		})
	}
}

// Where tools go, there is room again, and nothing is left out.
func TestRoomForToolsAgain(t *testing.T) {
	var tools atomic.Value
	tools.Store("[]")
	r := newRig(t, testkit.MCPOptions{}, lying(t, &tools))
	list := func(from, to int) {
		var text strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&text, `{"name":"t%d"},`, i)
		}
		tools.Store(`[` + strings.TrimSuffix(text.String(), ",") + `]`)
		require.Equal(t, http.StatusOK, r.post(r.as("alice"), listTools).status)
	}
	left := func(want bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			return strings.Contains(strings.Join(r.status().Warnings, "\n"), "conditions are not checked against every tool") == want
		}, 10*time.Second, 5*time.Millisecond)
	}
	list(0, policy.MaxServerTools)
	list(0, policy.MaxServerTools+1)
	left(true)
	list(1, policy.MaxServerTools+1)
	left(false)
}

func TestACatalogueThatCannotBeUsed(t *testing.T) {
	for name, content := range map[string]string{"not JSON": "{", "another kind": `{"apiVersion":"custody.dev/v1alpha1","kind":"AccessPolicy"}`, "empty": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
				r.setPolicy(typo)
				require.NoError(t, os.MkdirAll(r.journal, 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(r.journal, "tools.json"), []byte(content), 0o600))
			})
			require.Empty(t, r.status().Warnings)
			require.Equal(t, http.StatusOK, r.post(r.as("alice"), listTools).status)
			require.Len(t, r.warned(true), 1)
		})
	}
}
