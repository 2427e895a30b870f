// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/dapr-custody/custody/examples/program"
)

// payments is an ordinary MCP server. It does not know who calls it, and pays
// whatever it is told to.
func payments(_ context.Context, log *slog.Logger) (http.Handler, error) {
	till := &till{log: log}
	server := mcp.NewServer(&mcp.Implementation{Name: "payments", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: refundTool, Description: "Pays a customer back."}, till.pay)
	m := mux()
	m.Handle("/mcp", program.RequireToken(os.Getenv("APP_API_TOKEN"), mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true})))
	return m, nil
}

type till struct {
	log  *slog.Logger
	mu   sync.Mutex
	paid int
}

type paid struct {
	Receipt string `json:"receipt"`
}

func (t *till) pay(_ context.Context, _ *mcp.CallToolRequest, in payment) (*mcp.CallToolResult, paid, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paid++
	t.log.Info("paid", "order", in.Order, "cents", in.Amount)
	return nil, paid{Receipt: fmt.Sprintf("P-%05d", t.paid)}, nil
}
