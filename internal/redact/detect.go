// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"cmp"
	"slices"
	"strings"
)

// span is a part of a text that a detector hit.
type span struct{ from, to, detector int }

// sample is what a detector looks at.
type sample struct {
	s     string // folded text
	name  string // folded name of the member that holds it, "" if none
	marks mark
}

// detector finds values of one kind. It appends spans of s.s, in linear time.
type detector struct {
	name  string
	needs mark // of which a text without one cannot hold a value of this kind
	digit int  // least number of digits
	find  func(s *sample, out []span) []span
}

const cardDetector = 1

// detectors are in the order in which they are listed and in which one of two equal hits wins.
var detectors = [...]detector{
	{name: "email", needs: at, find: findEmails},
	cardDetector: {name: "card", digit: minCard, find: findCards},
	{name: "iban", digit: 7, needs: letter, find: findIBANs},
	{name: "phone", digit: 7, find: findPhones},
	{name: "us-ssn", digit: 9, find: findSSNs},
	{name: "secret", needs: letter, find: findSecrets},
}

// placeholders stand for what each of the detectors hit.
var placeholders = [...]string{
	"[redacted:email]", "[redacted:card]", "[redacted:iban]", "[redacted:phone]", "[redacted:us-ssn]", "[redacted:secret]",
}

func (p *Plan) has(detector int) bool { return slices.Contains(p.detectors, detector) }

// mark says that a text holds characters of a kind.
type mark uint8

const (
	letter mark = 1 << iota
	digit
	at
	assign // : or =
	wide   // not ASCII
	escape // \, %, & or [, which fold looks at
)

var marksOf = func() (table [256]mark) {
	for c := range table {
		switch b := byte(c); {
		case isLetter(b):
			table[c] = letter
		case isDigit(b):
			table[c] = digit
		case b == '@':
			table[c] = at
		case b == ':', b == '=':
			table[c] = assign
		case b >= 0x80:
			table[c] = wide | letter
		case b == '\\', b == '%', b == '&', b == '[':
			table[c] = escape
		}
	}
	return table
}()

// look counts the digits of a text and says what else it holds.
func look(s string) (marks mark, digits int) {
	for i := range len(s) {
		m := marksOf[s[i]]
		marks |= m
		digits += int(m&digit) / int(digit)
	}
	return marks, digits
}

// detect replaces what the detectors hit.
func (a *applier) detect(text, name string) (string, bool) {
	if len(a.plan.detectors) == 0 || text == "" {
		return text, false
	}
	marks, digits := look(text)
	f := fold(text, marks)
	if f.at != nil {
		marks, digits = look(f.s)
	}
	s := &a.sample
	*s = sample{s: f.s, marks: marks}
	if name != "" {
		named, _ := look(name)
		s.name = fold(name, named).s
	}
	a.spans = a.spans[:0]
	for _, i := range a.plan.detectors {
		d := &detectors[i]
		if digits < d.digit || (d.needs != 0 && marks&d.needs == 0) {
			continue
		}
		from := len(a.spans)
		a.spans = d.find(s, a.spans)
		for k := from; k < len(a.spans); k++ {
			a.spans[k].detector = i
		}
	}
	if len(a.spans) == 0 {
		return text, false
	}
	for i := range a.spans {
		a.spans[i] = f.original(a.spans[i])
	}
	return a.replace(text), true
}

// replace puts a placeholder for each span. Spans that overlap are one, named after the longest of them.
func (a *applier) replace(text string) string {
	var b strings.Builder
	done := 0
	for _, p := range union(a.spans) {
		b.WriteString(text[done:p.from])
		b.WriteString(placeholders[p.detector])
		a.count(detectors[p.detector].name)
		done = p.to
	}
	b.WriteString(text[done:])
	return b.String()
}

func union(spans []span) []span {
	slices.SortFunc(spans, func(x, y span) int {
		return cmp.Or(cmp.Compare(x.from, y.from), cmp.Compare(y.to, x.to), cmp.Compare(x.detector, y.detector))
	})
	out, longest := spans[:0], 0
	for _, p := range spans {
		if n := len(out); n > 0 && p.from < out[n-1].to {
			last := &out[n-1]
			if p.to-p.from > longest {
				longest, last.detector = p.to-p.from, p.detector
			}
			last.to = max(last.to, p.to)
			continue
		}
		out, longest = append(out, p), p.to-p.from
	}
	return out
}

func isDigit(c byte) bool  { return c-'0' < 10 }
func isLetter(c byte) bool { return c|0x20-'a' < 26 }
func isAlnum(c byte) bool  { return isDigit(c) || isLetter(c) }

// isWord says whether a byte joins what stands on both its sides. Letters beyond ASCII do not: many scripts set no
// blank between a word and a number.
func isWord(c byte) bool { return isAlnum(c) || c == '_' }

// before returns the byte in front of i, and 0 at the beginning.
func before(s string, i int) byte {
	if i <= 0 || i > len(s) {
		return 0
	}
	return s[i-1]
}

// after returns the byte at i, and 0 at the end.
func after(s string, i int) byte {
	if i >= len(s) {
		return 0
	}
	return s[i]
}
