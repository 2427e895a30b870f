// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/testkit"
)

// Nobody but bob can be bob: not with alice's token, nor with none.
func TestIdentityIsAttested(t *testing.T) {
	t.Parallel()
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	alice := m.app("alice").TokenFile
	tests := []struct {
		name    string
		sidecar localdomain.Sidecar
		want    string
	}{
		{"alice's token and bob's app ID", localdomain.Sidecar{AppID: "bob", TokenFile: alice}, "PermissionDenied"},
		{"alice's token, her app ID and the environment says bob", localdomain.Sidecar{
			AppID: "alice", TokenFile: alice, Env: map[string]string{"SENTRY_LOCAL_IDENTITY": "bob"},
		}, "PermissionDenied"},
		{"no token", localdomain.Sidecar{AppID: "bob"}, "a validator name must be specified"},
		{"a token that is no token", localdomain.Sidecar{AppID: "bob", TokenFile: "/etc/hostname"}, "token"},
		{"alice's token in another namespace", localdomain.Sidecar{AppID: "alice", Namespace: "other", TokenFile: alice}, "PermissionDenied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rogue, err := m.domain.Launch(test.sidecar)
			require.NoError(t, err)
			require.ErrorContains(t, rogue.Ready(t.Context()), test.want)
			_, err = post(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/server/method/mcp", rogue.HTTPPort), call("reverse", "x"))
			require.Error(t, err, "it serves nothing")
		})
	}
	// The near miss: with alice's token one is alice, and no more.
	twin, err := m.domain.Launch(localdomain.Sidecar{AppID: "alice", TokenFile: alice})
	require.NoError(t, err)
	require.NoError(t, twin.Ready(t.Context()))
	endpoint := fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/server/method/mcp", twin.HTTPPort)
	for tool, status := range map[string]int{"echo": 200, "reverse": 403} {
		got, err := post(t.Context(), endpoint, call(tool, "x"), "Dapr-Caller-App-Id", "bob")
		require.NoError(t, err)
		require.Equal(t, status, got.status, got.body)
	}
}

// The way between the sidecars is closed to who shows no certificate.
func TestInternalPortWantsACertificate(t *testing.T) {
	t.Parallel()
	m := startMesh(t, meshOptions{})
	address := fmt.Sprintf("127.0.0.1:%d", m.app("server").DaprInternalGRPCPort)
	// What a server says first (SETTINGS) is said only to who was accepted.
	silent := func(conn net.Conn) {
		t.Helper()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, 9))
		}
		require.Error(t, err)
		require.False(t, errors.Is(err, context.DeadlineExceeded))
	}
	plain, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer plain.Close()
	silent(plain)
	encrypted, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // the client is the attacker
	if err == nil {
		defer encrypted.Close()
		silent(encrypted)
	}
	stranger := testkit.NewCA(t, "custody.local").SVID("alice")
	encrypted, err = tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h2"}, //nolint:gosec // the client is the attacker
		Certificates: []tls.Certificate{{Certificate: [][]byte{stranger.Certificates[0].Raw, stranger.Certificates[1].Raw}, PrivateKey: stranger.PrivateKey}},
	})
	if err == nil {
		defer encrypted.Close()
		silent(encrypted)
	}
}

// Certificates come and go under load; no call fails for it.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, ttl: 16 * time.Second})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var calls atomic.Int64
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			for ctx.Err() == nil {
				got, err := post(t.Context(), m.endpoint("alice"), call("echo", "x"))
				if err != nil || got.status != 200 {
					t.Errorf("call %d: %v %d %s", calls.Load(), err, got.status, got.body)
					return
				}
				calls.Add(1)
			}
		})
	}
	// Four certificates of the caller are more than the life of one: a connection
	// from the beginning has outlived the certificate that it was made with.
	require.Eventually(t, func() bool { return t.Failed() || m.callerCertificates() >= 4 }, 3*time.Minute, time.Second)
	stop()
	callers.Wait()
	require.NotZero(t, calls.Load())
}

func (m *mesh) callerCertificates() int {
	m.t.Helper()
	seen := map[string]bool{}
	for _, r := range m.journal().Receipts {
		seen[r.Caller.CertificateDigest.Hex()] = true
	}
	return len(seen)
}

// The trust domain is the one that the Configuration states, and a peer from
// another one is accepted only where it is named.
func TestTrustDomainOfTheConfiguration(t *testing.T) {
	t.Parallel()
	const foreign = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  rules:
  - {name: foreign-alice, effect: allow, from: ["spiffe://custody.local/ns/default/alice"], to: {server: server, tools: [echo]}}
`
	naming := func(own, app, domain string) string {
		return fmt.Sprintf("  accessControl:\n    trustDomain: %s\n    policies: [{appId: %s, namespace: default, trustDomain: %s, defaultAction: allow}]\n", own, app, domain)
	}
	tests := []struct {
		name           string
		server, caller string
		want           func(status int) bool
	}{
		{"each names the other", naming("orders.example", "alice", "custody.local"), naming("custody.local", "server", "orders.example"), func(status int) bool { return status == 200 }},
		{"the server does not name the caller's", "  accessControl: {trustDomain: orders.example}\n", naming("custody.local", "server", "orders.example"), func(status int) bool { return status >= 500 }},
		{"the caller does not name the server's", naming("orders.example", "alice", "custody.local"), "  accessControl: {trustDomain: custody.local}\n", func(status int) bool { return status >= 500 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}, config: test.server + pipelineSpec, callerConfig: test.caller, policy: foreign})
			require.Equal(t, "spiffe://orders.example/ns/default/server", m.app("server").SPIFFEID)
			got := m.post("alice", call("echo", "x"))
			require.True(t, test.want(got.status), "%d %s", got.status, got.body)
			for _, request := range m.server.Requests() {
				require.True(t, got.status == 200 || request.Path == "/dapr/config")
			}
		})
	}
}
