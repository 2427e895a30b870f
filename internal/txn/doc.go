// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package txn makes and verifies the tokens that say on whose behalf a call is made (docs/delegation.md): JSON Web
// Tokens of type txntoken+jwt, after the OAuth Transaction Tokens draft, with the delegation chain of RFC 8693, section
// 4.1, each signed by the SVID key of the sidecar that sends it and holding the token that it replaces.
//
// A verified token proves that each workload named in it handed the transaction to the next, and that no hop widened
// what the one before let it do. It does not prove that the workload that began it still wants it done, and it is no
// credential: whoever takes one must know by other means that its sender is the workload in req_wl, which is why
// [Verify] asks for that.
//
// The package does no I/O and reads no clock.
package txn
