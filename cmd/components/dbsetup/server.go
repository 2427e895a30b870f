// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// server is the connection of the superuser, in one transaction, and what was found.
type server struct {
	o    Options
	conn *pgx.Conn
	tx   pgx.Tx

	facts facts
	// local says that the server's files are at hand, under the paths that it gives.
	local bool
}

type facts struct {
	Version           int
	User              string
	Superuser         bool
	Standby, ReadOnly bool
	Encoding          string
	Data, HBA, Ident  string
	SSL               bool
	CAFile            string
	HasRecords        bool
}

const (
	whoSQL = `SELECT current_setting('server_version_num')::int, current_user::text, current_setting('is_superuser') = 'on',
	pg_catalog.pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on', current_setting('server_encoding')`
	factsSQL = `SELECT current_setting('data_directory'), current_setting('hba_file'), current_setting('ident_file'),
	current_setting('ssl') = 'on', current_setting('ssl_ca_file'),
	pg_catalog.to_regclass('custody.made') IS NOT NULL`
)

// encoding is that of databases in which a statement means to the guard what it means to the server.
const encoding = "UTF8"

// lowest is the oldest version whose catalogues are read here: pg_ident_file_mappings is of PostgreSQL 15.
const lowest = 150000

// connect opens a connection in whose transaction the plan is made and applied. The server that it gives is never nil.
func connect(ctx context.Context, o Options) (*server, error) {
	s := &server{o: o}
	config := o.Admin.Copy()
	config.Database = o.Database.DBName
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return s, fmt.Errorf("the superuser does not get in: %w; name one with --admin-url or the variables PGHOST, PGPORT, PGUSER and PGPASSWORD", err)
	}
	s.conn = conn
	if err := s.begin(ctx); err != nil {
		return s, errors.Join(err, s.close(ctx))
	}
	return s, nil
}

func (s *server) begin(ctx context.Context) error {
	// Nothing of the connection's own may stand between names and what they mean.
	if _, err := s.conn.Exec(ctx, "SET search_path = pg_catalog, pg_temp"); err != nil {
		return err
	}
	f := &s.facts
	if err := s.conn.QueryRow(ctx, whoSQL).Scan(&f.Version, &f.User, &f.Superuser, &f.Standby, &f.ReadOnly, &f.Encoding); err != nil {
		return fmt.Errorf("look at the server: %w", err)
	}
	if err := s.refuse(); err != nil {
		return err
	}
	err := s.conn.QueryRow(ctx, factsSQL).Scan(&f.Data, &f.HBA, &f.Ident, &f.SSL, &f.CAFile, &f.HasRecords)
	if err != nil {
		return fmt.Errorf("look at the server: %w", err)
	}
	mode := pgx.ReadWrite
	if s.o.Print {
		mode = pgx.ReadOnly
	}
	if s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{AccessMode: mode}); err != nil {
		return err
	}
	// Two setups at once would see half of each other.
	if !s.o.Print {
		if _, err := s.tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('custody db setup'))"); err != nil {
			return err
		}
	}
	s.local, err = s.atHand(ctx)
	return err
}

func (s *server) refuse() error {
	switch f := s.facts; {
	case f.Version < lowest:
		return fmt.Errorf("the server is of version %d.%d; 15 is the lowest that is supported", f.Version/10000, f.Version%10000)
	case !f.Superuser:
		return fmt.Errorf("role %s is no superuser, and extension sslinfo, roles and the server's files need one: "+
			"connect as one, or give its administrator what custody db setup --print says", f.User)
	case f.Standby:
		return errors.New("the server is a standby, where nothing can be changed: connect to the primary")
	case f.ReadOnly && !s.o.Print:
		return errors.New("this connection is read only (default_transaction_read_only): " +
			"take that setting from the role, the database or the URL, or use --print")
	}
	return nil
}

// atHand says whether the server runs on the files of this machine: both must show the same process file, which is unlike
// that of every other server.
func (s *server) atHand(ctx context.Context) (bool, error) {
	path := filepath.Join(s.facts.Data, "postmaster.pid")
	here, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	there, err := s.read(ctx, path)
	return err == nil && string(here) == there, err
}

// read gives a file of the server, "" if there is none.
func (s *server) read(ctx context.Context, path string) (string, error) {
	text, err := ask[*string](ctx, s.tx, "SELECT pg_catalog.pg_read_file($1, 0, 16777216, true)", path)
	if err != nil {
		return "", fmt.Errorf("read %s of the server: %w", path, err)
	}
	if text == nil {
		return "", nil
	}
	return *text, nil
}

func (s *server) where() string {
	config := s.conn.Config()
	return fmt.Sprintf("PostgreSQL %d.%d at %s port %d, database %s, as %s", s.facts.Version/10000, s.facts.Version%10000,
		config.Host, config.Port, s.o.Database.DBName, s.facts.User)
}

// close ends the connection, and with it what was not committed.
func (s *server) close(ctx context.Context) error {
	if err := s.conn.Close(context.WithoutCancel(ctx)); err != nil {
		return s.explain(fmt.Errorf("the connection did not end as it should, after the transaction: %w", err))
	}
	return nil
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ask gives the one value of the one row.
func ask[T any](ctx context.Context, q querier, sql string, args ...any) (T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		var zero T
		return zero, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
}

// column gives the one value of each row.
func column[T any](ctx context.Context, q querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// table gives the rows as structs with a field for each column.
func table[T any](ctx context.Context, q querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

func ident(names ...string) string { return pgx.Identifier(names).Sanitize() }

// literal is a text as SQL takes it; standard_conforming_strings is on wherever this runs.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// loaded is when the server read its files, as a new connection meets them.
func (s *server) loaded(ctx context.Context) (time.Time, error) {
	conn, err := pgx.ConnectConfig(ctx, s.conn.Config())
	if err != nil {
		return time.Time{}, err
	}
	at, err := ask[time.Time](ctx, conn, "SELECT pg_catalog.pg_conf_load_time()")
	return at, errors.Join(err, conn.Close(ctx))
}

// detail is what PostgreSQL says beside the message.
func detail(err error) string {
	var said *pgconn.PgError
	if !errors.As(err, &said) || said.Detail == "" {
		return ""
	}
	return " (" + said.Detail + ")"
}
