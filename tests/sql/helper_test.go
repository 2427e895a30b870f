// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sql_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/sqlguard"
)

const (
	template = "shop_template"
	// path is what the guard's contract asks of a session, for a function set made with the search path "shop".
	path = "pg_catalog, shop, pg_temp"
)

// server is the one scratch cluster of this package's tests. Each test that writes works in a database of its own.
var server struct {
	sync.Mutex
	database *postgres.Database
	made     int
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.database != nil {
		if err := server.database.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// start returns the URL of the cluster, with the shop in its template. A machine without PostgreSQL fails.
func start(t testing.TB) string {
	t.Helper()
	server.Lock()
	defer server.Unlock()
	if server.database == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		database, err := postgres.StartScratch(ctx, postgres.Options{})
		require.NoError(t, err)
		server.database = database
		run(t, database.URL(), "ALTER SYSTEM SET autovacuum = off")
		run(t, database.URL(), "SELECT pg_reload_conf()")
		run(t, database.URL(), "CREATE DATABASE "+template)
		run(t, database.URL(), "CREATE ROLE caller LOGIN PASSWORD 'caller'; CREATE ROLE least LOGIN PASSWORD 'least'")
		run(t, inDatabase(t, database.URL(), template, ""), schema(t))
	}
	return server.database.URL()
}

func run(t testing.TB, connString, sql string) {
	t.Helper()
	conn := connect(t, connString)
	_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
}

func connect(t testing.TB, connString string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), connString)
	require.NoError(t, err)
	return conn
}

// inDatabase changes the database, and the role unless it is empty, of a URL.
func inDatabase(t testing.TB, connString, name, role string) string {
	t.Helper()
	parsed, err := url.Parse(connString)
	require.NoError(t, err)
	parsed.Path = "/" + name
	query := parsed.Query()
	query.Set("search_path", path)
	parsed.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // pgx takes + for itself
	if role != "" {
		parsed.User = url.UserPassword(role, role)
	}
	return parsed.String()
}

// shop makes a fresh database and returns a function that gives its URL for a role; "" is the superuser.
func shop(t testing.TB) func(role string) string {
	t.Helper()
	connString := start(t)
	server.Lock()
	server.made++
	name := fmt.Sprintf("shop_%d", server.made)
	server.Unlock()
	run(t, connString, "CREATE DATABASE "+name+" TEMPLATE "+template+" STRATEGY wal_log")
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), connString)
		require.NoError(t, err)
		_, err = conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		require.NoError(t, err)
		require.NoError(t, conn.Close(context.Background()))
	})
	return func(role string) string { return inDatabase(t, connString, name, role) }
}

// stateQuery is a digest of all that a statement could change in a database of the shop but what vault.proof holds:
// rows, sequences, the catalogue, large objects, statistics.
const stateQuery = `
SELECT md5(concat(
	(SELECT string_agg(query_to_xml(format('SELECT t::text FROM (SELECT * FROM %I.%I) t ORDER BY 1', n.nspname, c.relname), true, true, '')::text, '' ORDER BY c.oid)
	 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	 WHERE n.nspname IN ('shop', 'vault') AND c.relname <> 'proof' AND c.relkind IN ('r', 'S')),
	(SELECT string_agg(concat_ws(',', oid, relname, relfilenode, relowner, relacl, relrowsecurity, relhastriggers), ';' ORDER BY oid) FROM pg_class),
	(SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_extension),
	(SELECT count(*) FROM pg_attribute), (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_rewrite),
	(SELECT count(*) FROM pg_policy), (SELECT count(*) FROM pg_foreign_server), (SELECT count(*) FROM pg_collation),
	(SELECT count(*) FROM pg_description), (SELECT count(*) FROM pg_statistic), (SELECT count(*) FROM pg_db_role_setting),
	(SELECT string_agg(concat(oid, tgenabled), ',' ORDER BY oid) FROM pg_trigger),
	(SELECT string_agg(concat(oid, lomacl), ',' ORDER BY oid) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_largeobject),
	(SELECT string_agg(r::text, ',' ORDER BY oid) FROM pg_authid r)))`

// state reads the digest in a session of its own.
func state(t testing.TB, connString string) string {
	t.Helper()
	conn := connect(t, connString)
	var digest string
	require.NoError(t, conn.QueryRow(t.Context(), stateQuery).Scan(&digest))
	require.NoError(t, conn.Close(t.Context()))
	return digest
}

// remake puts a database of the shop back as it was. It is faster than a new one.
func remake(t testing.TB, connString string) {
	t.Helper()
	run(t, connString, "DROP SCHEMA IF EXISTS shop, vault, mine CASCADE; DROP EXTENSION dblink, file_fdw CASCADE;"+
		"SELECT lo_unlink(oid) FROM pg_largeobject_metadata;"+schema(t))
}

func schema(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "schema.sql"))
	require.NoError(t, err)
	return string(text)
}

// catalogue reads what a function set is made of from the shop's database.
func catalogue(t testing.TB) sqlguard.Catalogue {
	t.Helper()
	conn := connect(t, inDatabase(t, start(t), template, ""))
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	rows, err := conn.Query(t.Context(), sqlguard.FunctionsQuery)
	require.NoError(t, err)
	functions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sqlguard.FunctionRow])
	require.NoError(t, err)
	rows, err = conn.Query(t.Context(), sqlguard.OperatorsQuery)
	require.NoError(t, err)
	operators, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sqlguard.OperatorRow])
	require.NoError(t, err)
	rows, err = conn.Query(t.Context(), sqlguard.TypesQuery)
	require.NoError(t, err)
	types, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sqlguard.TypeRow])
	require.NoError(t, err)
	return sqlguard.Catalogue{Functions: functions, Operators: operators, Types: types, SearchPath: []string{"shop"}}
}

func functions(t testing.TB) *sqlguard.FunctionSet {
	t.Helper()
	set, err := sqlguard.NewFunctionSet(catalogue(t))
	require.NoError(t, err)
	return set
}

func guard(t testing.TB) *sqlguard.Guard {
	t.Helper()
	made, err := sqlguard.New(functions(t), sqlguard.Options{})
	require.NoError(t, err)
	return made
}

// statement is one line of a corpus, named by the heading above it and the number of the line.
type statement struct{ name, sql string }

// corpus reads a file of statements.
func corpus(t testing.TB, file string) []statement {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	var statements []statement
	heading := ""
	for i, line := range strings.Split(string(raw), "\n") {
		if text, found := strings.CutPrefix(line, "-- "); found {
			heading = text
		} else if line != "" {
			statements = append(statements, statement{fmt.Sprintf("%s, line %d", heading, i+1), line})
		}
	}
	return statements
}
