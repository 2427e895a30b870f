// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// placeInScalar returns where in the file a place in the value of a scalar stands.
// line counts from 1, column from 0, in characters of the value; the result counts
// both from 1. Where the file spells the value with escapes, what lies behind the
// first escape is given the line that was reached, and column 0.
func placeInScalar(lines []string, n *yaml.Node, line, column int) (int, int) {
	value := []rune(n.Value)
	want := offset(value, line, column)
	w := newScalarWalk(lines, n)
	for i := 0; i < len(value); {
		if unicode.IsSpace(value[i]) && w.blankToEnd() {
			// A line break and what is about it stand for one another.
			for i < len(value) && unicode.IsSpace(value[i]) {
				i++
			}
			if i > want || i == len(value) {
				return w.line + 1, len(w.current) + 1
			}
			w.nextText()
			continue
		}
		if !w.is(value[i]) {
			return w.line + 1, 0
		}
		if i >= want {
			break
		}
		w.step(value[i])
		i++
	}
	return w.line + 1, w.column + 1
}

// offset is the place in the value of a line and column.
func offset(value []rune, line, column int) int {
	at := 0
	for ; line > 1 && at < len(value); at++ {
		if value[at] == '\n' {
			line--
		}
	}
	return min(at+column, max(len(value)-1, 0))
}

// scalarWalk walks through the text of a scalar. line and column count from 0.
type scalarWalk struct {
	lines        []string
	line, column int
	current      []rune // the line
	single       bool   // 'quoted'
}

func newScalarWalk(lines []string, n *yaml.Node) *scalarWalk {
	w := &scalarWalk{lines: lines, single: n.Style&yaml.SingleQuotedStyle != 0}
	w.goTo(n.Line - 1)
	w.column = n.Column - 1
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		w.nextText()
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		w.column++
	}
	return w
}

func (w *scalarWalk) goTo(line int) {
	w.line, w.column, w.current = line, 0, nil
	if line < len(w.lines) {
		w.current = []rune(strings.TrimRight(w.lines[line], "\r"))
	}
}

// blankToEnd reports whether nothing but space follows on this line.
func (w *scalarWalk) blankToEnd() bool {
	return w.column >= len(w.current) || strings.TrimSpace(string(w.current[w.column:])) == ""
}

// nextText goes to the first character of the next line that has one.
func (w *scalarWalk) nextText() {
	for w.goTo(w.line + 1); w.line < len(w.lines); w.goTo(w.line + 1) {
		for i, r := range w.current {
			if !unicode.IsSpace(r) {
				w.column = i
				return
			}
		}
	}
}

func (w *scalarWalk) is(r rune) bool { return w.column < len(w.current) && w.current[w.column] == r }

// step goes on by one character of the value.
func (w *scalarWalk) step(r rune) {
	w.column++
	if w.single && r == '\'' && w.is('\'') {
		w.column++
	}
}
