// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxQuoted = 66  // a local part in quotes (RFC 5321, 4.5.3.1.1)
	maxLook   = 128 // how far back a URL is looked for
)

// findEmails finds addresses (RFC 5321, with the letters of RFC 6531). The characters that the RFC allows in a local
// part and nobody uses (!#$&/?^`{|}~*) end it.
func findEmails(t *sample, out []span) []span {
	s := t.s
	for i := strings.IndexByte(s, '@'); i >= 0; {
		if from, ok := localPart(s, i); ok {
			if end := domain(s, i+1); end > 0 && !isLogin(s, from, i, end) {
				out = append(out, span{from: from, to: end})
			}
		}
		next := strings.IndexByte(s[i+1:], '@')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return out
}

// script tells letters of scripts that set no blanks between words from other letters, since prose runs on there
// without a sign that the address has ended.
func script(r rune) int {
	switch {
	case r < utf8.RuneSelf && isAlnum(byte(r)):
		return 1
	case r < utf8.RuneSelf:
		return 0
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao,
		unicode.Khmer, unicode.Myanmar):
		return 2
	case unicode.IsLetter(r), unicode.IsMark(r):
		return 1
	}
	return -1
}

// localPart returns where the local part in front of the @ at end begins.
func localPart(s string, end int) (int, bool) {
	if before(s, end) == '"' {
		return quotedPart(s, end)
	}
	from, kind := end, 0
	for from > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:from])
		k := script(r)
		if k < 0 || (k == 0 && !joinsLocal(s, from-1, end)) || (k > 0 && kind > 0 && k != kind) {
			break
		}
		kind = max(kind, k)
		from -= size
	}
	for from < end && strings.IndexByte(".'-+%=", s[from]) >= 0 {
		from++
	}
	return from, from < end
}

// joinsLocal says whether the sign at i is part of a local part that ends at end.
func joinsLocal(s string, i, end int) bool {
	switch s[i] {
	case '.', '_', '-', '+', '%':
		return true
	case '\'': // o'brien, but not 'brien
		return i+1 < end && isWord(before(s, i))
	case '=': // bounces+user=example.com@list.example.org, but not email=user@example.com
		for j := i - 1; j >= 0 && i-j < maxQuoted && (isWord(s[j]) || strings.IndexByte("+-.", s[j]) >= 0); j-- {
			if s[j] == '+' {
				return true
			}
		}
	}
	return false
}

// quotedPart finds "a b"@example.com.
func quotedPart(s string, end int) (int, bool) {
	for i := end - 2; i >= 0 && i >= end-maxQuoted; i-- {
		switch s[i] {
		case '\n', '=', barrier:
			return 0, false
		case '"':
			if i > 0 && s[i-1] == '\\' {
				continue
			}
			return i, i < end-2 && s[i+1] != ' ' && s[end-2] != ' ' && !isWord(before(s, i))
		}
	}
	return 0, false
}

// domain returns the end of the domain that begins at from, or 0 if none does.
func domain(s string, from int) int {
	if after(s, from) == '[' {
		return addressLiteral(s, from)
	}
	end, labels := 0, 0
	for i := from; ; i++ {
		to := label(s, i)
		if to == i {
			return end
		}
		if labels++; labels > 1 && isTLD(s[i:to]) {
			end = to
		}
		if i = to; after(s, i) != '.' {
			return end
		}
	}
}

// label returns the end of a part of a domain name.
func label(s string, from int) int {
	i, kind := from, 0
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		k := script(r)
		if r == '-' || (r < utf8.RuneSelf && isDigit(byte(r))) {
			k = 0
		} else if k <= 0 || (kind > 0 && k != kind) {
			break
		}
		kind = max(kind, k)
		i += size
	}
	for i > from && s[i-1] == '-' {
		i--
	}
	if after(s, from) == '-' {
		return from
	}
	return i
}

func isTLD(s string) bool {
	if strings.HasPrefix(s, "xn--") {
		return len(s) > 5
	}
	letters := 0
	for _, r := range s {
		if r < utf8.RuneSelf && !isLetter(byte(r)) {
			return false
		}
		letters++
	}
	return letters > 1 && letters <= 24 && !isFileType(s)
}

// isFileType knows endings that are no top-level domains (icon@2x.png).
func isFileType(s string) bool {
	switch strings.ToLower(s) {
	case "png", "jpg", "jpeg", "gif", "webp", "svg", "bmp", "ico", "css", "scss", "html", "htm", "json", "yaml", "yml", "xml",
		"txt", "log", "js", "jsx", "ts", "tsx", "mjs", "cjs", "exe", "dll", "tar", "gz", "tgz", "pdf", "bak", "tmp", "lock",
		"toml", "conf", "cfg", "ini", "csv", "jar", "rpm", "deb", "apk", "service", "socket", "timer", "mount", "slice":
		return true
	}
	return false
}

// addressLiteral returns the end of [192.0.2.1] or [IPv6:2001:db8::1].
func addressLiteral(s string, from int) int {
	window := s[from:min(len(s), from+48)]
	end := strings.IndexByte(window, ']')
	if end < 4 {
		return 0
	}
	inner := strings.TrimPrefix(window[1:end], "IPv6:")
	if strings.Trim(inner, "0123456789abcdefABCDEF.:") != "" || !strings.ContainsAny(inner, ".:") {
		return 0
	}
	return from + end + 1
}

// isLogin says whether what has the shape of an address is the user of a URL or of a repository.
func isLogin(s string, from, at, end int) bool {
	if s[from:at] == "git" && (after(s, end) == ':' || after(s, end) == '/') {
		return true
	}
	for i := from - 1; i >= 2 && from-i < maxLook; i-- {
		switch s[i] {
		case '/':
			return s[i-1] == '/' && s[i-2] == ':'
		case ' ', '\n', '\t', '?', '#', ',', ';', '<', '>', '"', '\'', '(', ')':
			return false
		}
	}
	return false
}
