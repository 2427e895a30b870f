// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import "strings"

const maxGroups = 10

// dialled is a run of groups of digits as people write telephone numbers.
type dialled struct {
	s      string
	from   int
	plus   bool
	n      int
	groups [maxGroups]group
	ends   [maxGroups]int // of the group with its closing parenthesis
	parens [maxGroups]bool
}

// findPhones finds telephone numbers. A run of groups is tried from each blank in it, the longest first, so that a date
// or an amount beside a number hides it not.
func findPhones(t *sample, out []span) []span {
	s := t.s
	if end := namedPhone(t); end > 0 {
		return append(out, span{from: 0, to: end})
	}
	for i := 0; i < len(s); {
		if c := s[i]; c != '+' && c != '(' && !isDigit(c) {
			i++
			continue
		}
		d := dialled{s: s, from: i}
		d.read(i)
		if d.n == 0 {
			i++
			continue
		}
		next := d.ends[d.n-1]
		if end := d.match(); end > 0 {
			out = append(out, span{from: i, to: end})
			next = end
		} else if blank := d.blank(); blank > 0 {
			next = blank
		}
		i = next
	}
	return out
}

// namedPhone returns the end of a text that is nothing but a number in a member named like "phone".
func namedPhone(t *sample) int {
	if t.name == "" || len(t.s) > 32 || !namesPhone(t.name) {
		return 0
	}
	d := dialled{s: t.s}
	if d.read(0); d.n == 0 || d.ends[d.n-1] != len(t.s) || !d.loose(d.n) {
		return 0
	}
	return len(t.s)
}

// read takes groups with up to three of " -./" between them, no more than one of which is not a blank.
func (d *dialled) read(i int) {
	s := d.s
	for d.n < maxGroups {
		paren := after(s, i) == '('
		if paren {
			i++
		}
		if d.n == 0 && after(s, i) == '+' {
			d.plus = true
			i++
		}
		g := group{from: i}
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		if g.to = i; g.len() == 0 || (paren && after(s, i) != ')') {
			return
		}
		if paren {
			i++
		}
		d.groups[d.n], d.ends[d.n], d.parens[d.n] = g, i, paren
		d.n++
		for signs, most := 0, i+3; i < most; i++ {
			c := after(s, i)
			if c == '-' || c == '.' || c == '/' {
				signs++
			}
			if signs > 1 || strings.IndexByte(" -./", c) < 0 {
				break
			}
		}
	}
}

// between is what separates group i from the next.
func (d *dialled) between(i int) string {
	to := d.groups[i+1].from
	if d.parens[i+1] {
		to--
	}
	return d.s[d.ends[i]:to]
}

// blank returns where the number begins anew behind the first blank in it, or 0.
func (d *dialled) blank() int {
	for i := range d.n - 1 {
		if d.between(i) == " " {
			return d.ends[i] + 1
		}
	}
	return 0
}

// match returns the end of the longest number that begins where the run does, or 0.
func (d *dialled) match() int {
	if !mayDial(d.s, d.from) {
		return 0
	}
	for n := d.n; n > 0; n-- {
		if n < d.n && !strings.HasPrefix(d.between(n-1), " ") {
			continue
		}
		end := extension(d.s, d.ends[n-1])
		if !mayEnd(d.s, end) {
			continue
		}
		if d.isNumber(n) || (!d.plus && d.loose(n) && isIntroduced(d.s[:d.from])) {
			return end
		}
	}
	return 0
}

// isNumber judges the first n groups by their form alone.
func (d *dialled) isNumber(n int) bool {
	digits := d.digits(n)
	if d.plus {
		return d.isInternational(digits, n)
	}
	if d.isAddress(n) || (n == 1 && !d.parens[0]) {
		return false
	}
	if d.isNorthAmerican(digits, n) || d.isTrunk(digits, n) || d.isDialledOut(digits, n) {
		return !d.onlyBlanks(n) || d.alone(n)
	}
	first := d.groups[0].len()
	return d.parens[0] && n == 3 && (first == 2 || first == 3) && len(digits) >= 9 && len(digits) <= 11 &&
		d.groups[1].len() >= 3 && d.groups[2].len() == 4
}

// isInternational follows E.164: at most 15 digits, which begin with a country that there is.
func (d *dialled) isInternational(digits string, n int) bool {
	code := callingCode(digits)
	switch {
	case code == 0 || len(digits) < 8 || len(digits) > 15, n == 1 && len(digits) < 9:
		return false
	case n == 2 && d.between(0) == ".": // a coordinate
		return d.groups[0].len() == code && len(digits) > 10
	case digits[0] == '1':
		return len(digits) == 11 && isNorthAmerican(digits[1:])
	case digits[0] == '7':
		return len(digits) == 11
	}
	return true
}

// isNorthAmerican knows 415-555-2671, (415) 555-2671 and either with a 1 in front.
func (d *dialled) isNorthAmerican(digits string, n int) bool {
	if digits[0] == '1' && d.groups[0].len() == 1 {
		return len(digits) == 11 && n == 4 && d.groups[1].len() == 3 && d.groups[2].len() == 3 && isNorthAmerican(digits[1:])
	}
	if len(digits) != 10 || d.groups[0].len() != 3 || !isNorthAmerican(digits) {
		return false
	}
	return (n == 3 && d.groups[1].len() == 3) || (n == 2 && d.parens[0])
}

// isNorthAmerican checks area and exchange, which are not like 0xx, 1xx or x11.
func isNorthAmerican(digits string) bool {
	return digits[0] >= '2' && digits[3] >= '2' && digits[1:3] != "11" && digits[4:6] != "11"
}

// isDialledOut knows international numbers with 00 for the +.
func (d *dialled) isDialledOut(digits string, n int) bool {
	if before(d.s, d.from) == ' ' && isDigit(before(d.s, d.from-1)) { // the rest of another number
		return false
	}
	return n > 1 && len(digits) >= 10 && len(digits) <= 17 && strings.HasPrefix(digits, "00") && d.groups[0].len() <= 5 &&
		callingCode(digits[2:]) > 0 && !d.isDate(n)
}

// isTrunk knows national numbers with a 0 in front: 030 1234567, 020 7183 8750, 01 23 45 67 89.
func (d *dialled) isTrunk(digits string, n int) bool {
	first := d.groups[0].len()
	if len(digits) < 9 || len(digits) > 12 || digits[0] != '0' || digits[1] == '0' || first < 2 || first > 5 || n > 5 {
		return false
	}
	if d.isDate(n) || (n == 3 && d.groups[1].len() == 2 && d.groups[2].len() == 4 && len(digits) == 9) { // or a us-ssn
		return false
	}
	slashes, dots, dashes := 0, 0, 0
	for i := range n - 1 {
		if d.groups[i+1].len() < 2 {
			return false
		}
		between := d.between(i)
		if i > 0 { // only the area stands in front of one
			slashes += strings.Count(between, "/")
		}
		dots += strings.Count(between, ".")
		dashes += strings.Count(between, "-")
	}
	return slashes == 0 && (dots == 0 || dashes == 0)
}

// loose is what suffices where words say that a telephone number follows.
func (d *dialled) loose(n int) bool {
	digits := d.digits(n)
	return len(digits) >= 7 && len(digits) <= 15 && n <= 7 && !d.isDate(n) && !d.isAddress(n)
}

func (d *dialled) digits(n int) string {
	if n == 1 {
		return d.s[d.groups[0].from:d.groups[0].to]
	}
	var b [24]byte
	out := b[:0]
	for _, g := range d.groups[:n] {
		if len(out)+g.len() > len(b) {
			return string(append(out, make([]byte, len(b))...)) // longer than any number
		}
		out = append(out, d.s[g.from:g.to]...)
	}
	return string(out)
}

// isDate knows 2024-01-15 and 15.01.2024 at the beginning.
func (d *dialled) isDate(n int) bool {
	if n < 3 || d.between(0) != d.between(1) || strings.IndexByte("-./", after(d.between(0), 0)) < 0 {
		return false
	}
	a, b, c := d.groups[0].len(), d.groups[1].len(), d.groups[2].len()
	return (a == 4 && b <= 2 && c <= 2) || (a <= 2 && b <= 2 && c == 4 && (d.s[d.groups[2].from] == '1' || d.s[d.groups[2].from] == '2'))
}

// isAddress knows 010.001.002.003.
func (d *dialled) isAddress(n int) bool {
	if n != 4 {
		return false
	}
	for i := range n {
		if d.groups[i].len() > 3 || (i < n-1 && d.between(i) != ".") {
			return false
		}
	}
	return true
}

func (d *dialled) onlyBlanks(n int) bool {
	for i := range n {
		if d.parens[i] || (i < n-1 && strings.Trim(d.between(i), " ") != "") {
			return false
		}
	}
	return true
}

// alone says whether no other numbers stand in the row: then it is a list.
func (d *dialled) alone(n int) bool {
	return n == d.n && d.n < maxGroups && (before(d.s, d.from) != ' ' || !isDigit(before(d.s, d.from-1)))
}

// mayDial says whether a number may begin at i.
func mayDial(s string, i int) bool {
	c, far := before(s, i), before(s, i-1)
	switch {
	case isWord(c), c == '#', c == '$', c == '%', c == '/', c == '\\', strings.HasSuffix(s[:i], "€"), strings.HasSuffix(s[:i], "£"):
		return false
	case c == '-', c == '+':
		return !isWord(far)
	case c == ':', c == ',', c == '.', c == '*':
		return !isDigit(far)
	}
	return true
}

// mayEnd says whether a number may end at i.
func mayEnd(s string, i int) bool {
	c, far := after(s, i), after(s, i+1)
	switch {
	case isWord(c), c == '@', c == '%':
		return false
	case c == '-':
		return !isWord(far)
	case c == '.', c == '/', c == ':':
		return !isDigit(far)
	}
	return true
}

// extensions introduce the digits to dial once connected.
var extensions = [...]string{"extension", "ext.", "ext", "x", "#", "durchwahl", "poste", "доб."}

// extension returns the end of the extension behind a number, or end if there is none.
func extension(s string, end int) int {
	i := end
	for i < len(s) && i < end+2 && (s[i] == ' ' || s[i] == ',') {
		i++
	}
	for _, word := range extensions {
		if len(s)-i <= len(word) || !strings.EqualFold(s[i:i+len(word)], word) {
			continue
		}
		j := i + len(word)
		for most := j + 2; j < most && (after(s, j) == ' ' || after(s, j) == ':' || after(s, j) == '.'); j++ {
		}
		from := j
		for isDigit(after(s, j)) {
			j++
		}
		if j > from && j-from <= 6 && !isWord(after(s, j)) {
			return j
		}
	}
	return end
}

// phoneWords say that a telephone number follows.
const phoneWords = " phone telephone tel telefon teléfono telefone telefono téléphone mobile mob mobil mobiltelefon móvil " +
	"celular cell cellphone handy handynummer telefonnummer rufnummer portable fax telefax gsm whatsapp msisdn sms phones " +
	"тел телефон моб 电话 手机 電話 携帯 phonenumber mobilenumber "

// isIntroduced says whether a text ends in one of phoneWords, perhaps with a word like "number" behind it.
func isIntroduced(s string) bool {
	const signs = " \t:.=#(\"'-_"
	s = s[max(0, len(s)-40):]
	for range 3 {
		s = strings.TrimRight(s, signs)
		i := len(s)
		for i > 0 && (isLetter(s[i-1]) || s[i-1] >= 0x80) {
			i--
		}
		word := strings.ToLower(s[i:])
		if word == "" {
			return false
		}
		if strings.Contains(phoneWords, " "+word+" ") {
			return true
		}
		switch word {
		case "number", "no", "nr", "num", "is", "at", "me", "us", "on", "nummer", "numéro", "número", "n", "ist", "est":
		default:
			return strings.HasSuffix(word, "电话") || strings.HasSuffix(word, "電話") || strings.HasSuffix(word, "手机")
		}
		s = s[:i]
	}
	return false
}

// namesPhone says whether a member name is one for a telephone number: homePhone, phone_number, Tel.
func namesPhone(name string) bool {
	var spaced []byte
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' && i > 0 && 'a' <= name[i-1] && name[i-1] <= 'z' {
			spaced = append(spaced, ' ')
		}
		spaced = append(spaced, name[i])
	}
	return len(name) <= 64 && isIntroduced(string(spaced))
}
