// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
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
