// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed schema.sql
var schemaSQL string

//go:embed seed.sql
var seedSQL string

const dropTimeout = 10 * time.Second

// attach makes and fills a schema of our own in the server at options.URL.
func attach(ctx context.Context, options Options) (*Database, error) {
	schema := "custody_orders_" + randomHex(4)
	own, err := withSearchPath(options.URL, schema)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, options.URL)
	if err != nil {
		return nil, fmt.Errorf("connect to the server of CUSTODY_POSTGRES_URL: %w", err)
	}
	_, err = conn.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{schema}.Sanitize())
	host := fmt.Sprintf("%s:%d", conn.Config().Host, conn.Config().Port)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return nil, fmt.Errorf("create the example's schema: %w", err)
	}
	drop := func() error { return dropSchema(options.URL, schema) }
	if err := load(ctx, own, ""); err != nil {
		return nil, errors.Join(err, drop())
	}
	return &Database{url: own, origin: "schema " + schema + " at " + host, stop: drop}, nil
}

func dropSchema(server, schema string) error {
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return fmt.Errorf("drop schema %s: %w", schema, err)
	}
	_, err = conn.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{schema}.Sanitize()+" CASCADE")
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("drop schema %s: %w", schema, err)
	}
	return nil
}

// load makes the tables and rows in one transaction, then runs grants.
func load(ctx context.Context, connString, grants string) error {
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// Several statements in one simple query are one transaction.
	_, err = conn.PgConn().Exec(ctx, schemaSQL+seedSQL+grants).ReadAll()
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("fill the database: %w", err)
	}
	return nil
}

// withSearchPath adds search_path to a connection string of either form.
func withSearchPath(connString, schema string) (string, error) {
	if !strings.HasPrefix(connString, "postgres://") && !strings.HasPrefix(connString, "postgresql://") {
		return connString + " search_path=" + schema, nil
	}
	parsed, err := url.Parse(connString)
	if err != nil {
		// The error of url.Parse quotes the text, and with it the password.
		return "", errors.New("CUSTODY_POSTGRES_URL is not a valid URL")
	}
	query := parsed.Query()
	query.Set("search_path", schema)
	parsed.RawQuery = query.Encode()
	return parsed.String(), nil
}

func randomHex(n int) string {
	raw := make([]byte, n)
	rand.Read(raw) // never fails, says its documentation
	return hex.EncodeToString(raw)
}
