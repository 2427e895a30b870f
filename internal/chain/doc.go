// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package chain verifies the links of chains of custody (docs/chain.md): each by itself, and all against one another.
//
// What it guarantees: a link that Add or Verify keeps is signed, by a certificate that was valid at its moment, by the app
// that its step names, for this chain and trust domain, and says nothing that its kind must not say. A View holds only
// such links, only those that its heads continue, and none that a fault between links takes out; what a View shows, and in
// which order, depends on the links and the heads alone and not on the order in which they came.
//
// What it does not guarantee: that nothing was left out where nothing that is there names it (the last links of a chain
// that has not ended; a branch that no link joins), that a server is the one that a question was meant for (a Step says
// whose door answered), and that times are true (Options.At).
//
// The package does no I/O and reads no clock. Chain, View and Verify are safe for concurrent use.
package chain
