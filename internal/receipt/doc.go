// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package receipt makes and checks receipts: signed statements by a door of one decided action and its outcome.
//
// A receipt is a DSSE v1.0.2 envelope (https://github.com/secure-systems-lab/dsse) around an in-toto Statement v1
// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md). The payload bytes are made once, by Sign, and
// are kept verbatim from then on; nothing here ever encodes a payload a second time.
//
// What it guarantees: Verify accepts an envelope only if every signature in it is valid, every signing certificate
// chains to the bundle of its own trust domain, and one of the signers is the door that the receipt names. Sign never
// makes an envelope that Verify would refuse for its content.
//
// What it does not guarantee: that the times in a receipt are true. The door states them, and whoever holds an old key
// can state old times, until something else (a log, a timestamp authority) vouches for the moment; see VerifyOptions.At.
// Nor does one receipt say that no other receipt was left out: that is for the journal and the log.
//
// The package does no I/O and reads no clock. All functions are safe for concurrent use on distinct or unchanging values.
package receipt
