// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

const (
	// MaxHeld is how many signers a Held names at most.
	MaxHeld = 16
	// heldDigits are the digits of a key ID that name it in a Held.
	heldDigits = 16
	keyIDSize  = 2 * sha256.Size
)

// Held names the signers whose certificates somebody has, who can so do with envelopes without them: the first 16 digits
// of their key IDs, with a space between, or "none". The zero Held is of somebody who takes whole envelopes only.
type Held string

// heldNone is of somebody who has no certificates, and would take envelopes without them.
const heldNone = "none"

// ParseHeld reads the values of a header. What is not in order says nothing, and gives the zero Held: who gets whole
// envelopes misses nothing.
func ParseHeld(values []string) Held {
	if len(values) != 1 {
		return ""
	}
	text := values[0]
	if text == heldNone {
		return heldNone
	}
	if len(text) > MaxHeld*(heldDigits+1)-1 || (len(text)+1)%(heldDigits+1) != 0 {
		return ""
	}
	for i := range len(text) {
		c := text[i]
		if between := i%(heldDigits+1) == heldDigits; between != (c == ' ') || !between && !lowerHex(c) {
			return ""
		}
	}
	return Held(text)
}

// Has reports whether the certificates of the signer with this key ID are held.
func (h Held) Has(keyID string) bool {
	if len(keyID) != keyIDSize {
		return false
	}
	for rest := string(h); len(rest) >= heldDigits; {
		if rest[:heldDigits] == keyID[:heldDigits] {
			return true
		}
		rest = rest[min(heldDigits+1, len(rest)):]
	}
	return false
}

func lowerHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func notLowerHex(r rune) bool { return r > 'f' || !lowerHex(byte(r)) }

// base64Header is how bytes stand in a header.
var base64Header = base64.RawURLEncoding.Strict()

// EncodeHeader gives the form of an envelope in a header. For who holds the certificates of its one signer that is the
// short form: key ID, signature and payload, with a dot between; the signature in base64url without padding, the payload
// as it is where it begins with a brace and is all visible ASCII and spaces, and otherwise like the signature. For others
// it is the JSON form, with certificates, in base64url without padding.
func EncodeHeader(e *Envelope, held Held) string {
	if len(e.Signatures) == 1 && e.PayloadType == PayloadType && held.Has(e.Signatures[0].KeyID) {
		return e.Short()
	}
	return base64Header.EncodeToString(e.AppendJSON(nil))
}

// Short gives the short form, which EncodeHeader describes, of an envelope with one signature and of PayloadType. It has
// no certificates.
func (e *Envelope) Short() string {
	s := &e.Signatures[0]
	size := len(s.KeyID) + 2 + base64Header.EncodedLen(len(s.Sig)) + base64Header.EncodedLen(len(e.Payload))
	text := append(append(make([]byte, 0, size), s.KeyID...), '.')
	text = append(base64Header.AppendEncode(text, s.Sig), '.')
	if visible(e.Payload) {
		return string(append(text, e.Payload...))
	}
	return string(base64Header.AppendEncode(text, e.Payload))
}

// visible reports whether a payload can stand in a header as it is (RFC 9110, section 5.5).
func visible(payload []byte) bool {
	if len(payload) == 0 || payload[0] != '{' || payload[len(payload)-1] == ' ' {
		return false
	}
	for _, c := range payload {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// DecodeHeader reads either form, of which there is one text for each envelope. No signature is checked, and an envelope
// that comes in the short form has no certificates.
func DecodeHeader(text string) (*Envelope, error) {
	if len(text) > MaxEnvelope {
		return nil, envelopeError("it has more than %d bytes", MaxEnvelope)
	}
	if strings.IndexByte(text, '.') >= 0 {
		return decodeShort(text)
	}
	form, err := decodeHeaderBase64("it", text)
	if err != nil {
		return nil, err
	}
	return DecodeEnvelope(form)
}

func decodeShort(text string) (*Envelope, error) {
	keyID, rest, _ := strings.Cut(text, ".")
	sig, payload, ok := strings.Cut(rest, ".")
	if len(keyID) != keyIDSize || strings.ContainsFunc(keyID, notLowerHex) {
		return nil, envelopeError("the short form does not begin with a key ID")
	}
	if !ok || sig == "" || payload == "" {
		return nil, envelopeError("the short form is not key ID, signature and payload")
	}
	e := &Envelope{PayloadType: PayloadType, Signatures: []Signature{{KeyID: keyID}}}
	var err error
	if e.Signatures[0].Sig, err = decodeHeaderBase64("the signature", sig); err != nil {
		return nil, err
	}
	if payload[0] == '{' {
		if e.Payload = []byte(payload); !visible(e.Payload) {
			return nil, envelopeError("the payload is not visible ASCII")
		}
		return e, nil
	}
	if e.Payload, err = decodeHeaderBase64("the payload", payload); err != nil {
		return nil, err
	}
	if visible(e.Payload) {
		return nil, envelopeError("the payload is in base64url, and could stand as it is")
	}
	return e, nil
}

// decodeHeaderBase64 takes one text for each value: encoding/base64 passes over line breaks.
func decodeHeaderBase64(what, text string) ([]byte, error) {
	b, err := base64Header.DecodeString(text)
	if err != nil {
		return nil, envelopeError("%s is not base64url without padding: %w", what, err)
	}
	if base64Header.EncodedLen(len(b)) != len(text) {
		return nil, envelopeError("%s is not base64url without padding: it has line breaks", what)
	}
	return b, nil
}
