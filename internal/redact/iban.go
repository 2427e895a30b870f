// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import "strings"

// findIBANs finds international bank account numbers (ISO 13616), in one piece or in groups with one blank or dash
// between them, in capitals or not.
func findIBANs(t *sample, out []span) []span {
	s := t.s
	for i := 0; i+14 < len(s); i++ {
		if !isLetter(s[i]) || isAlnum(before(s, i)) {
			continue
		}
		if isLetter(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]) {
			if end := iban(s, i); end > 0 {
				out = append(out, span{from: i, to: end})
				i = end - 1
			}
		}
	}
	return out
}

// iban returns the end of the number that begins at from, or 0.
func iban(s string, from int) int {
	length, numeric := accountShape(upper(s[from]), upper(s[from+1]))
	if length == 0 {
		return 0
	}
	var number [34]byte
	n, i := 0, from
	for ; n < length && i < len(s); i++ {
		c := s[i]
		switch {
		case isAlnum(c):
			number[n] = upper(c)
			if n++; numeric && n > 4 && !isDigit(c) {
				return 0
			}
		case (c != ' ' && c != '-') || !isAlnum(s[i-1]) || (n < 4 && n != 2):
			return 0
		}
	}
	if n < length || isAlnum(after(s, i)) || !mod97(number[:n]) {
		return 0
	}
	return i
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}

// mod97 checks the two digits behind the country (ISO 7064, MOD 97-10).
func mod97(number []byte) bool {
	rest := 0
	for i := range number {
		c := number[(i+4)%len(number)]
		if isDigit(c) {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	return rest == 1
}

// accounts has for each country of the registry (release 99) its letters, the length of a number, and n where there
// are only digits behind the check digits.
const accounts = "AD24 AE23n AL28 AT20n AZ28 BA20n BE16n BG22 BH22 BI27n BR29 BY28 CH21 CR22n CY28 CZ24n DE22n DJ27n DK18n " +
	"DO28 EE20n EG29n ES24n FI18n FK18 FO18n FR27 GB22 GE22 GI23 GL18n GR27 GT28 HN28 HR21n HU28n IE22 IL23n IQ23 IS26n IT27 " +
	"JO30 KW30 KZ20 LB28 LC32 LI21 LT20n LU20 LV21 LY25n MC27 MD24 ME22n MK19 MN20n MR27n MT31 MU30 NI28 NL18 NO15n OM23 " +
	"PK24 PL28n PS29 PT25n QA29 RO24 RS22n RU33 SA24 SC31 SD18n SE24n SI19n SK24n SM27 SO23n ST25n SV28 TL23n TN24n TR26 " +
	"UA29 VA22n VG24 XK20n YE30 "

// accountShape returns the length of a country's numbers, 0 if it has none, and whether they consist of digits.
func accountShape(first, second byte) (int, bool) {
	i := strings.Index(accounts, string([]byte{first, second}))
	if i < 0 {
		return 0, false
	}
	return int(accounts[i+2]-'0')*10 + int(accounts[i+3]-'0'), accounts[i+4] == 'n'
}
