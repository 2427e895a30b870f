// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	mcpPath        = "/mcp"
	healthPath     = "/healthz"
	sessionTimeout = 30 * time.Minute
)

type handlerOptions struct {
	stateful    bool
	eventStream bool
}

// newHandler serves MCP at /mcp and the database's health at /healthz.
func newHandler(s *store, options handlerOptions, log *slog.Logger) (http.Handler, error) {
	server, err := newServer(s, log)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(mcpPath, mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{
			Stateless:                    !options.stateful,
			JSONResponse:                 !options.eventStream,
			SessionTimeout:               sessionTimeout,
			PropagateRequestCancellation: true,
			Logger:                       log,
		}))
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, r *http.Request) {
		if err := s.database.ping(r.Context()); err != nil {
			log.Error("the database does not answer", "error", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		}
	})
	return mux, nil
}

// requireToken refuses requests without Dapr's app API token, which the
// sidecar sends as dapr-api-token when APP_API_TOKEN is set
// (https://docs.dapr.io/operations/security/app-api-token/). An empty token
// lets everything through. The health check needs none: it tells nothing.
func requireToken(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	// Digests are of equal length, so that the comparison tells no length.
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("dapr-api-token")))
		if r.URL.Path != healthPath && subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			http.Error(w, "dapr-api-token is missing or wrong", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
