// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"net/http"
	"strings"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Headers that are ours (docs/chain.md).
const (
	// HeaderStep is how a worker says of which step of its workflow a call is.
	HeaderStep = "Custody-Step"
	// HeaderQuestion carries the question to the server's sidecar, and back to the worker.
	HeaderQuestion = "Custody-Question"
	// HeaderChain is how a worker says with ChainPresented that the guard was shown all links that the worker has.
	HeaderChain = "Custody-Chain"
	// ChainPresented is all that a worker can say in HeaderChain.
	ChainPresented = "presented"
	// HeaderHeld is how a worker says whose certificates it has, so that links come to it without (receipt.ParseHeld).
	HeaderHeld = "Custody-Held"
	// HeaderHas is how the server's guard says what of a question it has, so that it need not be sent again.
	HeaderHas = "Custody-Has"
	// HasNothing, HasQuestion and HasBoth are what a guard says in HeaderHas: the certificates of the question, and the
	// token too.
	HasNothing  = "nothing"
	HasQuestion = "question"
	HasBoth     = "question token"
	// headerAnswer comes with every answer of a guard that is a link.
	headerAnswer = "Custody-Answer"
	// HeaderTxnToken carries a transaction token (docs/delegation.md): from the app the one that it was sent, to the other
	// sidecar the one that is made here.
	HeaderTxnToken = "Txn-Token"
	// HeaderTxn is how an app begins a transaction, or narrows one.
	HeaderTxn = "Custody-Txn"
)

// ownPrefix begins the names of our own headers.
const ownPrefix = "Custody-"

// ours reports whether a header must not pass as the app sent it. An underscore
// counts as a hyphen, because CGI-like servers read both as one.
func ours(name string) bool {
	if !strings.ContainsAny(name, "-_") {
		return false
	}
	name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	return name == HeaderTxnToken || strings.HasPrefix(name, ownPrefix)
}

// owned is what an app says in headers that are ours.
type owned struct {
	steps, tokens, txn []string     // of Custody-Step, Txn-Token and Custody-Txn
	presented          bool         // Custody-Chain says ChainPresented
	held               receipt.Held // what Custody-Held says
}

// takeOurs takes out of the header what is ours.
func takeOurs(header http.Header) (own owned) {
	for name, values := range header {
		if !ours(name) {
			continue
		}
		switch {
		case strings.EqualFold(name, HeaderStep):
			own.steps = append(own.steps, values...)
		case strings.EqualFold(name, HeaderTxnToken):
			own.tokens = append(own.tokens, values...)
		case strings.EqualFold(name, HeaderTxn):
			own.txn = append(own.txn, values...)
		case strings.EqualFold(name, HeaderHeld):
			own.held = receipt.ParseHeld(values)
		case strings.EqualFold(name, HeaderChain):
			own.presented = len(values) == 1 && values[0] == ChainPresented
		}
		delete(header, name)
	}
	return own
}

// withoutHops takes out what is for one connection only (RFC 9110, section
// 7.6.1). A Connection header could otherwise have the server's sidecar drop the
// question (Dapr pkg/messaging/v1/util.go).
func withoutHops(header http.Header) {
	for _, name := range []string{"Connection", "Content-Length", "Content-Encoding", "Expect", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		header.Del(name)
	}
}
