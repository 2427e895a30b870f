// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/testkit"
)

const conditions = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: alice-says-hi, effect: allow, from: [alice], to: {server: server, tools: [echo]}, when: args.text == "hi"}
  - {name: alice-from-home, effect: allow, from: [alice], to: {server: server, tools: [reverse]}, when: request.ip == "10.1.2.3"}
  - name: alice-in-a-trace
    effect: allow
    from: [alice]
    to: {server: server, tools: [fail], paths: ["GET /healthz"]}
    when: request.traceID == "4bf92f3577b34da6a3ce929d0e0e4736" && session.id == "" && caller.proof == "x509-svid"
  - {name: bob-reverses, effect: allow, from: [bob], to: {server: server, tools: [reverse, echo]}}
  - {name: bob-is-brief, effect: deny, from: [bob], to: {server: server, tools: ["*"]}, when: args.text.size() > 5}
`

func TestConditionsInTheGuard(t *testing.T) {
	r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) { r.setPolicy(conditions) })
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	from := func(address net.Addr) string {
		svid := r.ca.SVID("alice")
		return r.asPeer(&peer.Peer{Addr: address, AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: svid.Certificates}}})
	}
	tests := []struct {
		name, url, body string
		header          []string
		status          int
		rule            string
		reason          string
	}{
		{"what the rule says", r.as("alice"), call("echo", "hi"), nil, 200, "alice-says-hi", "rule allows it"},
		{"the same in another spelling", r.as("alice"), `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"arguments":{"te\u0078t":"h\u0069"},"name":"echo"}}`, nil, 200, "alice-says-hi", "rule allows it"},
		{"another text", r.as("alice"), call("echo", "Hi"), nil, 403, "", "no rule allows it"},
		{"no text", r.as("alice"), `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"Text":"hi"}}}`, nil, 403, "alice-says-hi", "the condition of rule alice-says-hi could not be evaluated: no such key: text"},
		{"no arguments", r.as("alice"), `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}`, nil, 403, "alice-says-hi", "the condition of rule alice-says-hi could not be evaluated: no such key: text"},
		{"a number that is too long", r.as("alice"), `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi","n":1.00000000000000000001}}}`, nil, 403, "alice-says-hi", "the condition of rule alice-says-hi could not be evaluated: a number is too large or too long to be compared exactly"},
		{"the address", from(&net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 7}), call("reverse", "x"), nil, 200, "alice-from-home", "rule allows it"},
		{"another address", from(&net.TCPAddr{IP: net.IPv4(10, 1, 2, 4), Port: 7}), call("reverse", "x"), []string{"X-Forwarded-For", "10.1.2.3"}, 403, "", "no rule allows it"},
		{"no address of a network", from(&net.UnixAddr{Name: "10.1.2.3"}), call("reverse", "x"), nil, 403, "alice-from-home", "the condition of rule alice-from-home could not be evaluated: the caller's address is not known"},
		{"the trace", r.as("alice"), call("fail", "x"), []string{"Traceparent", "00-" + trace + "-00f067aa0ba902b7-01"}, 200, "alice-in-a-trace", "rule allows it"},
		{"two traces", r.as("alice"), call("fail", "x"), []string{"Traceparent", "00-" + trace + "-00f067aa0ba902b7-01", "Traceparent", "00-" + trace + "-00f067aa0ba902b7-01"}, 403, "", "no rule allows it"},
		{"a trace out of order", r.as("alice"), call("fail", "x"), []string{"Traceparent", trace}, 403, "", "no rule allows it"},
		{"no trace", r.as("alice"), call("fail", "x"), nil, 403, "", "no rule allows it"},
		{"a deny that is false", r.as("bob"), call("reverse", "12345"), nil, 200, "bob-reverses", "rule allows it"},
		{"a deny that is true", r.as("bob"), call("reverse", "123456"), nil, 403, "bob-is-brief", "rule denies it"},
		{"a deny that is an error", r.as("bob"), `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":7}}}`, nil, 403, "bob-is-brief", "the condition of rule bob-is-brief could not be evaluated: a value is not of the type that the condition wants"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := len(r.server.Requests())
			got := r.post(test.url, test.body, test.header...)
			require.Equal(t, test.status, got.status, got.body)
			last := r.lastRecord()
			require.Equal(t, []string{test.rule, test.reason}, []string{last.Decision.Rule, last.Decision.Reason})
			require.Equal(t, test.status == 200, len(r.server.Requests()) > before, "what reached the server")
			if test.status == 403 {
				require.NotContains(t, got.body, test.reason)
			}
		})
	}
	t.Run("a plain request", func(t *testing.T) {
		require.Equal(t, 403, r.do("GET", r.as("alice")+"/healthz", "").status)
		require.NotEqual(t, 403, r.do("GET", r.as("alice")+"/healthz", "", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01").status)
	})
	t.Run("a tool with a condition is listed", func(t *testing.T) {
		list := `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`
		for caller, want := range map[string][]string{"alice": {"echo", "reverse", "fail"}, "bob": {"echo", "reverse"}} {
			got := r.post(r.as(caller), list)
			require.Equal(t, 200, got.status, got.body)
			for _, tool := range []string{"echo", "reverse", "fail", "progress"} {
				check := require.NotContains
				for _, shown := range want {
					if shown == tool {
						check = require.Contains
					}
				}
				check(t, got.body, `"name":"`+tool+`"`, caller)
			}
		}
	})
}
