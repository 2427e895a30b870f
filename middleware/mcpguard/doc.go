// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package mcpguard is the door before an MCP server: HTTP middleware in the
// sidecar of the server (type middleware.http.mcpguard, in
// spec.appHttpPipeline of its Configuration).
//
// It guarantees that a request reaches the server only
//   - from a caller whose X.509-SVID was verified here, against the roots of
//     its own trust domain;
//   - as our own encoding of what was parsed and decided, so that the guard and
//     the server cannot read one message two ways;
//   - after policy allowed it and the intent was written to the journal;
//   - with no transaction token but the one that was verified here, within its
//     scope;
//
// that a step of a workflow, whose signed question comes with it, passes once
// (docs/chain.md); and that what a server answers is settled with a signed
// receipt. What the guard cannot understand, decide or record is refused.
//
// A door is thin: it decodes, asks the gate (internal/gate), passes on, settles
// and encodes. Rules stand in policy.
//
// It does not protect against who reaches the server by another way than
// through its sidecar; the server must listen on loopback and should check
// Dapr's APP_API_TOKEN.
package mcpguard
