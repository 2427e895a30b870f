// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
)

// MCPServer is a real MCP server on the official SDK, on a real socket. It
// keeps every request that reached it, so that a test can say that none did.
type MCPServer struct {
	*httptest.Server

	mu       sync.Mutex
	requests []Received
}

// Received is a request as the server got it.
type Received struct {
	Method string
	Path   string
	Header http.Header
	Body   string
}

// MCPOptions say how the server speaks.
type MCPOptions struct {
	// Stateful gives each client a session (revisions before 2026-07-28).
	Stateful bool
	// JSON answers in one piece instead of with events.
	JSON bool
	// Tools are the names of the tools; each answers with the text it is given. Empty means "echo", "reverse" and "fail".
	Tools []string
	// Prompts, Resources and Templates are names, URIs and URI templates of what the
	// server has beside its tools, none by default. Prompts and resources answer with
	// the name or URI that is asked for, and completion with one value.
	Prompts, Resources, Templates []string
}

type echoInput struct {
	Text string `json:"text"`
}

type echoOutput struct {
	Tool string `json:"tool"`
	Text string `json:"text"`
}

// NewMCPServer starts a server at /mcp; it ends with the test. The tool "fail"
// answers with a tool error, "progress" sends two progress notifications first.
func NewMCPServer(tb testing.TB, options MCPOptions) *MCPServer {
	tb.Helper()
	if len(options.Tools) == 0 {
		options.Tools = []string{"echo", "reverse", "fail"}
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "testkit", Version: "1"}, options.handlers())
	options.addOthers(server)
	for _, name := range options.Tools {
		mcp.AddTool(server, &mcp.Tool{Name: name, Description: "Gives back the text."}, echo(name))
	}
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: !options.Stateful, JSONResponse: options.JSON})
	s := &MCPServer{}
	mux := http.NewServeMux()
	mux.Handle("/mcp", handler)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s.Server = httptest.NewUnstartedServer(s.recording(tb, mux))
	// Many servers take HTTP/2 without TLS as well, which gRPC could speak to them.
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	tb.Cleanup(s.Close)
	return s
}

func (o *MCPOptions) handlers() *mcp.ServerOptions {
	if len(o.Prompts)+len(o.Resources)+len(o.Templates) == 0 {
		return nil
	}
	return &mcp.ServerOptions{
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
		CompletionHandler: func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{"completed"}}}, nil
		},
	}
}

// addOthers gives the server what is no tool.
func (o *MCPOptions) addOthers(server *mcp.Server) {
	for _, name := range o.Prompts {
		server.AddPrompt(&mcp.Prompt{Name: name}, func(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Description: r.Params.Name}, nil
		})
	}
	read := func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, Text: r.Params.URI}}}, nil
	}
	for _, uri := range o.Resources {
		server.AddResource(&mcp.Resource{URI: uri, Name: uri}, read)
	}
	for _, template := range o.Templates {
		server.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: template, Name: template}, read)
	}
}

func echo(name string) mcp.ToolHandlerFor[echoInput, echoOutput] {
	return func(ctx context.Context, request *mcp.CallToolRequest, in echoInput) (*mcp.CallToolResult, echoOutput, error) {
		switch name {
		case "fail":
			return nil, echoOutput{}, fmt.Errorf("the tool failed on %q", in.Text)
		case "progress":
			for i := range 2 {
				err := request.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
					ProgressToken: request.Params.GetProgressToken(), Progress: float64(i + 1), Total: 2,
				})
				if err != nil {
					return nil, echoOutput{}, err
				}
			}
		}
		return nil, echoOutput{Tool: name, Text: in.Text}, nil
	}
}

func (s *MCPServer) recording(tb testing.TB, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			tb.Logf("testkit: reading a request: %v", err)
		}
		s.mu.Lock()
		s.requests = append(s.requests, Received{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Body: string(body)})
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// Requests are those that have reached the server until now.
func (s *MCPServer) Requests() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.requests...)
}

// Last is the newest request; it fails the test if there was none.
func (s *MCPServer) Last(tb testing.TB) Received {
	tb.Helper()
	requests := s.Requests()
	require.NotEmpty(tb, requests, "nothing reached the server")
	return requests[len(requests)-1]
}
