// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// scanner reads strict JSON once and writes our encoding of it as it goes. Strings never grow on the way and white
// space is dropped, so out, made as large as the input, is never moved.
type scanner struct {
	dec     *jsontext.Decoder
	in      bytes.Buffer // what dec reads
	lim     Limits
	out     []byte
	scratch []byte
	depth   int
	tokens  int
}

// member is called for each member of an object when its name, in scratch space, has been read and written. It has to
// consume the value.
type member func(name []byte) error

// scanners keeps the tables that a decoder finds doubled names with: making them is most of what a small message costs.
var scanners = sync.Pool{New: func() any {
	s := new(scanner)
	s.dec = jsontext.NewDecoder(&s.in)
	return s
}}

// keptScratch is the most scratch space that is kept for the next message.
const keptScratch = 64 << 10

// newScanner borrows a scanner, which release gives back. What it has written is not given back with it.
func newScanner(body []byte, lim Limits) *scanner {
	s := scanners.Get().(*scanner)
	s.in = *bytes.NewBuffer(body)
	s.dec.Reset(&s.in)
	s.lim, s.out, s.depth, s.tokens = lim, make([]byte, 0, len(body)), 0, 0
	return s
}

func (s *scanner) release() {
	s.in, s.out = bytes.Buffer{}, nil // lets go of the body
	s.dec.Reset(&s.in)
	if cap(s.scratch) <= keptScratch {
		scanners.Put(s)
	}
}

// document reads one object and demands that nothing follows it.
func (s *scanner) document(body []byte, visit member) error {
	switch {
	case len(body) > s.lim.BodyBytes:
		return &fault{
			status: 413, code: CodeInvalidRequest,
			reason: "body has " + strconv.Itoa(len(body)) + " bytes, more than " + strconv.Itoa(s.lim.BodyBytes),
		}
	case len(body) == 0:
		return invalid(CodeParseError, "body is empty")
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return invalid(CodeParseError, "body starts with a byte order mark")
	}
	switch s.dec.PeekKind() {
	case '{':
	case '[':
		return invalid(CodeInvalidRequest, "batches are not taken: send one message")
	case 'n', 't', 'f', '"', '0':
		return invalid(CodeInvalidRequest, "message is not an object")
	default:
		return s.literal()
	}
	if err := s.object(visit); err != nil {
		return err
	}
	switch _, err := s.dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return syntax(err)
	default:
		return invalid(CodeParseError, "data follows the message")
	}
}

func (s *scanner) value() error {
	switch s.dec.PeekKind() {
	case '{':
		return s.object(nil)
	case '[':
		return s.array(nil)
	case '"':
		_, err := s.text(s.lim.StringBytes)
		return err
	case '0':
		return s.number()
	default:
		return s.literal()
	}
}

// object reads an object. A nil visit takes any members.
func (s *scanner) object(visit member) error {
	if err := s.enter('{'); err != nil {
		return err
	}
	first := true
	for s.dec.PeekKind() != '}' {
		if s.dec.PeekKind() != '"' {
			return s.literal()
		}
		if !first {
			s.out = append(s.out, ',')
		}
		first = false
		name, err := s.text(s.lim.NameBytes)
		if err != nil {
			return err
		}
		s.out = append(s.out, ':')
		if visit == nil {
			err = s.value()
		} else {
			err = visit(s.plain(name))
		}
		if err != nil {
			return err
		}
	}
	return s.leave('}')
}

// array reads an array. A nil element takes any values. An element that is not to stay cuts out back to from, where it
// began, and the comma with it.
func (s *scanner) array(element func(from int) error) error {
	if err := s.enter('['); err != nil {
		return err
	}
	start := len(s.out)
	for s.dec.PeekKind() != ']' {
		from := len(s.out)
		if from > start {
			s.out = append(s.out, ',')
		}
		var err error
		if element == nil {
			err = s.value()
		} else {
			err = element(from)
		}
		if err != nil {
			return err
		}
	}
	return s.leave(']')
}

func (s *scanner) enter(c byte) error {
	if s.depth++; s.depth > s.lim.Depth {
		return invalid(CodeInvalidRequest, "nesting is deeper than %d", s.lim.Depth)
	}
	if err := s.delimiter(c); err != nil {
		return err
	}
	return s.count()
}

func (s *scanner) leave(c byte) error {
	s.depth--
	return s.delimiter(c)
}

func (s *scanner) delimiter(c byte) error {
	if _, err := s.dec.ReadToken(); err != nil {
		return syntax(err)
	}
	s.out = append(s.out, c)
	return nil
}

func (s *scanner) count() error {
	if s.tokens++; s.tokens > s.lim.Tokens {
		return invalid(CodeInvalidRequest, "more than %d members and values", s.lim.Tokens)
	}
	return nil
}

// literal reads null, true or false, or finds out what is wrong.
func (s *scanner) literal() error {
	v, err := s.dec.ReadValue()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return invalid(CodeParseError, "body holds no JSON")
		}
		return syntax(err)
	}
	s.out = append(s.out, v...)
	return s.count()
}

// text reads a string and returns it as written to out.
func (s *scanner) text(limit int) ([]byte, error) {
	raw, err := s.dec.ReadValue()
	if err != nil {
		return nil, syntax(err)
	}
	from := len(s.out)
	if bytes.IndexByte(raw, '\\') < 0 {
		s.out = append(s.out, raw...)
	} else {
		if s.scratch, err = jsontext.AppendUnquote(s.scratch[:0], raw); err != nil {
			return nil, syntax(err)
		}
		if s.out, err = jsontext.AppendQuote(s.out, s.scratch); err != nil {
			return nil, syntax(err)
		}
	}
	encoded := s.out[from:]
	if len(encoded)-2 > limit {
		return nil, invalid(CodeInvalidRequest, "string has more than %d bytes", limit)
	}
	return encoded, s.count()
}

// plain returns the characters of a string that is in our encoding. They are good until the next read.
func (s *scanner) plain(encoded []byte) []byte {
	if bytes.IndexByte(encoded, '\\') < 0 {
		return encoded[1 : len(encoded)-1]
	}
	// Our own encoding unquotes without error, and text has already left these characters in scratch.
	return s.scratch
}

func (s *scanner) number() error {
	raw, err := s.dec.ReadValue()
	if err != nil {
		return syntax(err)
	}
	if len(raw) > s.lim.NumberBytes {
		return invalid(CodeInvalidRequest, "number has more than %d characters", s.lim.NumberBytes)
	}
	// Without an exponent, 300 digits are within the range of a float64.
	if bytes.ContainsAny(raw, "eE") || len(raw) > 300 {
		if err := inRange(string(raw)); err != nil {
			return err
		}
	}
	s.out = append(s.out, raw...)
	return s.count()
}

// inRange refuses numbers that one reader takes for infinity or zero and another for what they say.
func inRange(number string) error {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsInf(f, 0) || (f == 0 && !isZero(number)) {
		return invalid(CodeInvalidRequest, "number %s is beyond the range of a float64", clip(number))
	}
	return nil
}

func isZero(number string) bool {
	for i := range len(number) {
		switch c := number[i]; {
		case c == 'e' || c == 'E':
			return true
		case c >= '1' && c <= '9':
			return false
		}
	}
	return true
}
