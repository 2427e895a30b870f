// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package manifest

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Reader turns YAML nodes into values and collects what is wrong with them. Set File, Room, MaxBytes and MaxDocuments.
type Reader struct {
	// File is the name to use in errors.
	File string
	// MaxBytes and MaxDocuments bound a file.
	MaxBytes, MaxDocuments int
	Problems
}

// Place is the position of a node.
func (r *Reader) Place(n *yaml.Node) Position { return At(r.File, n.Line, n.Column) }

// Fail notes a problem at a node.
func (r *Reader) Fail(n *yaml.Node, field, format string, args ...any) {
	r.Add(r.Place(n), field, format, args...)
}

// Documents returns the root of each document that is not empty. A syntax error ends the list and is noted; of more
// documents than MaxDocuments none is returned, which is noted too.
func (r *Reader) Documents(data []byte) []*yaml.Node {
	if !r.Readable(data) {
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
			r.Syntax(err, data)
			return roots
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue
		}
		roots = append(roots, doc.Content[0])
		if len(roots) > r.MaxDocuments {
			r.Fail(doc.Content[0], "", "more than %d documents in one file: split it", r.MaxDocuments)
			return nil
		}
	}
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Anchor == "" && n.Value == ""
}

// otherBreaks end a line, and with it a comment, for YAML 1.1, as which our parser reads. Other readers of YAML, and of text,
// see one line, in which a rule may stand in a comment.
const otherBreaks = "\r\u0085\u2028\u2029"

// Readable refuses what YAML's own messages explain badly, and lines that are not the same to all: files that are too
// large, not UTF-8, indented with tabs, or with line breaks other than LF and CRLF.
func (r *Reader) Readable(data []byte) bool {
	if len(data) > r.MaxBytes {
		r.Add(At(r.File, 1, 1), "", "the file has %d bytes, the limit is %d: split it", len(data), r.MaxBytes)
		return false
	}
	ok := true
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if !utf8.Valid(line) {
			r.Add(At(r.File, number, 1), "", "the file is not UTF-8 text: save it as UTF-8")
			return false
		}
		if at := bytes.IndexAny(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), otherBreaks); at >= 0 {
			char, _ := utf8.DecodeRune(line[at:])
			r.Add(At(r.File, number, at+1), "", "%U ends a line for some readers of YAML and not for others: use a line feed", char)
			ok = false
		}
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if tab := bytes.IndexByte(indent, '\t'); tab >= 0 {
			r.Add(At(r.File, number, tab+1), "",
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

// Syntax notes an error of the YAML parser on data.
func (r *Reader) Syntax(err error, data []byte) {
	var types *yaml.TypeError
	if errors.As(err, &types) {
		for _, text := range types.Errors {
			r.yamlError("yaml: "+text, data)
		}
		return
	}
	r.yamlError(err.Error(), data)
}

func (r *Reader) yamlError(text string, data []byte) {
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
	r.Add(At(r.File, max(min(line, last), 1), 0), "", "not valid YAML: %s", message)
}

// Plain refuses anchors, aliases and explicit tags, with which one text can be
// read in more than one way.
func (r *Reader) Plain(n *yaml.Node, field string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		r.Fail(n, field, "aliases (*%s) are not supported: write the value out", n.Value)
	case n.Anchor != "":
		r.Fail(n, field, "anchors (&%s) are not supported: remove it", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		r.Fail(n, field, "tags (%s) are not supported: remove it", n.Tag)
	default:
		return true
	}
	return false
}
