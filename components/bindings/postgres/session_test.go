// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/metadata"
	"github.com/stretchr/testify/require"

	door "github.com/dapr-custody/custody/components/bindings/postgres"
	"github.com/dapr-custody/custody/internal/database"
)

// What the session is set to is what sqlguard asks for, whatever the role or the database is set to.
func TestSettings(t *testing.T) {
	r := newRig(t, strings.Replace(allowAll, `tables: ["shop.*"]}}`, `tables: ["shop.*"], functions: [pg_catalog.current_setting]}}`, 1))
	for name, value := range map[string]string{
		"search_path": "public", "standard_conforming_strings": "off", "client_encoding": "LATIN1", "statement_timeout": "0", "lock_timeout": "0",
		"default_transaction_read_only": "off", "row_security": "off", "timezone": "Asia/Tokyo", "idle_in_transaction_session_timeout": "0",
	} {
		run(t, r.admin, fmt.Sprintf("ALTER ROLE reader IN DATABASE %s SET %s = '%s'", r.database, name, value))
	}
	for name, want := range map[string]string{
		"search_path": "pg_catalog, shop, pg_temp", "standard_conforming_strings": "on", "client_encoding": "UTF8", "statement_timeout": "20s", "lock_timeout": "10s",
		"default_transaction_read_only": "on", "transaction_read_only": "on", "row_security": "on", "TimeZone": "UTC", "idle_in_transaction_session_timeout": "30s",
		"application_name": "custody",
	} {
		require.Equal(t, `[["`+want+`"]]`, r.query("reader", "SELECT current_setting($1)", "params", `["`+name+`"]`), name)
	}
}

// A session that is not what it has to be is not used.
func TestUnfitSessions(t *testing.T) {
	r := newRig(t, strings.ReplaceAll(allowAll, "from: [reader,", "from: [mighty, reader,"))
	require.Contains(t, r.refused("mighty", "SELECT 1"), "The database cannot be reached.")
	require.Contains(t, r.last().Decision.Reason, `role mighty stands above row level security`)
	run(t, r.admin, "ALTER ROLE mighty NOSUPERUSER")
	defer run(t, r.admin, "ALTER ROLE mighty SUPERUSER")
	require.Equal(t, "[[1]]", r.query("mighty", "SELECT 1"))
	run(t, r.admin, endSessions)
	run(t, r.admin, "ALTER ROLE mighty BYPASSRLS")
	defer run(t, r.admin, "ALTER ROLE mighty NOBYPASSRLS")
	require.Contains(t, r.refused("mighty", "SELECT 1"), "The database cannot be reached.")
	// It acts as another from the beginning.
	run(t, r.admin, "GRANT writer TO reader; ALTER ROLE reader IN DATABASE "+r.database+" SET role = writer")
	defer run(t, r.admin, "REVOKE writer FROM reader")
	require.Contains(t, r.refused("reader", "SELECT 1"), "The database cannot be reached.")
	require.Contains(t, r.last().Outcome.Reason, "or the session is another role's")
}

func TestUnfitDatabase(t *testing.T) {
	r := newRig(t, allowAll)
	run(t, r.admin, "CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
	defer run(t, r.admin, "DROP DATABASE latin WITH (FORCE)")
	at := *r.document.Load()
	at.DBName = "latin"
	r.document.Store(&at)
	require.Contains(t, r.refused("reader", "SELECT 1"), "The database cannot be reached.")
	require.Contains(t, r.last().Decision.Reason, "encoded in LATIN1")
	absent := at
	absent.DBName = "absent"
	r.document.Store(&absent)
	require.Contains(t, r.refused("reader", "SELECT 1"), "The database cannot be reached.")
	require.Contains(t, r.last().Decision.Reason, "SQLSTATE 3D000")
}

// Sessions are one caller's, and no more of them are open than the document says.
func TestSessionsAreNotShared(t *testing.T) {
	r := newRig(t, strings.ReplaceAll(allowAll, "from: [reader,", "from: [second, reader,"))
	at := *r.document.Load()
	r.document.Store(r.withRole(at, "second", "reader"))
	const pid = "SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE application_name = 'custody' AND datname = current_database()"
	r.query("reader", "SELECT 1")
	first := r.scalar(pid)
	r.query("second", "SELECT 1")
	require.Equal(t, "2", r.sessions())
	r.query("reader", "SELECT 1")
	require.Contains(t, r.scalar(pid), first)
	require.Equal(t, "2", r.sessions())

	// With room for one, the session of one makes room for that of the other.
	narrow := *r.withRole(at, "second", "reader")
	narrow.Limits.MaxConnections = 1
	r.document.Store(&narrow)
	for range 3 {
		r.query("reader", "SELECT 1")
		r.query("second", "SELECT 1")
	}
	require.Eventually(t, func() bool { return r.sessions() == "1" }, waiting, polling, "those of the document before are closed, too")
}

// withRole is a document that gives one more app a role.
func (r *rig) withRole(at database.Database, app, role string) *database.Database {
	r.t.Helper()
	documents, err := database.Parse("orders-db.yaml", fmt.Appendf(nil, `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: orders-db}
spec:
  engine: postgresql
  host: %s
  port: %d
  database: %s
  serverCA: %s
  serverName: localhost
  schemas: [shop]
  roles:
  - {from: [%s, reader], role: %s}
`, at.Host, at.Port, at.DBName, at.ServerCA, app, role))
	require.NoError(r.t, err)
	return &documents[0]
}

// Sessions that nobody uses end.
func TestIdleSessions(t *testing.T) {
	r := newRig(t, allowAll)
	r.limit("{idleTimeout: 300ms, statementTimeout: 20s, lockTimeout: 10s}")
	r.query("reader", "SELECT 1")
	require.Eventually(t, func() bool { return r.sessions() == "0" }, waiting, polling)
	require.Equal(t, "[[1]]", r.query("reader", "SELECT 1"))
}

func TestInit(t *testing.T) {
	r := newRig(t, allowAll)
	for _, tt := range []struct {
		app        string
		properties map[string]string
		want       string
	}{
		{"reader", map[string]string{"database": "orders-db"}, ""},
		{"reader", map[string]string{"Database": " orders-db ", "direction": "output"}, ""},
		{"", map[string]string{"database": "orders-db"}, ""},
		{"reader", map[string]string{}, `metadata "database" is missing`},
		{"reader", map[string]string{"database": "other-db"}, "there is no document of that database"},
		{"reader", map[string]string{"database": "orders-db", "connectionString": "host=elsewhere"}, `["connectionString"] is not known`},
		{"stranger", map[string]string{"database": "orders-db"}, "no role for spiffe://custody.local/ns/default/stranger"},
	} {
		ctx := context.Background()
		if tt.app != "" {
			ctx = r.as(ctx, tt.app)
		}
		err := r.door.Binding().Init(ctx, bindings.Metadata{Base: metadata.Base{Name: "orders", Properties: tt.properties}})
		if tt.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, tt.want)
		require.NotContains(t, err.Error(), "elsewhere")
	}
	// Of all these only the one who has no role was refused, and that is recorded.
	require.Equal(t, "sql.open", r.last().Action.Kind)
	require.Equal(t, "orders-db", r.last().Action.Server)
	require.Equal(t, "spiffe://custody.local/ns/default/stranger", r.last().Caller.SPIFFEID.String())
	require.Equal(t, "the document of the database has no role for the caller", r.last().Decision.Reason)
	_, err := door.New(door.Options{})
	require.Error(t, err)
	// Who asks without being anybody is refused, and it is recorded.
	b := r.binding("reader")
	_, err = b.Invoke(context.Background(), &bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": "SELECT 1"}})
	require.EqualError(t, err, sayDenied+r.last().ID)
	require.True(t, r.last().Caller.SPIFFEID.IsZero())
	require.NoError(t, r.door.Close())
	_, err = b.Invoke(r.as(context.Background(), "reader"), &bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": "SELECT 1"}})
	require.ErrorContains(t, err, "nothing is let through")
}

// What is defined through the door is known at once, and what others define after a while.
func TestDefinitions(t *testing.T) {
	var ahead time.Duration
	r := newRig(t, `
  - {name: all, effect: allow, from: [writer], to: {server: orders-db, sql: {operations: ["*"], tables: ["shop.*"], where: any, functions: [shop.twice]}}}
`, func(r *rig) {
		r.now = func() time.Time { return time.Now().Add(ahead) }
		r.clients = minter{r.clients, time.Now}
	})
	exec := func(sql string) error {
		_, err := r.ask("writer", "exec", sql)
		return err
	}
	require.Contains(t, r.refused("writer", "SELECT * FROM notes"), sayDenied)
	require.NoError(t, exec("CREATE TABLE shop.notes (id int, body text)"))
	require.Equal(t, "sql.ddl", r.last().Action.Kind)
	require.Equal(t, "[]", r.query("writer", "SELECT * FROM notes"))
	require.NoError(t, exec("INSERT INTO notes VALUES (1, 'x')"))
	require.Equal(t, `[[1,"x"]]`, r.query("writer", "SELECT * FROM notes"))
	require.NoError(t, exec("ALTER TABLE shop.notes ADD COLUMN more int"))
	require.Equal(t, `[[1,"x",null]]`, r.query("writer", "SELECT * FROM notes"))
	// Others change what a session has prepared.
	run(t, r.admin, "ALTER TABLE shop.notes DROP COLUMN more")
	require.Equal(t, `[[1,"x"]]`, r.query("writer", "SELECT * FROM notes"))
	require.NoError(t, exec("DROP TABLE shop.notes"))
	require.Contains(t, r.refused("writer", "SELECT * FROM notes"), sayDenied)

	// A function that others make is found when the catalogue is read again, beside the requests.
	run(t, r.admin, "CREATE FUNCTION shop.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'")
	require.Contains(t, r.refused("writer", "SELECT shop.twice(4)"), "may be sent")
	read := r.door.CatalogueRead("orders-db")
	ahead = door.RefreshAfter
	r.refused("writer", "SELECT shop.twice(4)")
	r.door.AwaitRefresh()
	require.NotEqual(t, read, r.door.CatalogueRead("orders-db"))
	require.Equal(t, "[[8]]", r.query("writer", "SELECT shop.twice(4)"))
	require.Contains(t, r.refused("writer", "SELECT shop.evil()"), "may be sent")
	// One that is too old is not judged by.
	run(t, r.admin, "CREATE OR REPLACE FUNCTION shop.upper(text) RETURNS text LANGUAGE sql AS 'SELECT $1'")
	ahead += door.UselessAfter
	require.Contains(t, r.refused("writer", "SELECT upper('x')"), "may be sent")
	r.settled()
}

// A name that is in two schemas of the search path is not guessed.
func TestAmbiguousNames(t *testing.T) {
	r := newRig(t, strings.ReplaceAll(allowAll, `"shop.*"`, `"shop.*", "second.*"`))
	run(t, r.admin, "CREATE SCHEMA second; CREATE TABLE second.orders (id int); CREATE TABLE second.own (id int); GRANT USAGE ON SCHEMA second TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA second TO reader")
	documents, err := database.Parse("orders-db.yaml", fmt.Appendf(nil, `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: orders-db}
spec: {engine: postgresql, host: 127.0.0.1, port: %d, database: %s, serverCA: %s, serverName: localhost, schemas: [shop, second], roles: [{from: [reader], role: reader}]}
`, r.document.Load().Port, r.database, serverCA()))
	require.NoError(t, err)
	r.document.Store(&documents[0])
	require.Contains(t, r.refused("reader", "SELECT id FROM orders"), sayDenied)
	require.Contains(t, r.last().Decision.Reason, "several schemas of the search path")
	require.Equal(t, "[]", r.query("reader", "SELECT id FROM second.orders"))
	require.Equal(t, "[]", r.query("reader", "SELECT id FROM own"))
	require.Equal(t, "second.own", r.last().Action.Name)
	require.Equal(t, "[[60]]", r.query("reader", "SELECT count(*) FROM shop.orders"))
}

// What a function leaves in a session is not there for the next statement.
func TestFunctionsLeaveNothing(t *testing.T) {
	r := newRig(t, strings.Replace(allowAll, `tables: ["shop.*"]}}`, `tables: ["shop.*"], functions: [shop.leaves, pg_catalog.current_setting]}}`, 1))
	run(t, r.admin, "CREATE FUNCTION shop.leaves() RETURNS text LANGUAGE sql AS $$ SELECT set_config('search_path', 'pg_temp, vault', false) || set_config('a.b', 'left', false) $$")
	require.Equal(t, `[["pg_temp, vaultleft"]]`, r.query("reader", "SELECT shop.leaves()"))
	require.Equal(t, `[["pg_catalog, shop, pg_temp",""]]`, r.query("reader", "SELECT current_setting('search_path'), coalesce(current_setting('a.b', true), '')"))
	require.Equal(t, "1", r.sessions())
	// It does not write either, since a SELECT only reads.
	run(t, r.admin, "CREATE OR REPLACE FUNCTION shop.leaves() RETURNS text LANGUAGE sql AS $$ INSERT INTO shop.stock VALUES ('sku-1', 1, NULL) RETURNING sku $$")
	require.Contains(t, r.refused("writer", "SELECT shop.leaves()"), "what the statement runs would write")
}
