// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/nearest"
)

// reader turns YAML nodes into values and collects what is wrong with them.
type reader struct {
	file string
	problems
}

func (r *reader) at(n *yaml.Node) position { return position{r.file, n.Line, n.Column} }

func (r *reader) fail(n *yaml.Node, field, format string, args ...any) {
	r.add(r.at(n), field, format, args...)
}

// documents returns the root node of each document that is not empty. A syntax
// error ends the list and is noted.
func (r *reader) documents(data []byte) []*yaml.Node {
	if !r.readable(data) {
		return nil
	}
	var roots []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return roots
		}
		if err != nil {
			r.syntax(err, data)
			return roots
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue
		}
		roots = append(roots, doc.Content[0])
		if len(roots) > MaxDocuments {
			r.fail(doc.Content[0], "", "more than %d documents in one file", MaxDocuments)
			return roots
		}
	}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Anchor == "" && n.Value == ""
}

// readable refuses what YAML's own messages explain badly: files that are too
// large, not UTF-8, or indented with tabs.
func (r *reader) readable(data []byte) bool {
	if len(data) > MaxFileBytes {
		r.add(position{r.file, 1, 1}, "", "the file has %d bytes, the limit is %d: split it", len(data), MaxFileBytes)
		return false
	}
	ok := true
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if !utf8.Valid(line) {
			r.add(position{r.file, number, 1}, "", "the file is not UTF-8 text: save it as UTF-8")
			return false
		}
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if tab := bytes.IndexByte(indent, '\t'); tab >= 0 {
			r.add(position{r.file, number, tab + 1}, "",
				"a tab is used for indentation, which YAML does not allow: use spaces")
			ok = false
		}
	}
	return ok
}

var (
	yamlMessage   = regexp.MustCompile(`^yaml: (?:line (\d+): )?((?s).*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	// yaml.v3 counts the lines of these errors from 0, and gives the line where
	// the list or mapping begins rather than the one that broke it.
	expectedPart = regexp.MustCompile(`^did not find expected (?:key$|node content|'|<)`)
)

// syntax notes an error of the YAML parser.
func (r *reader) syntax(err error, data []byte) {
	var types *yaml.TypeError
	if errors.As(err, &types) {
		for _, text := range types.Errors {
			r.yamlError("yaml: "+text, data)
		}
		return
	}
	r.yamlError(err.Error(), data)
}

func (r *reader) yamlError(text string, data []byte) {
	line, message := 0, text
	if m := yamlMessage.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		message = m[2]
	}
	switch {
	case strings.HasPrefix(message, "mapping values are not allowed"):
		message += ": put text that holds a colon in quotes, and check the indentation"
	case expectedPart.MatchString(message):
		line++
		message += ", here or in the block that begins here: check indentation, brackets and quotes"
	case line == 0 && unknownAnchor.MatchString(message):
		alias := "*" + unknownAnchor.FindStringSubmatch(message)[1]
		before, _, _ := bytes.Cut(data, []byte(alias))
		line = 1 + bytes.Count(before, []byte("\n"))
		message = "aliases (" + alias + ") are not supported: write the value out"
	}
	// A construct that is not closed is noticed past the last line.
	last := bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n")) + 1
	r.add(position{r.file, max(min(line, last), 1), 0}, "", "not valid YAML: %s", message)
}

// plain refuses anchors, aliases and explicit tags, with which one text can be
// read in more than one way.
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

// members returns the values of a mapping by key. Keys that are not known or
// stand there twice are noted, and so is every key of required that is missing.
func (r *reader) members(n *yaml.Node, field string, known, required []string) (map[string]*yaml.Node, bool) {
	if !r.plain(n, field) {
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, field, "want a mapping with the keys %s", strings.Join(known, ", "))
		return nil, false
	}
	values := make(map[string]*yaml.Node, len(known))
	var unknown []int
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; r.key(key, field, known) && !r.member(values, key, n.Content[i+1], field, known) {
			unknown = append(unknown, i)
		}
	}
	for _, i := range unknown {
		r.unknown(values, n.Content[i], n.Content[i+1], field, known)
	}
	for _, key := range required {
		if values[key] == nil {
			r.fail(n, join(field, key), "is missing: add it")
		}
	}
	return values, true
}

func (r *reader) key(key *yaml.Node, field string, known []string) bool {
	if !r.plain(key, field) {
		return false
	}
	if key.Kind != yaml.ScalarNode {
		r.fail(key, field, "a key must be plain text: want one of %s", strings.Join(known, ", "))
		return false
	}
	return true
}

// member takes the value of a known key and reports whether it is known.
func (r *reader) member(values map[string]*yaml.Node, key, value *yaml.Node, field string, known []string) bool {
	if !slices.Contains(known, key.Value) {
		return false
	}
	if before := values[key.Value]; before != nil {
		r.fail(key, join(field, key.Value), "is given twice, the first one near line %d: remove one", before.Line)
		return true
	}
	values[key.Value] = value
	return true
}

// unknown notes a key that is not known. If it is like one that is missing, its
// value is looked at in that place, so that one slip gives one error.
func (r *reader) unknown(values map[string]*yaml.Node, key, value *yaml.Node, field string, known []string) {
	at := join(field, shorten(key.Value))
	near := nearest.Word(key.Value, known)
	if near == "" {
		r.fail(key, at, "unknown field: want one of %s", strings.Join(known, ", "))
		return
	}
	if values[near] == nil {
		values[near] = value
	}
	r.fail(key, at, "unknown field: did you mean %q?", near)
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// text returns a string. A missing node was noted by members.
func (r *reader) text(n *yaml.Node, field string) (string, bool) {
	if n == nil || !r.plain(n, field) {
		return "", false
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		r.fail(n, field, "want one text, not a list or mapping")
	case n.Value == "" || n.Tag == "!!null":
		r.fail(n, field, "is empty: give a value")
	case n.Tag != "!!str":
		r.fail(n, field, "want text: put it in quotes, \"%s\"", n.Value)
	default:
		return n.Value, true
	}
	return "", false
}

// number returns a whole number from least to most, or 0.
func (r *reader) number(n *yaml.Node, field string, least, most int) int {
	if !r.plain(n, field) {
		return 0
	}
	number, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || number < least || number > most {
		r.fail(n, field, "want a whole number from %d to %d", least, most)
		return 0
	}
	return number
}

// mustBeTrue takes a switch that has one position.
func (r *reader) mustBeTrue(n *yaml.Node, field string) bool {
	if !r.plain(n, field) {
		return false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" {
		r.fail(n, field, "want true: write true, or remove the field")
		return false
	}
	return true
}

// list returns the items of a list that is not empty.
func (r *reader) list(n *yaml.Node, field string) []*yaml.Node {
	if n == nil || !r.plain(n, field) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, field, "want a list: write [%s], or one \"- \" line for each entry", shorten(n.Value))
		return nil
	}
	if len(n.Content) == 0 {
		r.fail(n, field, "the list is empty: add an entry or remove the field")
	}
	return n.Content
}

// shorten makes a text of the file fit for a message.
func shorten(s string) string {
	if s == "" || len(s) > maxAppID {
		return "..."
	}
	if checkText(s) != nil {
		return strconv.Quote(s)
	}
	return s
}
