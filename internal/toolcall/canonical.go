// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// canonicalDigest is the SHA-256 in hex of the canonical form (RFC 8785) of a value in our encoding.
func canonicalDigest(value []byte) (string, error) {
	c := canonicals.Get().(*canonical)
	defer c.release()
	c.in = value
	if !c.value() {
		var err error
		c.out, err = jsontext.AppendFormat(c.out[:0], value,
			jsontext.CanonicalizeRawInts(true), jsontext.CanonicalizeRawFloats(true), jsontext.ReorderRawObjects(true))
		if err != nil {
			return "", err
		}
	}
	return digest(c.out), nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

var canonicals = sync.Pool{New: func() any { return new(canonical) }}

// keptCanonical is the most that is kept of a buffer for the next value.
const keptCanonical = 64 << 10

// canonical writes a value in our encoding in canonical form, in less than half of the time that a reader takes which
// has to check it. Our encoding has been checked, has no white space, and has its strings in canonical form.
type canonical struct {
	in      []byte // what is left
	out     []byte
	members []span // of the objects that are being written
	moved   []byte
}

// span is a member of an object within out, or its name without the quotes.
type span struct{ from, to, nameTo int }

func (c *canonical) release() {
	c.in, c.out, c.members = nil, c.out[:0], c.members[:0]
	if cap(c.out)+cap(c.moved) <= keptCanonical && cap(c.members) <= keptCanonical/64 {
		canonicals.Put(c)
	}
}

// value reports false if there is something that it leaves to jsontext.
func (c *canonical) value() bool {
	switch first := c.in[0]; first {
	case '{':
		return c.object()
	case '[':
		return c.array()
	case '"':
		c.text()
	case 't', 'n':
		c.take(len("true"))
	case 'f':
		c.take(len("false"))
	default:
		return c.number()
	}
	return true
}

func (c *canonical) take(n int) {
	c.out = append(c.out, c.in[:n]...)
	c.in = c.in[n:]
}

func (c *canonical) array() bool {
	for c.take(1); c.in[0] != ']'; {
		if c.in[0] == ',' {
			c.take(1)
		}
		if !c.value() {
			return false
		}
	}
	c.take(1)
	return true
}

func (c *canonical) object() bool {
	c.take(1)
	start, first, sorted := len(c.out), len(c.members), true
	for c.in[0] != '}' {
		if c.in[0] == ',' {
			c.take(1)
		}
		m := span{from: len(c.out)}
		c.text()
		m.nameTo = len(c.out)
		if !ordinary(c.name(m)) {
			return false
		}
		c.take(1) // the colon
		if !c.value() {
			return false
		}
		m.to = len(c.out)
		sorted = sorted && (len(c.members) == first || bytes.Compare(c.name(c.members[len(c.members)-1]), c.name(m)) < 0)
		c.members = append(c.members, m)
	}
	if !sorted {
		c.sort(start, c.members[first:])
	}
	c.members = c.members[:first]
	c.take(1)
	return true
}

// sort puts the members, which are all of out from start on, into the order of their names.
func (c *canonical) sort(start int, members []span) {
	slices.SortFunc(members, func(a, b span) int {
		return cmp.Or(bytes.Compare(c.name(a), c.name(b)), a.from-b.from)
	})
	c.moved = append(c.moved[:0], c.out[start:]...)
	c.out = c.out[:start]
	for i, m := range members {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, c.moved[m.from-start:m.to-start]...)
	}
}

func (c *canonical) name(m span) []byte { return c.out[m.from+1 : m.nameTo-1] }

// ordinary reports whether a name stands for itself, and sorts by its bytes as it does by UTF-16, as RFC 8785 demands.
func ordinary(name []byte) bool {
	for _, b := range name {
		if b == '\\' || b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (c *canonical) text() {
	end := 1
	for {
		end += bytes.IndexByte(c.in[end:], '"')
		before := end
		for c.in[before-1] == '\\' {
			before--
		}
		end++
		if (end-1-before)%2 == 0 { // no quote that is escaped
			break
		}
	}
	c.take(end)
}

// number takes integers that every float64 holds as they are.
func (c *canonical) number() bool {
	const exact = 15 // digits
	n := 0
	if c.in[0] == '-' {
		n++
	}
	from := n
	for n < len(c.in) && '0' <= c.in[n] && c.in[n] <= '9' {
		n++
	}
	if n == len(c.in) || c.in[n] == ',' || c.in[n] == '}' || c.in[n] == ']' {
		if n-from <= exact && (from == 0 || c.in[from] != '0') {
			c.take(n)
			return true
		}
	}
	return c.otherNumber()
}

func (c *canonical) otherNumber() bool {
	n := bytes.IndexAny(c.in, ",}]")
	if n < 0 {
		n = len(c.in)
	}
	out, err := jsontext.AppendFormat(c.out, c.in[:n], jsontext.CanonicalizeRawInts(true), jsontext.CanonicalizeRawFloats(true))
	if err != nil {
		return false
	}
	c.out, c.in = out, c.in[n:]
	return true
}
