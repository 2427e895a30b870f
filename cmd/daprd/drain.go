// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/binary"
	"math"
	"net"
	"sync"
	"time"

	"github.com/dapr/dapr/pkg/security"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dapr-custody/custody/internal/identity"
)

// drainingHandler is Dapr's security handler whose server connections are
// drained before the certificate of their peer expires. TLS looks at a
// certificate once, in the handshake, and Dapr's connections between sidecars
// have no maximum age (pkg/api/grpc/server.go), so that a busy connection would
// outlive its peer's identity, and the guard would have to refuse its calls.
type drainingHandler struct {
	security.Handler

	svids   x509svid.Source
	bundles x509bundle.Source
}

func newDrainingHandler(handler security.Handler, svids x509svid.Source, bundles x509bundle.Source) security.Handler {
	return &drainingHandler{Handler: handler, svids: svids, bundles: bundles}
}

// GRPCServerOptionMTLS is Dapr's (pkg/security/security.go) with draining.
func (h *drainingHandler) GRPCServerOptionMTLS() grpc.ServerOption {
	return grpc.Creds(drainingCredentials{
		grpccredentials.MTLSServerCredentials(h.svids, h.bundles, tlsconfig.AuthorizeAny()),
	})
}

type drainingCredentials struct {
	credentials.TransportCredentials
}

func (c drainingCredentials) Clone() credentials.TransportCredentials {
	return drainingCredentials{c.TransportCredentials.Clone()}
}

func (c drainingCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	expiry, ok := peerExpiry(info)
	if !ok {
		return conn, info, nil
	}
	return newDrainingConn(conn, drainAfter(time.Until(expiry))), info, nil
}

// peerExpiry is when the first certificate of the peer's chain ends; false if it showed none.
func peerExpiry(info credentials.AuthInfo) (time.Time, bool) {
	chain, err := identity.Certificates(info)
	if err != nil {
		return time.Time{}, false
	}
	expiry := chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(expiry) {
			expiry = cert.NotAfter
		}
	}
	return expiry, true
}

// drainAfter leaves the peer a quarter of what its certificate has left, at
// most five minutes, to come back with its next one: Dapr's SVIDs are renewed
// at half of their life (kit crypto/spiffe).
func drainAfter(left time.Duration) time.Duration {
	return left - min(left/4, 5*time.Minute)
}

// drainingConn is the server's end of an HTTP/2 connection that tells the peer,
// after a while, to open its next request on a new connection. It does what a
// gRPC server does at MaxConnectionAge: a GOAWAY frame that gives up no stream
// (RFC 9113, section 6.8), put between two frames of the server.
type drainingConn struct {
	net.Conn

	timer *time.Timer

	mu     sync.Mutex
	frames frameCounter
	due    bool
	sent   bool
}

func newDrainingConn(conn net.Conn, after time.Duration) *drainingConn {
	c := &drainingConn{Conn: conn}
	c.timer = time.AfterFunc(after, c.drain)
	return c
}

func (c *drainingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.Conn.Write(p)
	c.frames.pass(p[:n])
	if err == nil && c.due {
		c.goAway()
	}
	return n, err
}

func (c *drainingConn) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}

func (c *drainingConn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = true
	c.goAway()
}

// goAway sends the frame if the server is between two of its own, after its
// first one, which must be SETTINGS (RFC 9113, section 3.4).
func (c *drainingConn) goAway() {
	if c.sent || !c.frames.between() {
		return
	}
	c.sent = true
	if _, err := c.Conn.Write(goAwayFrame()); err != nil {
		log.Debugf("Draining a connection: %v", err)
	}
}

const (
	frameHeaderSize = 9
	frameTypeGoAway = 7
)

// goAwayFrame says NO_ERROR and that no stream is given up.
func goAwayFrame() []byte {
	frame := []byte{0, 0, 8, frameTypeGoAway, 0, 0, 0, 0, 0}
	frame = binary.BigEndian.AppendUint32(frame, math.MaxInt32)
	return binary.BigEndian.AppendUint32(frame, 0)
}

// frameCounter follows the frames in what the server writes.
type frameCounter struct {
	header  []byte
	payload int
	seen    bool
}

func (f *frameCounter) between() bool { return f.seen && f.payload == 0 && len(f.header) == 0 }

func (f *frameCounter) pass(p []byte) {
	for len(p) > 0 {
		if f.payload > 0 {
			n := min(f.payload, len(p))
			f.payload -= n
			p = p[n:]
			continue
		}
		n := min(frameHeaderSize-len(f.header), len(p))
		f.header = append(f.header, p[:n]...)
		p = p[n:]
		if len(f.header) == frameHeaderSize {
			f.payload = int(f.header[0])<<16 | int(f.header[1])<<8 | int(f.header[2])
			f.header = f.header[:0]
			f.seen = true
		}
	}
}
