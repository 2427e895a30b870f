// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

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
	File string
	// Line and Column count from 1; 0 means unknown.
	Line   int
	Column int
	// Field is the path of the field, as in spec.rules[2].from[0]; empty for
	// problems of the file as a whole.
	Field   string
	Message string
}

// Error returns "policy: file:line:column: field: message".
func (e *Error) Error() string { return "policy: " + e.String() }

// String returns the same without "policy: ".
func (e *Error) String() string {
	return describe(position{e.File, e.Line, e.Column}, e.Field, e.Message)
}

// ErrorList holds the problems of one file or set, sorted by position, 20 at most.
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
	return "policy: " + strings.Join(lines, "\n")
}

// Unwrap returns the problems, for errors.Is and errors.As.
func (l *ErrorList) Unwrap() []error {
	all := make([]error, len(l.Problems))
	for i, p := range l.Problems {
		all[i] = p
	}
	return all
}

// Warning is something in a document that has no effect or probably not the one
// that was meant. It does not keep the document from being used.
type Warning struct {
	File    string
	Line    int
	Column  int
	Field   string
	Message string
}

// String returns "file:line:column: field: message".
func (w Warning) String() string {
	return describe(position{w.File, w.Line, w.Column}, w.Field, w.Message)
}

type position struct {
	file         string
	line, column int
}

func (p position) String() string {
	s := p.file
	if p.line > 0 {
		s += ":" + strconv.Itoa(p.line)
	}
	if p.line > 0 && p.column > 0 {
		s += ":" + strconv.Itoa(p.column)
	}
	return s
}

func describe(at position, field, message string) string {
	if field != "" {
		message = field + ": " + message
	}
	if place := at.String(); place != "" {
		message = place + ": " + message
	}
	return message
}

// problems collects errors until they are reported.
type problems []*Error

func (p *problems) add(at position, field, format string, args ...any) {
	*p = append(*p, &Error{
		File: at.file, Line: at.line, Column: at.column, Field: field, Message: fmt.Sprintf(format, args...),
	})
}

// err returns the collected problems as an *ErrorList, or nil if there are none.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	kept := min(len(p), maxReported)
	return &ErrorList{Problems: p[:kept], Omitted: len(p) - kept}
}
