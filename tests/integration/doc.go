// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package integration tests Custody where it lives: in real sidecars, with a
// real Sentry, real MCP clients and servers, and failures made on purpose.
//
// The binaries come from bin/, where `make build` puts them; a missing one
// fails the tests with that advice.
package integration
