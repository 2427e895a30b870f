// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/kit/logger"
)

// healthServer answers GET /healthz with 200 once every part of the service is
// ready and with 503 before. It listens on the given address only; Dapr's own
// server of this kind takes a port and listens on all interfaces.
type healthServer struct {
	log    logger.Logger
	addr   string
	mux    *http.ServeMux
	target healthz.Target
}

func newHealthServer(log logger.Logger, hz healthz.Healthz, host string, port int) *healthServer {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !hz.IsReady() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	return &healthServer{
		log:    log,
		addr:   net.JoinHostPort(host, strconv.Itoa(port)),
		mux:    mux,
		target: hz.AddTarget("healthz-server"),
	}
}

// run serves until the context ends.
func (s *healthServer) run(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("healthz server: %w", err)
	}
	srv := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	s.log.Infof("Healthz server is listening on %s", ln.Addr())
	s.target.Ready()

	select {
	case err = <-served:
		return fmt.Errorf("healthz server: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err = srv.Shutdown(stop); err != nil {
		return fmt.Errorf("healthz server: %w", err)
	}
	if err = <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("healthz server: %w", err)
	}
	return nil
}
