// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// What is taken for a key, or for the header of a token, has a bound so that a long text is not read many times.
const (
	maxKey    = 256
	maxHeader = 1024
)

// charset says which bytes a key consists of.
type charset uint8

const (
	letters    charset = iota // and digits
	underscore                // and _
	dashed                    // and -
	dotted                    // and .
	capitals                  // capitals and digits
	hexadecimal
)

func (c charset) has(b byte) bool {
	switch c {
	case capitals:
		return isDigit(b) || 'A' <= b && b <= 'Z'
	case hexadecimal:
		return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f'
	}
	return isAlnum(b) || (b == '_' && c >= underscore) || (b == '-' && c >= dashed) || (b == '.' && c >= dotted)
}

// shape is how an issuer's keys look.
type shape struct {
	prefix  string
	chars   charset
	least   int // bytes behind the prefix
	most    int // 0 for no limit
	mingled bool
}

// shapes, of those with a common beginning the most special first.
var shapes = [...]shape{
	{prefix: "AKIA", chars: capitals, least: 16, most: 16},
	{prefix: "ASIA", chars: capitals, least: 16, most: 16},
	{prefix: "AGE-SECRET-KEY-1", chars: capitals, least: 58, most: 58},
	{prefix: "AIza", chars: dashed, least: 35, most: 35},
	{prefix: "GOCSPX-", chars: dashed, least: 28, most: 28},
	{prefix: "SG.", chars: dotted, least: 60, most: 70},
	{prefix: "dckr_pat_", chars: dashed, least: 27},
	{prefix: "dop_v1_", chars: hexadecimal, least: 64, most: 64},
	{prefix: "ghp_", chars: letters, least: 36},
	{prefix: "gho_", chars: letters, least: 36},
	{prefix: "ghu_", chars: letters, least: 36},
	{prefix: "ghs_", chars: letters, least: 36},
	{prefix: "ghr_", chars: letters, least: 36},
	{prefix: "github_pat_", chars: underscore, least: 36},
	{prefix: "glpat-", chars: dotted, least: 20},
	{prefix: "hf_", chars: letters, least: 34, most: 40},
	{prefix: "hvs.", chars: dashed, least: 24},
	{prefix: "npm_", chars: letters, least: 36, most: 36},
	{prefix: "pypi-AgE", chars: dashed, least: 50},
	{prefix: "rk_live_", chars: letters, least: 16},
	{prefix: "rk_test_", chars: letters, least: 16},
	{prefix: "shpat_", chars: hexadecimal, least: 32, most: 32},
	{prefix: "sk_live_", chars: letters, least: 16},
	{prefix: "sk_test_", chars: letters, least: 16},
	{prefix: "sk-ant-", chars: dashed, least: 32, mingled: true},
	{prefix: "sk-proj-", chars: dashed, least: 32, mingled: true},
	{prefix: "sk-svcacct-", chars: dashed, least: 32, mingled: true},
	{prefix: "sk-or-v1-", chars: hexadecimal, least: 64},
	{prefix: "sk-", chars: letters, least: 32, mingled: true},
	{prefix: "whsec_", chars: letters, least: 24},
	{prefix: "xapp-", chars: dashed, least: 20, mingled: true},
	{prefix: "xoxa-", chars: dashed, least: 16, mingled: true},
	{prefix: "xoxb-", chars: dashed, least: 16, mingled: true},
	{prefix: "xoxe.", chars: dashed, least: 16, mingled: true},
	{prefix: "xoxp-", chars: dashed, least: 16, mingled: true},
	{prefix: "xoxr-", chars: dashed, least: 16, mingled: true},
	{prefix: "xoxs-", chars: dashed, least: 16, mingled: true},
	{prefix: "ya29.", chars: dashed, least: 30},
}

// shapeStarts are the first bytes of shapes and of a JSON Web Token.
var shapeStarts = func() (table [256]bool) {
	for _, s := range shapes {
		table[s.prefix[0]] = true
	}
	table['e'] = true
	return table
}()

// findSecrets finds keys, tokens and passwords.
func findSecrets(t *sample, out []span) []span {
	if secretKind(t.name) != plainName && isSecretValue(t.s, secretKind(t.name)) && !strings.ContainsAny(t.s, " \n") {
		return append(out, span{from: 0, to: len(t.s)})
	}
	s := t.s
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) {
			continue
		}
		end := i
		if shapeStarts[s[i]] {
			end = key(s, i)
		}
		if end == i {
			end = awsSecret(s, i)
		}
		if end > i {
			out = append(out, span{from: i, to: end})
			i = end - 1
		}
		for isAlnum(after(s, i+1)) {
			i++
		}
	}
	if t.marks&assign != 0 {
		out = findAssigned(s, out)
		out = findLogins(s, out)
	}
	out = findPEM(s, out)
	out = findCredentials(s, "earer ", isBearer, out)
	return findCredentials(s, "asic ", isBasic, out)
}

// key returns the end of the key that begins at i, or i.
func key(s string, i int) int {
	if strings.HasPrefix(s[i:], "eyJ") {
		return webToken(s, i)
	}
	for _, sh := range shapes {
		if !strings.HasPrefix(s[i:], sh.prefix) {
			continue
		}
		from := i + len(sh.prefix)
		end := from
		for end < len(s) && end-from <= maxKey && sh.chars.has(s[end]) {
			end++
		}
		for end > from && strings.IndexByte("-._", s[end-1]) >= 0 && sh.most == 0 {
			end--
		}
		n := end - from
		if n < sh.least || (sh.most > 0 && n > sh.most) || isAlnum(after(s, end)) || !isVaried(s[from:end], 6) {
			continue
		}
		if c := classesOf(s[from:end]); sh.mingled && c&digitClass == 0 {
			continue
		}
		return end
	}
	return i
}

// webToken returns the end of a JSON Web Token (RFC 7515, compact) that begins at i, or i.
func webToken(s string, i int) int {
	parts := [3]int{}
	end := i
	for p := range parts {
		from := end
		for end < len(s) && (p > 0 || end-from <= maxHeader) && dashed.has(s[end]) {
			end++
		}
		parts[p] = end - from
		if p < 2 {
			if after(s, end) != '.' {
				return i
			}
			end++
		}
	}
	if parts[1] < 4 {
		return i
	}
	header, err := base64.RawURLEncoding.DecodeString(s[i : i+parts[0]])
	if err != nil || !jsontext.Value(header).IsValid() || !strings.Contains(string(header), `"alg"`) {
		return i
	}
	return end
}

// awsSecret returns the end of 40 characters that are an AWS secret key, or i. They have no mark of their own, so a word
// has to stand in front that says it.
func awsSecret(s string, i int) int {
	const size, most = 40, 64
	if c := before(s, i); c == '/' || c == '+' || c == '-' || len(s)-i < size {
		return i
	}
	end := i
	for end < len(s) && end <= i+size && (isAlnum(s[end]) || s[end] == '/' || s[end] == '+') {
		end++
	}
	if end != i+size || after(s, end) == '=' || after(s, end) == '-' || after(s, end) == '_' {
		return i
	}
	if c := classesOf(s[i:end]); c&(lowerClass|upperClass|digitClass) != lowerClass|upperClass|digitClass || !isVaried(s[i:end], 16) {
		return i
	}
	front := strings.ToLower(s[max(0, i-most):i])
	if strings.Contains(front, "secret") || strings.Contains(front, "aws") {
		return end
	}
	return i
}

// findPEM finds private keys whole. One whose end is missing goes to the end of the text.
func findPEM(s string, out []span) []span {
	const dashes, begins, ends = "-----", "-----BEGIN ", "-----END "
	for i := 0; ; {
		next := strings.Index(s[i:], begins)
		if next < 0 {
			return out
		}
		from := i + next
		i = from + len(begins)
		line := s[i:min(len(s), i+40)]
		if private := strings.Index(line, "PRIVATE KEY"); private < 0 || strings.Contains(line[:private], dashes) {
			continue
		}
		to := len(s)
		if end := strings.Index(s[i:], ends); end >= 0 {
			to = i + end + len(ends)
			if last := strings.Index(s[to:min(len(s), to+60)], dashes); last >= 0 {
				to += last + len(dashes)
			}
		}
		out = append(out, span{from: from, to: to})
		i = to
	}
}

// findCredentials finds what stands behind the scheme of an Authorization header.
func findCredentials(s, scheme string, accept func(string) bool, out []span) []span {
	for i := 0; ; {
		next := strings.Index(s[i:], scheme)
		if next < 0 {
			return out
		}
		i += next + len(scheme)
		from := i
		for i < len(s) && (isAlnum(s[i]) || strings.IndexByte("._~+/=-", s[i]) >= 0) {
			i++
		}
		end := i
		for end > from && s[end-1] == '.' {
			end--
		}
		if accept(s[from:end]) {
			out = append(out, span{from: from, to: end})
		}
	}
}

func isBearer(token string) bool {
	return len(token) >= 16 && classesOf(token)&digitClass != 0 && isVaried(token, 6)
}

// isBasic looks for user:password (RFC 7617).
func isBasic(token string) bool {
	if len(token) < 6 || len(token) > 1024 {
		return false
	}
	plain, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return false
	}
	colon := false
	for _, c := range plain {
		if c < ' ' || c == 0x7f {
			return false
		}
		colon = colon || c == ':'
	}
	return colon
}
