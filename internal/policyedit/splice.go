// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policyedit

import (
	"bytes"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// The functions below cut and paste whole lines, where the nodes say that things
// stand. What comes out is read again and must be what was meant; if it is not,
// because the file is laid out in a way that lines cannot express, the file is
// encoded anew from its nodes.

// appendRule returns the text of the file with one more rule in its first policy.
func appendRule(f *file, rule *yaml.Node) ([]byte, error) {
	rules := ruleList(f.roots[0])
	pasted, err := encode([]*yaml.Node{{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{rule}}})
	if err != nil {
		return nil, err
	}
	lines := split(f.data)
	_, end := item(lines, rules, len(rules.Content)-1)
	newline := "\n"
	if strings.HasSuffix(lines[0], "\r\n") {
		newline = "\r\n"
	}
	if !strings.HasSuffix(lines[end-1], "\n") {
		lines[end-1] += newline
	}
	var added []string
	for _, line := range split(pasted) {
		added = append(added, strings.Repeat(" ", max(rules.Column-1, 0))+strings.TrimSuffix(line, "\n")+newline)
	}
	rules.Content = append(rules.Content, rule)
	return settle(slices.Insert(lines, end, added...), f.roots)
}

// removeRule returns the text of the file without one of several rules of a policy.
func removeRule(f *file, document *yaml.Node, index int) ([]byte, error) {
	rules := ruleList(document)
	lines := split(f.data)
	start, end := item(lines, rules, index)
	for start > 0 && comment(lines[start-1]) && indent(lines[start-1]) == rules.Column-1 {
		start--
	}
	// The empty line between two rules goes with the first of them.
	for index < len(rules.Content)-1 && end < len(lines) && blank(lines[end]) {
		end++
	}
	rules.Content = slices.Delete(rules.Content, index, index+1)
	return settle(cut(lines, start, end), f.roots)
}

// removeDocument returns the text of the file without one of several policies.
func removeDocument(f *file, document *yaml.Node) ([]byte, error) {
	lines := split(f.data)
	start, end := segment(lines, document)
	if start == 0 && !marker(lines[0]) && end < len(lines) && strings.TrimSpace(lines[end]) == "---" {
		end++
	}
	f.roots = slices.DeleteFunc(f.roots, func(n *yaml.Node) bool { return n == document })
	return settle(slices.Delete(lines, start, end), f.roots)
}

// documentText returns the lines of a policy without the marker above it.
func documentText(data []byte, document *yaml.Node) []byte {
	lines := split(data)
	start, end := segment(lines, document)
	if strings.TrimSpace(lines[start]) == "---" {
		start++
	}
	return append(bytes.Trim([]byte(strings.Join(lines[start:end], "")), "\r\n"), '\n')
}

// settle returns the lines if they say what the nodes say, and else the nodes encoded.
func settle(lines []string, want []*yaml.Node) ([]byte, error) {
	text := []byte(strings.Join(lines, ""))
	if got, err := roots(text); err == nil && slices.EqualFunc(got, want, equal) {
		return text, nil
	}
	return encode(want)
}

func equal(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.ShortTag() == b.ShortTag() && a.Value == b.Value &&
		slices.EqualFunc(a.Content, b.Content, equal)
}

// split returns the lines of a text with their ends.
func split(data []byte) []string {
	return slices.Collect(strings.Lines(string(data)))
}

func blank(line string) bool   { return strings.TrimSpace(line) == "" }
func comment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }
func indent(line string) int   { return len(line) - len(strings.TrimLeft(line, " ")) }

// marker reports whether a document begins at the line. YAML knows no other
// meaning for it, not even within a text.
func marker(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	return ok && (blank(rest) || rest[0] == ' ' || rest[0] == '\t')
}

// item returns the lines of one entry of a list, with comments that stand within it.
func item(lines []string, list *yaml.Node, index int) (start, end int) {
	dash := list.Column - 1
	start = list.Content[index].Line - 1
	for start > list.Line-1 && (indent(lines[start]) != dash || !strings.HasPrefix(lines[start][dash:], "-")) {
		start--
	}
	end = start + 1
	for at := end; at < len(lines); at++ {
		line := lines[at]
		switch {
		case blank(line):
		case comment(line):
			if at == end && indent(line) > dash {
				end = at + 1
			}
		case indent(line) <= dash:
			return start, end
		default:
			end = at + 1
		}
	}
	return start, end
}

// segment returns the lines of a document, from its marker if it has one.
func segment(lines []string, document *yaml.Node) (start, end int) {
	start = document.Line - 1
	for start > 0 && !marker(lines[start]) {
		start--
	}
	end = document.Line
	for end < len(lines) && !marker(lines[end]) {
		end++
	}
	return start, end
}

// cut removes lines, and does not leave empty lines doubled or at the end.
func cut(lines []string, start, end int) []string {
	lines = slices.Delete(lines, start, end)
	if start == len(lines) {
		for start > 0 && blank(lines[start-1]) {
			start--
		}
		return lines[:start]
	}
	for start > 0 && start < len(lines) && blank(lines[start-1]) && blank(lines[start]) {
		lines = slices.Delete(lines, start, start+1)
	}
	return lines
}
