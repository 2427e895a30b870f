// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/dapr/dapr/cmd/sentry/options"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"
)

func get(t *testing.T, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestHealthServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	port := ln.Addr().(*net.TCPAddr).Port
	require.NoError(t, ln.Close())

	hz := healthz.New()
	part := hz.AddTarget("part")
	log := logger.NewLogger("test")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- newHealthServer(log, hz, "127.0.0.1", port).run(ctx) }()
	addr := "127.0.0.1:" + strconv.Itoa(port)
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp4", addr)
		return err == nil && conn.Close() == nil
	}, 5*time.Second, time.Millisecond)

	url := "http://" + addr + "/healthz"
	require.Equal(t, http.StatusServiceUnavailable, get(t, url))
	part.Ready()
	require.Eventually(t, func() bool { return get(t, url) == http.StatusOK }, 5*time.Second, time.Millisecond)
	part.NotReady()
	require.Equal(t, http.StatusServiceUnavailable, get(t, url))
	require.Equal(t, http.StatusNotFound, get(t, "http://"+addr+"/"))

	// It is on the one address only: the same port of another is free.
	other, err := net.Listen("tcp4", "127.0.0.2:"+strconv.Itoa(port))
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.ErrorContains(t, newHealthServer(log, healthz.New(), "127.0.0.1", port).run(t.Context()), "in use")

	cancel()
	require.NoError(t, <-ended)
}

func TestSentryConfig(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "sentry.yaml")
	require.NoError(t, os.WriteFile(config, []byte("spec: {mtls: {workloadCertTTL: 10m}}\n"), 0o600))
	base := []string{"--config", config, "--issuer-credentials", "/cred", "--trust-domain", "td.test"}
	cfg, err := sentryConfig(options.New(base))
	require.NoError(t, err)
	require.Equal(t, "/cred/ca.crt", cfg.RootCertPath)
	require.Equal(t, "td.test", cfg.TrustDomain)
	require.Equal(t, 10*time.Minute, cfg.WorkloadCertTTL)
	require.Equal(t, []string{"/cred"}, watchedFolders(cfg, options.New(base)))

	opts := options.New(append(base, "--issuer-ca-filename", "/other/root.pem"))
	cfg, err = sentryConfig(opts)
	require.NoError(t, err)
	require.Equal(t, "/other/root.pem", cfg.RootCertPath)
	require.Equal(t, []string{"/cred", "/other"}, watchedFolders(cfg, opts))

	_, err = sentryConfig(options.New(append(base, "--oidc-server-tls-cert-file", "/x")))
	require.ErrorContains(t, err, "both must be given or none")
	_, err = sentryConfig(options.New([]string{"--config", config + ".none"}))
	require.ErrorContains(t, err, "configuration: ")
}
