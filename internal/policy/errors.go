// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import "github.com/dapr-custody/custody/internal/manifest"

// room is what the errors of this package begin with.
const room = "policy"

// Error is one problem in a document: where it is, and what to change. Its text begins with "policy: ".
type Error = manifest.Error

// ErrorList holds the problems of one file or set, sorted by position, 20 at most.
type ErrorList = manifest.ErrorList

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
	return manifest.Describe(manifest.At(w.File, w.Line, w.Column), w.Field, w.Message)
}

// newReader reads a file within the limits of policies.
func newReader(file string) manifest.Reader {
	return manifest.Reader{File: file, MaxBytes: MaxFileBytes, MaxDocuments: MaxDocuments, Problems: manifest.Problems{Room: room}}
}
