// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Everything is the scope that covers every action.
const Everything = "*"

const (
	maxScope    = 4096
	maxPatterns = 32
)

// Scope is what may be done in a transaction. The zero Scope covers nothing.
type Scope struct {
	patterns []pattern
}

// pattern is a server, exact or "*", and a name in which "*" is any run of characters.
type pattern struct{ server, name string }

// ParseScope reads patterns of the form server/tool that one space separates, or "*" alone.
func ParseScope(text string) (Scope, error) {
	if text == Everything {
		return Scope{patterns: []pattern{{server: "*", name: "*"}}}, nil
	}
	if text == "" || len(text) > maxScope {
		return Scope{}, fmt.Errorf("a scope has 1 to %d bytes", maxScope)
	}
	words := strings.Split(text, " ")
	if len(words) > maxPatterns {
		return Scope{}, fmt.Errorf("a scope has at most %d patterns", maxPatterns)
	}
	var s Scope
	for _, word := range words {
		p, err := parsePattern(word)
		if err != nil {
			return Scope{}, fmt.Errorf("scope pattern %.80q: %w", word, err)
		}
		s.patterns = append(s.patterns, p)
	}
	return s, nil
}

func parsePattern(word string) (pattern, error) {
	server, name, ok := strings.Cut(word, "/")
	switch {
	case !ok || server == "" || name == "":
		return pattern{}, errors.New("write server/tool, or * alone for everything")
	case strings.Contains(server, "*") && server != "*":
		return pattern{}, errors.New("name one server, or * for every server")
	case strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
		// RFC 6749, section 3.3: a scope token is printable ASCII without these.
		return pattern{}, errors.New(`only printable ASCII without space, " and \ is allowed`)
	}
	return pattern{server: server, name: name}, nil
}

// Covers reports whether the named thing (a tool, a prompt, a resource) may be used at the server.
func (s Scope) Covers(server, name string) bool {
	return s.Some(server, func(pattern string) bool { return match(pattern, name) })
}

// CoversAll reports whether everything at the server may be used. It is for a name of which nobody can tell what it stands
// for: one that is written out in a scope may have been let into it by a wider pattern, as text.
func (s Scope) CoversAll(server string) bool {
	return s.Some(server, func(pattern string) bool { return strings.Trim(pattern, "*") == "" })
}

// Reaches reports whether there is something at the server that may be used.
func (s Scope) Reaches(server string) bool { return s.Some(server, func(string) bool { return true }) }

// Some reports whether one of the patterns for names at the server is as is asked.
func (s Scope) Some(server string, is func(pattern string) bool) bool {
	return slices.ContainsFunc(s.patterns, func(p pattern) bool { return (p.server == "*" || p.server == server) && is(p.name) })
}

// Within reports whether each pattern of s is covered by one pattern of wider.
func (s Scope) Within(wider Scope) bool {
	for _, p := range s.patterns {
		// A "*" in p.name is a character that only a "*" there matches, so this is
		// exact for what one pattern covers.
		if !wider.Covers(p.server, p.name) {
			return false
		}
	}
	return len(s.patterns) > 0
}

// String gives the form that ParseScope reads.
func (s Scope) String() string {
	words := make([]string, len(s.patterns))
	for i, p := range s.patterns {
		words[i] = p.server + "/" + p.name
	}
	if text := strings.Join(words, " "); text != "*/*" {
		return text
	}
	return Everything
}

// match takes "*" in p for any run of characters, and backtracks to the last one only, so it takes at most
// len(p) times len(text) steps.
func match(p, text string) bool {
	star, from := -1, 0
	i, j := 0, 0
	for j < len(text) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && p[i] == text[j]:
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}
