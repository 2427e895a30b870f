// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Orders-agent is an ordinary MCP client that calls the orders server through
// its own Dapr sidecar, and does on request what a language model would have
// it do. The three agents of the example are this one program under three
// Dapr app IDs.
//
// It proves nothing about who it is and holds no secret of the server's: its
// identity is that of its sidecar.
//
// It listens on 127.0.0.1:$APP_PORT for the person at the keyboard:
//
//	curl -s localhost:8712/tools
//	curl -s localhost:8712/call -H 'Content-Type: application/json' \
//	  -d '{"tool": "get_order", "arguments": {"order_id": 1001}}'
//
// Anyone who reaches that port can use the agent, so it is bound to loopback
// and the agents' Dapr configuration lets no other app invoke it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/dapr-custody/custody/examples/program"
)

func main() {
	port := flag.String("port", os.Getenv("APP_PORT"), "port on 127.0.0.1; 0 for a free one")
	server := flag.String("server", "orders-mcp", "Dapr app ID of the MCP server")
	endpoint := flag.String("endpoint", "", "URL of the MCP server; its place behind our sidecar if left out")
	protocol := flag.String("protocol", "", "MCP protocol version to ask for; the newest if left out")
	header := http.Header{}
	flag.Func("header", "`name=value` to add to every request to the MCP server; may be given again", func(text string) error {
		name, value, found := strings.Cut(text, "=")
		if !found || name == "" {
			return errors.New("must be name=value")
		}
		header.Add(name, value)
		return nil
	})
	flag.Parse()

	if *endpoint == "" {
		*endpoint = fmt.Sprintf("http://127.0.0.1:%s/v1.0/invoke/%s/method/mcp", os.Getenv("DAPR_HTTP_PORT"), *server)
	}
	if token := os.Getenv("DAPR_API_TOKEN"); token != "" {
		header.Set("dapr-api-token", token)
	}
	agent := newAgent(*endpoint, *protocol, header)
	program.Main("orders-agent", func(ctx context.Context, log *slog.Logger) error { return run(ctx, *port, agent, log) })
}

// run serves until ctx is done, then lets running calls finish.
func run(ctx context.Context, port string, agent *agent, log *slog.Logger) (err error) {
	if port == "" {
		return errors.New("no port: set APP_PORT or --port")
	}
	listener, err := program.Listen(port)
	if err != nil {
		return err
	}
	log.Info("orders-agent listens", "address", listener.Addr().String(), "endpoint", agent.endpoint)
	defer func() { err = errors.Join(err, agent.close()) }()
	return program.Serve(ctx, listener, newHandler(agent))
}
