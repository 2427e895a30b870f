// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

func TestStatementIsWhatTheStandardDecoderReads(t *testing.T) {
	w := newWorld(t)
	odd := w.full()
	odd.Action.Name = "q\"\\\x00\t<&>\u2028 ü 𝄞 \xff"
	odd.Decision.Reason = "\x7f"
	for name, r := range map[string]*receipt.Receipt{"full": w.full(), "asked": w.asked(), "least": w.least(), "odd": odd} {
		t.Run(name, func(t *testing.T) {
			e := w.sign(t, r)
			var got struct {
				Type    string `json:"_type"`
				Subject []struct {
					Name   string            `json:"name"`
					Digest map[string]string `json:"digest"`
				} `json:"subject"`
				PredicateType string           `json:"predicateType"`
				Predicate     *receipt.Receipt `json:"predicate"`
			}
			require.NoError(t, stdjson.Unmarshal(e.Payload, &got))
			want := *r
			if name == "odd" {
				want.Action.Name = "q\"\\\x00\t<&>\u2028 ü 𝄞 \uFFFD"
			}
			require.Equal(t, "https://in-toto.io/Statement/v1", got.Type)
			require.Equal(t, "https://custody.dev/receipt/v1", got.PredicateType)
			require.Equal(t, &want, got.Predicate)
			require.Len(t, got.Subject, 1)
			require.Equal(t, want.Action.Kind+" "+want.Action.Server+"/"+want.Action.Name, got.Subject[0].Name)
			require.Equal(t, map[string]string{"sha256": r.RequestDigest.Hex()}, got.Subject[0].Digest)

			// The same members and no others as the struct tags give.
			plain, err := stdjson.Marshal(&want)
			require.NoError(t, err)
			var predicate struct {
				Predicate map[string]any `json:"predicate"`
			}
			var members map[string]any
			require.NoError(t, stdjson.Unmarshal(e.Payload, &predicate))
			require.NoError(t, stdjson.Unmarshal(plain, &members))
			predicate.Predicate["times"], members["times"] = nil, nil // written with nine digits, always
			require.Equal(t, members, predicate.Predicate)
		})
	}
}

// A receipt whose subject is not its action would not be accepted.
func TestSubjectIsTheActionWhateverIsInIt(t *testing.T) {
	w := newWorld(t)
	parts := []string{"tools/call", "q\"", "\\", "a b\n", "\xff\xfe", "\xc3", "ü", "\uFFFD"}
	for _, kind := range parts {
		for _, server := range append(parts, "") {
			for _, name := range append(parts, "") {
				r := w.least()
				r.Action = receipt.Action{Kind: kind, Server: server, Name: name}
				got, err := w.sign(t, r).UnsafeReceipt()
				require.NoErrorf(t, err, "%q", r.Action)
				valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
				require.Equal(t, receipt.Action{Kind: valid(kind), Server: valid(server), Name: valid(name)}, got.Action)
			}
		}
	}
}

func TestTimesHaveNineDigitsAndAreUTC(t *testing.T) {
	w := newWorld(t)
	r := w.full()
	r.Times.Decided = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	e := w.sign(t, r)
	require.Contains(t, string(e.Payload), `"decided":"2026-01-02T02:04:05.000000000Z"`)
}

func TestEnvelopeJSON(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, w.full())
	text, err := stdjson.Marshal(e)
	require.NoError(t, err)

	var plain struct {
		Payload     []byte `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			KeyID         string   `json:"keyid"`
			Sig           []byte   `json:"sig"`
			Certificate   []byte   `json:"certificate"`
			Intermediates [][]byte `json:"intermediates"`
		} `json:"signatures"`
	}
	require.NoError(t, stdjson.Unmarshal(text, &plain))
	require.Equal(t, e.Payload, plain.Payload)
	require.Equal(t, "application/vnd.in-toto+json", plain.PayloadType)
	require.Len(t, plain.Signatures, 1)
	require.Equal(t, w.chain[0].Raw, plain.Signatures[0].Certificate)
	require.Equal(t, [][]byte{w.chain[1].Raw}, plain.Signatures[0].Intermediates)
	sum := sha256.Sum256(w.chain[0].Raw)
	require.Equal(t, receipt.Digest(sum).Hex(), plain.Signatures[0].KeyID)

	back, err := receipt.DecodeEnvelope(text)
	require.NoError(t, err)
	require.Equal(t, e, back)
	require.Equal(t, receipt.Sum(e.Payload).String(), e.Digest())
}

func TestCertificatesAreTakenOutAndPutBack(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, w.full())
	bare, err := receipt.DecodeEnvelope(e.WithoutCertificates().AppendJSON(nil))
	require.NoError(t, err)
	_, err = receipt.Verify(bare, w.ca.Bundle(), receipt.VerifyOptions{})
	require.ErrorIs(t, err, receipt.ErrCertificate)

	record, err := receipt.EncodeCertificates(w.chain)
	require.NoError(t, err)
	chain, err := receipt.DecodeCertificates(record)
	require.NoError(t, err)
	full, err := bare.WithCertificates(func(keyID string) []*x509.Certificate {
		require.Equal(t, receipt.KeyID(w.chain[0]), keyID)
		return chain
	})
	require.NoError(t, err)
	require.Equal(t, e, full)
	_, err = receipt.Verify(full, w.ca.Bundle(), receipt.VerifyOptions{})
	require.NoError(t, err)

	_, err = bare.WithCertificates(func(string) []*x509.Certificate { return nil })
	require.ErrorIs(t, err, receipt.ErrCertificate)
}

// dsseVerifier lets the DSSE library verify with a public key.
type dsseVerifier struct{ leaf *x509.Certificate }

func (v dsseVerifier) Verify(_ context.Context, data, sig []byte) error {
	ok := false
	switch key := v.leaf.PublicKey.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, data, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		ok = ecdsa.VerifyASN1(key, sum[:], sig)
	}
	if !ok {
		return errors.New("bad signature")
	}
	return nil
}
func (v dsseVerifier) KeyID() (string, error)   { return receipt.KeyID(v.leaf), nil }
func (v dsseVerifier) Public() crypto.PublicKey { return v.leaf.PublicKey }

func TestTheDSSELibraryAccepts(t *testing.T) {
	w := newWorld(t)
	p256, chain, bundle := p256World(t)
	for name, signer := range map[string]receipt.Signer{"ed25519": w.signer, "p256": p256} {
		t.Run(name, func(t *testing.T) {
			r := w.full()
			leaf := signer.Certificates()[0]
			r.Door.SPIFFEID = spiffeid.RequireFromURI(leaf.URIs[0])
			e, err := receipt.Sign(r, signer)
			require.NoError(t, err)

			var theirs dsse.Envelope
			require.NoError(t, stdjson.Unmarshal(e.AppendJSON(nil), &theirs))
			verifier, err := dsse.NewEnvelopeVerifier(dsseVerifier{leaf})
			require.NoError(t, err)
			_, body, err := verifier.VerifyAndDecode(context.Background(), &theirs)
			require.NoError(t, err)
			require.Equal(t, e.Payload, body)

			theirs.Payload = base64.StdEncoding.EncodeToString(append(body, ' '))
			_, err = verifier.Verify(context.Background(), &theirs)
			require.Error(t, err)
		})
	}
	r := w.full()
	r.Door.SPIFFEID = spiffeid.RequireFromURI(chain[0].URIs[0])
	e, err := receipt.Sign(r, p256)
	require.NoError(t, err)
	_, err = receipt.Verify(e, bundle, receipt.VerifyOptions{})
	require.NoError(t, err)
	e.Signatures[0].Sig[9] ^= 1
	_, err = receipt.Verify(e, bundle, receipt.VerifyOptions{})
	require.ErrorIs(t, err, receipt.ErrSignature)
}

// p256World is a trust domain whose root issues a P-256 leaf directly.
func p256World(t *testing.T) (receipt.Signer, []*x509.Certificate, *x509bundle.Bundle) {
	t.Helper()
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root := selfSigned(t, rootKey, true, "")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	id, err := url.Parse("spiffe://p256.test/ns/default/orders")
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: []*url.URL{id}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, root, key.Public(), rootKey)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	signer, err := receipt.NewSigner(key, []*x509.Certificate{leaf})
	require.NoError(t, err)
	td := spiffeid.RequireTrustDomainFromString("p256.test")
	return signer, []*x509.Certificate{leaf}, x509bundle.FromX509Authorities(td, []*x509.Certificate{root})
}

func selfSigned(t *testing.T, key crypto.Signer, isCA bool, uri string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: isCA, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if isCA {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	if uri != "" {
		id, err := url.Parse(uri)
		require.NoError(t, err)
		template.URIs = []*url.URL{id}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return c
}

func TestNewSignerRefuses(t *testing.T) {
	w := newWorld(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	const id = "spiffe://custody.test/ns/default/orders"
	for _, tt := range []struct {
		name  string
		key   crypto.Signer
		chain []*x509.Certificate
		want  error
	}{
		{"no certificate", other, nil, receipt.ErrCertificate},
		{"too many certificates", other, make([]*x509.Certificate, receipt.MaxCertificates+1), receipt.ErrCertificate},
		{"no SPIFFE ID", other, []*x509.Certificate{selfSigned(t, other, false, "")}, receipt.ErrCertificate},
		{"another scheme", other, []*x509.Certificate{selfSigned(t, other, false, "https://a.test/b")}, receipt.ErrCertificate},
		{"no key", nil, w.chain, receipt.ErrKey},
		{"key of another", other, w.chain, receipt.ErrKey},
		{"RSA", rsaKey, []*x509.Certificate{selfSigned(t, rsaKey, false, id)}, receipt.ErrKey},
		{"P-384", p384, []*x509.Certificate{selfSigned(t, p384, false, id)}, receipt.ErrKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := receipt.NewSigner(tt.key, tt.chain)
			require.ErrorIs(t, err, tt.want)
		})
	}
}

// failingSigner has the certificates of a good signer and a key that is out of reach.
type failingSigner struct{ receipt.Signer }

var errKeyGone = errors.New("key is gone")

func (failingSigner) Sign([]byte) ([]byte, error) { return nil, errKeyGone }

// Ed25519 gives the same signature each time.
func TestAppendSignedIsTheBareEnvelopeOfSign(t *testing.T) {
	w := newWorld(t)
	large := w.full()
	large.Decision.Reason = strings.Repeat("r", 10_000)
	for name, r := range map[string]*receipt.Receipt{"full": w.full(), "least": w.least(), "large": large} {
		for size := range 6 {
			// Room for all, for a part, and for nothing; and bytes of earlier use in it.
			dst := append(bytes.Repeat([]byte("x"), size*1000)[:0], "before "[:min(size, 7)]...)
			before := string(dst)
			text, digest, err := receipt.AppendSigned(dst, r, w.signer)
			require.NoError(t, err)
			want := w.sign(t, r)
			require.Equalf(t, before+string(want.WithoutCertificates().AppendJSON(nil)), string(text), "%s, %d", name, size)
			require.Equal(t, want.PayloadDigest(), digest)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	w := newWorld(t)
	large := w.full()
	large.Action.Name = string(make([]byte, receipt.MaxPayload))
	other := w.full()
	other.Door.SPIFFEID = other.Caller.SPIFFEID
	none := w.full()
	none.ID = ""
	for _, tt := range []struct {
		name   string
		in     *receipt.Receipt
		signer receipt.Signer
		want   error
	}{
		{"key that fails", w.full(), failingSigner{w.signer}, errKeyGone},
		{"too large", large, w.signer, receipt.ErrPayload},
		{"other door", other, w.signer, receipt.ErrSigner},
		{"no ID", none, w.signer, receipt.ErrPayload},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := receipt.Sign(tt.in, tt.signer)
			require.ErrorIs(t, err, tt.want)
			require.Nil(t, e)
			text, digest, err := receipt.AppendSigned(nil, tt.in, tt.signer)
			require.ErrorIs(t, err, tt.want)
			require.Nil(t, text)
			require.Zero(t, digest)
		})
	}
}

// What the clock said is signed, and so is what is looked at: the other clock of a process is not in a receipt.
func TestSignRefusesTimesOfAClockThatWasSetBack(t *testing.T) {
	w := newWorld(t)
	r := w.least()
	r.Times.Decided = time.Now()
	r.Times.Settled = testkit.SetBack(t, r.Times.Decided, 1)
	_, err := receipt.Sign(r, w.signer)
	require.ErrorIs(t, err, receipt.ErrPayload)
	r.Times.Settled = r.Times.Decided
	_, err = receipt.Verify(w.sign(t, r), w.ca.Bundle(), receipt.VerifyOptions{})
	require.NoError(t, err)
}
