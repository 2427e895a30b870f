// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package program is what the programs of the examples have in common with any app beside a Dapr sidecar: they serve on
// loopback, end in good order when they are told to, let nobody in but the sidecar, and call others through it. It knows
// nothing of Custody.
package program

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
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

// HealthPath needs no token: it tells nothing.
const HealthPath = "/healthz"

const (
	drainTimeout  = 2 * time.Second
	headerTimeout = 10 * time.Second
)

// Main is the rest of a main function: run is told to end by SIGTERM, as Dapr ends an app, and by Ctrl-C. If it gives an
// error, that is logged, and the process ends with code 1.
func Main(name string, run func(context.Context, *slog.Logger) error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, log); err != nil {
		log.Error(name+" ends", "error", err)
		stop()
		os.Exit(1)
	}
}

// Listen opens a port on 127.0.0.1; 0 is a free one.
func Listen(port string) (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return listener, nil
}

// Serve serves until ctx is done, then lets running requests finish, for two seconds at the most.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
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
	err := server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		// Streams of MCP sessions stay open as long as their client does.
		err = server.Close()
	}
	return err
}

// RequireToken refuses requests without Dapr's app API token, which the
// sidecar sends as dapr-api-token when APP_API_TOKEN is set
// (https://docs.dapr.io/operations/security/app-api-token/). An empty token
// lets everything through.
func RequireToken(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	// Digests are of equal length, so that the comparison tells no length.
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("dapr-api-token")))
		if r.URL.Path != HealthPath && subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			http.Error(w, "dapr-api-token is missing or wrong", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
