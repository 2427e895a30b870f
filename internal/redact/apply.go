// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxLevels bounds JSON in strings in JSON: what is nested deeper is text.
	maxLevels = 4
	// maxPasses bounds how often a text is looked at anew because taking something out laid something bare.
	maxPasses = 4

	atPath    = "[redacted]"
	forBinary = "[redacted:binary]"

	byteOrderMark = "\ufeff"

	countPath   = "path"
	countBinary = "binary"
)

// Apply takes out of result what the plan says. The result is one JSON value: the result or error member of a JSON-RPC
// message, or the params of a notification. A value at a path becomes "[redacted]"; what a detector hits in a string, a
// member name or a number becomes "[redacted:" + its name + "]", and "[redacted:binary]" stands for what cannot be
// looked into. Where names become equal, they get a number behind them.
//
// It returns a new encoding (members in their order, numbers with their text) with the number of hits per detector,
// "path" and "binary", or result itself and nil if there were none.
//
// With every error nothing may pass on: result is not strict JSON (a name twice, not UTF-8, nested deeper than 64, more than 1,048,576 values), or
// holds a text that only a lenient reader would take for JSON, or it has more than maxBytes before or after. The errors
// quote nothing of the result.
func (p *Plan) Apply(result []byte, maxBytes int) ([]byte, map[string]int, error) {
	if len(result) > maxBytes {
		return nil, nil, fmt.Errorf("redact: the result has %d bytes, more than %d", len(result), maxBytes)
	}
	if p == nil {
		return result, nil, nil
	}
	if len(p.paths) == 0 && len(p.detectors) == 0 {
		return nil, nil, errors.New("redact: the plan was not compiled")
	}
	root, err := parse(string(result))
	if err != nil {
		return nil, nil, fmt.Errorf("redact: the result: %w", err)
	}
	a := &applier{plan: p}
	for range p.paths {
		a.start = append(a.start, begin)
	}
	a.walk(&root, place{top: true})
	if a.err != nil {
		return nil, nil, fmt.Errorf("redact: the result: %w", a.err)
	}
	if a.counts == nil {
		return result, nil, nil
	}
	out, err := encode(&root, len(result)+64)
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("redact: the result: %w", err)
	case len(out) > maxBytes:
		return nil, nil, fmt.Errorf("redact: the result has %d bytes once redacted, more than %d", len(out), maxBytes)
	}
	return out, a.counts, nil
}

// place is where in a message a value stands.
type place struct {
	states []states // per path; nil where no path leads
	name   string   // of the nearest member, for the detectors that know names
	top    bool     // the whole result
	inside bool     // of structuredContent, data, or a text that is JSON: no content items are looked for
	blind  bool     // base64 that passes unseen
	level  int      // of JSON in strings
}

type applier struct {
	plan   *Plan
	start  []states
	stack  []states // of the values that the current one stands in
	counts map[string]int
	hits   int
	sample sample // what the detectors look at; here, so that it is made once
	spans  []span
	err    error
}

func (a *applier) count(what string) {
	if a.counts == nil {
		a.counts = make(map[string]int)
	}
	a.counts[what]++
	a.hits++
}

func (a *applier) walk(n *node, at place) {
	switch n.kind {
	case '{':
		if !at.inside && a.binary(n) {
			return
		}
		a.object(n, at)
	case '[':
		for i := range n.kids {
			next := at
			next.top = false
			a.enter(&n.kids[i], at, next, "", i)
		}
	case '"':
		if at.blind {
			return
		}
		if text, changed := a.text(n.text, at); changed {
			n.set(text)
		}
	case '0':
		if a.plan.has(cardDetector) && isCardNumber(n.raw) {
			n.set(placeholders[cardDetector])
			a.count(detectors[cardDetector].name)
		}
	}
}

func (a *applier) object(n *node, at place) {
	opaque := !at.inside && isMedia(n)
	renamed := false
	for i := range n.kids {
		kid := &n.kids[i]
		name := kid.name
		if clean, changed := a.clean(name); changed {
			kid.rename(clean)
			renamed = true
		}
		next := place{name: kid.name, inside: at.inside, level: at.level}
		switch {
		case at.inside:
		case name == "structuredContent", at.top && name == "data":
			next.inside = true
			next.states = a.start
			a.walk(kid, next)
			continue
		case kid.kind == '"':
			next.blind = strings.EqualFold(name, "blob") || (opaque && strings.EqualFold(name, "data"))
		}
		a.enter(kid, at, next, name, -1)
	}
	if renamed {
		separate(n.kids)
	}
}

// enter goes from a value on to one that it holds.
func (a *applier) enter(kid *node, at, next place, name string, index int) {
	from := len(a.stack)
	next.states = nil
	if at.states != nil {
		live := states(0)
		for i := range a.plan.paths {
			p := &a.plan.paths[i]
			s := p.enter(at.states[i], name, index)
			if p.ends(s) {
				a.stack = a.stack[:from]
				a.cut(kid)
				return
			}
			live |= s
			a.stack = append(a.stack, s)
		}
		if live != 0 {
			next.states = a.stack[from:]
		}
	}
	a.walk(kid, next)
	a.stack = a.stack[:from]
}

func (a *applier) cut(n *node) {
	if n.kind != '"' || n.text != atPath {
		n.set(atPath)
		a.count(countPath)
	}
}

// text treats a string as the JSON that it holds or else as text. It looks again after each change, so that what comes
// out would not be changed by another look.
func (a *applier) text(s string, at place) (string, bool) {
	changed := false
	for range maxPasses {
		if plain := strings.TrimPrefix(s, byteOrderMark); at.level < maxLevels && looksLikeJSON(plain) {
			if n, err := parse(plain); err == nil {
				inner, inside := a.json(&n, s, at)
				return inner, inside || changed
			} else if isLenientJSON(plain) {
				a.fail(fmt.Errorf("a text in it is JSON that readers disagree about: %w", err))
				return s, changed
			}
		}
		next, hit := a.detect(s, at.name)
		if !hit {
			return s, changed
		}
		s, changed = next, true
	}
	if _, hit := a.detect(s, at.name); hit {
		return atPath, true
	}
	return s, changed
}

// json treats a string that holds JSON.
func (a *applier) json(n *node, s string, at place) (string, bool) {
	from, before := len(a.stack), a.hits
	next := place{name: at.name, inside: true, level: at.level + 1, states: a.start}
	if at.states != nil {
		for i, s := range at.states {
			a.stack = append(a.stack, s|a.start[i])
		}
		next.states = a.stack[from:]
	}
	a.walk(n, next)
	a.stack = a.stack[:from]
	if a.hits == before {
		return s, false
	}
	out, err := encode(n, len(s)+64)
	if err != nil {
		a.fail(err)
	}
	return string(out), true
}

func (a *applier) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// clean treats a member name.
func (a *applier) clean(name string) (string, bool) {
	changed := false
	for range maxPasses {
		next, hit := a.detect(name, "")
		if !hit {
			return name, changed
		}
		name, changed = next, true
	}
	if _, hit := a.detect(name, ""); hit {
		return atPath, true
	}
	return name, changed
}

// separate puts numbers behind changed names that others have too.
func separate(kids []node) {
	taken := make(map[string]struct{}, len(kids))
	for i := range kids {
		if kids[i].rawName != "" {
			taken[kids[i].name] = struct{}{}
		}
	}
	last := make(map[string]int)
	for i := range kids {
		if kids[i].rawName != "" {
			continue
		}
		name := kids[i].name
		for base := name; ; {
			if _, twice := taken[name]; !twice {
				break
			}
			last[base] = max(last[base], 1) + 1
			name = base + " " + strconv.Itoa(last[base])
		}
		taken[name] = struct{}{}
		kids[i].rename(name)
	}
}

// looksLikeJSON says whether a text begins and ends as an object, an array or a string does.
func looksLikeJSON(s string) bool {
	s = strings.Trim(s, " \t\r\n")
	if len(s) < 2 {
		return false
	}
	switch s[0] {
	case '{':
		return s[len(s)-1] == '}'
	case '[':
		return s[len(s)-1] == ']' && redactedPrefix(s) == 0
	case '"':
		return s[len(s)-1] == '"'
	}
	return false
}

// isLenientJSON says whether a reader that minds neither doubled names nor broken escapes, nor what JavaScript and Python
// write for numbers that JSON does not have, would take a text for JSON.
func isLenientJSON(s string) bool {
	return isValid(s) || (strings.Contains(s, "NaN") || strings.Contains(s, "Infinity")) && isValid(withoutConstants(s))
}

func isValid(s string) bool {
	return jsontext.Value(s).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// withoutConstants puts 0 for NaN and Infinity outside of strings; the sign of -Infinity stays.
func withoutConstants(s string) string {
	var b strings.Builder
	for quoted := false; s != ""; {
		n := 1
		switch {
		case quoted && s[0] == '\\' && len(s) > 1:
			n = 2
		case s[0] == '"':
			quoted = !quoted
		case quoted:
		case strings.HasPrefix(s, "NaN"):
			b.WriteByte('0')
			s = s[len("NaN"):]
			continue
		case strings.HasPrefix(s, "Infinity"):
			b.WriteByte('0')
			s = s[len("Infinity"):]
			continue
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String()
}
