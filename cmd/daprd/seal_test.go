// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
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
	s := newSeal(sealOptions{App: address.Host, HealthPath: "healthz"})
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
