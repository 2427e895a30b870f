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

// identityHeaders claim who a caller is, by convention of some proxy or other.
// They are written as net/http writes them. Authorization stays: it is between
// the client and the server.
var identityHeaders = map[string]bool{
	headerDaprCallerApp:       true,
	headerDaprCallerNamespace: true,
	HeaderTxnToken:            true,
	"X-Forwarded-Client-Cert": true,
	"X-Spiffe-Id":             true,
	"X-Client-Id":             true,
	"Client-Id":               true,
	"X-Forwarded-User":        true,
	"X-Remote-User":           true,
	"Remote-User":             true,
	"Client-Cert":             true, // RFC 9440
	"Client-Cert-Chain":       true,
}

// reroutingHeaders have some servers take a request for another one than its
// method and path say, which is what was decided.
var reroutingHeaders = map[string]bool{
	"X-Http-Method":          true,
	"X-Http-Method-Override": true,
	"X-Method-Override":      true,
	"X-Original-Method":      true,
	"X-Original-Url":         true,
	"X-Original-Uri":         true,
	"X-Rewrite-Url":          true,
}

// ownPrefix begins the names of our own headers.
const ownPrefix = "Custody-"

// misleads reports whether a header of this name must not reach the server as
// the caller sent it. An underscore counts as a hyphen, because CGI-like servers
// read both as one, and letters count in either case.
func misleads(name string) bool {
	name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	return identityHeaders[name] || reroutingHeaders[name] || strings.HasPrefix(name, ownPrefix)
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

// withoutHops takes out what is for one connection only (RFC 9110, section
// 7.6.1) or is set anew for the way to the server. A Connection header could
// otherwise have a proxy behind us drop the headers that we set.
func withoutHops(header http.Header) {
	for _, name := range [...]string{ // as net/http writes them
		"Connection", "Content-Length", "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		delete(header, name)
	}
}

// withoutUnderscores takes out headers with an underscore in their name, as nginx
// does: CGI-like servers read it as a hyphen, and so one that nobody looked at as
// one that was checked, such as the session ID.
func withoutUnderscores(header http.Header) {
	for name := range header {
		if strings.Contains(name, "_") {
			delete(header, name)
		}
	}
}

// introduce says who the caller is, to a server that wants to know.
func introduce(header http.Header, caller identity.Caller) {
	withoutClaims(header)
	header.Set(HeaderCaller, caller.ID().String())
	if caller.AppID() != "" {
		header.Set(headerDaprCallerApp, caller.AppID())
		header.Set(headerDaprCallerNamespace, caller.Namespace())
	}
}
