// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dapr-custody/custody/examples/stage"
)

const reloadPatience = 20 * time.Second

// open puts a policy in force that lets everybody do everything, and looks at what PostgreSQL does by itself.
func (p *play) open(ctx context.Context) error {
	p.out.Title("6. The policy is opened wide by mistake: PostgreSQL is the second lock")
	all, err := p.place.asAdmin(ctx, "SELECT count(*) FROM shop.orders")
	if err != nil {
		return err
	}
	undo, err := p.openWide(ctx)
	if err != nil {
		return err
	}
	for i, c := range []struct{ app, what, operation, sql, want string }{
		{serverApp, "orders-mcp reads a table that its rules kept from it", "query", "SELECT count(*) FROM customers_secret", "[[12]]"},
		{serverApp, fmt.Sprintf("orders-mcp asks for all %d orders and gets its own", all), "query", "SELECT count(*) FROM orders", "[[60]]"},
		{serverApp, "orders-mcp asks for those of the other shop", "query", "SELECT id FROM orders WHERE id > 2000", "[]"},
		{"analytics-agent", "analytics-agent, who owns none, gets none", "query", "SELECT count(*) FROM orders", "[[0]]"},
		{serverApp, "orders-mcp, on behalf of nobody, asks for the notes of agents", "query", "SELECT count(*) FROM notes", "[[0]]"},
		{serverApp, "orders-mcp drops a table", "exec", "DROP TABLE shop.payments", "error executing query"},
		{"analytics-agent", "analytics-agent writes, and its role only reads", "exec", "UPDATE customers SET name = 'x' WHERE id = 1", "PermissionDenied"},
	} {
		answer, err := p.send(ctx, c.app, c.operation, c.sql)
		if err != nil {
			return err
		}
		met := strings.TrimSpace(string(answer.Body)) == c.want || c.operation == "exec" && strings.Contains(string(answer.Body), c.want)
		p.Check(met, "%s: want %s, got %s", c.what, c.want, stage.OneLine(answer.String()))
		good := "row security"
		if c.operation == "exec" {
			good = "refused"
		} else if i == 0 {
			good = "not refused any more"
		}
		p.out.Result(met, c.what, good, said(answer))
	}
	return undo()
}

// openWide waits until everybody may do everything, and returns what takes it back.
func (p *play) openWide(ctx context.Context) (func() error, error) {
	policy := filepath.Join(p.place.Example, "policies", "open.yaml")
	next := filepath.Join(p.place.Dir, "next-policy.yaml")
	if err := stage.CopyFile(filepath.Join(p.place.source, "policies-open", "open.yaml"), next); err != nil {
		return nil, err
	}
	if err := os.Rename(next, policy); err != nil {
		return nil, err
	}
	var answer stage.Answer
	err := stage.Await(ctx, reloadPatience, func(ctx context.Context) (is bool, err error) {
		answer, err = p.send(ctx, serverApp, "query", "SELECT 1 FROM customers_secret LIMIT 0")
		if found := refusal.FindSubmatch(answer.Body); found != nil {
			p.remember(string(found[2]))
		}
		return string(answer.Body) == "[]", err
	})
	if err != nil {
		return nil, fmt.Errorf("put the open policy in force: %w (%s)", err, answer)
	}
	return func() error { return os.Remove(policy) }, nil
}
