// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

// findSSNs finds social security numbers of the USA, AAA-GG-SSSS with dashes or blanks. Areas 000, 666 and 900 to 999,
// group 00 and serial 0000 were never given out; taxpayer numbers, which begin with 9, are another thing.
func findSSNs(t *sample, out []span) []span {
	s := t.s
	for i := 0; i+11 <= len(s); i++ {
		if !isDigit(s[i]) || (i > 0 && isDigit(s[i-1])) {
			continue
		}
		if isSSN(s[i:i+11]) && isAlone(s, i, i+11) {
			out = append(out, span{from: i, to: i + 11})
			i += 10
		}
	}
	return out
}

func isSSN(s string) bool {
	for i := range len(s) {
		if (i == 3 || i == 6) != !isDigit(s[i]) {
			return false
		}
	}
	return (s[3] == '-' || s[3] == ' ') && s[6] == s[3] && s[0] != '9' && s[:3] != "000" && s[:3] != "666" &&
		s[4:6] != "00" && s[7:] != "0000"
}

// isAlone says whether a number is not part of a longer one or of a word.
func isAlone(s string, from, to int) bool {
	left, right := before(s, from), after(s, to)
	if isWord(left) || isWord(right) {
		return false
	}
	switch left {
	case '-':
		if isWord(before(s, from-1)) {
			return false
		}
	case '.', '/', '+':
		if isDigit(before(s, from-1)) {
			return false
		}
	case ' ':
		if s[from+3] == ' ' && isDigit(before(s, from-1)) {
			return false
		}
	}
	switch right {
	case '-', '/':
		return !isWord(after(s, to+1))
	case '.':
		return !isDigit(after(s, to+1))
	case ' ':
		return s[from+3] != ' ' || !isDigit(after(s, to+1))
	}
	return true
}
