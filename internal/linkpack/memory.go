// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package linkpack

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/dapr-custody/custody/internal/receipt"
)

const (
	// formAfter stands before the name of the text that comes before, a colon and the base64.
	formAfter = "links2:"
	// nameChars is how much of the SHA-256 of what is inflated names a text, in hexadecimal digits.
	nameChars = 16
)

// Text is packed links that were made or read, after which others can be.
type Text struct {
	// Links are as they stand in it: signatures have the certificates that other texts bear only where Memory knew them.
	Links []*receipt.Envelope
	// Borne are the certificates that it bears.
	Borne Certificates
	name  string
	raw   []byte
}

// linkBytes is what a link takes beside its bytes, at most.
const linkBytes = 256

// Size is how many bytes of memory the links take, roughly: a text can be a thousandth of it.
func (t *Text) Size() int { return len(t.raw) + linkBytes*len(t.Links) }

// Name names the text to others: 16 hexadecimal digits.
func (t *Text) Name() string { return t.name }

func newText(raw []byte, links []*receipt.Envelope) *Text {
	sum := sha256.Sum256(raw)
	return &Text{Links: links, Borne: Certificates{}, name: hex.EncodeToString(sum[:])[:nameChars], raw: raw}
}

// After gives the compact form of links after an earlier text: what both have in common takes no room. Before may be nil;
// the form is then that of Pack.
func After(before *Text, links []*receipt.Envelope, held func(keyID string) bool) (string, *Text, error) {
	raw, err := encode(links, held)
	if err != nil {
		return "", nil, err
	}
	made := newText(raw, links)
	for _, e := range links {
		for _, s := range e.Signatures {
			if len(s.Certificate) > 0 && (held == nil || !held(s.KeyID)) {
				made.Borne[s.KeyID] = s
			}
		}
	}
	if before == nil {
		deflated, err := deflate(raw)
		return form + deflated, made, err
	}
	var out bytes.Buffer
	// It keeps no tables between texts, which would have to be filled from the dictionary each time.
	if err := flate.StatelessDeflate(&out, raw, true, before.dictionary()); err != nil {
		return "", nil, err
	}
	return formAfter + before.name + ":" + base64.StdEncoding.EncodeToString(out.Bytes()), made, nil
}

// dictionary is what a text after this one is deflated with.
func (t *Text) dictionary() []byte { return append([]byte(dictionary), t.raw...) }

// Memory is what the earlier texts of a generation have, in whose order they have to be read. The zero value has nothing.
type Memory struct {
	certificates Certificates
	texts        map[string]*Text
}

// Read undoes After and Pack, with what it remembers. It remembers nothing of the text itself (Learn).
func (m *Memory) Read(text string) (*Text, error) {
	encoded, with := strings.TrimPrefix(text, form), []byte(dictionary)
	if rest, after := strings.CutPrefix(text, formAfter); after {
		name, behind, _ := strings.Cut(rest, ":")
		before := m.texts[name]
		if before == nil {
			return nil, fmt.Errorf("linkpack: %w: it comes after %.40q, which is not before it", ErrForm, name)
		}
		encoded, with = behind, before.dictionary()
	} else if !strings.HasPrefix(text, form) {
		return nil, fmt.Errorf("linkpack: %w: it begins %.10q, not %q or %q", ErrForm, text, form, formAfter)
	}
	raw, err := inflate(encoded, with)
	if err != nil {
		return nil, fmt.Errorf("linkpack: %w: %w", ErrForm, err)
	}
	links, err := decode(raw)
	if err != nil {
		return nil, err
	}
	read := newText(raw, links)
	for _, e := range links {
		read.Borne.Learn(e)
		m.certificates.Complete(e)
	}
	return read, nil
}

// Learn remembers a text.
func (m *Memory) Learn(t *Text) {
	if m.texts == nil {
		m.texts, m.certificates = map[string]*Text{}, Certificates{}
	}
	m.texts[t.name] = t
	for keyID, s := range t.Borne {
		m.certificates[keyID] = s
	}
}

// Knows says whether a certificate of the key is remembered.
func (m *Memory) Knows(keyID string) bool {
	_, known := m.certificates[keyID]
	return known
}
