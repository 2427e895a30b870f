// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxReported is how many problems are reported together.
const maxReported = 20

// Error is one problem in a document: where it is, and what to change.
type Error struct {
	// Room is the package that the document belongs to, with which Error begins.
	Room string `json:"-"`
	File string
	// Line and Column count from 1; 0 means unknown.
	Line   int
	Column int
	// Field is the path of the field, as in spec.rules[2].from[0]; empty for problems of the file as a whole.
	Field   string
	Message string
}

// Error returns "room: file:line:column: field: message".
func (e *Error) Error() string { return e.Room + ": " + e.String() }

// String returns the same without the room.
func (e *Error) String() string {
	return Describe(Position{File: e.File, Line: e.Line, Column: e.Column}, e.Field, e.Message)
}

// ErrorList holds the problems of one file or set, sorted by position, 20 at most. It has at least one.
type ErrorList struct {
	Problems []*Error
	// Omitted is the number of problems left out.
	Omitted int
}

// Error returns all problems, one per line.
func (l *ErrorList) Error() string {
	lines := make([]string, 0, len(l.Problems)+1)
	for _, p := range l.Problems {
		lines = append(lines, p.String())
	}
	if l.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", l.Omitted))
	}
	room := ""
	if len(l.Problems) > 0 {
		room = l.Problems[0].Room + ": "
	}
	return room + strings.Join(lines, "\n")
}

// Unwrap returns the problems, for errors.Is and errors.As.
func (l *ErrorList) Unwrap() []error {
	all := make([]error, len(l.Problems))
	for i, p := range l.Problems {
		all[i] = p
	}
	return all
}

// Position is a place in a file. A Line or Column of 0 is not known.
type Position struct {
	File         string
	Line, Column int
}

// At is the position of a line and column in a file.
func At(file string, line, column int) Position {
	return Position{File: file, Line: line, Column: column}
}

// String is file:line:column, as far as they are known.
func (p Position) String() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
	}
	if p.Line > 0 && p.Column > 0 {
		s += ":" + strconv.Itoa(p.Column)
	}
	return s
}

// Describe returns "file:line:column: field: message", without what is empty.
func Describe(at Position, field, message string) string {
	if field != "" {
		message = field + ": " + message
	}
	if place := at.String(); place != "" {
		message = place + ": " + message
	}
	return message
}

// Problems collects what is wrong until it is reported.
type Problems struct {
	// Room is the package that the documents belong to.
	Room  string
	found []*Error
}

// Add notes a problem.
func (p *Problems) Add(at Position, field, format string, args ...any) {
	p.found = append(p.found, &Error{
		Room: p.Room, File: at.File, Line: at.Line, Column: at.Column, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// None says that nothing was noted.
func (p *Problems) None() bool { return len(p.found) == 0 }

// Err returns what was noted as an *ErrorList, or nil if there is nothing.
func (p *Problems) Err() error {
	if p.None() {
		return nil
	}
	slices.SortStableFunc(p.found, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	kept := min(len(p.found), maxReported)
	return &ErrorList{Problems: p.found[:kept], Omitted: len(p.found) - kept}
}
