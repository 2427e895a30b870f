// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/testkit"
)

func TestVerify(t *testing.T) {
	local := testkit.NewCA(t, "custody.local")
	other := testkit.NewCA(t, "other.example")
	bundles := x509bundle.NewSet(local.Bundle(), other.Bundle())
	alice := spiffeid.RequireFromString("spiffe://custody.local/ns/default/alice")

	tests := []struct {
		name  string
		chain []*x509.Certificate
		want  string
	}{
		{name: "own domain", chain: local.SVID("alice").Certificates},
		{name: "nothing shown", chain: nil, want: "showed no certificate"},
		{
			name:  "a root of another trust domain speaks for ours",
			chain: other.SVIDFor(alice).Certificates,
			want:  "signed by unknown authority",
		},
		{
			name: "a domain without a bundle", want: `no X.509 bundle for trust domain "stranger.example"`,
			chain: local.SVIDFor(spiffeid.RequireFromString("spiffe://stranger.example/ns/default/alice")).Certificates,
		},
		{name: "the issuer is missing", chain: local.SVID("alice").Certificates[:1], want: "unknown authority"},
		{name: "expired", want: "expired", chain: local.SVID("alice", func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Second)
		}).Certificates},
		{name: "not yet valid", want: "not yet valid", chain: local.SVID("alice", func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(time.Minute)
		}).Certificates},
		{name: "two URI SANs", want: "more than one URI SAN", chain: local.SVID("alice", func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "custody.local", Path: "/ns/default/bob"})
		}).Certificates},
		{name: "no URI SAN", want: "no URI SAN", chain: local.SVID("alice", func(c *x509.Certificate) {
			c.URIs, c.DNSNames = nil, []string{"alice"}
		}).Certificates},
		{name: "a certificate authority as a leaf", want: "CA flag", chain: local.SVID("alice", func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}).Certificates},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			verifier := identity.NewVerifier(bundles, time.Now)
			for range 2 {
				caller, err := verifier.Verify(test.chain)
				if test.want != "" {
					require.ErrorContains(t, err, test.want)
					require.True(t, caller.IsZero())
					continue
				}
				require.NoError(t, err)
				require.Equal(t, alice, caller.ID())
				require.Equal(t, identity.ProofX509SVID, caller.Proof())
				require.Equal(t, "default", caller.Namespace())
				require.Equal(t, "alice", caller.AppID())
				require.Len(t, caller.CertificateDigest(), 64)
			}
		})
	}
}

// What was verified once must not outlive the certificate, the root or the clock.
func TestVerifyForgets(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	chain := ca.SVID("alice").Certificates
	now := time.Now()
	bundles := x509bundle.NewSet(ca.Bundle())
	verifier := identity.NewVerifier(bundles, func() time.Time { return now })
	verify := func() error {
		_, err := verifier.Verify(chain)
		return err
	}
	require.NoError(t, verify())

	now = chain[0].NotAfter.Add(time.Second)
	require.ErrorIs(t, verify(), identity.ErrUnverified, "expired while remembered")
	now = chain[0].NotBefore.Add(-time.Second)
	require.ErrorIs(t, verify(), identity.ErrUnverified, "the clock went back")
	now = time.Time{}
	require.ErrorIs(t, verify(), identity.ErrUnverified, "no clock")
	now = time.Now()
	require.NoError(t, verify())

	bundles.Add(testkit.NewCA(t, "custody.local").Bundle())
	require.ErrorIs(t, verify(), identity.ErrUnverified, "the root was replaced")
	bundles.Add(ca.Bundle())
	require.NoError(t, verify())
	bundles.Remove(ca.TrustDomain)
	require.ErrorIs(t, verify(), identity.ErrUnverified, "the bundle is gone")
}

func TestVerifierIsBounded(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	verifier := identity.NewVerifier(x509bundle.NewSet(ca.Bundle()), time.Now)
	identity.RememberAtMost(verifier, 10)
	for range 35 {
		_, err := verifier.Verify(ca.SVID("alice").Certificates)
		require.NoError(t, err)
		require.LessOrEqual(t, identity.Remembered(verifier), 10)
	}
}

func TestCallerOfAnotherPathHasNoApp(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	verifier := identity.NewVerifier(x509bundle.NewSet(ca.Bundle()), time.Now)
	for _, id := range []string{"spiffe://custody.local/alice", "spiffe://custody.local/ns/default/a/b", "spiffe://custody.local/sa/x/y"} {
		caller, err := verifier.Verify(ca.SVIDFor(spiffeid.RequireFromString(id)).Certificates)
		require.NoError(t, err)
		require.Equal(t, id, caller.String())
		require.Empty(t, caller.Namespace(), id)
		require.Empty(t, caller.AppID(), id)
	}
	require.Equal(t, "nobody", identity.Caller{}.String())
}

// The certificates must be found behind the wrapper of go-spiffe that Dapr uses.
func TestPeerCertificates(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	alice, server := ca.SVID("alice"), ca.SVID("server")
	bundle := ca.Bundle()

	info := handshake(t,
		grpccredentials.MTLSServerCredentials(server, bundle, tlsconfig.AuthorizeAny()),
		grpccredentials.MTLSClientCredentials(alice, bundle, tlsconfig.AuthorizeAny()))
	chain, err := identity.PeerCertificates(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: info}))
	require.NoError(t, err)
	require.Equal(t, alice.Certificates[0].Raw, chain[0].Raw)

	info = handshake(t, grpccredentials.TLSServerCredentials(server),
		grpccredentials.TLSClientCredentials(bundle, tlsconfig.AuthorizeAny()))
	_, err = identity.PeerCertificates(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: info}))
	require.ErrorIs(t, err, identity.ErrNoCertificate)

	_, err = identity.PeerCertificates(t.Context())
	require.ErrorIs(t, err, identity.ErrNoPeer)
	for _, auth := range []credentials.AuthInfo{nil, strangeAuth("x"), struct{ strangeAuth }{}} {
		_, err = identity.PeerCertificates(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: auth}))
		require.ErrorIs(t, err, identity.ErrNoPeer)
	}
	_, err = identity.PeerCertificates(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{}}}))
	require.ErrorIs(t, err, identity.ErrNoCertificate)
}

type strangeAuth string

func (strangeAuth) AuthType() string { return "strange" }

func handshake(t *testing.T, server, client credentials.TransportCredentials) credentials.AuthInfo {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		_, _, err := client.ClientHandshake(context.Background(), "server", near)
		done <- err
	}()
	_, info, err := server.ServerHandshake(far)
	require.NoError(t, err)
	require.NoError(t, <-done)
	return info
}

func BenchmarkVerifyRemembered(b *testing.B) {
	ca := testkit.NewCA(b, "custody.local")
	var source x509bundle.Source = x509bundle.NewSet(ca.Bundle())
	verifier := identity.NewVerifier(source, time.Now)
	chain := ca.SVID("alice").Certificates
	for b.Loop() {
		if _, err := verifier.Verify(chain); err != nil {
			b.Fatal(err)
		}
	}
}

var _ x509svid.Source = (*x509svid.SVID)(nil)
