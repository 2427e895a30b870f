// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"strconv"
	"strings"
)

const (
	minCard = 13
	maxCard = 19 // ISO/IEC 7812-1
)

// group is a part of a text, most often a run of digits.
type group struct{ from, to int }

func (g group) len() int { return g.to - g.from }

// findCards finds the numbers of payment cards.
func findCards(t *sample, out []span) []span {
	s := t.s
	var groups []group
	for i := 0; i < len(s); {
		if !isDigit(s[i]) {
			i++
			continue
		}
		groups, i = digitGroups(s, i, groups[:0])
		for a := 0; a < len(groups); {
			b := cardEnd(s, groups, a)
			if b < 0 {
				a++
				continue
			}
			out = append(out, span{from: groups[a].from, to: groups[b].to})
			a = b + 1
		}
	}
	return out
}

// digitGroups reads groups of digits with one blank or dash between them, and returns where they end.
func digitGroups(s string, i int, out []group) ([]group, int) {
	for {
		from := i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		out = append(out, group{from, i})
		if c := after(s, i); (c != ' ' && c != '-') || !isDigit(after(s, i+1)) {
			return out, i
		}
		i++
	}
}

// cardEnd returns the last group of the longest card number that begins with group a, or -1.
func cardEnd(s string, groups []group, a int) int {
	if a == 0 && !freeLeft(s, groups[0].from) {
		return -1
	}
	var digits [maxCard]byte
	found, n := -1, 0
	for b := a; b < len(groups) && n+groups[b].len() <= maxCard; b++ {
		n += copy(digits[n:], s[groups[b].from:groups[b].to])
		if b == len(groups)-1 && !freeRight(s, groups[b].to) {
			break
		}
		if n >= minCard && isGrouped(s, groups, a, b) && isCard(digits[:n], a == b) {
			found = b
		}
	}
	return found
}

// freeLeft says whether a number may begin at i: not inside of a word, nor behind a decimal point.
func freeLeft(s string, i int) bool {
	c := before(s, i)
	return !isWord(c) && (c != '.' || !isDigit(before(s, i-1)))
}

// freeRight says the same of its end. A fraction of zeros is that of a number which went through a float.
func freeRight(s string, i int) bool {
	c := after(s, i)
	if c != '.' || !isDigit(after(s, i+1)) {
		return !isWord(c)
	}
	for i++; after(s, i) == '0'; i++ {
	}
	return !isWord(after(s, i))
}

// isGrouped says whether people write card numbers in such groups: all of a size but for a rest, 4-6-5, 4-6-4 or 6-13,
// with one separator. Groups of less than four are also those of lists, so nothing may stand beside them.
func isGrouped(s string, groups []group, a, b int) bool {
	if a == b {
		return true
	}
	size := groups[a].len()
	for i := a; i < b; i++ {
		if s[groups[i].to] != s[groups[a].to] {
			return false
		}
	}
	last := groups[b].len()
	switch {
	case b == a+2 && size == 4 && groups[a+1].len() == 6:
		return last == 5 || last == 4
	case b == a+1 && size == 6:
		return last == 13
	case size > 4 && size != 8, size < 4 && (a > 0 || b < len(groups)-1), last > size:
		return false
	}
	for i := a; i < b; i++ {
		if groups[i].len() != size {
			return false
		}
	}
	return true
}

func isCard(digits []byte, bare bool) bool {
	return isIssued(digits) && luhn(digits) && strings.Trim(string(digits), string(digits[:1])) != "" &&
		(!bare || len(digits) != 13 || !isEAN13(digits))
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(digits []byte) bool {
	sum := 0
	for i, c := range digits {
		d := int(c - '0')
		if (len(digits)-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// isEAN13 tells the article numbers, many of which begin like a card of old, from those.
func isEAN13(digits []byte) bool {
	sum := 0
	for i, c := range digits {
		sum += int(c-'0') * (1 + i%2*2)
	}
	return sum%10 == 0
}

// issuer is a range of first digits and the lengths that go with them.
type issuer struct{ low, high, shortest, longest int }

// issuers by their first six digits.
var issuers = [...]issuer{
	{220000, 220499, 16, 19}, // Mir
	{222100, 272099, 16, 16}, // Mastercard
	{300000, 305999, 14, 14}, // Diners Club
	{309500, 309599, 14, 14},
	{340000, 349999, 15, 15}, // American Express
	{352800, 358999, 16, 19}, // JCB
	{360000, 369999, 14, 19}, // Diners Club
	{370000, 379999, 15, 15}, // American Express
	{380000, 399999, 14, 19}, // Diners Club
	{400000, 499999, 13, 13}, // Visa of old
	{400000, 499999, 16, 16}, // Visa
	{400000, 499999, 19, 19},
	{500000, 509999, 16, 19}, // Maestro, Verve, RuPay
	{510000, 559999, 16, 16}, // Mastercard
	{560000, 589999, 16, 19}, // Maestro
	{601100, 601199, 16, 19}, // Discover
	{606282, 606282, 16, 19}, // Hipercard
	{607000, 608999, 16, 16}, // RuPay
	{620000, 629999, 16, 19}, // UnionPay
	{630400, 630499, 13, 19}, // Maestro
	{639000, 639099, 13, 19},
	{644000, 659999, 16, 19}, // Discover
	{675900, 676999, 13, 19}, // Maestro
	{810000, 817199, 16, 19}, // UnionPay
	{820000, 820999, 16, 16}, // RuPay
	{979200, 979299, 16, 16}, // Troy
}

func isIssued(digits []byte) bool {
	first := 0
	for _, c := range digits[:6] {
		first = first*10 + int(c-'0')
	}
	for _, is := range issuers {
		if is.low <= first && first <= is.high && is.shortest <= len(digits) && len(digits) <= is.longest {
			return true
		}
	}
	return false
}

// isCardNumber says whether a JSON number is a card number, also as a float writes it (4.111e15, 4111.0).
func isCardNumber(raw string) bool {
	if len(raw) < minCard {
		return false
	}
	mantissa, exponent := strings.TrimPrefix(raw, "-"), 0
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(mantissa[i+1:]); err != nil || exponent < 0 || exponent > maxCard {
			return false
		}
		mantissa = mantissa[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > exponent || len(whole)+exponent > maxCard || len(whole)+exponent < minCard || whole[0] == '0' {
		return false
	}
	digits := whole + fraction + strings.Repeat("0", exponent-len(fraction))
	return isCard([]byte(digits), true)
}
