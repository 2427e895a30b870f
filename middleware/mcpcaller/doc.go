// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package mcpcaller is the door on the caller's side: HTTP middleware in the
// sidecar of an app that runs workflows (type middleware.http.mcpcaller, in
// spec.httpPipeline of its Configuration). It signs for its own app what the
// steps of a workflow ask, state and approve (docs/chain.md).
//
// It guarantees that a call that bears Custody-Step goes on only
//   - as our own encoding of what was parsed, so that the question and the
//     server's guard are about the same bytes;
//   - with a question that is signed by the sidecar's own identity, names that
//     app and no other, and is in the journal;
//   - without a header of ours that the app made itself.
//
// Doing a step again gives the same question, byte for byte, as long as it is
// among the newest 10,000 links of this sidecar, also after a restart. What
// cannot be parsed, signed or recorded is refused, and nothing is sent.
//
// A question goes without certificates, and with the name of its token, to a
// guard that has said that it has them. Where another instance has them not, the
// same question is sent once more with all of it, and its app sees one answer.
// What a guard has passed on to its server is not sent again by that.
//
// It also keeps the transaction tokens of its app (docs/delegation.md): one that
// the app was sent goes on only where it verifies, as one of this sidecar's own
// for the app that is invoked. No other token leaves.
//
// It does not decide anything: that is for the guard of the server. It knows
// the app as whoever can reach the sidecar's HTTP API, which should be guarded
// by loopback and Dapr's DAPR_API_TOKEN; Dapr checks that token before this
// middleware. It does not see what an app sends through the sidecar's gRPC API,
// which has no such pipeline: a call made there is outside every chain. And it
// sees nothing while its component is not loaded: Dapr then leaves it out. A
// worker must take an answer without Custody-Question for a failed step, and a
// guard refuses a call whose Custody-Step nobody took off.
package mcpcaller
