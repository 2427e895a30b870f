// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Limits on certificates. What goes beyond is refused.
const (
	// MaxCertificates is the largest number of certificates in a chain, the leaf included.
	MaxCertificates = 10
	// MaxCertificate is the largest DER form of one certificate, in bytes.
	MaxCertificate = 16 << 10
)

// KeyID is the key ID of signatures that were made with the key of leaf: the hexadecimal SHA-256 of its DER.
func KeyID(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// EncodeCertificates gives the payload of a certificates record: for each certificate, leaf first, the length of its DER
// as four bytes (big endian), and the DER. A chain that DecodeCertificates would refuse is an error.
func EncodeCertificates(chain []*x509.Certificate) ([]byte, error) {
	if len(chain) == 0 || len(chain) > MaxCertificates {
		return nil, certificateError("a chain has 1 to %d certificates, not %d", MaxCertificates, len(chain))
	}
	var out []byte
	for _, c := range chain {
		if len(c.Raw) == 0 || len(c.Raw) > MaxCertificate {
			return nil, certificateError("one has %d bytes, not 1 to %d", len(c.Raw), MaxCertificate)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(c.Raw)))
		out = append(out, c.Raw...)
	}
	return out, nil
}

// DecodeCertificates reads the payload of a certificates record. It keeps nothing of the
// payload, and checks the form only; nothing is verified.
func DecodeCertificates(payload []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := payload; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, certificateError("the chain ends within a length")
		}
		size := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(size) > uint64(len(rest)) {
			return nil, certificateError("the chain ends within a certificate")
		}
		c, err := parseCertificate(bytes.Clone(rest[:size])) // a Certificate keeps the bytes
		if err != nil {
			return nil, err
		}
		if chain = append(chain, c); len(chain) > MaxCertificates {
			return nil, certificateError("the chain has more than %d", MaxCertificates)
		}
		rest = rest[size:]
	}
	if len(chain) == 0 {
		return nil, certificateError("the chain is empty")
	}
	return chain, nil
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	if len(der) > MaxCertificate {
		return nil, certificateError("one has more than %d bytes", MaxCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, certificateError("%w", err)
	}
	return c, nil
}

// chain parses the certificates of a signature, leaf first.
func (s Signature) chain() ([]*x509.Certificate, error) {
	if len(s.Certificate) == 0 {
		return nil, certificateError("the signature carries none (key ID %.80q)", s.KeyID)
	}
	if len(s.Intermediates) >= MaxCertificates {
		return nil, certificateError("the chain has more than %d", MaxCertificates)
	}
	leaf, err := parseCertificate(s.Certificate)
	if err != nil {
		return nil, err
	}
	if KeyID(leaf) != s.KeyID {
		return nil, certificateError("key ID %.80q is not that of the certificate, %s", s.KeyID, KeyID(leaf))
	}
	chain := []*x509.Certificate{leaf}
	for _, der := range s.Intermediates {
		c, err := parseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

func certificateError(format string, args ...any) error {
	return fmt.Errorf("receipt: %w: "+format, append([]any{ErrCertificate}, args...)...)
}
