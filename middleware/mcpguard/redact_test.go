// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// What a rule redacts does not reach the caller in whatever form the answer comes,
// and what cannot be looked into is withheld.
func TestRedact(t *testing.T) {
	const obligation = "    redact: {detectors: [email], paths: [\"$.pin\"]}\n"
	const result = `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"{\"to\":\"bob\\u0040example.com\",\"pin\":\"4711\"}"}],"structuredContent":{"to":"bob@example.com","pin":"4711","n":1.10}}}`
	const notice = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"asked bob@example.com"}}`
	tests := []struct {
		name, obligation, contentType, answer string
		status                                int
		outcome                               string
		redacted                              map[string]int
	}{
		{"in a body", obligation, "application/json", result, 200, receipt.StatusOK, map[string]int{"email": 2, "path": 2}},
		{"in an event", obligation, "text/event-stream", event(result), 200, receipt.StatusOK, map[string]int{"email": 2, "path": 2}},
		{"in what comes before", obligation, "text/event-stream", event(notice) + event(result), 200, receipt.StatusOK, map[string]int{"email": 3, "path": 2}},
		{
			"in an error", obligation, "application/json", `{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no bob@example.com"}}`,
			200, receipt.StatusRPCError,
			map[string]int{"email": 1},
		},
		{"in text", obligation, "text/plain", "bob@example.com 4711", 502, receipt.StatusWithheld, nil},
		{"in what is no strict JSON", obligation, "application/json", `{"jsonrpc":"2.0","id":7,"result":{"a":"bob@example.com","a":"4711"}}`, 502, receipt.StatusWithheld, nil},
		{"where nothing is asked", "", "application/json", result, 200, receipt.StatusOK, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(answering(t, test.contentType, test.answer))
				r.setPolicy(strings.Replace(allowing(test.obligation), `, paths: ["GET /big"]`, "", 1))
			})
			got := r.post(r.as("alice"), call("echo", "x"))
			require.Equal(t, test.status, got.status, got.body)
			record := r.lastRecord()
			require.Equal(t, test.outcome, record.Outcome.Status)
			require.Equal(t, test.redacted, record.Outcome.Redacted)
			if test.obligation == "" {
				require.Equal(t, test.answer, got.body)
				return
			}
			require.NotContains(t, got.body, "bob")
			require.NotContains(t, got.body, "4711")
			if test.contentType == "application/json" && test.status == 200 {
				require.Equal(t, receipt.Sum([]byte(got.body)), record.Outcome.ResponseDigest, "of what the caller got")
			}
			if test.redacted["path"] > 0 {
				require.Contains(t, got.body, `"structuredContent":{"to":"[redacted:email]","pin":"[redacted]","n":1.10}`)
			}
		})
	}
}

// A header of the answer could carry what is taken out of the body.
func TestRedactTheHeader(t *testing.T) {
	backend := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Data", "bob@example.com")
		w.Header().Set("Link", "<mailto:bob@example.com>")
		w.Header().Set("Content-Type", `application/json; data="bob@example.com"`)
		w.Header().Set("Mcp-Session-Id", "s-1")
		_, err := io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{"content":[]}}`)
		require.NoError(t, err)
	})
	for obligation, headers := range map[string]string{
		"    redact: {detectors: [email]}\n": "",
		"    maxResultBytes: 1000\n":         "bob@example.com",
	} {
		r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
			server := httptest.NewServer(backend)
			t.Cleanup(server.Close)
			r.useBackend(server)
			r.setPolicy(strings.Replace(allowing(obligation), `, paths: ["GET /big"]`, "", 1))
		})
		got := r.post(r.as("alice"), call("echo", "x"))
		require.Equal(t, 200, got.status, got.body)
		require.Equal(t, headers, got.header.Get("X-Data"))
		require.Equal(t, "application/json", got.header.Get("Content-Type"))
		require.Equal(t, headers != "", strings.Contains(got.header.Get("Link"), "bob"))
		require.Equal(t, headers != "", got.header.Get("Mcp-Session-Id") != "", "a session that was not there before")
		require.NotEmpty(t, got.header.Get("Custody-Receipt"))
	}
}

// The session that a client has, and the one that it opens, it has to hear of.
func TestRedactLeavesTheSession(t *testing.T) {
	session := "s-1"
	r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Mcp-Session-Id", session)
			_, err := io.WriteString(w, `{"jsonrpc":"2.0","id":7,"result":{}}`)
			require.NoError(t, err)
		}))
		t.Cleanup(server.Close)
		r.useBackend(server)
		r.setPolicy(allowAlice + "  - {name: redacted, effect: allow, from: [alice], to: {server: server, tools: [echo], methods: [initialize]}, redact: {detectors: [email]}}\n")
	})
	alice := r.as("alice")
	got := r.post(alice, `{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`)
	require.Equal(t, []string{"s-1"}, got.header.Values("Mcp-Session-Id"), got.body)
	require.Equal(t, []string{"s-1"}, r.post(alice, call("echo", "x"), "Mcp-Session-Id", "s-1").header.Values("Mcp-Session-Id"))
	session = "bob@example.com"
	got = r.post(alice, call("echo", "x"), "Mcp-Session-Id", "s-1")
	require.Equal(t, 200, got.status)
	require.Empty(t, got.header.Values("Mcp-Session-Id"))
}

// What a server says beside the data does not carry past the redaction what is
// taken out of it.
func TestRedactBesideTheData(t *testing.T) {
	const result = `{"jsonrpc":"2.0","id":7,"result":{"text":"bob@example.com"}}`
	const notice = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`
	const clean = "data: " + `{"jsonrpc":"2.0","id":7,"result":{"text":"[redacted:email]"}}` + "\n\n"
	tests := []struct {
		name, answer string
		want         string // the whole answer, "" if it is withheld
	}{
		{"nothing", event(result), clean},
		{"an ID", "id: bob@example.com\n" + event(result), clean},
		{"a plain ID", "id: 4711\n" + event(result), clean},
		{"the ID of an event without data", "id: bob@example.com\n\n" + event(result), clean},
		{"a time", "retry: 4111111111111111\n" + event(result), clean},
		{"a comment", ": bob@example.com\n" + event(result), clean},
		{"another field", "to: bob@example.com\n" + event(result), clean},
		{"the usual name", "event: message\n" + event(result), "event: message\n" + clean},
		{"a name", "event: bob@example.com\n" + event(result), ""},
		{"a plain name", "event: result\n" + event(result), ""},
		{"another member", event(strings.Replace(result, `"id":7`, `"to":"bob@example.com","id":7`, 1)), ""},
		{"params", event(strings.Replace(result, `"id":7`, `"params":{"to":"bob@example.com"},"id":7`, 1)), ""},
		{"a member of a notification", event(strings.Replace(notice, `"method"`, `"to":"bob@example.com","method"`, 1)) + event(result), ""},
		{"a method", event(strings.Replace(notice, "notifications/message", "bob@example.com", 1)) + event(result), ""},
		{"the ID of a request", event(`{"jsonrpc":"2.0","id":"bob@example.com","method":"roots/list"}`) + event(result), ""},
	}
	const rule = "  - {name: more, effect: allow, from: [alice], to: {server: server, tools: [x], methods: [roots/list]}}\n"
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, obligation := range []string{"    redact: {detectors: [email]}\n", ""} {
				r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
					r.useBackend(answering(t, "text/event-stream", test.answer))
					r.setPolicy(strings.Replace(allowing(obligation), `, paths: ["GET /big"]`, "", 1) + rule)
				})
				got := r.post(r.as("alice"), call("echo", "x"))
				switch {
				case obligation == "":
					require.Equal(t, 200, got.status)
					require.Contains(t, got.body, `"text":"bob@example.com"`, "nothing is asked")
					if test.name == "an ID" {
						require.Contains(t, got.body, "id: bob@example.com\n")
					}
				case test.want != "":
					require.Equal(t, 200, got.status)
					require.Equal(t, test.want, got.body)
					require.Equal(t, receipt.StatusOK, r.lastRecord().Outcome.Status)
				default:
					require.Equal(t, 502, got.status, got.body)
					require.NotContains(t, got.body, "bob")
					require.Equal(t, receipt.StatusWithheld, r.lastRecord().Outcome.Status)
				}
			}
		})
	}
	t.Run("in one piece", func(t *testing.T) {
		r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
			r.useBackend(answering(t, "application/json", strings.Replace(result, `"id":7`, `"to":"bob@example.com","id":7`, 1)))
			r.setPolicy(strings.Replace(allowing("    redact: {detectors: [email]}\n"), `, paths: ["GET /big"]`, "", 1))
		})
		got := r.post(r.as("alice"), call("echo", "x"))
		require.Equal(t, 502, got.status, got.body)
		require.NotContains(t, got.body, "bob")
	})
}

// What is taken out of the answer of a call is taken out of what the task brings
// back that it became. The task of another call is not touched.
func TestRedactTheAnswerOfATask(t *testing.T) {
	const rules = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: obliged, effect: allow, from: [alice], to: {server: server, tools: [x]}, redact: {detectors: [email], paths: ["$.pin"]}}
  - {name: free, effect: allow, from: [bob], to: {server: server, tools: [x]}}
`
	for _, version := range []string{toolcall.Version20251125, toolcall.Version20260728} {
		t.Run(version, func(t *testing.T) {
			made := 0
			r := newRig(t, testkit.MCPOptions{}, func(r *rig) {
				r.useBackend(backend(t, func(method string) string {
					if method != "tools/call" {
						return `"taskId":"t1","status":"completed","structuredContent":{"to":"bob@example.com","pin":4711}`
					}
					made++
					if version == toolcall.Version20260728 {
						return fmt.Sprintf(`"resultType":"task","taskId":"t%d"`, made)
					}
					return fmt.Sprintf(`"task":{"taskId":"t%d"}`, made)
				}))
				r.setPolicy(rules)
			})
			methods := []string{"tasks/get"}
			if version == toolcall.Version20251125 {
				methods = append(methods, "tasks/result")
			}
			for i, caller := range []string{"alice", "bob"} {
				body, header := message("tools/call", version)
				require.Equal(t, 200, r.post(r.as(caller), body, header...).status)
				for _, method := range methods {
					body, header := messageOf(method, version, fmt.Sprintf(`"taskId":"t%d"`, i+1), fmt.Sprintf("t%d", i+1))
					got := r.post(r.as(caller), body, header...)
					require.Equal(t, 200, got.status, got.body)
					if caller == "bob" {
						require.Contains(t, got.body, `"structuredContent":{"to":"bob@example.com","pin":4711}`)
						require.Nil(t, r.lastRecord().Outcome.Redacted)
						continue
					}
					require.Contains(t, got.body, `"structuredContent":{"to":"[redacted:email]","pin":"[redacted]"}`)
					require.Equal(t, map[string]int{"email": 1, "path": 1}, r.lastRecord().Outcome.Redacted)
				}
			}
		})
	}
}
