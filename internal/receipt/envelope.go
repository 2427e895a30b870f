// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
)

// Limits on what is read. What goes beyond is refused.
const (
	// MaxEnvelope is the largest JSON form of an envelope, in bytes.
	MaxEnvelope = 1 << 20
	// MaxSignatures is the largest number of signatures in an envelope.
	MaxSignatures = 16
)

// Envelope is a DSSE envelope. Payload are the exact bytes that were signed.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []Signature
}

// Signature is one signature over the PAE of the envelope. Beside the members of DSSE it carries the certificates that
// a verifier needs, in the form that in-toto's go-witness uses.
type Signature struct {
	// KeyID is the hexadecimal SHA-256 of the DER of the signer's leaf certificate.
	KeyID string
	Sig   []byte
	// Certificate is the DER of the leaf, and Intermediates that of the certificates above it, nearest first. Both are
	// empty in a journal, which keeps them in a record of their own.
	Certificate   []byte
	Intermediates [][]byte
}

type envelopeJSON struct {
	Payload     *string         `json:"payload"`
	PayloadType *string         `json:"payloadType"`
	Signatures  []signatureJSON `json:"signatures"`
}

type signatureJSON struct {
	KeyID         string   `json:"keyid"`
	Sig           string   `json:"sig"`
	Certificate   string   `json:"certificate"`
	Intermediates []string `json:"intermediates"`
}

// DecodeEnvelope reads the JSON form. It refuses what could be read two ways: duplicate members, invalid UTF-8, trailing
// data, and base64 in any form but the padded standard one (DSSE lets a reader take others; our writers never make
// them). Unknown members are ignored, as DSSE demands. No signature is checked.
func DecodeEnvelope(text []byte) (*Envelope, error) {
	if len(text) > MaxEnvelope {
		return nil, envelopeError("it has more than %d bytes", MaxEnvelope)
	}
	var in envelopeJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, envelopeError("%w", err)
	}
	switch {
	case in.Payload == nil:
		return nil, envelopeError("payload is missing")
	case in.PayloadType == nil:
		return nil, envelopeError("payloadType is missing")
	case len(in.Signatures) > MaxSignatures:
		return nil, envelopeError("it has more than %d signatures", MaxSignatures)
	}
	e := &Envelope{PayloadType: *in.PayloadType, Signatures: make([]Signature, len(in.Signatures))}
	var err error
	if e.Payload, err = decodeBase64("payload", *in.Payload); err != nil {
		return nil, err
	}
	for i, s := range in.Signatures {
		if e.Signatures[i], err = s.decode(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (in signatureJSON) decode() (Signature, error) {
	out := Signature{KeyID: in.KeyID}
	if len(in.Intermediates) >= MaxCertificates {
		return out, envelopeError("a signature has more than %d certificates", MaxCertificates)
	}
	var err error
	if out.Sig, err = decodeBase64("sig", in.Sig); err != nil {
		return out, err
	}
	if out.Certificate, err = decodeBase64("certificate", in.Certificate); err != nil {
		return out, err
	}
	for _, text := range in.Intermediates {
		der, err := decodeBase64("intermediates", text)
		if err != nil {
			return out, err
		}
		out.Intermediates = append(out.Intermediates, der)
	}
	return out, nil
}

// decodeBase64 takes one text for each value, so that no changed character goes unseen.
func decodeBase64(member, text string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, envelopeError("%s is not standard base64: %w", member, err)
	}
	if base64.StdEncoding.EncodedLen(len(b)) != len(text) {
		return nil, envelopeError("%s is not standard base64: it has line breaks", member)
	}
	if len(b) == 0 {
		return nil, nil
	}
	return b, nil
}

// AppendJSON appends the JSON form to dst.
func (e *Envelope) AppendJSON(dst []byte) []byte {
	dst = slices.Grow(dst, base64.StdEncoding.EncodedLen(len(e.Payload))+len(e.Signatures)*256+128)
	dst = appendBase64(append(dst, `{"payload":`...), e.Payload)
	dst = appendString(append(dst, `,"payloadType":`...), e.PayloadType)
	dst = append(dst, `,"signatures":[`...)
	for i, s := range e.Signatures {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.appendJSON(dst)
	}
	return append(dst, `]}`...)
}

func (s Signature) appendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"keyid":`...), s.KeyID)
	dst = appendBase64(append(dst, `,"sig":`...), s.Sig)
	if len(s.Certificate) > 0 {
		dst = appendBase64(append(dst, `,"certificate":`...), s.Certificate)
	}
	for i, der := range s.Intermediates {
		if i == 0 {
			dst = append(dst, `,"intermediates":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = appendBase64(dst, der)
	}
	if len(s.Intermediates) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

func appendBase64(dst, b []byte) []byte {
	dst = base64.StdEncoding.AppendEncode(append(dst, '"'), b)
	return append(dst, '"')
}

// MarshalJSON implements json.Marshaler with the bytes of AppendJSON.
func (e *Envelope) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// Digest names the receipt: "sha256:" and the hexadecimal SHA-256 of the payload bytes. It does not cover signatures.
func (e *Envelope) Digest() string { return e.PayloadDigest().String() }

// PayloadDigest is Digest as a value, as it goes into the Prev of a later receipt.
func (e *Envelope) PayloadDigest() Digest { return Sum(e.Payload) }

// UnsafeReceipt decodes the payload without checking any signature. Use it to show or select receipts, never to believe
// one. The errors are those of a payload that Verify would refuse.
func (e *Envelope) UnsafeReceipt() (*Receipt, error) { return decodeStatement(e.Payload) }

// WithoutCertificates gives the envelope as a journal keeps it. The receiver is unchanged and shares its bytes.
func (e *Envelope) WithoutCertificates() *Envelope {
	bare := &Envelope{PayloadType: e.PayloadType, Payload: e.Payload, Signatures: make([]Signature, len(e.Signatures))}
	for i, s := range e.Signatures {
		bare.Signatures[i] = Signature{KeyID: s.KeyID, Sig: s.Sig}
	}
	return bare
}

// WithCertificates puts certificates back. Lookup gives the chain, leaf first, for a key ID, or nil if it has none; that
// is ErrCertificate. Signatures that carry a certificate keep it. The receiver is unchanged and shares its bytes.
func (e *Envelope) WithCertificates(lookup func(keyID string) []*x509.Certificate) (*Envelope, error) {
	full := &Envelope{PayloadType: e.PayloadType, Payload: e.Payload, Signatures: slices.Clone(e.Signatures)}
	for i := range full.Signatures {
		s := &full.Signatures[i]
		if len(s.Certificate) > 0 {
			continue
		}
		chain := lookup(s.KeyID)
		if len(chain) == 0 {
			return nil, certificateError("there is none for key ID %.80q", s.KeyID)
		}
		s.setCertificates(chain)
	}
	return full, nil
}

func (s *Signature) setCertificates(chain []*x509.Certificate) {
	s.Certificate = chain[0].Raw
	s.Intermediates = nil
	for _, c := range chain[1:] {
		s.Intermediates = append(s.Intermediates, c.Raw)
	}
}

// appendPAE appends the pre-authentication encoding of DSSE v1.
func appendPAE(dst []byte, payloadType string, payload []byte) []byte {
	return append(appendPAEHead(dst, payloadType, len(payload)), payload...)
}

// appendPAEHead appends what comes before a payload of that many bytes.
func appendPAEHead(dst []byte, payloadType string, size int) []byte {
	dst = append(dst, "DSSEv1 "...)
	dst = strconv.AppendInt(dst, int64(len(payloadType)), 10)
	dst = append(append(dst, ' '), payloadType...)
	dst = strconv.AppendInt(append(dst, ' '), int64(size), 10)
	return append(dst, ' ')
}

func envelopeError(format string, args ...any) error {
	return fmt.Errorf("receipt: %w: "+format, append([]any{ErrEnvelope}, args...)...)
}
