// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// agent calls tools over one MCP session, which it opens when first needed
// and again when it broke.
type agent struct {
	endpoint string
	protocol string
	header   http.Header

	mu      sync.Mutex
	session *mcp.ClientSession
}

func newAgent(endpoint, protocol string, header http.Header) *agent {
	return &agent{endpoint: endpoint, protocol: protocol, header: header}
}

// toolError is what a tool answered when it could not do what was asked.
type toolError struct{ text string }

func (e *toolError) Error() string { return "tool: " + e.text }

// call returns the tool's structured result, or its content where it has none.
func (a *agent) call(ctx context.Context, tool string, arguments json.RawMessage, extra http.Header) (any, error) {
	params := &mcp.CallToolParams{Name: tool}
	if len(arguments) > 0 {
		params.Arguments = arguments
	}
	var answer *mcp.CallToolResult
	err := a.do(ctx, extra, func(session *mcp.ClientSession) (err error) {
		answer, err = session.CallTool(ctx, params)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case answer.IsError:
		return nil, &toolError{textOf(answer.Content)}
	case answer.StructuredContent != nil:
		return answer.StructuredContent, nil
	default:
		return answer.Content, nil
	}
}

// tools returns the names of the tools that the server shows us.
func (a *agent) tools(ctx context.Context) ([]string, error) {
	names := []string{}
	err := a.do(ctx, nil, func(session *mcp.ClientSession) error {
		names = names[:0]
		for tool, err := range session.Tools(ctx, nil) {
			if err != nil {
				return err
			}
			names = append(names, tool.Name)
		}
		return nil
	})
	return names, err
}

// do runs ask on the session. With extra headers it uses a session of its own,
// since a session's headers are the same in all its requests.
func (a *agent) do(ctx context.Context, extra http.Header, ask func(*mcp.ClientSession) error) error {
	if len(extra) > 0 {
		session, err := a.connect(ctx, extra)
		if err != nil {
			return err
		}
		return errors.Join(ask(session), session.Close())
	}
	err := a.try(ctx, ask)
	if errors.Is(err, mcp.ErrSessionMissing) {
		// The server did not know the session, so it has done nothing:
		// asking again cannot do it twice.
		err = a.try(ctx, ask)
	}
	return err
}

func (a *agent) try(ctx context.Context, ask func(*mcp.ClientSession) error) error {
	session, err := a.current(ctx)
	if err != nil {
		return err
	}
	err = ask(session)
	var answered *jsonrpc.Error
	if err != nil && !errors.As(err, &answered) {
		return errors.Join(err, a.drop(session))
	}
	return err
}

func (a *agent) current(ctx context.Context) (*mcp.ClientSession, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session != nil {
		return a.session, nil
	}
	session, err := a.connect(ctx, nil)
	a.session = session
	return session, err
}

// drop forgets a broken session. That it cannot be closed in good order any
// more is no news.
func (a *agent) drop(broken *mcp.ClientSession) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session != broken {
		return nil
	}
	a.session = nil
	if err := broken.Close(); err != nil && !errors.Is(err, mcp.ErrSessionMissing) {
		return fmt.Errorf("close the broken session: %w", err)
	}
	return nil
}

func (a *agent) connect(ctx context.Context, extra http.Header) (*mcp.ClientSession, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "orders-agent", Version: "1.0.0"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint:             a.endpoint,
		HTTPClient:           &http.Client{Transport: &headerAdder{sets: []http.Header{a.header, extra}}},
		DisableStandaloneSSE: true, // nothing is awaited between calls
	}, &mcp.ClientSessionOptions{ProtocolVersion: a.protocol})
	if err != nil {
		return nil, fmt.Errorf("open the MCP session: %w", err)
	}
	return session, nil
}

func (a *agent) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session == nil {
		return nil
	}
	return a.session.Close()
}

// headerAdder adds the same headers to every request.
type headerAdder struct{ sets []http.Header }

func (h *headerAdder) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for _, set := range h.sets {
		for name, values := range set {
			r.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

func textOf(content []mcp.Content) string {
	var texts []string
	for _, part := range content {
		if text, ok := part.(*mcp.TextContent); ok {
			texts = append(texts, text.Text)
		}
	}
	return strings.Join(texts, "\n")
}
