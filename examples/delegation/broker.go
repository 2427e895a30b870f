// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package delegation is an agent in the middle: an MCP server that asks another one on behalf of whom it is asked by
// (docs/delegation.md). It knows nothing of tokens but that they are passed on.
package delegation

import (
	"context"
	"errors"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/dapr-custody/custody/workflows/delegation"
)

// Question is what the tool ask is asked.
type Question struct {
	Text string `json:"text"`
}

// NewBroker serves MCP with the tool ask, which calls the tool echo of the MCP server at endpoint, a path of the own
// sidecar as http://127.0.0.1:3500/v1.0/invoke/server/method/mcp.
func NewBroker(endpoint string, sidecar *delegation.Transport) http.Handler {
	client := mcp.NewClient(&mcp.Implementation{Name: "broker", Version: "1"}, nil)
	server := mcp.NewServer(&mcp.Implementation{Name: "broker", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "ask", Description: "Asks the server."},
		func(ctx context.Context, r *mcp.CallToolRequest, question Question) (*mcp.CallToolResult, any, error) {
			ctx, err := delegation.Received(ctx, r.Extra.Header)
			if err != nil {
				return nil, nil, err
			}
			session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
				Endpoint: endpoint, HTTPClient: &http.Client{Transport: sidecar},
			}, nil)
			if err != nil {
				return nil, nil, err
			}
			result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "echo", Arguments: question})
			return result, nil, errors.Join(err, session.Close())
		})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
}
