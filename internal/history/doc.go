// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package history reads and verifies the workflow histories of Dapr 1.18 as they stand in an actor state store.
//
// What it guarantees: Decode takes rows from anybody, within limits, and says which are missing, too many or unreadable.
// Verify calls an event verified only if a signature over it is valid, continues the one before, and was made with a
// certificate that chains to the bundle at the time of the event and names the app and namespace of the instance; and,
// for what an activity or a child workflow returned, if the attestation beside it is valid and its signer is the app
// that the task was scheduled on, which Dapr itself does not check. It does so for histories on which Dapr's own
// verification is switched off (those that end with a mark of tampering), and it holds the instance that a history is
// stored under against the one that the history is of. Nothing is asked of Dapr, a store or a network.
//
// What it does not guarantee: that the history is the newest. Dapr's signatures prove a beginning of a history, and the
// count of events is not signed, so whoever can write the store can put back an earlier copy. That is found only with
// anchors: digests of signatures that somebody else kept. A signature proves which sidecar recorded an event, not what
// the app behind it did.
package history
