// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// seal closes the last step of the way to the app. Dapr's pipeline runs
// without a middleware that is not loaded (pkg/middleware/http/pipeline.go);
// the client that it then uses for the app is a clone of http.DefaultTransport
// (pkg/runtime/channels/channels.go), and a clone keeps Proxy, which is asked
// before every request. So a request to the app that does not bear the guard's
// mark is sent to a "proxy" of ours instead, which lives in this process and
// answers 503 to everything.
type seal struct {
	sealOptions
	required atomic.Bool
	refusals *pipeListener
	proxyURL *url.URL
}

type sealOptions struct {
	// App is host:port of the app as daprd calls it.
	App string
	// HealthPath is the path of Dapr's own health probe; empty where there is none.
	HealthPath string
}

// refusalHost is a name that no resolver knows (RFC 2606); it is dialled
// inside the process.
const refusalHost = "sealed.invalid:80"

func newSeal(options sealOptions) *seal {
	return &seal{
		sealOptions: options,
		refusals:    newPipeListener(),
		proxyURL:    &url.URL{Scheme: "http", Host: refusalHost},
	}
}

// require says whether the way to the app is to be closed to unmarked requests.
func (s *seal) require(on bool) { s.required.Store(on) }

// install puts the seal into http.DefaultTransport and before gRPC's resolvers.
// It must come before the runtime is made, once per process.
func (s *seal) install() {
	s.sealGRPC()
	transport := http.DefaultTransport.(*http.Transport)
	dial := transport.DialContext
	transport.Proxy = s.proxy
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == refusalHost {
			return s.refusals.dial(ctx)
		}
		return dial(ctx, network, address)
	}
	server := &http.Server{Handler: http.HandlerFunc(refuse), ReadHeaderTimeout: readHeaderTimeout}
	go func() {
		if err := server.Serve(s.refusals); err != nil {
			log.Errorf("The refusals of the seal ended; requests without the guard now fail instead of being answered: %v", err)
		}
	}()
}

// proxy is asked by the transport before a request is sent.
func (s *seal) proxy(r *http.Request) (*url.URL, error) {
	if !s.required.Load() || !s.toApp(r.URL) {
		return http.ProxyFromEnvironment(r)
	}
	if mcpguard.Passed(r.Context()) || s.ownProbe(r) {
		return nil, nil
	}
	log.Errorf("A request to the app came past the guard and is refused: %s %q", r.Method, r.URL.Path)
	return s.proxyURL, nil
}

// toApp reports whether the URL leads to the app. Every name of this host with
// the app's port counts, so that no other spelling leads round the seal.
func (s *seal) toApp(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	host, appPort, err := net.SplitHostPort(s.App)
	if err != nil || port != appPort {
		return false
	}
	name := strings.ToLower(u.Hostname())
	if name == strings.ToLower(host) || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// ownProbe reports whether this is daprd's own health probe, which does not
// pass the pipeline (pkg/channel/http/http_channel.go, HealthProbe) and comes
// from no peer.
func (s *seal) ownProbe(r *http.Request) bool {
	if s.HealthPath == "" || r.Method != http.MethodGet || r.URL.RawQuery != "" ||
		r.URL.EscapedPath() != "/"+strings.TrimPrefix(s.HealthPath, "/") {
		return false
	}
	_, fromPeer := peer.FromContext(r.Context())
	return !fromPeer && len(r.Header) == 0
}

// refuse answers in the place of the app. The body is a JSON-RPC error, so that
// an MCP client can show it; which request it answers is not known here.
func refuse(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	if _, err := w.Write([]byte(sealedBody)); err != nil {
		log.Debugf("Answering a refused request: %v", err)
	}
}

const sealedBody = `{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"the guard of this server is not in force; nothing is let through"}}`
