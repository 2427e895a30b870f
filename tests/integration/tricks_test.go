// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

// The tricks that need whole sidecars: those of HTTP connections, and of paths
// that Dapr resolves before the guard. The others are in middleware/mcpguard.
// What counts is what the server saw.

const methodPath = "/v1.0/invoke/server/method/mcp"

// head is the head of a POST to the MCP endpoint; more are its header lines.
func head(path string, more ...string) string {
	lines := []string{"POST " + path + " HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Accept: application/json, text/event-stream"}
	return strings.Join(append(lines, more...), "\r\n") + "\r\n\r\n"
}

// sized is a whole request.
func sized(path, body string, more ...string) string {
	return head(path, append(more, fmt.Sprintf("Content-Length: %d", len(body)))...) + body
}

// chunks is a body in chunks of n bytes, to its end.
func chunks(body string, n int) string {
	var text strings.Builder
	for part := body; part != ""; {
		size := min(n, len(part))
		fmt.Fprintf(&text, "%x\r\n%s\r\n", size, part[:size])
		part = part[size:]
	}
	return text.String() + "0\r\n\r\n"
}

// wire is a connection to alice's sidecar.
type wire struct {
	*net.TCPConn
	t      *testing.T
	reader *bufio.Reader
}

func (m *mesh) wire(t *testing.T) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.app("alice").DaprHTTPPort))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the sidecar may have closed it
	// A test that waits in vain fails.
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return &wire{TCPConn: conn.(*net.TCPConn), t: t, reader: bufio.NewReader(conn)}
}

func (w *wire) send(text string) {
	w.t.Helper()
	_, err := io.WriteString(w.TCPConn, text)
	require.NoError(w.t, err)
}

// statuses reads answers until the sidecar ends the connection.
func (w *wire) statuses() []int {
	w.t.Helper()
	var all []int
	for {
		resp, err := http.ReadResponse(w.reader, nil)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
			return all
		}
		var refused *net.OpError
		if errors.As(err, &refused) && !refused.Timeout() {
			return all
		}
		require.NoError(w.t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(w.t, errors.Join(err, resp.Body.Close()))
		all = append(all, resp.StatusCode)
	}
}

// passed are the bodies that reached the server since the first n requests. Each
// request must bear alice's name and no other.
func (m *mesh) passed(t *testing.T, n int) []string {
	t.Helper()
	var bodies []string
	for _, request := range m.server.Requests()[n:] {
		require.Equal(t, "POST /mcp", request.Method+" "+request.Path)
		require.Equal(t, []string{"spiffe://custody.local/ns/default/alice"}, request.Header.Values("Custody-Caller"))
		require.Equal(t, []string{"alice"}, request.Header.Values("Dapr-Caller-App-Id"))
		for _, name := range []string{"Expect", "Trailer", "Te", "Upgrade", "Proxy-Connection"} {
			require.Empty(t, request.Header.Values(name), name)
		}
		bodies = append(bodies, request.Body)
	}
	return bodies
}

func TestTricksOfConnections(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	echo, again, reverse := call("echo", "x"), call("echo", "again"), call("reverse", "x")
	const p, end, inChunks = methodPath, "Connection: close", "Transfer-Encoding: chunked"
	none := []string(nil)
	tests := []struct {
		name     string
		send     string
		statuses []int // of the answers; nil means any that are refusals
		reached  []string
	}{
		{"one request", sized(p, echo, end), []int{200}, []string{echo}},
		{"a denied one", sized(p, reverse, end), []int{403}, none},
		{"pipelined, the denied one between", sized(p, echo) + sized(p, reverse) + sized(p, again, end), []int{200, 403, 200}, []string{echo, again}},
		{"pipelined, the denied one first", sized(p, reverse) + sized(p, echo, end), []int{403, 200}, []string{echo}},
		{"pipelined behind one that is malformed", sized(p, "{") + sized(p, reverse, end), []int{400, 403}, none},

		{"in chunks", head(p, inChunks, end) + chunks(echo, 7), []int{200}, []string{echo}},
		{"in chunks of one byte", head(p, inChunks, end) + chunks(echo, 1), []int{200}, []string{echo}},
		{"denied, in chunks", head(p, inChunks, end) + chunks(reverse, 7), []int{403}, none},
		{"the denied part in another chunk", head(p, inChunks, end) + chunks(echo, len(echo)-1)[:len(echo)+5] + chunks(echo[len(echo)-1:]+reverse, 50), []int{400}, none},
		{"chunks with extensions", head(p, inChunks, end) + strings.Replace(chunks(echo, 7), "7\r\n", "7;tool=reverse\r\n", 1), []int{200}, []string{echo}},
		{
			"chunks with a trailer", head(p, inChunks, "Trailer: Custody-Caller, Mcp-Name", end) + strings.TrimSuffix(chunks(echo, 7), "\r\n") + "Custody-Caller: admin\r\nMcp-Name: reverse\r\n\r\n",
			[]int{200},
			[]string{echo},
		},
		{"a chunk that is longer than it says", head(p, inChunks, end) + "3\r\n" + echo + "\r\n0\r\n\r\n", nil, none},
		{"a chunk with a size that is none", head(p, inChunks, end) + "-1\r\n" + echo + "\r\n0\r\n\r\n", nil, none},
		{"chunks without the last one", head(p, inChunks) + strings.TrimSuffix(chunks(echo, 7), "0\r\n\r\n"), nil, none},

		{"cut off", strings.TrimSuffix(sized(p, echo), `"x"}}}`), nil, none},
		{"whole, but said to be longer", head(p, fmt.Sprintf("Content-Length: %d", len(echo)+1)) + echo, nil, none},
		{"said to be shorter", head(p, "Content-Length: 10") + echo, nil, none},
		{"no length", head(p, end) + echo, []int{400}, none},

		{"two lengths", head(p, end, "Content-Length: 5", fmt.Sprintf("Content-Length: %d", len(echo))) + echo, nil, none},
		{"two lengths in one", head(p, end, fmt.Sprintf("Content-Length: %d, 5", len(echo))) + echo, nil, none},
		{"a length with a sign", head(p, end, fmt.Sprintf("Content-Length: +%d", len(echo))) + echo, nil, none},
		{"a length below zero", head(p, end, "Content-Length: -1") + echo, nil, none},
		{"a length and chunks", head(p, "Content-Length: 5", inChunks) + chunks(echo, 50) + sized(p, reverse, end), nil, []string{echo}},
		{"chunks and a length, and a request behind it", head(p, inChunks, fmt.Sprintf("Content-Length: %d", len(sized(p, reverse))+5)) + "0\r\n\r\n" + sized(p, reverse, end), nil, none},
		{"a coding that is none", head(p, end, "Transfer-Encoding: xchunked") + chunks(echo, 50), nil, none},
		{"two codings", head(p, end, "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunks(echo, 50), nil, none},
		{"a coding behind another", head(p, end, "Transfer-Encoding: gzip, chunked") + chunks(echo, 50), nil, none},
		{"a space before the colon", head(p, end, "Transfer-Encoding : chunked") + chunks(echo, 50), nil, none},

		{"two hosts", sized(p, echo, "Host: other", end), nil, none},
		{"a whole URL to another host", sized("http://other.example"+p, reverse, end), []int{403}, none},
		{"a header on two lines", sized(p, echo, "X: a\r\n b: c", end), []int{200}, []string{echo}},
		{"a header without a name", sized(p, echo, ": x", end), nil, none},
		{"a header with U+0000", sized(p, echo, "X: a\x00b", end), nil, none},
		{"lines without a carriage return", strings.ReplaceAll(sized(p, reverse, end), "\r\n", "\n"), nil, none},
		{"headers that are not to be passed on", sized(p, echo, "Te: trailers", "Proxy-Connection: close", "Connection: close, Custody-Caller, Dapr-Caller-App-Id"), []int{200}, []string{echo}},
		{"the method in small letters, which Dapr makes large", "post" + strings.TrimPrefix(sized(p, reverse, end), "POST"), []int{403}, none},
		{"another method", "PUT" + strings.TrimPrefix(sized(p, echo, end), "POST"), []int{405}, none},
		{"a method that is none, which Dapr takes for POST", "CUSTODY" + strings.TrimPrefix(sized(p, echo, end), "POST"), []int{200}, []string{echo}},
		{"and denied", "CUSTODY" + strings.TrimPrefix(sized(p, reverse, end), "POST"), []int{403}, none},
	}
	var all []string
	first := len(m.server.Requests())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			seen := len(m.server.Requests())
			w := m.wire(t)
			w.send(test.send)
			if !strings.Contains(test.send, end) {
				// To a server in Go the caller is then gone, whole request or not.
				require.NoError(t, w.CloseWrite())
			}
			got := w.statuses()
			if test.statuses != nil {
				require.Equal(t, test.statuses, got)
			} else {
				for i, status := range got {
					require.True(t, status >= 400 || i < len(test.reached), "%v", got)
				}
			}
			require.Equal(t, test.reached, m.passed(t, seen))
			all = append(all, test.reached...)
		})
	}
	require.Equal(t, all, m.passed(t, first), "nothing came late")
}

// A client may ask first whether its body is wanted.
func TestTricksOfExpect(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	for tool, status := range map[string]int{"echo": 200, "reverse": 403} {
		body := call(tool, "x")
		for _, waits := range []bool{true, false} {
			seen := len(m.server.Requests())
			w := m.wire(t)
			w.send(head(methodPath, "Expect: 100-continue", "Connection: close", fmt.Sprintf("Content-Length: %d", len(body))))
			if waits {
				resp, err := http.ReadResponse(w.reader, nil)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.Equal(t, 100, resp.StatusCode)
				require.Empty(t, m.passed(t, seen))
			}
			w.send(body)
			got := w.statuses()
			require.Equal(t, status, got[len(got)-1])
			var want []string
			if tool == "echo" {
				want = []string{body}
			}
			require.Equal(t, want, m.passed(t, seen))
		}
	}
	seen := len(m.server.Requests())
	w := m.wire(t)
	w.send(sized(methodPath, call("echo", "x"), "Expect: something", "Connection: close"))
	require.Equal(t, []int{417}, w.statuses())
	require.Empty(t, m.passed(t, seen))
}

// The caller's sidecar also speaks HTTP/2 without TLS.
func TestTricksOfHTTP2(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	for tool, status := range map[string]int{"echo": 200, "reverse": 403} {
		seen := len(m.server.Requests())
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.endpoint("alice"), strings.NewReader(call(tool, "x")))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", "application/json, text/event-stream")
		request.Header.Set("Custody-Caller", "spiffe://custody.local/ns/default/bob")
		resp, err := (&http.Client{Transport: transport}).Do(request)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 2, resp.ProtoMajor)
		require.Equal(t, status, resp.StatusCode)
		var want []string
		if tool == "echo" {
			want = []string{call(tool, "x")}
		}
		require.Equal(t, want, m.passed(t, seen))
	}

	// And it changes to it when asked to, from HTTP/1.1.
	seen, recorded := len(m.server.Requests()), len(m.journal().Receipts)
	w := m.wire(t)
	w.send(sized(methodPath, call("reverse", "x"), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk") +
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	m.eventually(func() bool { return len(m.journal().Receipts) > recorded })
	require.Empty(t, m.passed(t, seen))
}

// A body that does not end holds nothing up, and nothing of it passes, although
// the part that came is a whole message.
func TestTricksOfSlowBodies(t *testing.T) {
	m := startMesh(t, meshOptions{
		mcp: testkit.MCPOptions{JSON: true}, guard: guardComponent + "  - {name: maxRequestTime, value: 100ms}\n",
	})
	body := call("echo", "x")
	seen := len(m.server.Requests())
	for _, header := range []string{"Transfer-Encoding: chunked", fmt.Sprintf("Content-Length: %d", len(body)+1)} {
		recorded := len(m.journal().Receipts)
		w := m.wire(t)
		w.send(head(methodPath, header))
		if strings.HasPrefix(header, "Transfer") {
			w.send(strings.TrimSuffix(chunks(body, 7), "0\r\n\r\n"))
		} else {
			w.send(body)
		}
		// The caller's own sidecar waits for the end of the body, so that the answer is not seen here.
		m.eventually(func() bool { return len(m.journal().Receipts) > recorded })
		receipts := m.journal().Receipts
		require.Equal(t, "the body took longer than maxRequestTime", receipts[len(receipts)-1].Decision.Reason)
		require.Empty(t, m.passed(t, seen))
		// The end comes too late.
		w.send("}")
		require.NoError(t, w.CloseWrite())
		for _, status := range w.statuses() {
			require.GreaterOrEqual(t, status, 400)
		}
		require.Empty(t, m.passed(t, seen))
	}
}

// Dapr resolves a path before the guard sees it; whatever becomes of it is
// decided as what the server gets.
func TestTricksOfPathsThroughDapr(t *testing.T) {
	m := startMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	echo, reverse := call("echo", "x"), call("reverse", "x")
	base := "/v1.0/invoke/server/method"
	tests := []struct {
		name, path string
		header     []string
		status     int // of the echo, which may pass as POST /mcp; the reverse never does
	}{
		{"as it should be", base + "/mcp", nil, 200},
		{"two slashes", base + "//mcp", nil, 200},
		{"a slash at the end", base + "/mcp/", nil, 200},
		{"a way back", base + "/x/../mcp", nil, 200},
		{"an encoded way back", base + "/mcp/%2e%2e/mcp", nil, 200},
		{"an encoded way back at the end", base + "/mcp/%2e%2e/", nil, 403},
		{"out of the app", base + "/../../other/method/mcp", nil, 0},
		{"an encoded slash", base + "/x%2f..%2fmcp", nil, 200},
		{"an encoded slash at the end", base + "/mcp%2f", nil, 200},
		{"encoded twice", base + "/mcp/%252e%252e/mcp", nil, 403},
		{"an encoded letter", base + "/%6dcp", nil, 200},
		{"a letter encoded twice", base + "/%256dcp", nil, 403},
		{"capitals", base + "/MCP", nil, 403},
		{"a parameter", base + "/mcp;x", nil, 403},
		{"a query", base + "/mcp?x=1", nil, 400},
		{"an encoded query", base + "/mcp%3fx=1", nil, 0},
		{"an encoded fragment", base + "/mcp%23x", nil, 0},
		{"an encoded U+0000", base + "/mcp%00", nil, 0},
		{"an encoded line end", base + "/mcp%20HTTP/1.1%0d%0aX:%20y", nil, 0},
		{"a host in the path", base + "/@127.0.0.1/mcp", nil, 403},
		{"the app in a header", "/mcp", []string{"dapr-app-id: server"}, 200},
		{"the app in a header, another path", "/x/../mcp", []string{"dapr-app-id: server"}, 200},
		{"the app as a password", "/mcp", []string{"Authorization: Basic ZGFwci1hcHAtaWQ6c2VydmVy"}, 200},
		{"the app with its namespace", "/v1.0/invoke/server.default/method/mcp", nil, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, body := range []string{reverse, echo} {
				seen := len(m.server.Requests())
				w := m.wire(t)
				w.send(sized(test.path, body, append(test.header, "Connection: close")...))
				got := w.statuses()
				require.Len(t, got, 1)
				if body == reverse || test.status != 200 {
					require.GreaterOrEqual(t, got[0], 300)
					require.Empty(t, m.passed(t, seen))
				}
				if body == echo && test.status != 0 {
					require.Equal(t, test.status, got[0])
				}
				if test.status == 200 && body == echo {
					require.Equal(t, []string{echo}, m.passed(t, seen))
				}
			}
		})
	}
}
