// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package manifest reads the YAML documents by which an operator tells us something: policies, registrations of
// workloads, databases, component servers.
//
// Reading is strict, and all that is wrong in a file is told together, each with file, line, column, field and what to
// change: what is not understood is an error and never passed over, no text can be read in two ways (anchors, aliases,
// tags and line breaks but LF and CRLF are refused), and one slip of the pen gives one error. It does no I/O, and does not know what a document means.
package manifest
