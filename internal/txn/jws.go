// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Type is the typ of a token.
const Type = "txntoken+jwt"

// The algorithms (RFC 7518, section 3.4, and RFC 8037, section 3.1).
const (
	algEdDSA = "EdDSA"
	algES256 = "ES256"
)

const (
	maxCertificates = 5
	maxCertificate  = 16 << 10
	coordinate      = 32 // bytes of one half of an ES256 signature
)

// header is the protected header. There are no other members: what a verifier does not know it must not pass over
// (RFC 7515, section 4.1.11).
type header struct {
	Type      string   `json:"typ"`
	Algorithm string   `json:"alg"`
	KeyID     string   `json:"kid"`
	Chain     []string `json:"x5c"`
}

var (
	base64URL = base64.RawURLEncoding.Strict()
	base64Std = base64.StdEncoding.Strict()
)

// sign makes the compact form of claims.
func sign(claims []byte, svid *x509svid.SVID) (string, error) {
	if svid == nil || len(svid.Certificates) == 0 || svid.PrivateKey == nil {
		return "", errors.New("there is no identity to sign with")
	}
	h := header{Type: Type, KeyID: keyID(svid.Certificates[0])}
	for _, c := range svid.Certificates {
		h.Chain = append(h.Chain, base64Std.EncodeToString(c.Raw))
	}
	switch key := svid.Certificates[0].PublicKey.(type) {
	case ed25519.PublicKey:
		h.Algorithm = algEdDSA
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", fmt.Errorf("ECDSA is supported on P-256 only, not on %s", key.Params().Name)
		}
		h.Algorithm = algES256
	default:
		return "", fmt.Errorf("%T is neither Ed25519 nor ECDSA on P-256", key)
	}
	protected, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	input := base64URL.EncodeToString(protected) + "." + base64URL.EncodeToString(claims)
	sig, err := signInput(svid, h.Algorithm, []byte(input))
	if err != nil {
		return "", err
	}
	return input + "." + base64URL.EncodeToString(sig), nil
}

func signInput(svid *x509svid.SVID, alg string, input []byte) ([]byte, error) {
	if alg == algEdDSA {
		return svid.PrivateKey.Sign(rand.Reader, input, crypto.Hash(0))
	}
	sum := sha256.Sum256(input)
	der, err := svid.PrivateKey.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return fixedWidth(der)
}

// open splits the compact form, checks the form of header and certificates, and the signature with the key of the leaf.
// Nothing is known yet about the certificates.
func open(compact string) (claims []byte, chain []*x509.Certificate, err error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, nil, errors.New("it is not three parts with dots between")
	}
	decoded := make([][]byte, len(parts))
	for i, part := range parts {
		if decoded[i], err = base64URL.DecodeString(part); err != nil {
			return nil, nil, fmt.Errorf("part %d is not base64url without padding", i+1)
		}
	}
	var h header
	if err := json.Unmarshal(decoded[0], &h, json.RejectUnknownMembers(true)); err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if h.Type != Type {
		return nil, nil, fmt.Errorf("typ is %.40q, not %q", h.Type, Type)
	}
	if chain, err = h.certificates(); err != nil {
		return nil, nil, err
	}
	input := compact[:len(parts[0])+1+len(parts[1])]
	if err := checkSignature(chain[0], h.Algorithm, []byte(input), decoded[2]); err != nil {
		return nil, nil, err
	}
	return decoded[1], chain, nil
}

func (h *header) certificates() ([]*x509.Certificate, error) {
	if len(h.Chain) == 0 || len(h.Chain) > maxCertificates {
		return nil, fmt.Errorf("x5c has %d certificates, not 1 to %d", len(h.Chain), maxCertificates)
	}
	chain := make([]*x509.Certificate, len(h.Chain))
	for i, text := range h.Chain {
		der, err := base64Std.DecodeString(text)
		if err != nil || len(der) > maxCertificate {
			return nil, fmt.Errorf("x5c: certificate %d is not base64 of at most %d bytes", i, maxCertificate)
		}
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("x5c: certificate %d: %w", i, err)
		}
	}
	if h.KeyID != keyID(chain[0]) {
		return nil, errors.New("kid is not that of the certificate")
	}
	return chain, nil
}

func checkSignature(leaf *x509.Certificate, alg string, input, sig []byte) error {
	valid := false
	switch key := leaf.PublicKey.(type) {
	case ed25519.PublicKey:
		valid = alg == algEdDSA && ed25519.Verify(key, input, sig)
	case *ecdsa.PublicKey:
		if alg == algES256 && key.Curve == elliptic.P256() && len(sig) == 2*coordinate {
			sum := sha256.Sum256(input)
			r, s := new(big.Int).SetBytes(sig[:coordinate]), new(big.Int).SetBytes(sig[coordinate:])
			valid = ecdsa.Verify(key, sum[:], r, s)
		}
	}
	if !valid {
		return fmt.Errorf("the signature (%.10q) does not fit the certificate", alg)
	}
	return nil
}

// fixedWidth turns the ASN.1 form of an ECDSA signature into that of RFC 7518, section 3.4.
func fixedWidth(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 ||
		sig.R.BitLen() > 8*coordinate || sig.S.BitLen() > 8*coordinate {
		return nil, errors.New("the key gave no ECDSA signature")
	}
	out := make([]byte, 2*coordinate)
	sig.R.FillBytes(out[:coordinate])
	sig.S.FillBytes(out[coordinate:])
	return out, nil
}

// keyID is that of receipts: the hexadecimal SHA-256 of the leaf.
func keyID(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:])
}
