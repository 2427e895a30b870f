// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runServer starts the MCP server in this process and gives its address.
func runServer(t *testing.T) string {
	t.Helper()
	alive, holder := io.Pipe()
	reader, ready := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(alive, ready, nil) }()
	line, err := bufio.NewReader(reader).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, holder.Close())
		require.NoError(t, <-ended)
	})
	return strings.TrimSpace(line)
}

func TestMessage(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{allowedTool, refusedTool} {
		body := message(tool)
		require.Len(t, body, bodyBytes)
		require.True(t, json.Valid(body))
	}
}

func TestServerAnswersAndEndsWithItsParent(t *testing.T) {
	t.Parallel()
	address := runServer(t)
	host, _, err := net.SplitHostPort(address)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", host)
	for _, tool := range []string{allowedTool, refusedTool} {
		status, body, err := once(t.Context(), address, request(address, "/mcp", tool))
		require.NoError(t, err)
		require.NoError(t, hasResult(status, body), tool)
	}
	status, body, err := once(t.Context(), address, request(address, "/mcp", "unknown"))
	require.NoError(t, err)
	require.Error(t, hasResult(status, body))
}

func TestHasResult(t *testing.T) {
	t.Parallel()
	const good = `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"x"}]}}`
	require.NoError(t, hasResult(200, []byte(good)))
	require.Error(t, hasResult(500, []byte(good)))
	for _, body := range []string{
		"", "x", "{}", `{"result":null}`, `{"result":{}}`, `{"error":{"code":-32600,"message":"no"}}`,
		`{"result":{"isError":true,"content":[{"type":"text","text":"x"}]}}`,
	} {
		require.Error(t, hasResult(200, []byte(body)), body)
	}
}

// scripted answers the n-th call with what answer says.
func scripted(t *testing.T, answer func(n int64, w http.ResponseWriter)) string {
	t.Helper()
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Errorf("reading the call: %v", err)
		}
		answer(calls.Add(1), w)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func write(t *testing.T, w http.ResponseWriter, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Errorf("answering: %v", err)
	}
}

func TestLoadCountsOnlyTheAnswerThatIsWanted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		third func(w http.ResponseWriter)
		fails string
	}{
		{"as wanted", func(w http.ResponseWriter) { write(t, w, "good") }, ""},
		{"other bytes", func(w http.ResponseWriter) { write(t, w, "goof") }, "status 200, not the answer"},
		{"more bytes", func(w http.ResponseWriter) { write(t, w, "good ") }, "status 200, not the answer"},
		{"another status", func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); write(t, w, "good") }, "status 201"},
		{"the connection ends", func(w http.ResponseWriter) { w.Header().Set("Connection", "close"); write(t, w, "good") }, "closes the connection"},
		{"it breaks off", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := scripted(t, func(n int64, w http.ResponseWriter) {
				if n == 3 {
					test.third(w)
					return
				}
				write(t, w, "good")
			})
			l := load{address: address, request: request(address, "/mcp", allowedTool), status: http.StatusOK, want: []byte("good"), connections: 2}
			connections, closeAll, err := l.open(t.Context())
			require.NoError(t, err)
			defer closeAll()
			m, err := l.run(connections, 100*time.Millisecond)
			if test.fails != "" {
				require.ErrorContains(t, err, test.fails)
				return
			}
			require.NoError(t, err)
			require.NotEmpty(t, m.latencies)
			require.GreaterOrEqual(t, m.elapsed, 100*time.Millisecond)
		})
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	address := runServer(t)
	way := &target{variant: variant{name: direct}, address: address, path: "/mcp"}
	b := &bench{server: &serverProcess{address: address}, targets: []*target{way}}
	require.NoError(t, b.check(t.Context()))
	require.Equal(t, 2, way.calls)
	cell, err := b.cell(t.Context(), way, 3, 50*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, direct, cell.Variant)
	require.Equal(t, 3, cell.Connections)
	require.Positive(t, cell.Calls)
	require.Greater(t, way.calls, cell.Calls, "the calls of the warm-up count too")
	require.Positive(t, cell.P50)
	require.GreaterOrEqual(t, cell.P99, cell.P50)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.cell(ctx, way, 1, time.Hour)
	require.ErrorIs(t, err, context.Canceled)
}

// A rule that lets everything through must not be measured as a rule.
func TestCheckFindsARuleThatIsNotThere(t *testing.T) {
	t.Parallel()
	address := runServer(t)
	refusing := scripted(t, func(_ int64, w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) })
	for _, test := range []struct {
		name, address, middleware, fails string
	}{
		{"no rule and none expected", address, "", ""},
		{"no rule where one is expected", address, guardType, "refused is false, by a rule: true"},
		{"all is refused", refusing, guardType, "the allowed call: status 403"},
	} {
		b := &bench{
			server:  &serverProcess{address: address},
			targets: []*target{{variant: variant{name: "x", middleware: test.middleware}, address: test.address, path: "/mcp"}},
		}
		err := b.check(t.Context())
		if test.fails == "" {
			require.NoError(t, err, test.name)
			continue
		}
		require.ErrorContains(t, err, test.fails, test.name)
	}
}
