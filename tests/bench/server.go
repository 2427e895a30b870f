// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type echoInput struct {
	Text string `json:"text"`
}

func echo(_ context.Context, _ *mcp.CallToolRequest, in echoInput) (*mcp.CallToolResult, any, error) {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: in.Text}}}, nil, nil
}

// serve is the MCP server, stateless and with JSON answers. It says on ready
// where it listens, and ends when alive does, so that it cannot outlive the
// process that holds the other end.
func serve(alive io.Reader, ready io.Writer, _ []string) error {
	server := mcp.NewServer(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	for _, tool := range []string{allowedTool, refusedTool} {
		mcp.AddTool(server, &mcp.Tool{Name: tool, Description: "Gives back the text."}, echo)
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true}))
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err = fmt.Fprintln(ready, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() {
		_, readErr := io.Copy(io.Discard, alive)
		ended <- errors.Join(readErr, web.Close())
	}()
	if err = web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// serverProcess is the MCP server or some guards as a process of its own, so that
// the load client's garbage collector is not the server's.
type serverProcess struct {
	address string
	cmd     *exec.Cmd
	alive   io.Closer
}

func startServer(log io.Writer) (*serverProcess, error) { return startSelf(log, serveArgument) }

// startSelf starts this program anew and waits for its first line.
func startSelf(log io.Writer, args ...string) (*serverProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us; we end it
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err = cmd.Start(); err != nil {
		return nil, err
	}
	s := &serverProcess{cmd: cmd, alive: alive}
	line, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", args[0], err), s.stop())
	}
	s.address = strings.TrimSpace(line)
	return s, nil
}

func (s *serverProcess) port() (int, error) {
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

func (s *serverProcess) stop() error {
	closeErr := s.alive.Close()
	if err := s.cmd.Wait(); err != nil {
		return errors.Join(closeErr, fmt.Errorf("%s: %w", s.cmd.Args[1], err))
	}
	return closeErr
}
