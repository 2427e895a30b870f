// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package delegation_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/workflows/delegation"
)

// peer is an HTTP server that tells the tokens that it got.
func peer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("redirect"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, strings.Join(r.Header.Values("Txn-Token"), "|"))
	}))
	t.Cleanup(s.Close)
	return s
}

// bearing is a context that bears the token a.
func bearing(t *testing.T) context.Context {
	t.Helper()
	return received(t, t.Context(), "a")
}

func get(t *testing.T, client *http.Client, ctx context.Context, url string, header ...string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// The token goes to the own sidecar, and nowhere else.
func TestTokenGoesToTheSidecarOnly(t *testing.T) {
	sidecar, other := peer(t), peer(t)
	u, err := url.Parse(sidecar.URL)
	require.NoError(t, err)
	client := &http.Client{Transport: &delegation.Transport{DaprHTTPEndpoint: sidecar.URL + "/"}}
	for name, c := range map[string]struct {
		ctx    context.Context
		url    string
		header []string
		want   string
	}{
		"sidecar":                  {bearing(t), sidecar.URL + "/v1.0/invoke/x/method/y", nil, "a"},
		"by another name":          {bearing(t), "http://LOCALHOST:" + u.Port(), nil, "a"},
		"set by hand":              {bearing(t), sidecar.URL, []string{"txn-token", "b"}, "b"},
		"no token":                 {t.Context(), sidecar.URL, nil, ""},
		"another port":             {bearing(t), other.URL, nil, ""},
		"redirected away":          {bearing(t), sidecar.URL + "?redirect=" + url.QueryEscape(other.URL), nil, ""},
		"redirected to itself":     {bearing(t), sidecar.URL + "?redirect=" + url.QueryEscape(sidecar.URL), nil, "a"},
		"outlives its request":     {context.WithoutCancel(bearing(t)), sidecar.URL, nil, "a"},
		"a context of its own":     {context.Background(), sidecar.URL, nil, ""},
		"of a later call":          {received(t, bearing(t), "b"), sidecar.URL, nil, "b"},
		"of a later call, without": {received(t, bearing(t)), sidecar.URL, nil, ""},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, get(t, client, c.ctx, c.url, c.header...)) })
	}
}

func received(t *testing.T, ctx context.Context, tokens ...string) context.Context {
	t.Helper()
	ctx, err := delegation.Received(ctx, http.Header{"Txn-Token": tokens})
	require.NoError(t, err)
	return ctx
}

func TestSidecarFromTheEnvironment(t *testing.T) {
	sidecar, other := peer(t), peer(t)
	u, err := url.Parse(sidecar.URL)
	require.NoError(t, err)
	t.Setenv("DAPR_HTTP_ENDPOINT", "")
	t.Setenv("DAPR_HTTP_PORT", u.Port())
	client := func() *http.Client { return &http.Client{Transport: &delegation.Transport{}} }
	require.Equal(t, "a", get(t, client(), bearing(t), sidecar.URL))
	t.Setenv("DAPR_HTTP_ENDPOINT", other.URL)
	require.Empty(t, get(t, client(), bearing(t), sidecar.URL))
	require.Equal(t, "a", get(t, client(), bearing(t), other.URL))
	for _, wrong := range []string{"127.0.0.1:3500", "unix:///run/dapr", "http://", "http://a b"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, sidecar.URL, strings.NewReader("x"))
		require.NoError(t, err)
		_, err = (&delegation.Transport{DaprHTTPEndpoint: wrong}).RoundTrip(r) //nolint:bodyclose // there is no answer
		require.ErrorContains(t, err, "is not a URL as http://127.0.0.1:3500", wrong)
	}
}

// What is asked of the transport is not changed by it.
func TestRequestIsNotChanged(t *testing.T) {
	sidecar := peer(t)
	r, err := http.NewRequestWithContext(bearing(t), http.MethodGet, sidecar.URL, nil)
	require.NoError(t, err)
	resp, err := (&delegation.Transport{DaprHTTPEndpoint: sidecar.URL}).RoundTrip(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Empty(t, r.Header)
}

// Calls that are served at one time do not get each other's token.
func TestHandlerKeepsTokensApart(t *testing.T) {
	sidecar := peer(t)
	client := &http.Client{Transport: &delegation.Transport{DaprHTTPEndpoint: sidecar.URL}}
	app := httptest.NewServer(delegation.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, get(t, client, r.Context(), sidecar.URL))
	})))
	t.Cleanup(app.Close)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			token := fmt.Sprint("token-", i)
			if got := get(t, http.DefaultClient, t.Context(), app.URL, "Txn-Token", token); got != token {
				t.Errorf("%s became %s", token, got)
			}
		})
	}
	group.Wait()
	require.Empty(t, get(t, http.DefaultClient, t.Context(), app.URL))
}

func TestSeveralTokens(t *testing.T) {
	reached := false
	app := delegation.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	for _, second := range []string{"b", "a", ""} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header["Txn-Token"] = []string{"a", second}
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		require.Equal(t, http.StatusBadRequest, w.Code)
		require.False(t, reached)
	}
	ctx, err := delegation.Received(bearing(t), http.Header{"Txn-Token": {"b", "c"}})
	require.ErrorIs(t, err, delegation.ErrSeveralTokens)
	require.Empty(t, delegation.Token(ctx))
}
