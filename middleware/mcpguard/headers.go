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
	// HeaderTxnToken carries a transaction token. None is honoured at this
	// door, so none passes.
	HeaderTxnToken = "Txn-Token"
)

// Dapr's own headers about the caller. A caller can set them itself (the
// sidecars merge what both say), so they are replaced by what was verified.
const (
	headerDaprCallerApp       = "Dapr-Caller-App-Id"
	headerDaprCallerNamespace = "Dapr-Caller-Namespace"
)

// identityHeaders claim who a caller is, by convention of some proxy or other.
// Authorization stays: it is between the client and the server.
var identityHeaders = map[string]bool{
	"dapr-caller-app-id":      true,
	"dapr-caller-namespace":   true,
	"txn-token":               true,
	"x-forwarded-client-cert": true,
	"x-spiffe-id":             true,
	"x-client-id":             true,
	"client-id":               true,
	"x-forwarded-user":        true,
	"x-remote-user":           true,
	"remote-user":             true,
}

// claimsIdentity reports whether a header of this name must not reach the
// server as the caller sent it. An underscore counts as a hyphen: CGI-like
// servers read both as one.
func claimsIdentity(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return identityHeaders[name] || strings.HasPrefix(name, "custody-")
}

// withoutClaims takes out of the header what claims an identity or is ours.
func withoutClaims(header http.Header) {
	for name := range header {
		if claimsIdentity(name) {
			delete(header, name)
		}
	}
}

// withoutHops takes out what is for one connection only (RFC 9110, section
// 7.6.1) or is set anew for the way to the server. A Connection header could
// otherwise have a proxy behind us drop the headers that we set.
func withoutHops(header http.Header) {
	for _, name := range []string{
		"Connection", "Content-Length", "Expect", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		header.Del(name)
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
