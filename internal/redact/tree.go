// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds the nesting of one JSON text, the outermost value being 1.
const maxDepth = 64

// maxValues bounds the members and elements of one JSON text, because each takes more memory than its text.
const maxValues = 1 << 20

var (
	errValues    = fmt.Errorf("more than %d values", maxValues)
	errDepth     = fmt.Errorf("nesting is deeper than %d", maxDepth)
	errDuplicate = errors.New("a member name stands twice in one object")
)

// node is a JSON value.
type node struct {
	kind    jsontext.Kind
	raw     string // encoding of anything but objects and arrays; "" for a string that was changed
	text    string // of a string
	kids    []node // members or elements
	name    string // of a member
	rawName string // "" for a name that was changed
}

// decoders keeps the tables that a decoder finds doubled names with.
var decoders = sync.Pool{New: func() any { return jsontext.NewDecoder(new(bytes.Buffer)) }}

// reader reads one strict JSON text into nodes. Its errors say nothing of what stands in the text.
type reader struct {
	dec     *jsontext.Decoder
	src     string
	depth   int
	count   int
	pending []node // kids of the containers that are open
}

func parse(src string) (node, error) {
	dec := decoders.Get().(*jsontext.Decoder)
	dec.Reset(bytes.NewBuffer([]byte(src)))
	defer func() {
		dec.Reset(new(bytes.Buffer)) // lets go of the text
		decoders.Put(dec)
	}()
	r := &reader{dec: dec, src: src}
	n, err := r.value()
	if err != nil {
		return node{}, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return node{}, fmt.Errorf("not strict JSON: data follows the value at byte %d", dec.InputOffset())
	}
	return n, nil
}

func (r *reader) value() (node, error) {
	if r.count++; r.count > maxValues {
		return node{}, errValues
	}
	switch kind := r.dec.PeekKind(); kind {
	case '{', '[':
		return r.container(kind)
	default:
		raw, err := r.scalar()
		if err != nil {
			return node{}, err
		}
		n := node{kind: kind, raw: raw}
		if kind == '"' {
			n.text, err = unquote(raw)
		}
		return n, err
	}
}

func (r *reader) container(kind jsontext.Kind) (node, error) {
	if r.depth++; r.depth > maxDepth {
		return node{}, errDepth
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return node{}, r.syntax(err)
	}
	from, end := len(r.pending), kind+2 // ']' and '}' stand two behind '[' and '{'
	for r.dec.PeekKind() != end {
		var rawName, name string
		if kind == '{' {
			var err error
			if rawName, err = r.scalar(); err != nil {
				return node{}, err
			}
			if name, err = unquote(rawName); err != nil {
				return node{}, err
			}
		}
		kid, err := r.value()
		if err != nil {
			return node{}, err
		}
		kid.name, kid.rawName = name, rawName
		r.pending = append(r.pending, kid)
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return node{}, r.syntax(err)
	}
	n := node{kind: kind, kids: append([]node(nil), r.pending[from:]...)}
	r.pending = r.pending[:from]
	r.depth--
	return n, nil
}

// scalar returns the text of the next value, or of a member name.
func (r *reader) scalar() (string, error) {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return "", r.syntax(err)
	}
	end := int(r.dec.InputOffset())
	return r.src[end-len(raw) : end], nil
}

func (r *reader) syntax(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return errDuplicate
	}
	return fmt.Errorf("not strict JSON at byte %d", r.dec.InputOffset())
}

func unquote(raw string) (string, error) {
	inner := raw[1 : len(raw)-1]
	for i := range len(inner) {
		if inner[i] == '\\' {
			text, err := jsontext.AppendUnquote(make([]byte, 0, len(inner)), raw)
			if err != nil {
				return "", errors.New("a string is not strict JSON")
			}
			return string(text), nil
		}
	}
	return inner, nil
}

// set makes the node a string.
func (n *node) set(text string) {
	*n = node{kind: '"', text: text, name: n.name, rawName: n.rawName}
}

func (n *node) rename(name string) { n.name, n.rawName = name, "" }

// writer encodes nodes. What was not changed keeps its text, but for the blanks between values.
type writer struct {
	out []byte
	err error
}

func encode(n *node, size int) ([]byte, error) {
	w := writer{out: make([]byte, 0, size)}
	w.value(n)
	return w.out, w.err
}

func (w *writer) value(n *node) {
	switch n.kind {
	case '{', '[':
		w.out = append(w.out, byte(n.kind))
		for i := range n.kids {
			if i > 0 {
				w.out = append(w.out, ',')
			}
			if n.kind == '{' {
				w.string(n.kids[i].rawName, n.kids[i].name)
				w.out = append(w.out, ':')
			}
			w.value(&n.kids[i])
		}
		w.out = append(w.out, byte(n.kind)+2)
	case '"':
		w.string(n.raw, n.text)
	default:
		w.out = append(w.out, n.raw...)
	}
}

func (w *writer) string(raw, text string) {
	if raw != "" {
		w.out = append(w.out, raw...)
		return
	}
	out, err := jsontext.AppendQuote(w.out, text)
	if err != nil && w.err == nil {
		w.err = errors.New("a changed text is not UTF-8")
	}
	w.out = out
}
