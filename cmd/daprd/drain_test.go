// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"crypto/x509"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/dapr-custody/custody/internal/testkit"
)

// shortLived gives a certificate of two seconds for each handshake.
type shortLived struct {
	ca    *testkit.CA
	given atomic.Int64
}

func (s *shortLived) GetX509SVID() (*x509svid.SVID, error) {
	s.given.Add(1)
	return s.ca.SVID("client", func(leaf *x509.Certificate) { leaf.NotAfter = time.Now().Add(2 * time.Second) }), nil
}

// A busy connection is given up before its peer's certificate ends, and no call fails for it.
func TestConnectionsAreDrained(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(drainingCredentials{
		grpccredentials.MTLSServerCredentials(ca.SVID("server"), ca.Bundle(), tlsconfig.AuthorizeAny()),
	}))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(server.Stop)
	source := &shortLived{ca: ca}
	client, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(grpccredentials.MTLSClientCredentials(source, ca.Bundle(), tlsconfig.AuthorizeAny())))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })

	for calls := 0; source.given.Load() < 3; calls++ {
		_, err := grpc_health_v1.NewHealthClient(client).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err, "call %d", calls)
	}
}

func TestDrainAfter(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		time.Hour: 55 * time.Minute, 24 * time.Hour: 24*time.Hour - 5*time.Minute, 4 * time.Second: 3 * time.Second, 0: 0, -time.Second: -750 * time.Millisecond,
	} {
		require.Equal(t, want, drainAfter(left))
	}
}

// The frame goes between two frames of the server, however they are cut.
func TestGoAwayBetweenFrames(t *testing.T) {
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	data := append([]byte{0, 0, 5, 0, 0, 0, 0, 0, 1}, "hello"...)
	stream := append(append(append([]byte{}, settings...), data...), data...)
	for step := 1; step <= len(stream); step++ {
		for due := 0; due <= len(stream); due++ {
			var out recorded
			c := &drainingConn{Conn: &out}
			for at := 0; at < len(stream); at += step {
				if at <= due && due < at+step {
					c.drain()
				}
				n, err := c.Write(stream[at:min(at+step, len(stream))])
				require.NoError(t, err)
				require.Equal(t, min(step, len(stream)-at), n)
			}
			frames := framesOf(t, out.Bytes())
			require.Equal(t, settings, frames[0], "SETTINGS come first")
			kept := bytes.Replace(bytes.Join(frames, nil), goAwayFrame(), nil, 1)
			require.Equal(t, stream, kept, "step %d due %d", step, due)
			require.LessOrEqual(t, bytes.Count(out.Bytes(), goAwayFrame()), 1)
		}
	}
}

type recorded struct {
	net.Conn
	bytes.Buffer
}

func (r *recorded) Write(p []byte) (int, error) { return r.Buffer.Write(p) }
func (r *recorded) Read(p []byte) (int, error)  { return r.Buffer.Read(p) }

func framesOf(t *testing.T, p []byte) [][]byte {
	t.Helper()
	var frames [][]byte
	for len(p) > 0 {
		require.GreaterOrEqual(t, len(p), frameHeaderSize)
		n := frameHeaderSize + int(p[0])<<16 + int(p[1])<<8 + int(p[2])
		require.GreaterOrEqual(t, len(p), n)
		frames = append(frames, p[:n])
		p = p[n:]
	}
	return frames
}
