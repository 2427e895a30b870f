// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/testkit"
)

// endless is a body that goes on for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// piped is a body as Dapr hands it on (CallLocalStream in pkg/api/grpc/daprinternal.go):
// one end of a pipe, which is closed with an error when the caller's stream breaks.
func piped(from io.Reader) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() {
		_, err := io.Copy(writer, from)
		writer.CloseWithError(err)
	}()
	return reader
}

// Bodies that come in pieces, break off, or do not end. Real connections are in
// tests/integration/tricks_test.go.
func TestTricksOfBodies(t *testing.T) {
	echo := call("echo", "x")
	never, release := io.Pipe() // nothing is ever written to it
	t.Cleanup(func() { require.NoError(t, release.Close()) })
	tests := []struct {
		name     string
		body     io.ReadCloser
		length   int64 // what the request says
		impolite bool  // the caller takes its time
		status   int
		reason   string
		reached  []string
	}{
		{name: "byte by byte", body: piped(iotest.OneByteReader(strings.NewReader(echo))), length: -1, status: 200, reached: []string{echo}},
		{name: "said to be shorter", body: piped(strings.NewReader(echo)), length: 10, status: 200, reached: []string{echo}},
		{name: "said to be longer", body: piped(strings.NewReader(echo)), length: 10_000, status: 200, reached: []string{echo}},
		{name: "said to be longer than any", body: piped(strings.NewReader(echo)), length: 1 << 62, status: 200, reached: []string{echo}},
		{
			name: "whole, and then broken off", status: 400, reason: "the body broke off: gone", length: -1,
			body: piped(io.MultiReader(strings.NewReader(echo), iotest.ErrReader(errors.New("gone")))),
		},
		{
			name: "broken off in the middle", status: 400, reason: "the body broke off: unexpected EOF", length: int64(len(echo)),
			body: piped(io.MultiReader(strings.NewReader(echo[:40]), iotest.ErrReader(io.ErrUnexpectedEOF))),
		},
		{name: "without an end", body: piped(endless{}), length: -1, status: 413, reason: "the body is larger than maxRequestBytes"},
		{name: "whole, and then nothing more", body: piped(io.MultiReader(strings.NewReader(echo), never)), length: -1, impolite: true, status: 408, reason: "the body took longer than maxRequestTime"},
		{name: "nothing at all", body: piped(never), length: 100, impolite: true, status: 408, reason: "the body took longer than maxRequestTime"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, testkit.MCPOptions{JSON: true}, func(r *rig) {
				if test.impolite {
					r.meta["maxRequestTime"] = "20ms"
				}
			})
			ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{
				State: tls.ConnectionState{PeerCertificates: r.ca.SVID("alice").Certificates},
			}})
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.server.URL+"/mcp", test.body)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, request.Body.Close()) })
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Accept", "application/json, text/event-stream")
			request.ContentLength = test.length
			answer := httptest.NewRecorder()
			r.guard.Handler(http.HandlerFunc(toApp)).ServeHTTP(answer, request)

			require.Equal(t, test.status, answer.Code, answer.Body.String())
			var reached []string
			for _, request := range r.server.Requests() {
				reached = append(reached, request.Body)
			}
			require.Equal(t, test.reached, reached)
			if test.reason != "" {
				require.Equal(t, test.reason, r.lastRecord().Decision.Reason)
				require.Contains(t, answer.Body.String(), r.lastRecord().ID)
			}
		})
	}
}
