// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	callTimeout  = 10 * time.Second
	defaultLimit = 20
	maximalLimit = 100
)

// errUnavailable is all that a caller is told of a fault in the database.
var errUnavailable = errors.New("the database could not answer")

type listCustomersInput struct {
	Country string `json:"country,omitempty" jsonschema:"two-letter country code (ISO 3166-1), such as GB; all if left out"`
	Limit   int    `json:"limit,omitempty" jsonschema:"at most this many customers; 20 if left out"`
}

type listCustomersOutput struct {
	Customers []customer `json:"customers"`
}

type getOrderInput struct {
	OrderID int `json:"order_id" jsonschema:"number of the order, such as 1001"`
}

type updateOrderStatusInput struct {
	OrderID int    `json:"order_id" jsonschema:"number of the order, such as 1001"`
	Status  string `json:"status" jsonschema:"the new status"`
}

type runReportInput struct {
	Report string `json:"report" jsonschema:"which report"`
	From   string `json:"from,omitempty" jsonschema:"first day of the orders counted, YYYY-MM-DD; from the beginning if left out"`
	To     string `json:"to,omitempty" jsonschema:"last day of the orders counted, YYYY-MM-DD; to the end if left out"`
	Limit  int    `json:"limit,omitempty" jsonschema:"at most this many rows; 20 if left out"`
}

type runReportOutput struct {
	Report string      `json:"report"`
	Rows   []reportRow `json:"rows"`
}

// newServer makes the MCP server with its four tools.
func newServer(s *store, log *slog.Logger) (*mcp.Server, error) {
	server := mcp.NewServer(&mcp.Implementation{Name: "orders", Title: "Customers and orders", Version: "1.0.0"}, nil)
	readOnly := &mcp.ToolAnnotations{ReadOnlyHint: true}

	return server, errors.Join(
		add(server, log, &mcp.Tool{
			Name: "list_customers", Annotations: readOnly,
			Description: "Lists customers with their number of orders, optionally of one country.",
		}, s.listCustomers, restrictLimit, func(p properties) { p["country"].Pattern = "^([A-Z]{2})?$" }),
		add(server, log, &mcp.Tool{
			Name: "get_order", Annotations: readOnly,
			Description: "Returns one order with its customer, its lines and its total.",
		}, s.getOrder),
		add(server, log, &mcp.Tool{
			Name: "update_order_status", Annotations: &mcp.ToolAnnotations{IdempotentHint: true},
			Description: "Sets the status of an order and returns the old one and the new one.",
		}, s.updateOrderStatus, func(p properties) {
			p["status"].Enum = enum("pending", "paid", "shipped", "delivered", "cancelled")
		}),
		add(server, log, &mcp.Tool{
			Name: "run_report", Annotations: readOnly,
			Description: "Runs a report on all orders, or on those of a span of days.",
		}, s.runReport, restrictLimit, func(p properties) {
			p["report"].Enum = enum(slices.Sorted(maps.Keys(reports))...)
		}),
	)
}

type properties = map[string]*jsonschema.Schema

func restrictLimit(p properties) {
	one, most := 1.0, float64(maximalLimit)
	p["limit"].Minimum, p["limit"].Maximum = &one, &most
}

func enum(values ...string) []any {
	all := make([]any, len(values))
	for i, value := range values {
		all[i] = value
	}
	return all
}

// add registers a tool whose input schema is that of In, narrowed by restrict.
// The SDK checks every call against it before the handler runs.
func add[In, Out any](
	server *mcp.Server, log *slog.Logger, tool *mcp.Tool,
	handle func(context.Context, In) (Out, error), restrict ...func(properties),
) error {
	schema, err := jsonschema.For[In](nil)
	if err != nil {
		return fmt.Errorf("tool %s: %w", tool.Name, err)
	}
	for _, narrow := range restrict {
		narrow(schema.Properties)
	}
	tool.InputSchema = schema
	mcp.AddTool(server, tool, func(ctx context.Context, request *mcp.CallToolRequest, in In) (*mcp.CallToolResult, Out, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		out, err := handle(onBehalf(ctx, request), in)
		var refused *inputError
		if err != nil && !errors.Is(err, errUnknownOrder) && !errors.As(err, &refused) {
			log.Error("tool failed", "tool", tool.Name, "error", err)
			err = errUnavailable
		}
		return nil, out, err
	})
	return nil
}

// inputError is a fault of the caller that the schema cannot express.
type inputError struct{ text string }

func (e *inputError) Error() string { return e.text }

func (s *store) listCustomers(ctx context.Context, in listCustomersInput) (listCustomersOutput, error) {
	found, err := s.customers(ctx, in.Country, limitOf(in.Limit))
	return listCustomersOutput{Customers: found}, err
}

func (s *store) getOrder(ctx context.Context, in getOrderInput) (order, error) {
	return s.order(ctx, in.OrderID)
}

func (s *store) updateOrderStatus(ctx context.Context, in updateOrderStatusInput) (statusChange, error) {
	return s.setStatus(ctx, in.OrderID, in.Status)
}

func (s *store) runReport(ctx context.Context, in runReportInput) (runReportOutput, error) {
	from, until, err := span(in.From, in.To)
	if err != nil {
		return runReportOutput{}, err
	}
	rows, err := s.report(ctx, in.Report, from, until, limitOf(in.Limit))
	return runReportOutput{Report: in.Report, Rows: rows}, err
}

func limitOf(asked int) int {
	if asked == 0 {
		return defaultLimit
	}
	return asked
}

// span turns the two days, both counted in, into a half-open span of time.
func span(from, to string) (first, until time.Time, err error) {
	first, until = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if from != "" {
		if first, err = time.Parse(time.DateOnly, from); err != nil {
			return first, until, &inputError{"from must be a day such as 2025-01-31"}
		}
	}
	if to != "" {
		if until, err = time.Parse(time.DateOnly, to); err != nil {
			return first, until, &inputError{"to must be a day such as 2025-01-31"}
		}
		until = until.AddDate(0, 0, 1)
	}
	if !first.Before(until) {
		return first, until, &inputError{"from must not be after to"}
	}
	return first, until, nil
}
