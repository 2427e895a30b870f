// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"net/http"
	"strings"
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
	// HeaderTxnToken carries a transaction token. None is made at this door, so none passes.
	HeaderTxnToken = "Txn-Token"
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

// takeOurs takes out of the header what is ours, and gives the values of Custody-Step and whether Custody-Chain says
// ChainPresented.
func takeOurs(header http.Header) (steps []string, presented bool) {
	for name, values := range header {
		if !ours(name) {
			continue
		}
		switch {
		case strings.EqualFold(name, HeaderStep):
			steps = append(steps, values...)
		case strings.EqualFold(name, HeaderChain):
			presented = len(values) == 1 && values[0] == ChainPresented
		}
		delete(header, name)
	}
	return steps, presented
}

// withoutHops takes out what is for one connection only (RFC 9110, section
// 7.6.1). A Connection header could otherwise have the server's sidecar drop the
// question (Dapr pkg/messaging/v1/util.go).
func withoutHops(header http.Header) {
	for _, name := range []string{"Connection", "Content-Length", "Content-Encoding", "Expect", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		header.Del(name)
	}
}
