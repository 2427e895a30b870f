// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dapr-custody/custody/examples/stage"
)

// others are apps whose sidecars have the very component of the MCP server's.
func (p *play) others(ctx context.Context) error {
	p.out.Title("4. Other apps with the same component in their own sidecars")
	const sql = "SELECT id FROM orders"
	answer, err := p.send(ctx, "analytics-agent", "query", sql)
	if err != nil {
		return err
	}
	found := refusal.FindSubmatch(answer.Body)
	met := found != nil
	if met {
		p.remember(string(found[2]))
	}
	p.Check(met, "analytics-agent at the binding: want a refusal by policy, got %s", stage.OneLine(answer.String()))
	p.out.Result(met, "analytics-agent has a role in the database, but no rule", "refused", said(answer))
	if answer, err = p.send(ctx, "support-agent", "query", sql); err != nil {
		return err
	}
	met = answer.Status >= http.StatusBadRequest
	p.Check(met, "support-agent at the binding: want an error, got %s", stage.OneLine(answer.String()))
	p.out.Result(met, "support-agent has neither: its component does not even open", "refused", said(answer))
	return nil
}

// way is one straight to the database, past all guards.
type way struct {
	name, password string
	tls            bool
	code           string // of PostgreSQL's error
}

// direct tries to get in at the database without the component server.
func (p *play) direct(ctx context.Context) error {
	p.out.Title("5. Straight to PostgreSQL, as " + writer)
	for _, w := range []way{
		{"over TLS without a certificate", "", true, "28000"},
		{"over TLS with a password", "guess", true, "28000"},
		{"without TLS, with a password", "guess", false, "28000"},
	} {
		err := p.place.connect(ctx, w)
		var refused *pgconn.PgError
		met := errors.As(err, &refused) && refused.Code == w.code
		p.Check(met, "%s: want SQLSTATE %s, got %v", w.name, w.code, err)
		p.out.Result(met, w.name, "refused", strings.TrimSpace(fmt.Sprint(err)))
	}
	return nil
}

func (p *place) connect(ctx context.Context, w way) error {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=orders user=%s password=%s sslmode=disable", p.admin.Port, writer, w.password))
	if err != nil {
		return err
	}
	if w.tls {
		roots, err := os.ReadFile(filepath.Join(p.Example, "server-ca.pem"))
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(roots)
		config.TLSConfig = &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	return errors.Join(errors.New("it got in"), conn.Close(ctx))
}
