// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Refund is the four apps of the refund example in one program; its argument
// says which one to be:
//
//	refund intake     runs the workflow: fraud check, approval, payment
//	refund fraud      checks refunds, as a child workflow
//	refund approver   stands for the person who approves
//	refund payments   is the MCP server with the tool refund_payment
//
// Each listens on 127.0.0.1:$APP_PORT and talks to the others through its own
// Dapr sidecar. What it may do is not decided here.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"

	"github.com/dapr-custody/custody/examples/program"
)

// role makes the handler of an app. What it starts ends with ctx.
type role func(ctx context.Context, log *slog.Logger) (http.Handler, error)

var roles = map[string]role{"intake": intake, "fraud": fraud, "approver": approver, "payments": payments}

func main() {
	program.Main("refund", func(ctx context.Context, log *slog.Logger) error { return run(ctx, os.Args[1:], log) })
}

func run(ctx context.Context, arguments []string, log *slog.Logger) error {
	if len(arguments) != 1 || roles[arguments[0]] == nil {
		return errors.New("say which app to be: refund intake, fraud, approver or payments")
	}
	port := os.Getenv("APP_PORT")
	if port == "" {
		return errors.New("no port: set APP_PORT")
	}
	handler, err := roles[arguments[0]](ctx, log)
	if err != nil {
		return err
	}
	listener, err := program.Listen(port)
	if err != nil {
		return err
	}
	log.Info("refund listens", "as", arguments[0], "address", listener.Addr().String())
	return program.Serve(ctx, listener, handler)
}
