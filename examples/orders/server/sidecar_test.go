// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/program"
)

// behind makes a sidecar whose HTTP API is answer. What a real one does, the demo of orders-db shows.
func behind(t *testing.T, token string, answer http.HandlerFunc) *sidecar {
	t.Helper()
	web := httptest.NewServer(answer)
	t.Cleanup(web.Close)
	address, err := url.Parse(web.URL)
	require.NoError(t, err)
	s, err := newSidecar(address.Port(), token, "orders-db")
	require.NoError(t, err)
	return s
}

func TestSidecarSendsWhatDaprTakes(t *testing.T) {
	var got invocation
	var path, apiToken string
	s := &store{database: behind(t, "secret", func(w http.ResponseWriter, r *http.Request) {
		path, apiToken = r.Method+" "+r.URL.Path, r.Header.Get("dapr-api-token")
		text, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(text, &got) != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, `[[1001, "pending", "paid"]]`)
	})}
	for name, c := range map[string]struct {
		header http.Header
		want   string
	}{
		"on behalf of nobody":  {http.Header{}, ""},
		"on behalf of someone": {http.Header{"Txn-Token": {"a.b.c"}}, "a.b.c"},
	} {
		got = invocation{}
		ctx := onBehalf(t.Context(), &mcp.CallToolRequest{Extra: &mcp.RequestExtra{Header: c.header}})
		change, err := s.setStatus(ctx, 1001, "paid")
		require.NoError(t, err, name)
		require.Equal(t, statusChange{OrderID: 1001, OldStatus: "pending", NewStatus: "paid"}, change)
		require.Equal(t, "POST /v1.0/bindings/orders-db", path)
		require.Equal(t, "secret", apiToken)
		require.Equal(t, "query", got.Operation)
		require.Equal(t, `[1001,"paid"]`, got.Metadata["params"])
		require.NotContains(t, got.Metadata["sql"], "1001")
		sent, there := got.Metadata["Txn-Token"]
		require.Equal(t, c.want, sent, name)
		require.Equal(t, c.want != "", there, name)
	}
	require.Empty(t, tokenOf(onBehalf(t.Context(), &mcp.CallToolRequest{})))
}

func TestSidecarThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		body, want string
	}{
		"refused":          {http.StatusInternalServerError, `{"message":"Denied by policy."}`, "500 Internal Server Error: {\"message\":\"Denied by policy.\"}"},
		"no rows":          {http.StatusOK, `[]`, errUnknownOrder.Error()},
		"not JSON":         {http.StatusOK, `<html>`, "the binding's answer"},
		"another shape":    {http.StatusOK, `{"rows":1}`, "the binding's answer"},
		"too few columns":  {http.StatusOK, `[[1, "paid"]]`, "has 2 columns, and not 3"},
		"too many columns": {http.StatusOK, `[[1, "a", "b", "c"]]`, "has 4 columns, and not 3"},
		"another type":     {http.StatusOK, `[["x", "a", "b"]]`, "column 1"},
		"too large":        {http.StatusOK, string(bytes.Repeat([]byte(" "), program.MaxAnswer+1)), "more than 16777216 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &store{database: behind(t, "", func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("dapr-api-token") != "" {
					w.WriteHeader(http.StatusBadRequest)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})}
			change, err := s.setStatus(t.Context(), 1, "paid")
			require.ErrorContains(t, err, c.want)
			require.Zero(t, change)
		})
	}
}

func TestSidecarHealth(t *testing.T) {
	status := http.StatusNoContent
	s := behind(t, "", func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/v1.0/healthz/outbound", r.URL.Path)
		w.WriteHeader(status)
	})
	require.NoError(t, s.ping(t.Context()))
	status = http.StatusInternalServerError
	require.Error(t, s.ping(t.Context()))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.ping(gone), context.Canceled)
}

func TestSidecarNeedsSettings(t *testing.T) {
	for _, c := range []struct{ port, binding, want string }{
		{"", "orders-db", `DAPR_HTTP_PORT is ""`},
		{"3500@example.com", "orders-db", "DAPR_HTTP_PORT is"},
		{"65536", "orders-db", "DAPR_HTTP_PORT is"},
		{"3500", "", "names no binding"},
	} {
		_, err := newSidecar(c.port, "", c.binding)
		require.ErrorContains(t, err, c.want)
	}
}

func FuzzScan(f *testing.F) {
	for _, seed := range []string{`[]`, `[[1,"a","b"]]`, `[[null,null,null]]`, `null`, `[null]`, `[[1,"a"]]`, `{"a":1}`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		rows := 0
		err := scan(answer, func() []any { rows++; return new(statusChange).columns() })
		var given []json.RawMessage
		if err == nil && (json.Unmarshal(answer, &given) != nil || len(given) != rows) {
			t.Fatalf("%q was read as %d rows", answer, rows)
		}
	})
}
