// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package delegation

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/dapr-custody/custody/workflows/internal/endpoint"
)

// Transport sends the token of a request's context with it, where it goes to the own sidecar. A request that has the
// header already, goes elsewhere, or whose context bears no token goes as it is. The zero value is right beside a
// sidecar. It is safe for concurrent use, and must not be changed once it was used.
type Transport struct {
	// DaprHTTPEndpoint is the sidecar's HTTP API, as http://127.0.0.1:3500. Empty takes DAPR_HTTP_ENDPOINT, or else
	// 127.0.0.1 and localhost with the port DAPR_HTTP_PORT, or else 3500. Only its scheme and host count.
	DaprHTTPEndpoint string
	// Base sends the requests. Nil is http.DefaultTransport.
	Base http.RoundTripper

	once    sync.Once
	sidecar *url.URL
	err     error
}

// RoundTrip is that of http.RoundTripper. Where the endpoint of the sidecar is not understood nothing is sent.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	t.once.Do(func() { t.sidecar, t.err = endpoint.Of(t.DaprHTTPEndpoint) })
	if t.err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, fmt.Errorf("delegation: %w", t.err)
	}
	token := Token(r.Context())
	if token == "" || !t.own(r.URL) || len(r.Header.Values(Header)) > 0 {
		return base.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	r.Header.Set(Header, token)
	return base.RoundTrip(r)
}

// own is whether a URL leads to the own sidecar.
func (t *Transport) own(u *url.URL) bool {
	return u.Scheme == t.sidecar.Scheme && port(u) == port(t.sidecar) && host(u) == host(t.sidecar)
}

// host names this machine in one way.
func host(u *url.URL) string {
	name := strings.ToLower(u.Hostname())
	if name == "localhost" {
		return "127.0.0.1"
	}
	return name
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}
