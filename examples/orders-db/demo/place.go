// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/examples/stage"
)

const (
	serverApp = "orders-mcp"
	writer    = "custody_orders_mcp" // the role of the MCP server
)

// place is the stage of this example, and PostgreSQL beside it.
type place struct {
	*stage.Stage

	source, bin string
	database    *postgres.Database
	admin       *pgx.ConnConfig // the superuser, in the database of the example
}

func newPlace(s stage.Settings) (*place, error) {
	bin, err := filepath.Abs(s.Bin)
	if err != nil {
		return nil, err
	}
	st, err := stage.New(stage.Options{
		Source: s.Example, Take: []string{"dapr.yaml", "components.yaml", "config", "databases", "resources", "policies"},
		Bin: s.Bin, Verbose: s.Verbose,
		Programs: []string{"custody", "custody-components", "daprd", "controlplane", "orders-server", "orders-agent"},
	})
	if err != nil {
		return nil, err
	}
	return &place{Stage: st, source: s.Example, bin: bin}, nil
}

// serve starts PostgreSQL, which speaks TLS, with the shop in it.
func (p *place) serve(ctx context.Context) error {
	// PostgreSQL may run as another user, who has to pass through.
	data := filepath.Join(p.Dir, "data")
	if err := errors.Join(os.Chmod(p.Dir, 0o711), os.Mkdir(data, 0o711)); err != nil {
		return err
	}
	var err error
	if p.database, err = postgres.StartScratch(ctx, postgres.Options{Dir: data}); err != nil {
		return err
	}
	authority, err := p.database.SpeakTLS(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.Example, "server-ca.pem"), authority, 0o600); err != nil {
		return err
	}
	more, err := os.ReadFile(filepath.Join(p.source, "shop.sql"))
	if err != nil {
		return err
	}
	url, err := p.database.Shop(ctx, "orders", string(more))
	if err != nil {
		return err
	}
	if p.admin, err = pgx.ParseConfig(url); err != nil {
		return err
	}
	return p.writePort()
}

// writePort writes the port, which is another in each run, into the Database document.
func (p *place) writePort() error {
	text, err := os.ReadFile(p.document())
	if err != nil {
		return err
	}
	const usual = "port: 5432"
	if strings.Count(string(text), usual) != 1 {
		return fmt.Errorf("%s: want %q once", p.document(), usual)
	}
	changed := strings.Replace(string(text), usual, fmt.Sprintf("port: %d", p.admin.Port), 1)
	return os.WriteFile(p.document(), []byte(changed), 0o600)
}

func (p *place) document() string { return filepath.Join(p.Example, "databases", "orders-db.yaml") }

// db runs `custody db` as the superuser, whom it finds as psql would.
func (p *place) db(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "custody"), "db", command,
		"--databases", filepath.Join(p.Example, "databases"), "--ca", filepath.Join(p.Example, "ca"))
	cmd.Env = append(os.Environ(), "PGHOST="+p.admin.Host, fmt.Sprintf("PGPORT=%d", p.admin.Port),
		"PGUSER="+p.admin.User, "PGPASSWORD="+p.admin.Password, "PGSSLMODE=disable", "PGDATABASE=postgres")
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// asAdmin asks the database for one number, as its superuser.
func (p *place) asAdmin(ctx context.Context, sql string) (int, error) {
	conn, err := pgx.ConnectConfig(ctx, p.admin)
	if err != nil {
		return 0, err
	}
	var number int
	err = conn.QueryRow(ctx, sql).Scan(&number)
	return number, errors.Join(err, conn.Close(ctx))
}

// journals are the folders in which the two doors of a call write.
func (p *place) journals() []string {
	return []string{filepath.Join(p.Example, "journals", "orders"), filepath.Join(p.Example, "journals", "orders-db")}
}

func (p *place) close() error {
	err := p.Close()
	if p.database != nil {
		// Its folder is in that of the stage.
		err = errors.Join(p.database.Close(), err)
	}
	return err
}
