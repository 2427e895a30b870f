// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
)

// CA is the authority of one trust domain: a root and an issuer below it, both
// Ed25519, as Sentry makes them.
type CA struct {
	TrustDomain spiffeid.TrustDomain

	tb        testing.TB
	root      *x509.Certificate
	issuer    *x509.Certificate
	issuerKey crypto.Signer
}

// NewCA makes an authority whose certificates are valid from an hour ago until tomorrow.
func NewCA(tb testing.TB, trustDomain string) *CA {
	tb.Helper()
	td := spiffeid.RequireTrustDomainFromString(trustDomain)
	ca := &CA{TrustDomain: td, tb: tb}
	authority := func(cn string) *x509.Certificate {
		return &x509.Certificate{
			Subject:               pkix.Name{CommonName: cn, Organization: []string{trustDomain}},
			NotBefore:             time.Now().Add(-time.Hour),
			NotAfter:              time.Now().Add(24 * time.Hour),
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
			IsCA:                  true,
			BasicConstraintsValid: true,
		}
	}
	root, rootKey := ca.issue(authority("root"), nil, nil)
	ca.root = root
	ca.issuer, ca.issuerKey = ca.issue(authority("issuer"), root, rootKey)
	return ca
}

// Bundle is the trust bundle of the domain.
func (ca *CA) Bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(ca.TrustDomain, []*x509.Certificate{ca.root})
}

// SVID mints an X.509-SVID for spiffe://<trust domain>/ns/default/<app>, valid for an hour.
func (ca *CA) SVID(app string, change ...func(*x509.Certificate)) *x509svid.SVID {
	ca.tb.Helper()
	return ca.SVIDFor(spiffeid.RequireFromSegments(ca.TrustDomain, "ns", "default", app), change...)
}

// SVIDFor mints an X.509-SVID for any SPIFFE ID, also one of a domain that is
// not its own. change may alter the leaf before it is signed.
func (ca *CA) SVIDFor(id spiffeid.ID, change ...func(*x509.Certificate)) *x509svid.SVID {
	ca.tb.Helper()
	leaf := &x509.Certificate{
		URIs:        []*url.URL{id.URL()},
		NotBefore:   time.Now().Add(-time.Minute),
		NotAfter:    time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, c := range change {
		c(leaf)
	}
	cert, key := ca.issue(leaf, ca.issuer, ca.issuerKey)
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{cert, ca.issuer}, PrivateKey: key}
}

// SVIDWithKey mints an X.509-SVID for a key that the caller has.
func (ca *CA) SVIDWithKey(id spiffeid.ID, key crypto.Signer) *x509svid.SVID {
	ca.tb.Helper()
	leaf := &x509.Certificate{
		URIs: []*url.URL{id.URL()}, SerialNumber: big.NewInt(time.Now().UnixNano()), KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca.issuer, key.Public(), ca.issuerKey)
	require.NoError(ca.tb, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(ca.tb, err)
	return &x509svid.SVID{ID: id, Certificates: []*x509.Certificate{cert, ca.issuer}, PrivateKey: key}
}

func (ca *CA) issue(template, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer) {
	ca.tb.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(ca.tb, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(ca.tb, err)
	if parent == nil {
		parent, parentKey = template, private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, parentKey)
	require.NoError(ca.tb, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(ca.tb, err)
	return cert, private
}

// TrustDomain is the trust domain of that name; an illegal one panics.
func TrustDomain(name string) spiffeid.TrustDomain {
	return spiffeid.RequireTrustDomainFromString(name)
}
