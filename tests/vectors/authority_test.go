// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package vectors_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

// noon is when everything happens. The certificates of workloads are valid for the hour around it.
func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

// authority is a trust domain with a root and an issuer. All keys come from their names.
type authority struct {
	t         *testing.T
	name      string
	root      *x509.Certificate
	issuer    *x509.Certificate
	issuerKey ed25519.PrivateKey
}

func seed(name string) []byte {
	sum := sha256.Sum256([]byte("custody test vectors: " + name))
	return sum[:]
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, name: name}
	template := func(cn string) *x509.Certificate {
		return &x509.Certificate{
			Subject:   pkix.Name{CommonName: cn, Organization: []string{"custody.test"}},
			NotBefore: noon().AddDate(-1, 0, 0), NotAfter: noon().AddDate(1, 0, 0),
			KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		}
	}
	rootKey := ed25519.NewKeyFromSeed(seed(name + " root"))
	a.root = a.issue(template("root"), rootKey.Public(), nil, rootKey)
	a.issuerKey = ed25519.NewKeyFromSeed(seed(name + " issuer"))
	a.issuer = a.issue(template("issuer"), a.issuerKey.Public(), a.root, rootKey)
	return a
}

func (a *authority) issue(c *x509.Certificate, public any, parent *x509.Certificate, key ed25519.PrivateKey) *x509.Certificate {
	a.t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(a.t, err)
	sum := sha256.Sum256(spki)
	c.SerialNumber = new(big.Int).SetBytes(sum[:8])
	c.SubjectKeyId = sum[:20]
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(nil, c, parent, public, key) // Ed25519 takes no randomness
	require.NoError(a.t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return certificate
}

// leaf is the certificate of a workload, with that of its issuer. Change may alter it before it is signed.
func (a *authority) leaf(app string, public any, change ...func(*x509.Certificate)) []*x509.Certificate {
	a.t.Helper()
	id, err := url.Parse("spiffe://custody.test/ns/default/" + app)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		URIs: []*url.URL{id}, NotBefore: noon().Add(-30 * time.Minute), NotAfter: noon().Add(30 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, c := range change {
		c(template)
	}
	return []*x509.Certificate{a.issue(template, public, a.issuer, a.issuerKey), a.issuer}
}

// signer is an Ed25519 workload.
func (a *authority) signer(app string) receipt.Signer {
	a.t.Helper()
	key := ed25519.NewKeyFromSeed(seed(a.name + " " + app))
	signer, err := receipt.NewSigner(key, a.leaf(app, key.Public()))
	require.NoError(a.t, err)
	return signer
}

// p256 is an ECDSA workload whose signatures are those of RFC 6979, and so always the same.
type p256 struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate
}

func (a *authority) p256(app string) receipt.Signer {
	a.t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed(a.name+" p256 "+app))
	require.NoError(a.t, err)
	return p256{key: key, chain: a.leaf(app, key.Public())}
}

func (s p256) Certificates() []*x509.Certificate { return s.chain }

func (s p256) Sign(pae []byte) ([]byte, error) {
	sum := sha256.Sum256(pae)
	return s.key.Sign(nil, sum[:], crypto.SHA256)
}

func (a *authority) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
}
