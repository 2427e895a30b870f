// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"net/netip"
	"strings"
)

// form says how the name of an action is compared with what rules list.
type form int

const (
	// asText compares by characters: exactly, or by a pattern.
	asText form = iota
	// asOddURI is a URI that is not in plain form, so that a server may take it for
	// another one, or a template that makes none that is. A pattern lets nothing of the kind through, and a deny of any
	// resource denies it.
	asOddURI
	// asTemplate decides over all URIs that a template makes: an allow must cover
	// them all, a deny need touch one.
	asTemplate
	// asPossible asks whether some URI that a template makes could be allowed: an
	// allow need touch one, a deny must cover them all.
	asPossible
	// asRange decides over all keys that a name with `*` stands for: an allow must
	// cover them all, a deny need touch one.
	asRange
)

// Odd reports whether the action names a resource by a URI that is not in plain form. A server may take it for another one,
// so that a pattern with stars says nothing of it.
func (a Action) Odd() bool {
	q, ok := a.question()
	return ok && q.form == asOddURI
}

// MeetsTemplate reports whether the pattern, in which a star is any run of characters, matches some URI that the template
// (RFC 6570) makes.
func MeetsTemplate(pattern, template string) bool {
	return pattern == template || meets(pattern, holes(template))
}

// matches reports whether a rule of the effect that lists pattern matches the
// name.
func (q *question) matches(pattern string, effect Effect) bool {
	if pattern == q.name || strings.Trim(pattern, every) == "" {
		return true
	}
	switch {
	case q.form == asText:
		return globMatch(pattern, q.name)
	case q.form == asOddURI:
		return effect == Deny
	case q.form == asRange:
		return effect == Allow && globMatch(pattern, q.template) || effect == Deny && meets(pattern, q.template)
	case (q.form == asTemplate) == (effect == Allow):
		// A hole is like no character that a pattern writes, so only a star covers it.
		return globMatch(pattern, q.template)
	default:
		// No URI holds a brace: a pattern that does names templates.
		return !strings.Contains(pattern, "{") && meets(pattern, q.template)
	}
}

// hole stands in a template for what an expression makes. No name holds it.
const hole = '\x00'

// ranging returns a name with a hole for each `*`.
func ranging(name string) string { return strings.ReplaceAll(name, every, string(hole)) }

// holes returns a URI template (RFC 6570) with a hole for each expression. One
// that is not closed reaches to the end.
func holes(template string) string {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(template, "{")
		b.WriteString(text)
		if !found {
			return b.String()
		}
		b.WriteByte(hole)
		_, template, _ = strings.Cut(rest, "}")
	}
}

// plainTemplate reports whether a template with holes makes some URI in plain form, so that its text is none that a
// server may take for another.
func plainTemplate(template string) bool {
	first, rest, _ := strings.Cut(template, string(hole))
	for _, made := range [3]string{
		strings.ReplaceAll(template, string(hole), "a"), strings.ReplaceAll(template, string(hole), "/a"),
		first + "a" + strings.ReplaceAll(rest, string(hole), "/a"),
	} {
		if plainURI(made) {
			return true
		}
	}
	return false
}

// meets reports whether some text matches both the pattern and the template. It
// takes time in proportion to the product of their lengths at most.
func meets(pattern, template string) bool {
	for len(pattern) > 0 && len(template) > 0 && pattern[0] != '*' && template[0] != hole {
		if pattern[0] != template[0] {
			return false
		}
		pattern, template = pattern[1:], template[1:]
	}
	// row[j] says whether a text matches the pattern so far and the first j
	// characters of the template.
	row := make([]bool, len(template)+1)
	row[0] = true
	for j := range len(template) {
		row[j+1] = row[j] && template[j] == hole
	}
	for i := range len(pattern) {
		diagonal := row[0]
		row[0] = row[0] && pattern[i] == '*'
		for j := range len(template) {
			above := row[j+1]
			if pattern[i] == '*' || template[j] == hole {
				row[j+1] = above || row[j]
			} else {
				row[j+1] = diagonal && pattern[i] == template[j]
			}
			diagonal = above
		}
	}
	return row[len(template)]
}

// plainURI reports whether a URI is written in the one way in which patterns can
// be compared with it (RFC 3986, section 6.2.2, and the URL Standard where that
// knows the scheme): the scheme and host in lower case, no escape of what needs
// none, no dot segment, no empty segment, no backslash and no fragment.
func plainURI(uri string) bool {
	scheme, rest, found := strings.Cut(uri, ":")
	if !found || scheme == "" || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return false
	}
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '%':
			if !neededEscape(rest[i+1:]) {
				return false
			}
			i += 2
		case !legalInURI(c) || c == '#':
			return false
		}
	}
	authority, path, found := cutAuthority(rest)
	switch {
	case found && !plainAuthority(authority), isSpecial(scheme) && (!found || !plainSpecial(scheme, authority, path)):
		return false
	}
	path, _, _ = strings.Cut(path, "?")
	return plainPath(path)
}

// cutAuthority parts what follows the scheme into the authority, if there is one, and the path with the query.
func cutAuthority(rest string) (authority, path string, found bool) {
	after, found := strings.CutPrefix(rest, "//")
	if !found {
		return "", rest, false
	}
	end := strings.IndexAny(after, "/?")
	if end < 0 {
		end = len(after)
	}
	return after[:end], after[end:], true
}

// plainAuthority is for every scheme: the host in lower case, no user, password or port that is empty, no port that
// begins with a zero, an address of IPv6 in the form of RFC 5952.
func plainAuthority(authority string) bool {
	host, port, hasPort := hostAndPort(authority)
	if inner, is := strings.CutPrefix(host, "["); is {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || ip.Is4In6() || "["+ip.String()+"]" != host {
			return false
		}
	}
	if user, rest, is := strings.Cut(authority, "@"); is {
		_, password, has := strings.Cut(user, ":")
		if user == "" || has && password == "" || strings.ContainsAny(user, ";=[]") || strings.Contains(password, ":") || strings.Contains(rest, "@") {
			return false
		}
	}
	return strings.ToLower(authority) == authority && !dotSegment(host) &&
		(!hasPort || port != "" && (port[0] != '0' || port == "0"))
}

// hostAndPort takes an authority apart, whose user it leaves out.
func hostAndPort(authority string) (host, port string, hasPort bool) {
	host = authority[strings.LastIndexByte(authority, '@')+1:]
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i], host[i+1:], true
	}
	return host, "", false
}

// isSpecial reports whether the URL Standard (WHATWG, section 3.1, special scheme) knows the scheme. The official SDKs
// of MCP read URIs by it, and it takes many texts for one URL of these schemes.
func isSpecial(scheme string) bool { return defaultPort(scheme) != "" || scheme == "file" }

func defaultPort(scheme string) string {
	switch scheme {
	case "http", "ws":
		return "80"
	case "https", "wss":
		return "443"
	case "ftp":
		return "21"
	}
	return ""
}

// plainSpecial reports whether a URL of a special scheme is written as that standard would write it.
func plainSpecial(scheme, authority, path string) bool {
	host, port, hasPort := hostAndPort(authority)
	_, query, _ := strings.Cut(path, "?")
	switch {
	case !strings.HasPrefix(path, "/"), strings.ContainsAny(authority, "@%"), strings.HasSuffix(host, "."), strings.Contains(query, "'"):
		return false
	case scheme == "file" && (hasPort || host == "localhost"):
		return false
	case scheme == "file" && host == "":
		return true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	hex, isHex := strings.CutPrefix(last, "0x")
	if strings.Trim(last, "0123456789") == "" || isHex && strings.Trim(hex, "0123456789abcdef") == "" { // an address of IPv4
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.String() != host {
			return false
		}
	}
	return !hasPort || port != defaultPort(scheme)
}

func plainPath(path string) bool {
	if strings.Contains(path, "//") {
		return false
	}
	for path != "" {
		var segment string
		segment, path, _ = strings.Cut(path, "/")
		if dotSegment(segment) {
			return false
		}
	}
	return true
}

// dotSegment also takes one with parameters, which some servers cut off.
func dotSegment(segment string) bool {
	segment, _, _ = strings.Cut(segment, ";")
	return segment == "." || segment == ".."
}

// neededEscape reports whether what follows a percent sign is the escape of a
// character that no URI may hold as itself, in upper case.
func neededEscape(s string) bool {
	if len(s) < 2 {
		return false
	}
	const digits = "0123456789ABCDEF"
	high, low := strings.IndexByte(digits, s[0]), strings.IndexByte(digits, s[1])
	if high < 0 || low < 0 {
		return false
	}
	c := byte(high<<4 | low)
	return c >= ' ' && c != 0x7f && c != '%' && c != '\\' && !legalInURI(c)
}

// legalInURI is for the characters of RFC 3986, sections 2.2 and 2.3.
func legalInURI(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("-._~:/?#[]@!$&'()*+,;=", c) >= 0
}
