// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Refund is the four apps of the refund example in one program; its argument
// says which one to be:
//
//	refund intake     runs the workflow: fraud check, approval, payment
//	refund fraud      checks refunds, as a child workflow
//	refund approver   stands for the person who approves
//	refund payments   is the MCP server with the tool refund_payment
//
// Each listens on 127.0.0.1:$APP_PORT and talks to the others through its own
// Dapr sidecar. What it may do is not decided here.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	drainTimeout  = 2 * time.Second
	headerTimeout = 10 * time.Second
)

// role makes the handler of an app. What it starts ends with ctx.
type role func(ctx context.Context, log *slog.Logger) (http.Handler, error)

var roles = map[string]role{"intake": intake, "fraud": fraud, "approver": approver, "payments": payments}

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], log); err != nil {
		log.Error("refund ends", "error", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, log *slog.Logger) error {
	if len(arguments) != 1 || roles[arguments[0]] == nil {
		return errors.New("say which app to be: refund intake, fraud, approver or payments")
	}
	port := os.Getenv("APP_PORT")
	if port == "" {
		return errors.New("no port: set APP_PORT")
	}
	handler, err := roles[arguments[0]](ctx, log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("refund listens", "as", arguments[0], "address", listener.Addr().String())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return nil
}
