// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Orders-server is an ordinary MCP server over a PostgreSQL database of
// customers and orders. It offers four tools: list_customers, get_order,
// update_order_status and run_report.
//
// It does not know who calls it and does not decide who may: it does what it
// is asked. The one thing it does for its own safety is plain Dapr practice:
// when APP_API_TOKEN is set, as Dapr sets it, requests that do not carry that
// token are refused, so that only its own sidecar can talk to it.
//
// It listens on 127.0.0.1:$APP_PORT, MCP at /mcp, and GET /healthz answers 200
// when the database does.
//
//	ORDERS_DATABASE_URL=postgres://... APP_PORT=8711 orders-server
//	APP_PORT=8711 orders-server --database auto
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/examples/program"
)

const startTimeout = time.Minute

type settings struct {
	database string
	port     string
	token    string
	handler  handlerOptions
}

func main() {
	var s settings
	flag.StringVar(&s.database, "database", "env",
		"\"env\": the database that ORDERS_DATABASE_URL names, with its tables in place; \"auto\": a throw-away one; "+
			"\"dapr:NAME\": the one behind the binding NAME of our sidecar")
	flag.StringVar(&s.port, "port", os.Getenv("APP_PORT"), "port on 127.0.0.1; 0 for a free one")
	flag.BoolVar(&s.handler.stateful, "stateful", false,
		"keep MCP sessions; without, each request stands alone, which serves MCP 2026-07-28 and the older revisions")
	flag.BoolVar(&s.handler.eventStream, "event-stream", false, "answer as text/event-stream rather than JSON")
	flag.Parse()
	s.token = os.Getenv("APP_API_TOKEN")

	program.Main("orders-server", func(ctx context.Context, log *slog.Logger) error { return run(ctx, s, log) })
}

// run serves until ctx is done, then lets running requests finish.
func run(ctx context.Context, s settings, log *slog.Logger) (err error) {
	if s.port == "" {
		return errors.New("no port: set APP_PORT or --port")
	}
	found, closeDatabase, err := openDatabase(ctx, s.database, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDatabase()) }()
	listener, err := program.Listen(s.port)
	if err != nil {
		return err
	}
	handler, err := newHandler(&store{database: found}, s.handler, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	log.Info("orders-server listens", "address", listener.Addr().String(), "stateful", s.handler.stateful,
		"token", s.token != "")
	return program.Serve(ctx, listener, program.RequireToken(s.token, handler))
}

// openDatabase finds the way to the database that the flag names, and how to take it away again.
func openDatabase(ctx context.Context, source string, log *slog.Logger) (database, func() error, error) {
	if binding, ok := strings.CutPrefix(source, "dapr:"); ok {
		sidecar, err := newSidecar(os.Getenv("DAPR_HTTP_PORT"), os.Getenv("DAPR_API_TOKEN"), binding)
		return sidecar, func() error { return nil }, err
	}
	switch source {
	case "env":
		url := os.Getenv("ORDERS_DATABASE_URL")
		if url == "" {
			return nil, nil, errors.New("no database: set ORDERS_DATABASE_URL, or use --database auto")
		}
		return openPool(ctx, url, func() error { return nil })
	case "auto":
		starting, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		made, err := postgres.Start(starting, postgres.FromEnvironment())
		if err != nil {
			return nil, nil, err
		}
		log.Info("orders-server made its database", "where", made.Origin())
		return openPool(ctx, made.URL(), made.Close)
	default:
		return nil, nil, fmt.Errorf("--database must be env, auto or dapr:NAME, not %q", source)
	}
}
