// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/program"
)

// asServer makes the test binary be the server itself.
const asServer = "ORDERS_SERVER_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestHealthFollowsTheDatabase(t *testing.T) {
	s := newStore(t)
	handler, err := newHandler(s, handlerOptions{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ask := func() int {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, program.HealthPath, nil))
		return answer.Code
	}
	require.Equal(t, http.StatusOK, ask())
	s.database.(*pooled).pool.Close()
	require.Equal(t, http.StatusServiceUnavailable, ask())
}

// TestProcess runs the whole program with a database of its own and ends it as
// Dapr does, with SIGTERM.
func TestProcess(t *testing.T) {
	data, err := os.MkdirTemp("", "custody-orders-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(data)) })
	require.NoError(t, os.Chmod(data, 0o711))

	server := exec.Command(os.Args[0], "--database", "auto", "--port", "0")
	server.Env = append(os.Environ(), asServer+"=1", "APP_API_TOKEN=secret", "ORDERS_DATA_DIR="+data, "CUSTODY_POSTGRES_URL=")
	output, err := server.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		if err := server.Process.Kill(); err != nil {
			require.ErrorIs(t, err, os.ErrProcessDone)
		}
	})
	log := bufio.NewReader(output)
	address := awaitAddress(t, log)

	require.Equal(t, http.StatusOK, get(t, "http://"+address+"/healthz", ""))
	require.Equal(t, http.StatusUnauthorized, get(t, "http://"+address+"/mcp", ""))
	require.Equal(t, http.StatusMethodNotAllowed, get(t, "http://"+address+"/mcp", "secret"))

	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(log)
	require.NoError(t, err)
	require.NoError(t, server.Wait(), string(rest))
	left, err := os.ReadDir(data)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestProcessNeedsSettings(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no port", nil, "set APP_PORT or --port"},
		{"no database", []string{"--port", "0"}, "set ORDERS_DATABASE_URL"},
		{"bad source", []string{"--port", "0", "--database", "none"}, "--database must be env, auto or dapr:NAME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := exec.Command(os.Args[0], c.args...)
			server.Env = []string{asServer + "=1"}
			output, err := server.CombinedOutput()
			require.Error(t, err)
			require.Equal(t, 1, server.ProcessState.ExitCode())
			require.Contains(t, string(output), c.want)
		})
	}
}

func awaitAddress(t *testing.T, log *bufio.Reader) string {
	t.Helper()
	address := regexp.MustCompile(`orders-server listens.* address=(\S+)`)
	for {
		line, err := log.ReadString('\n')
		require.NoError(t, err, line)
		if found := address.FindStringSubmatch(line); found != nil {
			return found[1]
		}
	}
}

func get(t *testing.T, url, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Header.Set("dapr-api-token", token)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return answer.StatusCode
}
