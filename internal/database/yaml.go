// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package database

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/nearest"
)

// Limits of a file. What is over them is refused with an error that names the limit.
const (
	MaxFileBytes = 1 << 20
	MaxDocuments = 1000

	maxText = 4096
)

// reader turns YAML nodes into values and collects what is wrong with them.
type reader struct {
	file string
	problems
}

func (r *reader) add(line, column int, field, format string, args ...any) {
	r.note(r.file, line, column, field, format, args...)
}

// fail notes a problem at a node; without one, at the begin of the file.
func (r *reader) fail(n *yaml.Node, field, format string, args ...any) {
	if n == nil {
		n = &yaml.Node{Line: 1, Column: 1}
	}
	r.add(n.Line, n.Column, field, format, args...)
}

// documents gives the root of each document that is not empty. A syntax error ends the list.
func (r *reader) documents(data []byte) []*yaml.Node {
	if !r.readable(data) {
		return nil
	}
	var roots []*yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return roots
		}
		if err != nil {
			r.syntax(err, data)
			return roots
		}
		if len(doc.Content) != 1 || doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].Value == "" {
			continue
		}
		roots = append(roots, doc.Content[0])
		if len(roots) > MaxDocuments {
			r.fail(doc.Content[0], "", "more than %d documents in one file", MaxDocuments)
			return nil
		}
	}
}

func (r *reader) readable(data []byte) bool {
	if len(data) > MaxFileBytes {
		r.add(1, 1, "", "the file has %d bytes, the limit is %d: split it", len(data), MaxFileBytes)
		return false
	}
	ok, number := true, 0
	for line := range bytes.Lines(data) {
		number++
		if !utf8.Valid(line) {
			r.add(number, 1, "", "the file is not UTF-8 text: save it as UTF-8")
			return false
		}
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if tab := bytes.IndexByte(indent, '\t'); tab >= 0 {
			r.add(number, tab+1, "", "a tab is used for indentation, which YAML does not allow: use spaces")
			ok = false
		}
	}
	return ok
}

var yamlMessage = regexp.MustCompile(`^yaml: (?:line (\d+): )?((?s).*)$`)

func (r *reader) syntax(err error, data []byte) {
	line, message := 1, err.Error()
	if m := yamlMessage.FindStringSubmatch(message); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		message = m[2]
	}
	if strings.HasPrefix(message, "unknown anchor") {
		message += ": aliases are not supported, write the value out"
	}
	last := bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n")) + 1
	r.add(max(min(line, last), 1), 0, "", "not valid YAML here or in the block that begins here: %s", message)
}

// plain refuses anchors, aliases and tags, with which one text can be read in more than one way.
func (r *reader) plain(n *yaml.Node, field string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		r.fail(n, field, "aliases (*%s) are not supported: write the value out", n.Value)
	case n.Anchor != "":
		r.fail(n, field, "anchors (&%s) are not supported: remove it", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(n, field, "tags (%s) are not supported: remove it", n.Tag)
	default:
		return true
	}
	return false
}

// under is members for a node that may be missing.
func (r *reader) under(n *yaml.Node, field string, known, required []string) (map[string]*yaml.Node, bool) {
	if n == nil {
		return nil, false
	}
	return r.members(n, field, known, required)
}

// members gives the values of a mapping by key. Keys that are not known or stand there twice are noted, and so is every
// key of required that is missing.
func (r *reader) members(n *yaml.Node, field string, known, required []string) (map[string]*yaml.Node, bool) {
	if !r.plain(n, field) {
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, field, "want a mapping with the keys %s", strings.Join(known, ", "))
		return nil, false
	}
	values := make(map[string]*yaml.Node, len(known))
	guessed := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !r.plain(key, field):
		case key.Kind != yaml.ScalarNode:
			r.fail(key, field, "a key must be plain text: want one of %s", strings.Join(known, ", "))
		case !slices.Contains(known, key.Value):
			guessed[r.unknown(key, field, known)] = true
		case values[key.Value] != nil:
			r.fail(key, join(field, key.Value), "is given twice, the first one near line %d: remove one", values[key.Value].Line)
		default:
			values[key.Value] = value
		}
	}
	for _, key := range required {
		if values[key] == nil && !guessed[key] {
			r.fail(n, join(field, key), "is missing: add it")
		}
	}
	return values, true
}

// unknown notes a key that is not known and gives the one that was meant, so that one slip gives one error.
func (r *reader) unknown(key *yaml.Node, field string, known []string) string {
	at := join(field, shorten(key.Value))
	near := nearest.Word(key.Value, known)
	if near == "" {
		r.fail(key, at, "unknown field: want one of %s", strings.Join(known, ", "))
	} else {
		r.fail(key, at, "unknown field: did you mean %q?", near)
	}
	return near
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// text gives a text, or "" where it is missing or wrong, which is noted once.
func (r *reader) text(n *yaml.Node, field string) string {
	switch {
	case n == nil || !r.plain(n, field):
	case n.Kind != yaml.ScalarNode:
		r.fail(n, field, "want one text, not a list or mapping")
	case n.Value == "" || n.Tag == "!!null":
		r.fail(n, field, "is empty: give a value")
	case n.Tag != "!!str":
		r.fail(n, field, "want text: put it in quotes, \"%s\"", shorten(n.Value))
	case len(n.Value) > maxText || strings.ContainsFunc(n.Value, func(c rune) bool { return !unicode.IsPrint(c) }) ||
		strings.TrimSpace(n.Value) != n.Value:
		r.fail(n, field, "is too long, holds characters that cannot be printed, or begins or ends with a space")
	default:
		return n.Value
	}
	return ""
}

// checked gives a text that a check takes, or "".
func (r *reader) checked(n *yaml.Node, field string, check func(string) error) string {
	text := r.text(n, field)
	if text == "" {
		return ""
	}
	if err := check(text); err != nil {
		r.fail(n, field, "%v", err)
		return ""
	}
	return text
}

func (r *reader) constant(n *yaml.Node, field, want string) {
	if got := r.text(n, field); got != "" && got != want {
		r.fail(n, field, "%q is not supported: write %s", got, want)
	}
}

func (r *reader) number(n *yaml.Node, field string, least, most int) int {
	if n == nil || !r.plain(n, field) {
		return 0
	}
	number, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || number < least || number > most {
		r.fail(n, field, "want a whole number from %d to %d", least, most)
		return 0
	}
	return number
}

func (r *reader) duration(n *yaml.Node, field string) time.Duration {
	if !r.plain(n, field) {
		return 0
	}
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || d < time.Millisecond || d > maxWait || d%time.Millisecond != 0 {
		r.fail(n, field, "want a time from 1ms to %s, as 5s or 500ms", maxWait)
		return 0
	}
	return d
}

// truth gives a switch, false where it is missing.
func (r *reader) truth(n *yaml.Node, field string) bool {
	if n == nil || !r.plain(n, field) {
		return false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
		r.fail(n, field, "want true or false")
		return false
	}
	return n.Value == "true"
}

// list gives the items of a list that is not empty.
func (r *reader) list(n *yaml.Node, field string) []*yaml.Node {
	switch {
	case n == nil || !r.plain(n, field):
		return nil
	case n.Kind != yaml.SequenceNode:
		r.fail(n, field, "want a list: write [%s], or one \"- \" line for each entry", shorten(n.Value))
		return nil
	case len(n.Content) == 0:
		r.fail(n, field, "the list is empty: add an entry or remove the field")
	case len(n.Content) > maxPlaces:
		r.fail(n, field, "the list has %d entries, the limit is %d", len(n.Content), maxPlaces)
		return nil
	}
	return n.Content
}

// names gives the texts of a list, each once.
func (r *reader) names(n *yaml.Node, field string, check func(string) error) []string {
	var names []string
	for i, item := range r.list(n, field) {
		name := r.checked(item, index(field, i), check)
		switch {
		case name == "":
		case slices.Contains(names, name):
			r.fail(item, index(field, i), "%q stands there twice: remove one", name)
		default:
			names = append(names, name)
		}
	}
	return names
}

// shorten makes a text of the file fit for a message.
func shorten(s string) string {
	switch {
	case s == "" || len(s) > 64:
		return "..."
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }):
		return strconv.Quote(s)
	}
	return s
}
