// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package vectors holds receipts, chains of them and journals, good and tampered with, for this and for other verifiers. README.md says
// what each is. They are made by a test from fixed keys and a fixed clock, and are the same bytes each time:
//
//	go test ./tests/vectors -update
package vectors
