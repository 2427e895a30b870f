// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import "strings"

// nameKind is what a name says of its value.
type nameKind int

const (
	plainName nameKind = iota
	passwordName
	tokenName
)

const (
	maxName  = 64
	maxValue = 1024
)

var (
	passwordWords = [...]string{
		"password", "passwd", "passphrase", "passwort", "kennwort", "contraseña", "passcode", "пароль", "密码", "密碼", "パスワード",
	}
	tokenWords = [...]string{
		"secret", "token", "apikey", "api_key", "api-key", "api.key", "api key", "accesskey", "access_key", "access-key",
		"privatekey", "private_key", "private-key", "authkey", "auth_key", "auth-key", "signingkey", "signing_key",
		"encryptionkey", "encryption_key", "accountkey", "account_key", "credential",
	}
	// harmless names only sound like those.
	harmless = [...]string{"progress", "page", "cursor", "next", "continu", "max", "total", "tokens", "tokeni", "usage", "public", "csrf"}
	// harmlessEnds say something about the secret.
	harmlessEnds = [...]string{
		"name", "type", "path", "file", "url", "uri", "arn", "ref", "count", "length", "policy", "expires", "expiry", "ttl",
		"limit", "field", "hint", "version", "status", "_at", "edat", "_in", "esin", "_id", "-id", ".id", "keyid", "secretid", "tokenid",
	}
)

// secretKind judges a name.
func secretKind(name string) nameKind {
	if len(name) < 2 || len(name) > maxName {
		return plainName
	}
	lower := strings.ToLower(name)
	kind := kindOf(lower)
	if kind == plainName {
		return kind
	}
	for _, end := range harmlessEnds {
		if strings.HasSuffix(lower, end) {
			return plainName
		}
	}
	if kind == tokenName {
		for _, part := range harmless {
			if strings.Contains(lower, part) {
				return plainName
			}
		}
	}
	return kind
}

func kindOf(lower string) nameKind {
	if strings.HasSuffix(lower, "pwd") || lower == "pass" || strings.HasSuffix(lower, "_pass") || strings.HasSuffix(lower, "-pass") {
		return passwordName
	}
	for _, word := range passwordWords {
		if strings.Contains(lower, word) {
			return passwordName
		}
	}
	for _, word := range tokenWords {
		if strings.Contains(lower, word) {
			return tokenName
		}
	}
	return plainName
}

// findAssigned finds the values in password=…, "api_key": "…", --token=… and the like.
func findAssigned(s string, out []span) []span {
	for i := 0; i < len(s); i++ {
		if s[i] != ':' && s[i] != '=' {
			continue
		}
		name := nameBefore(s, i)
		kind := secretKind(s[name.from:name.to])
		if kind == plainName || strings.HasSuffix(s[:name.from], "://") { // which findLogins looks at
			continue
		}
		from, to := valueAfter(s, i+1)
		if isSecretValue(s[from:to], kind) {
			out = append(out, span{from: from, to: to})
			i = to - 1
		}
	}
	return out
}

// nameBefore returns the name that ends in front of i, where quotes, a bracket and blanks may stand between.
func nameBefore(s string, i int) group {
	for least := i - 4; i > 0 && i > least && strings.IndexByte(" \t\"'`]", s[i-1]) >= 0; {
		i--
	}
	to := i
	for i > 0 && to-i <= maxName && (isWord(s[i-1]) || s[i-1] == '-' || s[i-1] == '.' || s[i-1] >= 0x80) {
		i--
	}
	return group{i, to}
}

// valueAfter returns the value that begins behind an assignment sign: what is in quotes, or all up to a sign that ends it.
func valueAfter(s string, i int) (from, to int) {
	for most := i + 4; i < most && i < len(s) && strings.IndexByte(" \t=>:", s[i]) >= 0; {
		i++
	}
	ends := " \t\n\r\"'`,;<>()[]{}|\x00"
	if i < len(s) && strings.IndexByte("\"'`", s[i]) >= 0 {
		ends = s[i:i+1] + "\n\x00"
		i++
	}
	window := s[i:min(len(s), i+maxValue+1)]
	if end := strings.IndexAny(window, ends); end >= 0 {
		window = window[:end]
	}
	for end := range len(window) {
		if window[end] == '&' && isParameter(window[end+1:]) {
			return i, i + end
		}
	}
	return i, i + len(window)
}

// isParameter says whether a text begins with the name of a query parameter and =.
func isParameter(s string) bool {
	for i := range len(s) {
		if s[i] == '=' {
			return i > 0
		}
		if !isWord(s[i]) && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return false
}

// isSecretValue says whether a value is not a word, a number, a template or a mask: it has to mix kinds of characters.
func isSecretValue(v string, kind nameKind) bool {
	least := 8
	if kind == passwordName {
		least = 6
	}
	if len(v) < least || len(v) > maxValue || strings.ContainsAny(v, " \n\x00") {
		return false
	}
	for _, part := range []string{"${", "{{", "<", "%(", "://", "process.env", "environ", "getenv"} {
		if strings.Contains(v, part) {
			return false
		}
	}
	if v[0] == '$' && strings.Trim(v[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") == "" {
		return false
	}
	switch v {
	case "sha256", "sha512", "base64", "oauth2", "bearer", "OAuth2":
		return false
	}
	v = strings.TrimRight(v, "!?.")
	if v == "" || !isVaried(v, 5) {
		return false
	}
	c := classesOf(v)
	if first := v[0]; 'A' <= first && first <= 'Z' && classesOf(v[1:])&upperClass == 0 {
		c &^= upperClass // a word at the beginning of a sentence
	}
	return c&(c-1) != 0
}

// classes of characters.
type classes uint8

const (
	lowerClass classes = 1 << iota
	upperClass
	digitClass
	signClass // but - _ . / : which stand in names too
)

func classesOf(s string) (c classes) {
	for i := range len(s) {
		switch b := s[i]; {
		case isDigit(b):
			c |= digitClass
		case 'a' <= b && b <= 'z', b >= 0x80:
			c |= lowerClass
		case 'A' <= b && b <= 'Z':
			c |= upperClass
		case strings.IndexByte("-_./:", b) < 0:
			c |= signClass
		}
	}
	return c
}

// isVaried says whether at least so many different bytes are in a text. Masks and samples (xxxxxxxx) have few.
func isVaried(s string, least int) bool {
	var seen [256]bool
	n := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			if n++; n >= least {
				return true
			}
		}
	}
	return false
}

// findLogins finds the passwords of URLs: scheme://user:password@host.
func findLogins(s string, out []span) []span {
	const most = 512
	for i := 0; ; {
		next := strings.Index(s[i:], "://")
		if next < 0 {
			return out
		}
		i += next + 3
		window := s[i:min(len(s), i+most)]
		if end := strings.IndexAny(window, " \t\n\r\"'`<>"); end >= 0 {
			window = window[:end]
		}
		colon := strings.IndexByte(window, ':')
		last := loginEnd(window, colon)
		if colon < 0 || last <= colon+1 {
			continue
		}
		if v := window[colon+1 : last]; v != "\x00" && isPassword(v) {
			out = append(out, span{from: i + colon + 1, to: i + last})
		}
	}
}

// loginEnd returns where the @ of a URL stands, or -1. Passwords with a bare / in them are wrong but common; digits in
// front of the / are a port.
func loginEnd(window string, colon int) int {
	path := strings.IndexAny(window, "/?#")
	if path < 0 {
		return strings.LastIndexByte(window, '@')
	}
	if last := strings.LastIndexByte(window[:path], '@'); last >= 0 || colon < 0 || colon > path {
		return last
	}
	if strings.Trim(window[colon+1:path], "0123456789") == "" {
		return -1
	}
	return strings.LastIndexByte(window, '@')
}

// isPassword leaves out masks and templates.
func isPassword(v string) bool {
	return strings.Trim(v, "*") != "" && strings.Trim(v, "xX") != "" && strings.Trim(v, ".") != "" &&
		!strings.ContainsAny(v, "{}$") && v[0] != '%'
}
