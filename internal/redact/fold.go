// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// barrier stands in folded text for what has been redacted before, so that no value goes across it.
const barrier = '\x00'

// folded is a text as a reader sees it: without invisible characters, with plain digits, blanks, dashes and @, and with
// escapes resolved.
type folded struct {
	s  string
	at []int32 // where in the text each byte of s begins, and where the text ends; nil if s is the text
}

// original returns the place in the text of a part of s.
func (f *folded) original(p span) span {
	if f.at != nil {
		p.from, p.to = int(f.at[p.from]), int(f.at[p.to])
	}
	return p
}

func fold(text string, marks mark) folded {
	if marks&(wide|escape) == 0 {
		return folded{s: text}
	}
	f := &folder{text: text, out: make([]byte, 0, len(text)), at: make([]int32, 0, len(text)+1)}
	for i := 0; i < len(text); {
		i += f.step(i)
	}
	return folded{s: string(f.out), at: append(f.at, int32(len(text)))}
}

type folder struct {
	text string
	out  []byte
	at   []int32
}

// step folds what stands at i and returns how long it is.
func (f *folder) step(i int) int {
	switch c := f.text[i]; {
	case c >= utf8.RuneSelf:
		r, size := utf8.DecodeRuneInString(f.text[i:])
		f.put(foldRune(r), i)
		return size
	case c == '\\':
		return f.backslash(i)
	case c == '%':
		if rest := f.text[i:]; strings.HasPrefix(rest, "%40") {
			f.put('@', i)
			return 3
		} else if len(rest) > 2 && rest[1] == '2' && rest[2]|0x20 == 'b' {
			f.put('+', i)
			return 3
		}
	case c == '&':
		for _, at := range []string{"&#64;", "&#x40;", "&commat;"} {
			if strings.HasPrefix(f.text[i:], at) {
				f.put('@', i)
				return len(at)
			}
		}
	case c == '[':
		if n := redactedPrefix(f.text[i:]); n > 0 {
			f.put(barrier, i)
			return n
		}
	}
	f.put(rune(f.text[i]), i)
	return 1
}

// backslash resolves the escapes of JSON, also those that were escaped again.
func (f *folder) backslash(i int) int {
	j := i
	for j < len(f.text) && f.text[j] == '\\' {
		j++
	}
	if j < len(f.text) {
		switch f.text[j] {
		case 'u':
			if j+5 <= len(f.text) {
				if r, err := strconv.ParseUint(f.text[j+1:j+5], 16, 32); err == nil {
					f.put(foldRune(rune(r)), i)
					return j + 5 - i
				}
			}
		case 'n', 'r', 't':
			f.put('\n', i)
			return j + 1 - i
		case '"', '/', '\'':
			f.put(rune(f.text[j]), i)
			return j + 1 - i
		}
	}
	for k := i; k < j; k++ {
		f.put('\\', k)
	}
	return j - i
}

func (f *folder) put(r rune, at int) {
	if r < 0 {
		return
	}
	before := len(f.out)
	f.out = utf8.AppendRune(f.out, r)
	for range len(f.out) - before {
		f.at = append(f.at, int32(at))
	}
}

// foldRune returns -1 for what a reader does not see.
func foldRune(r rune) rune {
	switch {
	case r < utf8.RuneSelf:
		return r
	case r == '\u00ad', r == '\u034f', r == '\u180e', r >= '\ufe00' && r <= '\ufe0f', r >= 0xe0100 && r <= 0xe01ef,
		unicode.Is(unicode.Cf, r):
		return -1
	case r >= '\uff01' && r <= '\uff5e':
		return r - 0xfee0
	case r == '\ufe6b':
		return '@'
	case r == '\u2024', r == '\ufe52':
		return '.'
	case r >= '\u2010' && r <= '\u2015', r == '\u2212', r == '\ufe58', r == '\ufe63':
		return '-'
	case unicode.Is(unicode.Zs, r):
		return ' '
	case unicode.Is(unicode.Nd, r):
		return '0' + digitOf(r)
	}
	return r
}

// digitOf returns the value of a decimal digit. Each run of them in Unicode begins with a zero.
func digitOf(r rune) rune {
	for _, run := range unicode.Nd.R16 {
		if rune(run.Lo) <= r && r <= rune(run.Hi) {
			return (r - rune(run.Lo)) % 10
		}
	}
	for _, run := range unicode.Nd.R32 {
		if rune(run.Lo) <= r && r <= rune(run.Hi) {
			return (r - rune(run.Lo)) % 10
		}
	}
	return 0
}

// redactedPrefix returns the length of the placeholder that a text begins with, or 0.
func redactedPrefix(s string) int {
	rest, ok := strings.CutPrefix(s, "[redacted")
	if !ok {
		return 0
	}
	if strings.HasPrefix(rest, "]") {
		return len(atPath)
	}
	if strings.HasPrefix(s, forBinary) {
		return len(forBinary)
	}
	for _, p := range placeholders {
		if strings.HasPrefix(s, p) {
			return len(p)
		}
	}
	return 0
}
