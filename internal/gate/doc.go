// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package gate is the only way from a door to the world: Check, then the call,
// then Settle.
//
// Check decides by policy and, before it allows anything, writes the intent to
// the journal. Settle writes the signed receipt of what came of it. A refusal
// is written as a signed receipt too. Without a policy, an identity, a working
// clock or a journal nothing is allowed: the gate is closed.
//
// A step of a workflow, which a question says that the caller's sidecar signed,
// is passed on once, also over restarts; docs/chain.md says for how long.
//
// What the sidecar's own app asks, states or approves in a workflow no policy
// decides: a Scribe signs and writes it, once for each step.
package gate
