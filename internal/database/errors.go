// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package database

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxReported is how many problems are reported together.
const maxReported = 20

// Error is one problem in a document: where it is, and what to change.
type Error struct {
	File string
	// Line and Column count from 1; a Column of 0 means unknown.
	Line   int
	Column int
	// Field is the path of the field, as in spec.roles[0].role; empty for problems of the file as a whole.
	Field   string
	Message string
}

// Error returns "database: file:line:column: field: message".
func (e *Error) Error() string { return "database: " + e.String() }

// String returns the same without "database: ".
func (e *Error) String() string {
	place := fmt.Sprintf("%s:%d", e.File, e.Line)
	if e.Column > 0 {
		place += fmt.Sprintf(":%d", e.Column)
	}
	if e.Field != "" {
		place += ": " + e.Field
	}
	return place + ": " + e.Message
}

// ErrorList holds the problems of one file, sorted by position, 20 at most.
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
	return "database: " + strings.Join(lines, "\n")
}

// Unwrap returns the problems, for errors.Is and errors.As.
func (l *ErrorList) Unwrap() []error {
	all := make([]error, len(l.Problems))
	for i, p := range l.Problems {
		all[i] = p
	}
	return all
}

// problems collects errors until they are reported.
type problems []*Error

func (p *problems) note(file string, line, column int, field, format string, args ...any) {
	*p = append(*p, &Error{File: file, Line: line, Column: column, Field: field, Message: fmt.Sprintf(format, args...)})
}

// err gives the collected problems as an *ErrorList, or nil if there are none.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Field, b.Field))
	})
	list := &ErrorList{Problems: p}
	if len(p) > maxReported {
		list.Problems, list.Omitted = p[:maxReported], len(p)-maxReported
	}
	return list
}
