// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package guarded is the state component state.custody: any state store of components-contrib, which it calls the
// backend, with a witness before it.
//
// Where it is the store of actors, it sees each row of the history of Dapr's workflows as it is written. Dapr signs that
// history, but whoever can write to the store can put back an earlier copy of it, or delete it, and Dapr does not notice.
// So the digest of each signature is written to a journal, signed, when the store has taken it; and when one is deleted,
// that too. What the backend holds can then be held against the journal.
//
// A transaction with signatures is refused while the journal or the identity to sign with is not there. It is in the
// journal before the backend is asked; one of which the journal does not say that it was done may have been done or not.
//
// Everything else passes to the backend unchanged, and what the backend offers is offered: etags, transactions, TTL,
// queries, listing of keys.
//
// With a door each request is decided by policy before the backend is asked, whole or not at all, and what came of it is
// recorded. Of what is listed or found nothing passes that its caller may not get. The signatures of a workflow's history
// are written and deleted by its own app alone, whatever policy says: anchors vouch for them. There are two ways to one:
//
//   - Access, as in a component server: the process decides for all its stores, and for many callers.
//   - Sidecar and metadata policyDir, as within daprd: the sidecar decides what its own app asks. Caller and signer are
//     the sidecar's SVID, which is nobody's once a certificate of its chain has ended. No door opens without mTLS, and one
//     without a policy refuses everything. It guards against what the app asks for, not against who runs as the
//     sidecar's user or writes its files: these have the backend's credential.
//
// Without a door everybody who reaches the store may do everything, and Init says so in the log.
package guarded
