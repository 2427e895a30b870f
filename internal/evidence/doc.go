// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package evidence reads journals and exported receipts, and says what holds and what does not.
//
// What it guarantees: Walk gives what a journal says, joined: each receipt with its certificates and its intent, each
// intent that no receipt followed. VerifyJournal and VerifyFile count a receipt as good only if receipt.Verify accepts
// it and, in a journal, if the record that it stands on is there with the chain value that was signed, so that the
// receipt vouches for everything before it. Every flaw is a Finding that names its place.
//
// What it does not guarantee: that nothing was cut off at the end of a journal. Records after the last good receipt are
// vouched for by nobody. Walk alone checks no signature. A file of exported receipts says nothing about receipts that
// are not in it.
package evidence
