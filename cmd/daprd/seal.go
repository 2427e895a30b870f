// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/dapr/dapr/pkg/security/consts"
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
//
// It also keeps the token of the app with the app. Dapr puts it into every request
// to a URL that somebody names to its API (pkg/runtime/channels/channels.go,
// HTTPEndpointsAppChannel), so that whoever may speak to the sidecar could have it
// sent to himself, and then go to the app past the sidecar.
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
	// Token is what the app knows its own sidecar by (APP_API_TOKEN); empty where there is none.
	Token string
	// Lookup gives the addresses of a name, as net.Resolver.LookupNetIP does.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
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
	named := s.toApp(r.URL)
	if !named {
		s.keepToken(r.Header)
	}
	if !s.required.Load() || !named && !s.resolvesToApp(r) {
		return http.ProxyFromEnvironment(r)
	}
	if mcpguard.Passed(r.Context()) || s.ownProbe(r) {
		return nil, nil
	}
	log.Errorf("A request to the app came past the guard and is refused: %s %q", r.Method, r.URL.Path)
	return s.proxyURL, nil
}

// keepToken takes the app's token out of a request to anybody else.
func (s *seal) keepToken(header http.Header) {
	if s.Token != "" && slices.Contains(header.Values(consts.APITokenHeader), s.Token) {
		header.Del(consts.APITokenHeader)
	}
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// toApp reports whether the URL names the app. Every plain name of this host with
// the app's port counts; for all others see resolvesToApp.
func (s *seal) toApp(u *url.URL) bool {
	host, appPort, err := net.SplitHostPort(s.App)
	if err != nil || portOf(u) != appPort {
		return false
	}
	name := strings.ToLower(u.Hostname())
	if name == strings.ToLower(host) || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// resolvesToApp reports whether a URL with the app's port that toApp does not know
// leads to the app all the same, by another name or address of its host or of this
// one. What cannot be looked up counts as if it did. What goes to a proxy of the
// environment does not.
func (s *seal) resolvesToApp(r *http.Request) bool {
	host, port, err := net.SplitHostPort(s.App)
	if err != nil || portOf(r.URL) != port {
		return false
	}
	if through, err := http.ProxyFromEnvironment(r); err == nil && through != nil {
		return false
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	targets, err := s.Lookup(r.Context(), "ip", r.URL.Hostname())
	if err != nil {
		return true
	}
	apps, err := s.Lookup(r.Context(), "ip", host)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(targets, func(target netip.Addr) bool {
		target = target.Unmap().WithZone("")
		return target.IsLoopback() || target.IsUnspecified() ||
			slices.ContainsFunc(apps, func(app netip.Addr) bool { return app.Unmap().WithZone("") == target }) ||
			slices.ContainsFunc(own, func(address net.Addr) bool {
				prefix, err := netip.ParsePrefix(address.String())
				return err != nil || prefix.Addr().Unmap() == target
			})
	})
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
