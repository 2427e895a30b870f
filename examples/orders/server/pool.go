// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// pooled is the way with a connection string: whoever holds it is the role that it names.
type pooled struct {
	pool *pgxpool.Pool
}

// openPool connects when it is first asked. What it returns beside takes the pool away, and then the database.
func openPool(ctx context.Context, url string, after func() error) (database, func() error, error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the database: %w", err), after())
	}
	return &pooled{pool: pool}, func() error { pool.Close(); return after() }, nil
}

func (p *pooled) query(ctx context.Context, sql string, arguments []any, row func() []any) error {
	rows, err := p.pool.Query(ctx, sql, arguments...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(row()...); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (p *pooled) ping(ctx context.Context) error { return p.pool.Ping(ctx) }
