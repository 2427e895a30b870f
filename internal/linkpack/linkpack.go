// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package linkpack is the compact form of links, in which results of activities have them and a chain carries them
// (docs/chain.md, Where links are kept): payloads as they were signed, deflated together, and each certificate once. A
// text of one generation of a workflow may be deflated after an earlier one, which it names, and is read with that alone.
//
// What it guarantees: what comes out of Unpack has the payloads, key IDs and signatures that went into Pack, byte for
// byte, and no more than MaxUnpacked bytes are inflated. What it does not: nothing is verified. A certificate is found by
// the key ID that a signature states; whether they belong together, verifying tells.
package linkpack

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/dapr-custody/custody/internal/receipt"
)

const (
	// form stands before the base64 and says how to read it.
	form = "links1:"
	// MaxUnpacked is how many bytes packed links may inflate to, and MaxLinks how many they may be.
	MaxUnpacked = 16 << 20
	MaxLinks    = 4096
)

var (
	// ErrForm: a text is not packed links.
	ErrForm = errors.New("it is not packed links")
	// ErrUnpackable: links cannot be packed, because they are not as sidecars sign them, or have too many bytes.
	ErrUnpackable = errors.New("links that cannot be packed")
)

// Pack gives the compact form of links. Certificates go in with the first link of a key ID, and with a later one that has
// others for it, but for the key IDs that are held, which whoever unpacks has to complete (Certificates). Held may be nil.
func Pack(links []*receipt.Envelope, held func(keyID string) bool) (string, error) {
	raw, err := encode(links, held)
	if err != nil {
		return "", err
	}
	deflated, err := deflate(raw)
	return form + deflated, err
}

func encode(links []*receipt.Envelope, held func(keyID string) bool) ([]byte, error) {
	if len(links) > MaxLinks {
		return nil, fmt.Errorf("linkpack: %w: they are more than %d", ErrUnpackable, MaxLinks)
	}
	var raw []byte
	given := Certificates{}
	for _, e := range links {
		if e.PayloadType != receipt.PayloadType {
			return nil, fmt.Errorf("linkpack: %w: the payload of one is %.80q", ErrUnpackable, e.PayloadType)
		}
		raw = binary.AppendUvarint(raw, uint64(len(e.Signatures)))
		for _, s := range e.Signatures {
			raw = appendBytes(appendBytes(raw, []byte(s.KeyID)), s.Sig)
			if held != nil && held(s.KeyID) || given.have(&s) {
				s.Certificate, s.Intermediates = nil, nil
			}
			if len(s.Certificate) > 0 {
				given[s.KeyID] = s
			}
			raw = appendCertificates(raw, s)
		}
		raw = appendBytes(raw, e.Payload)
	}
	if len(raw) > MaxUnpacked {
		return nil, fmt.Errorf("linkpack: %w: they have more than %d bytes", ErrUnpackable, MaxUnpacked)
	}
	return raw, nil
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendCertificates(dst []byte, s receipt.Signature) []byte {
	if len(s.Certificate) == 0 {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(1+len(s.Intermediates)))
	dst = appendBytes(dst, s.Certificate)
	for _, der := range s.Intermediates {
		dst = appendBytes(dst, der)
	}
	return dst
}

// deflaters and inflaters cost more to make than to use.
var deflaters, inflaters sync.Pool

func deflate(raw []byte) (string, error) {
	var out bytes.Buffer
	w, ok := deflaters.Get().(*flate.Writer)
	if ok {
		w.Reset(&out)
	} else {
		var err error
		// The fastest level of Go's deflate passes the dictionary over.
		if w, err = flate.NewWriterDict(&out, flate.DefaultCompression, []byte(dictionary)); err != nil {
			return "", err
		}
	}
	if _, err := w.Write(raw); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	deflaters.Put(w)
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// Unpack undoes Pack. Signatures of keys whose certificate is in none of the links have none.
func Unpack(text string) ([]*receipt.Envelope, error) {
	encoded, ok := strings.CutPrefix(text, form)
	if !ok {
		return nil, fmt.Errorf("linkpack: %w: it begins %.10q, not %q", ErrForm, text, form)
	}
	raw, err := inflate(encoded, []byte(dictionary))
	if err != nil {
		return nil, fmt.Errorf("linkpack: %w: %w", ErrForm, err)
	}
	return decode(raw)
}

func decode(raw []byte) ([]*receipt.Envelope, error) {
	var links []*receipt.Envelope
	given := Certificates{}
	for r := (reader{raw}); len(r.left) > 0; {
		e, err := r.envelope()
		if err == nil && len(links) == MaxLinks {
			err = fmt.Errorf("there are more than %d", MaxLinks)
		}
		if err != nil {
			return nil, fmt.Errorf("linkpack: %w: link %d: %w", ErrForm, len(links)+1, err)
		}
		given.Learn(e)
		given.Complete(e)
		links = append(links, e)
	}
	return links, nil
}

func inflate(encoded string, dictionary []byte) ([]byte, error) {
	deflated, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	in := bytes.NewReader(deflated)
	r, ok := inflaters.Get().(io.Reader)
	if !ok {
		r = flate.NewReaderDict(in, dictionary)
	} else if err := r.(flate.Resetter).Reset(in, dictionary); err != nil {
		return nil, err
	}
	defer inflaters.Put(r)
	raw, err := io.ReadAll(io.LimitReader(r, MaxUnpacked+1))
	switch {
	case err != nil:
		return nil, err
	case len(raw) > MaxUnpacked:
		return nil, fmt.Errorf("it has more than %d bytes", MaxUnpacked)
	case in.Len() > 0:
		return nil, errors.New("something stands behind it")
	}
	return raw, nil
}

var errShort = errors.New("it ends too soon")

// reader reads what Pack wrote. What it gives are parts of the same bytes.
type reader struct{ left []byte }

func (r *reader) count(most int) (int, error) {
	n, size := binary.Uvarint(r.left)
	if size <= 0 {
		return 0, errShort
	}
	r.left = r.left[size:]
	if n > uint64(most) {
		return 0, fmt.Errorf("%d is more than %d", n, most)
	}
	return int(n), nil
}

func (r *reader) bytes() ([]byte, error) {
	n, err := r.count(len(r.left))
	if err != nil {
		return nil, err
	}
	if n > len(r.left) {
		return nil, errShort
	}
	b := r.left[:n:n]
	r.left = r.left[n:]
	return b, nil
}

func (r *reader) envelope() (*receipt.Envelope, error) {
	n, err := r.count(receipt.MaxSignatures)
	if err != nil {
		return nil, err
	}
	e := &receipt.Envelope{PayloadType: receipt.PayloadType, Signatures: make([]receipt.Signature, n)}
	for i := range e.Signatures {
		if e.Signatures[i], err = r.signature(); err != nil {
			return nil, err
		}
	}
	e.Payload, err = r.bytes()
	return e, err
}

func (r *reader) signature() (receipt.Signature, error) {
	var s receipt.Signature
	key, err := r.bytes()
	if err != nil {
		return s, err
	}
	s.KeyID = string(key)
	if s.Sig, err = r.bytes(); err != nil {
		return s, err
	}
	n, err := r.count(receipt.MaxCertificates)
	for i := 0; err == nil && i < n; i++ {
		var der []byte
		if der, err = r.bytes(); i == 0 {
			s.Certificate = der
		} else {
			s.Intermediates = append(s.Intermediates, der)
		}
	}
	return s, err
}

// Certificates are signatures with their certificates, by key ID.
type Certificates map[string]receipt.Signature

// Learn keeps the certificates of an envelope.
func (c Certificates) Learn(e *receipt.Envelope) {
	for _, s := range e.Signatures {
		if len(s.Certificate) > 0 {
			c[s.KeyID] = s
		}
	}
}

// have reports whether what is kept of the key of a signature is what the signature has. Nothing was verified: the first
// link that names a key may be one that its signer never saw.
func (c Certificates) have(s *receipt.Signature) bool {
	known, ok := c[s.KeyID]
	return ok && bytes.Equal(known.Certificate, s.Certificate) && slices.EqualFunc(known.Intermediates, s.Intermediates, bytes.Equal)
}

// Complete puts certificates into the signatures of the envelope that have none, as far as they are known.
func (c Certificates) Complete(e *receipt.Envelope) {
	for i := range e.Signatures {
		if s := &e.Signatures[i]; len(s.Certificate) == 0 {
			known := c[s.KeyID]
			s.Certificate, s.Intermediates = known.Certificate, known.Intermediates
		}
	}
}
