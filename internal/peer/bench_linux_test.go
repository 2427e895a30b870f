// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	grpcpeer "google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/peer"
)

// benchmarked is a connection of this process to itself, and the credentials of a server that knows it.
func benchmarked(b *testing.B) (accepted func() net.Conn, c *peer.Credentials) {
	b.Helper()
	base, err := os.MkdirTemp("", "peer")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, os.RemoveAll(base)) })
	dir := filepath.Join(base, "registrations")
	require.NoError(b, os.Mkdir(dir, 0o700))
	text := fmt.Sprintf("apiVersion: custody.dev/v1alpha1\nkind: WorkloadRegistration\nmetadata: {name: me}\nspec:\n"+
		"  spiffeID: %s\n  selectors: {\"unix:uid\": \"%d\"}\n", orders, os.Getuid())
	require.NoError(b, os.WriteFile(filepath.Join(dir, "me.yaml"), []byte(text), 0o600))
	registrations, err := peer.OpenFolder(dir, peer.FolderOptions{})
	require.NoError(b, err)
	socket := filepath.Join(base, "s")
	listener, err := net.Listen("unix", socket)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, listener.Close()) })
	accepted = func() net.Conn {
		client, err := net.Dial("unix", socket)
		require.NoError(b, err)
		b.Cleanup(func() { client.Close() })
		conn, err := listener.Accept()
		require.NoError(b, err)
		return conn
	}
	return accepted, peer.NewCredentials(peer.Options{Match: registrations.Match})
}

// What a connection costs once: everything about the process but its digest, which is kept from the first time.
func BenchmarkHandshake(b *testing.B) {
	accepted, c := benchmarked(b)
	raw := accepted()
	b.ReportAllocs()
	for b.Loop() {
		_, info, err := c.ServerHandshake(raw)
		require.NoError(b, err)
		_, _, err = peer.FromContext(as(b, info))
		require.NoError(b, err)
	}
}

// What each request costs.
func BenchmarkFromContext(b *testing.B) {
	accepted, c := benchmarked(b)
	_, info, err := c.ServerHandshake(accepted())
	require.NoError(b, err)
	ctx := as(b, info)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := peer.FromContext(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func as(b *testing.B, info credentials.AuthInfo) context.Context {
	return grpcpeer.NewContext(b.Context(), &grpcpeer.Peer{AuthInfo: info})
}
