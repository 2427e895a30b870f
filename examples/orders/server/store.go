// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errUnknownOrder is an answer to the caller, not a fault of ours.
var errUnknownOrder = errors.New("there is no such order")

// database is a way to PostgreSQL.
type database interface {
	// query runs one statement and, for each row that it gives, fills what row points at, column by column.
	query(ctx context.Context, sql string, arguments []any, row func() []any) error
	// ping says whether there is a way now.
	ping(ctx context.Context) error
}

// store asks the database. All values go as parameters.
type store struct {
	database database
}

type customer struct {
	ID        int       `json:"id"`
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	Country   string    `json:"country" jsonschema:"two-letter country code (ISO 3166-1)"`
	CreatedAt time.Time `json:"created_at"`
	Orders    int       `json:"orders" jsonschema:"how many orders the customer has placed"`
}

func (c *customer) columns() []any {
	return []any{&c.ID, &c.Name, &c.Email, &c.Country, &c.CreatedAt, &c.Orders}
}

type order struct {
	ID         int       `json:"id"`
	CustomerID int       `json:"customer_id"`
	Customer   string    `json:"customer" jsonschema:"name of the customer"`
	Status     string    `json:"status"`
	PlacedAt   time.Time `json:"placed_at"`
	UpdatedAt  time.Time `json:"updated_at"`
	Items      []item    `json:"items"`
	TotalCents int64     `json:"total_cents" jsonschema:"sum of quantity times unit price, in cents"`
}

func (o *order) columns() []any {
	return []any{&o.ID, &o.CustomerID, &o.Customer, &o.Status, &o.PlacedAt, &o.UpdatedAt}
}

type item struct {
	Line           int    `json:"line"`
	Product        string `json:"product"`
	Quantity       int    `json:"quantity"`
	UnitPriceCents int64  `json:"unit_price_cents"`
}

func (i *item) columns() []any { return []any{&i.Line, &i.Product, &i.Quantity, &i.UnitPriceCents} }

type statusChange struct {
	OrderID   int    `json:"order_id"`
	OldStatus string `json:"old_status"`
	NewStatus string `json:"new_status"`
}

func (c *statusChange) columns() []any { return []any{&c.OrderID, &c.OldStatus, &c.NewStatus} }

type reportRow struct {
	Label        string `json:"label" jsonschema:"a month as YYYY-MM, a customer's name, or a status"`
	Orders       int    `json:"orders"`
	RevenueCents int64  `json:"revenue_cents" jsonschema:"in cents; cancelled orders count only in orders_by_status"`
}

func (r *reportRow) columns() []any { return []any{&r.Label, &r.Orders, &r.RevenueCents} }

func (s *store) customers(ctx context.Context, country string, limit int) ([]customer, error) {
	return collect[customer](ctx, s, `
		SELECT c.id, c.name, c.email, c.country, c.created_at, count(o.id) AS orders
		FROM customers AS c LEFT JOIN orders AS o ON o.customer_id = c.id
		WHERE $1 = '' OR c.country = $1
		GROUP BY c.id
		ORDER BY c.id
		LIMIT $2`, country, limit)
}

func (s *store) order(ctx context.Context, id int) (order, error) {
	o, err := one[order](ctx, s, `
		SELECT o.id, o.customer_id, c.name, o.status, o.placed_at, o.updated_at
		FROM orders AS o JOIN customers AS c ON c.id = o.customer_id
		WHERE o.id = $1`, id)
	if err != nil {
		return o, err
	}
	o.Items, err = collect[item](ctx, s, `
		SELECT line, product, quantity, unit_price_cents
		FROM order_items WHERE order_id = $1 ORDER BY line`, id)
	for _, i := range o.Items {
		o.TotalCents += int64(i.Quantity) * i.UnitPriceCents
	}
	return o, err
}

// setStatus returns what the status was. The row is locked while it is read,
// so that of two changes at once each reports the truth.
func (s *store) setStatus(ctx context.Context, id int, status string) (statusChange, error) {
	return one[statusChange](ctx, s, `
		WITH old AS (SELECT id, status FROM orders WHERE id = $1 FOR UPDATE)
		UPDATE orders AS o SET status = $2, updated_at = now()
		FROM old WHERE o.id = old.id
		RETURNING o.id, old.status, o.status`, id, status)
}

// reports are the aggregates of run_report, by name. Their parameters are the
// first day, the day after the last, and the highest number of rows.
var reports = map[string]string{
	"revenue_by_month": `
		SELECT to_char(o.placed_at AT TIME ZONE 'UTC', 'YYYY-MM') AS label, count(DISTINCT o.id) AS orders,
		       sum(i.quantity * i.unit_price_cents)::bigint AS revenue_cents
		FROM orders AS o JOIN order_items AS i ON i.order_id = o.id
		WHERE o.status <> 'cancelled' AND o.placed_at >= $1 AND o.placed_at < $2
		GROUP BY label ORDER BY label LIMIT $3`,
	"top_customers": `
		SELECT c.name AS label, count(DISTINCT o.id) AS orders,
		       sum(i.quantity * i.unit_price_cents)::bigint AS revenue_cents
		FROM customers AS c JOIN orders AS o ON o.customer_id = c.id JOIN order_items AS i ON i.order_id = o.id
		WHERE o.status <> 'cancelled' AND o.placed_at >= $1 AND o.placed_at < $2
		GROUP BY c.id ORDER BY revenue_cents DESC, c.id LIMIT $3`,
	"orders_by_status": `
		SELECT o.status AS label, count(DISTINCT o.id) AS orders,
		       sum(i.quantity * i.unit_price_cents)::bigint AS revenue_cents
		FROM orders AS o JOIN order_items AS i ON i.order_id = o.id
		WHERE o.placed_at >= $1 AND o.placed_at < $2
		GROUP BY o.status ORDER BY o.status LIMIT $3`,
}

func (s *store) report(ctx context.Context, name string, from, until time.Time, limit int) ([]reportRow, error) {
	return collect[reportRow](ctx, s, reports[name], from, until, limit)
}

// table is a type that holds a row: its columns point at where each goes.
type table[T any] interface {
	*T
	columns() []any
}

// one returns the row that there is, or errUnknownOrder.
func one[T any, P table[T]](ctx context.Context, s *store, sql string, arguments ...any) (T, error) {
	found, err := collect[T, P](ctx, s, sql, arguments...)
	if err == nil && len(found) == 0 {
		err = errUnknownOrder
	}
	if err != nil {
		return *new(T), err
	}
	return found[0], nil
}

// collect returns all rows, never nil, so that an empty answer is [] in JSON.
func collect[T any, P table[T]](ctx context.Context, s *store, sql string, arguments ...any) ([]T, error) {
	rows := []P{}
	err := s.database.query(ctx, sql, arguments, func() []any {
		rows = append(rows, new(T))
		return rows[len(rows)-1].columns()
	})
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	found := make([]T, len(rows))
	for i, row := range rows {
		found[i] = *row
	}
	return found, nil
}
