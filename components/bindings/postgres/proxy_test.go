// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// proxy stands between the door and the server, and can fail as networks do.
type proxy struct {
	address string
	target  string

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	refuse bool
	// upward is asked of bytes to the server, downward of those from it.
	upward, downward func(n int) verdict
}

// verdict is what becomes of bytes, and of their connection.
type verdict int

const (
	pass    verdict = iota
	cut             // the connection ends before they pass
	swallow         // they are lost, and nobody is told
)

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{address: listener.Addr().String(), target: target, conns: map[net.Conn]struct{}{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	t.Cleanup(func() { require.NoError(t, listener.Close()); p.drop() })
	return p
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		return
	}
	upstream, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer upstream.Close()
	p.keep(client, upstream)
	go p.copy(upstream, client, func() func(int) verdict { return p.upward })
	p.copy(client, upstream, func() func(int) verdict { return p.downward })
}

func (p *proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
}

func (p *proxy) copy(to, from net.Conn, hook func() func(int) verdict) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		asks := hook()
		p.mu.Unlock()
		says := pass
		if n > 0 && asks != nil {
			says = asks(n)
		}
		if says == cut {
			return
		}
		if n > 0 && says == pass {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drop breaks all connections.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

// set changes what the proxy does with connections and bytes from now on.
func (p *proxy) set(refuse bool, upward, downward func(int) verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.upward, p.downward = refuse, upward, downward
}

// owner gives a file to whom another belongs: the server does not run as root.
func owner(t testing.TB, name, like string) {
	t.Helper()
	info, err := os.Stat(like)
	require.NoError(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	require.NoError(t, os.Chown(name, int(stat.Uid), int(stat.Gid)))
}

// serverCertificate is one for localhost, with its chain and its key.
func serverCertificate(t testing.TB, ca *testkit.CA) (cert, key string) {
	t.Helper()
	svid := ca.SVID("server", func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
	for _, c := range svid.Certificates {
		cert += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(svid.PrivateKey.(ed25519.PrivateKey))
	require.NoError(t, err)
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
