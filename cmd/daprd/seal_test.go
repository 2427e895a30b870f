// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/peer"
)

// sealedClient is the client that Dapr would use for the app: a clone of the
// default transport, made after the seal was put in.
func sealedClient(t *testing.T, s *seal) *http.Client {
	t.Helper()
	before := http.DefaultTransport.(*http.Transport)
	http.DefaultTransport = before.Clone()
	t.Cleanup(func() { http.DefaultTransport = before })
	s.install()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestSeal(t *testing.T) {
	var reached atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(app.Close)
	address, err := url.Parse(app.URL)
	require.NoError(t, err)
	s := newSeal(sealOptions{App: address.Host, HealthPath: "healthz", Lookup: lookup})
	client := sealedClient(t, s)
	fromPeer := peer.NewContext(t.Context(), &peer.Peer{})
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	t.Cleanup(elsewhere.Close)

	tests := []struct {
		name     string
		required bool
		ctx      context.Context
		method   string
		url      string
		header   string
		status   int
	}{
		{"no guard is required", false, t.Context(), http.MethodPost, app.URL + "/mcp", "", 200},
		{"without the mark", true, t.Context(), http.MethodPost, app.URL + "/mcp", "", 503},
		{"from a peer", true, fromPeer, http.MethodPost, app.URL + "/mcp", "", 503},
		{"by another name of this host", true, t.Context(), http.MethodPost, "http://localhost:" + address.Port() + "/mcp", "", 503},
		{"by a name that resolves to this host", true, t.Context(), http.MethodPost, "http://vm.test:" + address.Port() + "/mcp", "", 503},
		{"by a name that does not resolve", true, t.Context(), http.MethodPost, "http://nowhere.test:" + address.Port() + "/mcp", "", 503},
		{"to another server", true, t.Context(), http.MethodPost, elsewhere.URL, "", 418},
		{"the health probe", true, t.Context(), http.MethodGet, app.URL + "/healthz", "", 200},
		{"the health path, from a peer", true, fromPeer, http.MethodGet, app.URL + "/healthz", "", 503},
		{"the health path, with a header as a forwarded request has", true, t.Context(), http.MethodGet, app.URL + "/healthz", "X", 503},
		{"the health path with a query", true, t.Context(), http.MethodGet, app.URL + "/healthz?x", "", 503},
		{"another spelling of the health path", true, t.Context(), http.MethodGet, app.URL + "/%68ealthz", "", 503},
		{"a POST of the health path", true, t.Context(), http.MethodPost, app.URL + "/healthz", "", 503},
		{"the configuration, past the guard", true, t.Context(), http.MethodGet, app.URL + "/dapr/config", "", 503},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.require(test.required)
			before := reached.Load()
			request, err := http.NewRequestWithContext(test.ctx, test.method, test.url, strings.NewReader(""))
			require.NoError(t, err)
			if test.header != "" {
				request.Header.Set(test.header, "1")
			}
			response, err := client.Do(request)
			require.NoError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, test.status, response.StatusCode)
			require.Equal(t, test.status == 200, reached.Load() > before, "what reached the app")
			if test.status == 503 {
				require.Equal(t, sealedBody, string(body))
			}
		})
	}
}

func TestSealKnowsTheApp(t *testing.T) {
	s := newSeal(sealOptions{App: "127.0.0.1:8080"})
	for text, want := range map[string]bool{
		"http://127.0.0.1:8080/mcp": true, "http://LOCALHOST:8080": true, "http://x.localhost:8080": true, "http://[::1]:8080": true,
		"http://127.0.0.2:8080": true, "http://0.0.0.0:8080": true, "http://127.0.0.1:8081": false, "http://127.0.0.1": false,
		"http://example.com:8080": false, "http://10.0.0.1:8080": false,
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, s.toApp(u), text)
	}
	plain := newSeal(sealOptions{App: "app.example:80"})
	u, err := url.Parse("http://APP.example/x")
	require.NoError(t, err)
	require.True(t, plain.toApp(u))
}

// lookup knows some names by heart, and addresses.
func lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	switch host {
	case "vm.test":
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:127.0.1.1")}, nil
	case "app.test", "alias.test":
		return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
	case "other.test":
		return []netip.Addr{netip.MustParseAddr("192.0.2.8")}, nil
	case "nowhere.test":
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return net.DefaultResolver.LookupNetIP(ctx, network, host)
}

func TestSealKnowsWhatResolvesToTheApp(t *testing.T) {
	s := newSeal(sealOptions{App: "app.test:8080", Lookup: lookup})
	want := map[string]bool{
		"http://vm.test:8080": true, "http://alias.test:8080": true, "http://192.0.2.7:8080": true, "http://[::ffff:192.0.2.7]:8080": true,
		"http://nowhere.test:8080": true, "http://other.test:8080": false, "http://192.0.2.8:8080": false, "http://alias.test:8081": false,
	}
	own, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, address := range own {
		want["http://"+net.JoinHostPort(netip.MustParsePrefix(address.String()).Addr().String(), "8080")] = true
	}
	for text, want := range want {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, text, http.NoBody)
		require.NoError(t, err)
		require.Equal(t, want, s.resolvesToApp(request), text)
	}
}

// Whoever may speak to the sidecar has it call a URL of his own, and would read there what lets him in at the app.
func TestTokenOfTheAppGoesToTheAppOnly(t *testing.T) {
	const header, token = "Dapr-Api-Token", "of-the-app"
	seen := make(chan []string, 1)
	tell := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header.Values(header) })
	app, elsewhere := httptest.NewServer(tell), httptest.NewServer(tell)
	t.Cleanup(app.Close)
	t.Cleanup(elsewhere.Close)
	astray := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(astray.Close)
	s := newSeal(sealOptions{App: strings.TrimPrefix(app.URL, "http://"), Token: token, Lookup: lookup})
	client := sealedClient(t, s)
	for _, test := range []struct {
		name, url, token string
		required         bool
		want             []string
	}{
		{"to the app", app.URL, token, false, []string{token}},
		{"elsewhere", elsewhere.URL, token, false, nil},
		{"elsewhere, where a guard is required", elsewhere.URL, token, true, nil},
		{"elsewhere by a redirect", astray.URL, token, true, nil},
		{"a token of others", elsewhere.URL, "of-another-sidecar", true, []string{"of-another-sidecar"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.require(test.required)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, test.url, http.NoBody)
			require.NoError(t, err)
			request.Header.Set(header, test.token)
			response, err := client.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, test.want, <-seen)
		})
	}
}
