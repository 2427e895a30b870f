// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	digestPrefix  = "sha256:"
	digestHexSize = 2 * sha256.Size
)

// Digest is a SHA-256 value. Its text form, everywhere in a receipt and in headers, is "sha256:" and 64 lower-case
// hexadecimal digits. The zero Digest means that there is none.
type Digest [sha256.Size]byte

// Sum gives the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads the text form, with or without the "sha256:" in front. The empty string gives the zero Digest. Any
// other text, upper-case digits included, is an error.
func ParseDigest(text string) (Digest, error) {
	if text == "" {
		return Digest{}, nil
	}
	digits := strings.TrimPrefix(text, digestPrefix)
	var d Digest
	if len(digits) != digestHexSize || !d.decode(digits) {
		return Digest{}, fmt.Errorf("receipt: %w: digest %.80q is not 64 lower-case hexadecimal digits", ErrPayload, text)
	}
	return d, nil
}

func (d *Digest) decode(digits string) bool {
	for i := range len(digits) {
		var digit byte
		switch c := digits[i]; {
		case '0' <= c && c <= '9':
			digit = c - '0'
		case 'a' <= c && c <= 'f':
			digit = c - 'a' + 10
		default:
			return false
		}
		d[i/2] = d[i/2]<<4 | digit
	}
	return true
}

// IsZero says whether there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// String gives the text form, and "" for the zero Digest.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return string(d.append(make([]byte, 0, len(digestPrefix)+digestHexSize)))
}

// Hex gives the 64 digits alone, and "" for the zero Digest.
func (d Digest) Hex() string {
	if d.IsZero() {
		return ""
	}
	return hex.EncodeToString(d[:])
}

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It takes only the full form: where a digest may be absent, the
// member is left out, and never empty.
func (d *Digest) UnmarshalText(text []byte) error {
	if !strings.HasPrefix(string(text), digestPrefix) {
		return fmt.Errorf("receipt: %w: digest %.80q lacks the prefix %q", ErrPayload, text, digestPrefix)
	}
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

func (d Digest) append(dst []byte) []byte {
	return hex.AppendEncode(append(dst, digestPrefix...), d[:])
}
