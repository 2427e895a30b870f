// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	allowedTool = "echo"
	refusedTool = "reverse" // the server has it, the rules do not
	bodyBytes   = 600
)

// message is a tools/call of bodyBytes.
func message(tool string) []byte {
	head := fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":%q,"arguments":{"text":"`, tool)
	const tail = `"}}}`
	return []byte(head + strings.Repeat("n", bodyBytes-len(head)-len(tail)) + tail)
}

// request is a whole HTTP request, ready to be written.
func request(address, path, tool string) []byte {
	body := message(tool)
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"+
		"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: %d\r\n\r\n",
		path, address, len(body))
	return append([]byte(head), body...)
}

// connection is a keep-alive connection with one call on it at a time.
type connection struct {
	net.Conn
	reader *bufio.Reader
	body   bytes.Buffer
}

func dial(ctx context.Context, address string) (*connection, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, reader: bufio.NewReader(conn)}, nil
}

// call sends a request and gives the answer's status and body. The body is
// valid until the next call.
func (c *connection) call(request []byte) (int, []byte, error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if resp.Close {
		return 0, nil, fmt.Errorf("status %d closes the connection", resp.StatusCode)
	}
	c.body.Reset()
	_, err = c.body.ReadFrom(resp.Body)
	return resp.StatusCode, c.body.Bytes(), err
}

// once makes a single call on a connection of its own.
func once(ctx context.Context, address string, request []byte) (int, []byte, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	return c.call(request)
}

// hasResult says what is wrong with an answer that should be a result.
func hasResult(status int, body []byte) error {
	var answer struct {
		Result *struct {
			IsError bool              `json:"isError"`
			Content []json.RawMessage `json:"content"`
		} `json:"result"`
	}
	switch err := json.Unmarshal(body, &answer); {
	case status != http.StatusOK, err != nil, answer.Result == nil, answer.Result.IsError, len(answer.Result.Content) == 0:
		return fmt.Errorf("status %d and no result: %.200s", status, body)
	}
	return nil
}

// load is a closed loop: each connection sends its next call when the last one
// is answered. Every answer must have the status and be want.
type load struct {
	address     string
	request     []byte
	status      int
	want        []byte
	connections int
}

// measured is what a load did.
type measured struct {
	latencies []time.Duration
	elapsed   time.Duration
}

// open makes the connections; they close at the latest when ctx ends.
func (l load) open(ctx context.Context) ([]*connection, func(), error) {
	var all []*connection
	closeAll := func() {
		for _, c := range all {
			c.Close()
		}
	}
	for range l.connections {
		c, err := dial(ctx, l.address)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, c)
	}
	release := context.AfterFunc(ctx, closeAll)
	return all, func() { release(); closeAll() }, nil
}

// run calls for the time given. A call that was begun is waited for.
func (l load) run(connections []*connection, duration time.Duration) (measured, error) {
	results := make([][]time.Duration, len(connections))
	failures := make([]error, len(connections))
	began := time.Now()
	end := began.Add(duration)
	var all sync.WaitGroup
	for i, c := range connections {
		all.Go(func() { results[i], failures[i] = l.loop(c, end) })
	}
	all.Wait()
	m := measured{elapsed: time.Since(began)}
	for _, r := range results {
		m.latencies = append(m.latencies, r...)
	}
	return m, errors.Join(failures...)
}

func (l load) loop(c *connection, end time.Time) ([]time.Duration, error) {
	latencies := make([]time.Duration, 0, 4096)
	for now := time.Now(); now.Before(end); {
		status, body, err := c.call(l.request)
		if err != nil {
			return nil, fmt.Errorf("call: %w", err)
		}
		if status != l.status || !bytes.Equal(body, l.want) {
			return nil, fmt.Errorf("call: status %d, not the answer that the server gives: %.200s", status, body)
		}
		then := now
		now = time.Now()
		latencies = append(latencies, now.Sub(then))
	}
	return latencies, nil
}
