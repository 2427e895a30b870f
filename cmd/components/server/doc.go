// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package server serves pluggable components of Dapr on Unix sockets, to several sidecars at once, each known by its
// SPIFFE ID.
//
// What components-go-sdk does not see to is seen to here: every call but discovery is refused unless its caller is
// known; instances are kept for each caller, type and name, so that two apps with equal names never meet; an instance
// comes back by itself after the server was restarted, since daprd initialises it only once (Dapr
// pkg/components/pluggable); errors have the form in which daprd understands them; and values arrive as they were sent.
//
// Who the caller is, what it may do and what is recorded is not decided here.
package server
