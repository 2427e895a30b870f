// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoRun says that the registry knows no run that fits what was asked for.
var ErrNoRun = errors.New("no such run")

// Problem is one thing that is wrong in a file that a user wrote.
type Problem struct {
	// File is the path of the file, as it was given.
	File string
	// Line counts from 1; 0 means the file as a whole.
	Line int
	// Field is the path of the field, such as "apps[1].appPort"; it is empty
	// where the file cannot be read at all.
	Field string
	// Message says what is wrong and what to do about it.
	Message string
}

// String gives "file:line: field: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// FileError lists everything that was found wrong in the files of a run. It
// always holds at least one problem.
type FileError struct {
	Problems []Problem
}

// Error gives one line for each problem.
func (e *FileError) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// PartError says that one process of the domain failed, and with it the run.
type PartError struct {
	// Part names the process: "sentry", "placement", "scheduler", "daprd of
	// <app>" or "app <app>".
	Part string
	// Reason says what happened, such as "exited with status 1".
	Reason string
	// Log holds lines from the end of what the process wrote, oldest first: its last
	// warnings and errors, if it has any, and the last lines.
	Log []string
}

// Error names the part and the reason and appends the last lines of its log.
func (e *PartError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Part, e.Reason)
	if len(e.Log) == 0 {
		return b.String()
	}
	b.WriteString("\nfrom the end of its log, which --keep keeps:")
	for _, line := range e.Log {
		b.WriteString("\n  ")
		b.WriteString(line)
	}
	return b.String()
}
