// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"net/http"
	"strings"

	"github.com/dapr-custody/custody/internal/identity"
)

// Headers that are ours.
const (
	// HeaderCaller tells the server the verified SPIFFE ID of the caller.
	HeaderCaller = "Custody-Caller"
	// HeaderReceipt tells the caller the digest of the receipt of its call.
	HeaderReceipt = "Custody-Receipt"
	// HeaderStep is what a worker says to its own sidecar, which takes it off.
	HeaderStep = "Custody-Step"
	// HeaderTxnToken carries a transaction token (docs/delegation.md). What was
	// verified passes, and nothing else.
	HeaderTxnToken = "Txn-Token"
)

// Dapr's own headers about the caller. A caller can set them itself (the
// sidecars merge what both say), so they are replaced by what was verified.
const (
	headerDaprCallerApp       = "Dapr-Caller-App-Id"
	headerDaprCallerNamespace = "Dapr-Caller-Namespace"
)

// claims reports whether a header of this name, written as net/http writes it,
// claims who a caller is, by convention of some proxy or other. Authorization is
// none of them: it is between the client and the server.
func claims(name string) bool {
	switch name {
	case headerDaprCallerApp, headerDaprCallerNamespace, HeaderTxnToken,
		"X-Forwarded-Client-Cert", "X-Spiffe-Id", "X-Client-Id", "Client-Id", "X-Forwarded-User", "X-Remote-User", "Remote-User",
		"Client-Cert", "Client-Cert-Chain": // RFC 9440
		return true
	}
	return strings.HasPrefix(name, ownPrefix)
}

// reroutes reports whether the header has some servers take a request for another
// one than its method and path say, which is what was decided.
func reroutes(name string) bool {
	switch name {
	case "X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Method", "X-Original-Url",
		"X-Original-Uri", "X-Rewrite-Url":
		return true
	}
	return false
}

// hops reports whether the header is for one connection only (RFC 9110, section
// 7.6.1) or is set anew for the way to the server. A Connection header could
// otherwise have a proxy behind us drop the headers that we set.
func hops(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// ownPrefix begins the names of our own headers.
const ownPrefix = "Custody-"

// misleads reports whether a header of this name must not reach the server as
// the caller sent it. An underscore counts as a hyphen, because CGI-like servers
// read both as one, and letters count in either case.
func misleads(name string) bool {
	name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	return claims(name) || reroutes(name)
}

// withoutClaims takes out of the header what claims an identity, names another
// request or is ours.
func withoutClaims(header http.Header) {
	for name := range header {
		if misleads(name) {
			delete(header, name)
		}
	}
}

// withoutOthers takes out of the header of a request, besides what withoutClaims
// does, what is for one connection only, and headers with an underscore in their
// name, as nginx does: CGI-like servers read it as a hyphen, and so one that nobody
// looked at as one that was checked, such as the session ID.
func withoutOthers(header http.Header) {
	for name := range header {
		if hops(name) || strings.Contains(name, "_") || misleads(name) {
			delete(header, name)
		}
	}
}

// introduce says who the caller is, to a server that wants to know.
func introduce(header http.Header, caller identity.Caller) {
	withoutOthers(header)
	header.Set(HeaderCaller, caller.ID().String())
	if caller.AppID() != "" {
		header.Set(headerDaprCallerApp, caller.AppID())
		header.Set(headerDaprCallerNamespace, caller.Namespace())
	}
}
