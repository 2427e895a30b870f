// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package conformance tests that the guard is transparent to what policy
// allows: the server scenarios of the official MCP conformance suite run
// against a conforming server (that of the Go SDK), once directly and once
// through two sidecars with the guard and a policy that allows everything, and
// every check must come out the same. What must differ stands with its reason
// in differences.yaml.
//
// It does not say whether the server conforms: scenarios that fail on both
// ways, such as those of an extension that the server lacks, count as equal.
//
// The suite and the Node.js that it needs are npm packages, which package.json
// pins; the first run installs them beside it. The binaries of the sidecars come
// from bin/, where `make build` puts them.
package conformance
