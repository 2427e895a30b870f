// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/dapr-custody/custody/examples/program"
)

const (
	mcpPath        = "/mcp"
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
	mux.HandleFunc("GET "+program.HealthPath, func(w http.ResponseWriter, r *http.Request) {
		if err := s.database.ping(r.Context()); err != nil {
			log.Error("the database does not answer", "error", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		}
	})
	return mux, nil
}
