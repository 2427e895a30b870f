// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/nearest"
)

// maxReported is how many problems are reported together.
const maxReported = 20

// RegistrationError is one problem of a WorkloadRegistration: where it is, and
// what to change.
type RegistrationError struct {
	File string
	// Line counts from 1.
	Line int
	// Field is the path of the field, as in spec.selectors.unix:uid; empty for
	// problems of the file as a whole.
	Field   string
	Message string
}

// Error is "file:line: field: message".
func (e *RegistrationError) Error() string {
	place := fmt.Sprintf("%s:%d: ", e.File, e.Line)
	if e.Field != "" {
		place += e.Field + ": "
	}
	return place + e.Message
}

// reader turns YAML nodes into values and collects what is wrong with them.
type reader struct {
	file  string
	wrong []*RegistrationError
}

func (r *reader) add(line int, field, format string, args ...any) {
	r.wrong = append(r.wrong, &RegistrationError{r.file, max(line, 1), field, fmt.Sprintf(format, args...)})
}

func (r *reader) fail(n *yaml.Node, field, format string, args ...any) {
	r.add(n.Line, field, format, args...)
}

// err is all that was noted, in the order of the lines, or nil.
func (r *reader) err() error {
	if len(r.wrong) == 0 {
		return nil
	}
	slices.SortStableFunc(r.wrong, func(a, b *RegistrationError) int { return cmp.Compare(a.Line, b.Line) })
	kept := min(len(r.wrong), maxReported)
	problems := make([]error, 0, kept+1)
	for _, w := range r.wrong[:kept] {
		problems = append(problems, w)
	}
	if more := len(r.wrong) - kept; more > 0 {
		problems = append(problems, fmt.Errorf("and %d more", more))
	}
	return fmt.Errorf("identity: %w", errors.Join(problems...))
}

// readable refuses what YAML's own messages explain badly.
func (r *reader) readable(data []byte) bool {
	switch {
	case len(data) > MaxFileBytes:
		r.add(1, "", "the file has %d bytes, the limit is %d: split it", len(data), MaxFileBytes)
	case !utf8.Valid(data):
		r.add(1, "", "the file is not UTF-8 text: save it as UTF-8")
	default:
		return true
	}
	return false
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): `)

// syntax notes an error of the YAML parser.
func (r *reader) syntax(err error) {
	text, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
		text = text[len(m[0]):]
	}
	r.add(line, "", "not valid YAML, here or in the block that begins here: %s", strings.TrimPrefix(text, "yaml: "))
}

// plain refuses anchors, aliases and explicit tags, with which one text can be
// read in more than one way.
func (r *reader) plain(n *yaml.Node, field string) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		r.fail(n, field, "aliases, anchors and tags are not supported: write the value out")
		return false
	}
	return true
}

func (r *reader) mapping(n *yaml.Node, field string, known []string) bool {
	if !r.plain(n, field) {
		return false
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, field, "want a mapping with the keys %s", strings.Join(known, ", "))
		return false
	}
	return true
}

// members returns the values of a mapping by key, of which each must be there.
func (r *reader) members(n *yaml.Node, field string, known []string) map[string]*yaml.Node {
	if !r.mapping(n, field, known) {
		return nil
	}
	values := r.pairs(n, field, known)
	for _, key := range known {
		if values[key] == nil {
			r.fail(n, join(field, key), "is missing: add it")
		}
	}
	return values
}

// pairs returns the values of a mapping by key. A key that is not known or stands
// there twice is noted; of one that was probably meant the value is looked at in
// its place, so that one slip gives one error.
func (r *reader) pairs(n *yaml.Node, field string, known []string) map[string]*yaml.Node {
	values := make(map[string]*yaml.Node, len(known))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !r.plain(key, field) {
			continue
		}
		word := key.Value
		if key.Kind != yaml.ScalarNode {
			word = ""
		}
		if !slices.Contains(known, word) {
			near := nearest.Word(word, known)
			if near == "" {
				r.fail(key, field, "unknown field %q: want one of %s", shorten(word), strings.Join(known, ", "))
				continue
			}
			r.fail(key, field, "unknown field %q: did you mean %s?", shorten(word), near)
			word = near
		}
		if before := values[word]; before != nil {
			r.fail(key, join(field, word), "is given twice, the first time on line %d: remove one", before.Line)
			continue
		}
		values[word] = value
	}
	return values
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
		r.fail(n, field, "want text: put it in quotes, %q", n.Value)
	default:
		return n.Value, true
	}
	return "", false
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// shorten makes a text of the file fit for a message.
func shorten(s string) string {
	if len(s) > maxName {
		return s[:maxName] + "..."
	}
	return s
}
