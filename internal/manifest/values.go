// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package manifest

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/nearest"
)

const (
	// MaxName is the longest name of a document.
	MaxName = 253
	// maxShown is the longest text of a file that a message repeats.
	maxShown = 64
)

// Members returns the values of a mapping by key. Keys that are not known or
// stand there twice are noted, and so is every key of required that is missing.
func (r *Reader) Members(n *yaml.Node, field string, known, required []string) (map[string]*yaml.Node, bool) {
	if !r.Plain(n, field) {
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		r.Fail(n, field, "want a mapping with the keys %s", strings.Join(known, ", "))
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
			r.Fail(n, Join(field, key), "is missing: add it")
		}
	}
	return values, true
}

// DocumentKeys are the keys of every document.
func DocumentKeys() []string { return []string{"apiVersion", "kind", "metadata", "spec"} }

// MetadataKeys are the keys of every document's metadata.
func MetadataKeys() []string { return []string{"name"} }

// Document returns the name of a document, which has to be of that kind, and the members of its spec. They are nil where it
// has none that can be read, which is noted.
func (r *Reader) Document(n *yaml.Node, apiVersion, kind string, known, required []string) (name string, spec map[string]*yaml.Node) {
	m, ok := r.Members(n, "", DocumentKeys(), DocumentKeys())
	if !ok {
		return "", nil
	}
	r.Constant(m["apiVersion"], "apiVersion", apiVersion)
	r.Constant(m["kind"], "kind", kind)
	if node := m["metadata"]; node != nil {
		if metadata, ok := r.Members(node, "metadata", MetadataKeys(), MetadataKeys()); ok {
			name = r.Name(metadata["name"], "metadata.name")
		}
	}
	if node := m["spec"]; node != nil {
		spec, _ = r.Members(node, "spec", known, required)
	}
	return name, spec
}

func (r *Reader) key(key *yaml.Node, field string, known []string) bool {
	if !r.Plain(key, field) {
		return false
	}
	if key.Kind != yaml.ScalarNode {
		r.Fail(key, field, "a key must be plain text: want one of %s", strings.Join(known, ", "))
		return false
	}
	return true
}

// member takes the value of a known key and reports whether it is known.
func (r *Reader) member(values map[string]*yaml.Node, key, value *yaml.Node, field string, known []string) bool {
	if !slices.Contains(known, key.Value) {
		return false
	}
	if before := values[key.Value]; before != nil {
		r.Fail(key, Join(field, key.Value), "is given twice, the first one near line %d: remove one", before.Line)
		return true
	}
	values[key.Value] = value
	return true
}

// unknown notes a key that is not known. If it is like one that is missing, its
// value is looked at in that place, so that one slip gives one error.
func (r *Reader) unknown(values map[string]*yaml.Node, key, value *yaml.Node, field string, known []string) {
	at := Join(field, Shorten(key.Value))
	near := nearest.Word(key.Value, known)
	if near == "" {
		r.Fail(key, at, "unknown field: want one of %s", strings.Join(known, ", "))
		return
	}
	if values[near] == nil {
		values[near] = value
	}
	r.Fail(key, at, "unknown field: did you mean %q?", near)
}

// Text returns a string. A missing node was noted by members.
func (r *Reader) Text(n *yaml.Node, field string) (string, bool) {
	if n == nil || !r.Plain(n, field) {
		return "", false
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		r.Fail(n, field, "want one text, not a list or mapping")
	case n.Value == "" || n.Tag == "!!null":
		r.Fail(n, field, "is empty: give a value")
	case n.Tag != "!!str":
		r.Fail(n, field, "want text: put it in quotes, \"%s\"", n.Value)
	default:
		return n.Value, true
	}
	return "", false
}

// Number returns a whole number from least to most, or 0, also where it is missing.
func (r *Reader) Number(n *yaml.Node, field string, least, most int) int {
	if n == nil || !r.Plain(n, field) {
		return 0
	}
	number, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || number < least || number > most {
		r.Fail(n, field, "want a whole number from %d to %d", least, most)
		return 0
	}
	return number
}

// MustBeTrue takes a switch that has one position.
func (r *Reader) MustBeTrue(n *yaml.Node, field string) bool {
	if n == nil || !r.Plain(n, field) {
		return false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" {
		r.Fail(n, field, "want true: write true, or remove the field")
		return false
	}
	return true
}

// List returns the items of a list that is not empty.
func (r *Reader) List(n *yaml.Node, field string) []*yaml.Node {
	if n == nil || !r.Plain(n, field) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.Fail(n, field, "want a list: write [%s], or one \"- \" line for each entry", Shorten(n.Value))
		return nil
	}
	if len(n.Content) == 0 {
		r.Fail(n, field, "the list is empty: add an entry or remove the field")
	}
	return n.Content
}

// Truth returns a switch, false where it is missing.
func (r *Reader) Truth(n *yaml.Node, field string) bool {
	if n == nil || !r.Plain(n, field) {
		return false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
		r.Fail(n, field, "want true or false")
		return false
	}
	return n.Value == "true"
}

// Constant takes a text that can be but one.
func (r *Reader) Constant(n *yaml.Node, field, want string) {
	if got, ok := r.Text(n, field); ok && got != want {
		r.Fail(n, field, "%q is not supported: write %s", got, want)
	}
}

// Name returns a DNS subdomain, as Kubernetes takes for names of objects. One that is none is noted and returned.
func (r *Reader) Name(n *yaml.Node, field string) string {
	name, ok := r.Text(n, field)
	if !ok {
		return ""
	}
	const ends = "abcdefghijklmnopqrstuvwxyz0123456789"
	if strings.Trim(name, ends+"-.") != "" || !strings.Contains(ends, name[:1]) || !strings.Contains(ends, name[len(name)-1:]) ||
		len(name) > MaxName {
		r.Fail(n, field, "%q is not a legal name: use lower case letters, digits, dashes and dots, "+
			"with a letter or digit at both ends, %d at most", name, MaxName)
	}
	return name
}

// Join is the path of a field below another.
func Join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// Index is the path of an item of a list.
func Index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// Shorten makes a text of a file fit for a message.
func Shorten(s string) string {
	switch {
	case s == "" || len(s) > maxShown:
		return "..."
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) || strings.TrimSpace(s) != s:
		return strconv.Quote(s)
	}
	return s
}
