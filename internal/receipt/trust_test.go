// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// What chains to the bundle is still not always the certificate of a workload.
func TestVerifyRefusesCertificatesOfNoWorkload(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
		want   string
	}{
		{"as it should be", func(*x509.Certificate) {}, ""},
		{"more key usages", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }, ""},
		{"no extended key usage", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, ""},
		{"authority", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "that of an authority"},
		{"authority that may sign certificates", func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		}, "that of an authority"},
		{"no key usage", func(c *x509.Certificate) { c.KeyUsage = 0 }, "does not have the key usage digitalSignature"},
		{"another key usage", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, "does not have the key usage digitalSignature"},
		{"keyCertSign", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "keyCertSign or cRLSign"},
		{"cRLSign", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, "keyCertSign or cRLSign"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := testkit.Sign(t, w.full(), w.ca.SVIDFor(w.door, tt.change))
			_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, receipt.ErrCertificate)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestVerifyRefusesOtherThanOneSPIFFEID(t *testing.T) {
	w := newWorld(t)
	good := w.sign(t, w.full())
	for name, change := range map[string]func(*x509.Certificate){
		"two URIs":              func(c *x509.Certificate) { c.URIs = append(c.URIs, &url.URL{Scheme: "https", Host: "a.test"}) },
		"the same URI twice":    func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) },
		"no URI":                func(c *x509.Certificate) { c.URIs = nil },
		"no SPIFFE ID":          func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "custody.test", Path: "/x"}} },
		"trust domain, no path": func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "custody.test"}} },
	} {
		t.Run(name, func(t *testing.T) {
			e := clone(good)
			e.Signatures = []receipt.Signature{signWith(t, w.ca.SVIDFor(w.door, change), e.Payload)}
			_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{})
			require.ErrorIs(t, err, receipt.ErrCertificate)
		})
	}
	e := clone(good)
	e.Signatures = []receipt.Signature{signWith(t, w.ca.SVIDFor(w.door), e.Payload)}
	_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{})
	require.NoError(t, err)
}

// SHA-1 is refused in whatever certificate below the roots it stands.
func TestVerifyRefusesSHA1(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, own, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	issue := func(template, parent *x509.Certificate, public any) *x509.Certificate {
		template.SerialNumber = big.NewInt(1)
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
		require.NoError(t, err)
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return c
	}
	authority := func(cn string, algorithm x509.SignatureAlgorithm, parent *x509.Certificate) *x509.Certificate {
		return issue(&x509.Certificate{
			Subject: pkix.Name{CommonName: cn}, SignatureAlgorithm: algorithm,
			KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		}, parent, key.Public())
	}
	w := newWorld(t)
	root := authority("root", x509.SHA256WithRSA, nil)
	bundle := x509bundle.FromX509Authorities(w.door.TrustDomain(), []*x509.Certificate{root})
	for _, tt := range []struct {
		name         string
		issuer, leaf x509.SignatureAlgorithm
		want         string
	}{
		{"SHA-256", x509.SHA256WithRSA, x509.SHA256WithRSA, ""},
		{"leaf", x509.SHA256WithRSA, x509.SHA1WithRSA, "is signed by SHA1-RSA"},
		{"issuer", x509.SHA1WithRSA, x509.SHA256WithRSA, "is signed by SHA1-RSA"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer := authority("issuer", tt.issuer, root)
			leaf := issue(&x509.Certificate{
				URIs: []*url.URL{w.door.URL()}, KeyUsage: x509.KeyUsageDigitalSignature, SignatureAlgorithm: tt.leaf,
			}, issuer, own.Public())
			signer, err := receipt.NewSigner(own, []*x509.Certificate{leaf, issuer})
			require.NoError(t, err)
			e, err := receipt.Sign(w.full(), signer)
			require.NoError(t, err)
			_, err = receipt.Verify(e, bundle, receipt.VerifyOptions{})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, receipt.ErrCertificate)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func signWith(t *testing.T, svid *x509svid.SVID, payload []byte) receipt.Signature {
	t.Helper()
	sig, err := svid.PrivateKey.Sign(rand.Reader, receipt.PAE(receipt.PayloadType, payload), crypto.Hash(0))
	require.NoError(t, err)
	return receipt.Signature{
		KeyID: receipt.KeyID(svid.Certificates[0]), Sig: sig,
		Certificate: svid.Certificates[0].Raw, Intermediates: [][]byte{svid.Certificates[1].Raw},
	}
}

// roots is a source whose authorities change.
type roots struct {
	domain spiffeid.TrustDomain
	now    []*x509.Certificate
}

func (r *roots) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if td != r.domain {
		return nil, errors.New("no such trust domain")
	}
	return x509bundle.FromX509Authorities(td, r.now), nil
}

// What a Verifier remembers lets nothing pass that would not pass by itself.
func TestVerifierRemembersOnlyWhatHolds(t *testing.T) {
	w := newWorld(t)
	source := &roots{domain: w.door.TrustDomain(), now: w.ca.Bundle().X509Authorities()}
	v := receipt.NewVerifier(source)
	good := w.sign(t, w.full())
	at := func(moment time.Time) receipt.VerifyOptions {
		return receipt.VerifyOptions{At: func(*receipt.Receipt) time.Time { return moment }}
	}
	verify := func(e *receipt.Envelope, o receipt.VerifyOptions) error {
		_, err := v.Verify(e, o)
		_, alone := receipt.Verify(e, source, o)
		require.Equal(t, alone, err, "remembering makes no difference")
		return err
	}
	require.NoError(t, verify(good, receipt.VerifyOptions{}))
	require.NoError(t, verify(good, receipt.VerifyOptions{}))

	leaf := w.chain[0]
	require.NoError(t, verify(good, at(leaf.NotBefore)))
	require.NoError(t, verify(good, at(leaf.NotAfter)))
	require.ErrorIs(t, verify(good, at(leaf.NotBefore.Add(-time.Second))), receipt.ErrCertificate)
	require.ErrorIs(t, verify(good, at(leaf.NotAfter.Add(time.Second))), receipt.ErrCertificate)
	require.ErrorIs(t, verify(good, at(time.Time{})), receipt.ErrCertificate)

	bare := clone(good)
	bare.Signatures[0].Intermediates = nil
	require.ErrorIs(t, verify(bare, receipt.VerifyOptions{}), receipt.ErrCertificate)
	other := clone(good)
	other.Signatures[0].Certificate = w.ca.SVIDFor(w.door).Certificates[0].Raw
	require.ErrorIs(t, verify(other, receipt.VerifyOptions{}), receipt.ErrCertificate)
	changed := clone(good)
	changed.Signatures[0].Sig[3] ^= 1
	require.ErrorIs(t, verify(changed, receipt.VerifyOptions{}), receipt.ErrSignature)

	before := source.now
	source.now = testkit.NewCA(t, "custody.test").Bundle().X509Authorities()
	require.ErrorIs(t, verify(good, receipt.VerifyOptions{}), receipt.ErrCertificate)
	source.now = append(source.now, before...)
	require.NoError(t, verify(good, receipt.VerifyOptions{}))
	source.domain = spiffeid.RequireTrustDomainFromString("other.test")
	require.ErrorIs(t, verify(good, receipt.VerifyOptions{}), receipt.ErrTrustDomain)
}

// Who gets an envelope of somebody else's can put any certificates beside its signature. They are no part of what is
// remembered of the signer, which comes back with all that it signs.
func TestVerifierRemembersWhatLeadsToARootAlone(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, w.full())
	keyID, issuer := e.Signatures[0].KeyID, e.Signatures[0].Intermediates[0]
	root := w.ca.Bundle().X509Authorities()[0].Raw
	stranger, sibling := testkit.NewCA(t, "custody.test").SVIDFor(w.door), w.ca.SVID("other")
	for name, tt := range map[string]struct {
		beside [][]byte
		want   int
	}{
		"as it was signed":              {[][]byte{issuer}, 2},
		"with the root":                 {[][]byte{issuer, root}, 3},
		"another authority":             {[][]byte{stranger.Certificates[1].Raw, issuer}, 2},
		"a leaf of the same authority":  {[][]byte{issuer, sibling.Certificates[0].Raw}, 2},
		"the same many times":           {[][]byte{issuer, issuer, issuer, issuer}, 2},
		"as many as there may be of it": {[][]byte{stranger.Certificates[0].Raw, stranger.Certificates[1].Raw, issuer, w.chain[0].Raw, issuer}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			v := receipt.NewVerifier(w.ca.Bundle())
			other := clone(e)
			other.Signatures[0].Intermediates = tt.beside
			for _, envelope := range []*receipt.Envelope{e, other, other} {
				_, err := v.Verify(envelope, receipt.VerifyOptions{})
				require.NoError(t, err)
			}
			known := v.Certificates(keyID)
			require.Len(t, known, tt.want)
			require.Equal(t, w.chain[0].Raw, known[0].Raw)
			require.Equal(t, issuer, known[1].Raw)
			full, err := e.WithoutCertificates().WithCertificates(v.Certificates)
			require.NoError(t, err)
			_, err = v.Verify(full, receipt.VerifyOptions{})
			require.NoError(t, err)
		})
	}
}

// An intermediate that ends before the leaf ends what is remembered of both.
func TestVerifierHeedsEveryCertificateOnThePath(t *testing.T) {
	w := newWorld(t)
	short := w.ca.SVIDFor(w.door, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(48 * time.Hour) })
	e := testkit.Sign(t, w.full(), short)
	v := receipt.NewVerifier(w.ca.Bundle())
	at := func(moment time.Time) error {
		_, err := v.Verify(e, receipt.VerifyOptions{At: func(*receipt.Receipt) time.Time { return moment }})
		return err
	}
	require.NoError(t, at(time.Now()))
	require.ErrorIs(t, at(short.Certificates[1].NotAfter.Add(time.Second)), receipt.ErrCertificate)
	require.NoError(t, at(short.Certificates[1].NotAfter))
}

func TestVerifierIsForManyAtOnce(t *testing.T) {
	w := newWorld(t)
	v := receipt.NewVerifier(w.ca.Bundle())
	e := w.sign(t, w.full())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 20 {
				if _, err := v.Verify(e, receipt.VerifyOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
}
