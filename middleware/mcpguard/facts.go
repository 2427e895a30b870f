// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// facts are what conditions of rules may ask about the request; message is nil for
// what is not JSON-RPC.
func (x *exchange) facts(message *toolcall.Message) policy.Facts {
	f := policy.Facts{Context: x.r.Context(), TraceID: traceID(x.r.Header)}
	if p, ok := peer.FromContext(x.r.Context()); ok {
		f.IP = ipOf(p.Addr)
	}
	if message != nil {
		f.Arguments, f.Session = message.Arguments(), message.Session()
	}
	return f
}

// ipOf is the address of a TCP peer, zero for another kind of peer.
func ipOf(address net.Addr) netip.Addr {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// traceID takes the trace ID out of the one traceparent header (W3C Trace Context,
// section 3.2), "" if there is none or it is not in order. It is what the caller says.
func traceID(header http.Header) string {
	values := header["Traceparent"]
	if len(values) != 1 {
		return ""
	}
	version, rest, _ := strings.Cut(values[0], "-")
	id, rest, _ := strings.Cut(rest, "-")
	const hex = "0123456789abcdef"
	if len(version) != 2 || len(id) != 32 || rest == "" || strings.Trim(id, hex) != "" || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}
