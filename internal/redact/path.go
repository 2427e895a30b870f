// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxSegments keeps the states of a path in one word.
const maxSegments = 32

// path is a parsed JSONPath. It runs as an automaton: a value is in state i if the first i segments lead to it, so that
// `..` costs no more than any other segment however often it is used.
type path struct {
	text     string // normal spelling
	segments []segment
}

type segment struct {
	deep  bool   // of any depth
	any   bool   // any member or element
	index int    // of an element, -1 if name counts
	name  string // of a member
}

// states has a bit for each state of a path.
type states uint64

const begin states = 1

// enter returns the states of a member or element of a value in states s. An index of -1 says that it is a member.
func (p *path) enter(s states, name string, index int) states {
	var next states
	for i := range p.segments {
		if s>>i&1 == 0 {
			continue
		}
		seg := &p.segments[i]
		if seg.any || (index >= 0 && seg.index == index) || (index < 0 && seg.index < 0 && seg.name == name) {
			next |= 2 << i
		}
		if seg.deep {
			next |= 1 << i
		}
	}
	return next
}

func (p *path) ends(s states) bool { return s>>len(p.segments)&1 == 1 }

type pathParser struct {
	text string
	at   int
}

func (r *pathParser) fail(format string, args ...any) error {
	return fmt.Errorf("column %d: %s", r.at+1, fmt.Sprintf(format, args...))
}

func (r *pathParser) next(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func parsePath(text string) (path, error) {
	r := &pathParser{text: text}
	switch {
	case len(text) > MaxPathBytes:
		return path{}, fmt.Errorf("%d bytes are more than %d", len(text), MaxPathBytes)
	case !utf8.ValidString(text):
		return path{}, fmt.Errorf("not UTF-8")
	case !r.next('$'):
		return path{}, r.fail("a path begins with $")
	case r.at == len(text):
		return path{}, r.fail("name at least one member: $ alone would be everything; use $.* for that")
	}
	var p path
	for r.at < len(text) {
		if len(p.segments) == maxSegments {
			return path{}, r.fail("more than %d segments", maxSegments)
		}
		seg, err := r.segment()
		if err != nil {
			return path{}, err
		}
		p.segments = append(p.segments, seg)
	}
	p.text = spell(p.segments)
	return p, nil
}

func (r *pathParser) segment() (segment, error) {
	seg := segment{index: -1}
	switch {
	case strings.HasPrefix(r.text[r.at:], ".."):
		r.at += 2
		seg.deep = true
		if r.next('[') {
			return seg, r.bracket(&seg)
		}
	case r.next('.'):
	case r.next('['):
		return seg, r.bracket(&seg)
	default:
		return seg, r.fail("expected . or [; a name with other characters than letters, digits and _ is written ['name']")
	}
	if r.next('*') {
		seg.any = true
		return seg, nil
	}
	from := r.at
	for r.at < len(r.text) && isNameByte(r.text[r.at], r.at == from) {
		r.at++
	}
	if r.at == from {
		return seg, r.fail("expected a name or * here; other names are written ['name']")
	}
	seg.name = r.text[from:r.at]
	return seg, nil
}

// isNameByte says what may stand in a name without quotes (RFC 9535, member-name-shorthand).
func isNameByte(c byte, first bool) bool {
	return c == '_' || c >= utf8.RuneSelf || isLetter(c) || (!first && isDigit(c))
}

func (r *pathParser) bracket(seg *segment) error {
	switch {
	case r.next('*'):
		seg.any = true
	case r.at < len(r.text) && isDigit(r.text[r.at]):
		from := r.at
		for r.at < len(r.text) && isDigit(r.text[r.at]) {
			r.at++
		}
		digits := r.text[from:r.at]
		index, err := strconv.Atoi(digits)
		if err != nil || len(digits) > 9 || (len(digits) > 1 && digits[0] == '0') {
			r.at = from
			return r.fail("an index has at most 9 digits and no leading zero")
		}
		seg.index = index
	case r.next('\''):
		return r.quoted(seg, '\'')
	case r.next('"'):
		return r.quoted(seg, '"')
	default:
		return r.fail("expected 'name', an index or * here; slices, filters and indexes from the end are not known")
	}
	return r.close()
}

func (r *pathParser) close() error {
	if !r.next(']') {
		return r.fail("expected ]; slices and lists of names are not known: write a path for each")
	}
	return nil
}

// quoted reads a name in quotes with the escapes of RFC 9535, which are those of JSON and \' inside of '.
func (r *pathParser) quoted(seg *segment, quote byte) error {
	from := r.at
	literal := []byte{'"'}
	for {
		switch {
		case r.at == len(r.text):
			return r.fail("the quote at column %d is not closed", from)
		case r.next(quote):
			name, err := jsontext.AppendUnquote(nil, append(literal, '"'))
			if err != nil {
				r.at = from
				return r.fail("the name in quotes is not well formed")
			}
			seg.name = string(name)
			return r.close()
		case r.next('\\'):
			if !r.next('\'') {
				literal = append(literal, '\\')
			} else if quote == '"' {
				return r.fail(`\' stands only between single quotes`)
			} else {
				literal = append(literal, '\'')
				continue
			}
			if r.at == len(r.text) {
				continue
			}
		case quote == '\'' && r.next('"'):
			literal = append(literal, '\\', '"')
			continue
		}
		literal = append(literal, r.text[r.at])
		r.at++
	}
}

// spell writes segments in one spelling.
func spell(segments []segment) string {
	b := []byte{'$'}
	for _, seg := range segments {
		switch {
		case seg.deep:
			b = append(b, ".."...)
		case seg.any || (seg.index < 0 && isPlainName(seg.name)):
			b = append(b, '.')
		}
		switch {
		case seg.any:
			b = append(b, '*')
		case seg.index >= 0:
			b = append(strconv.AppendInt(append(b, '['), int64(seg.index), 10), ']')
		case isPlainName(seg.name):
			b = append(b, seg.name...)
		default:
			b = append(spellQuoted(append(b, "['"...), seg.name), "']"...)
		}
	}
	return string(b)
}

func spellQuoted(b []byte, name string) []byte {
	for i := range len(name) {
		switch c := name[i]; {
		case c == '\'' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return b
}

func isPlainName(name string) bool {
	for i := range len(name) {
		if !isNameByte(name[i], i == 0) {
			return false
		}
	}
	return name != ""
}
