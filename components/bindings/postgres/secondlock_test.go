// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/cmd/components/dbsetup"
	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/dbca"
)

// lockedRig is a server that `custody-components db setup` has set up, with a door to it.
func lockedRig(t *testing.T, rules string) *rig {
	t.Helper()
	started, err := postgres.StartScratch(t.Context(), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, started.Close()) })
	r := bareRig(t)
	r.database = "postgres"
	r.admin = connect(t, started.URL())
	t.Cleanup(func() { require.NoError(t, r.admin.Close(context.Background())) })
	roots := filepath.Join(t.TempDir(), "server-ca.pem")
	speakTLS(t, r.admin, roots)
	run(t, r.admin, `CREATE SCHEMA shop;
		CREATE TABLE shop.orders (id int PRIMARY KEY, owner text NOT NULL);
		CREATE TABLE shop.letters (id int PRIMARY KEY, owner text NOT NULL, reader text NOT NULL);
		INSERT INTO shop.orders SELECT i, 'spiffe://custody.local/ns/default/' || (ARRAY['alice', 'bob'])[i % 2 + 1] FROM generate_series(1, 10) i;
		INSERT INTO shop.letters SELECT i, 'spiffe://custody.local/ns/default/' || (ARRAY['alice', 'bob'])[i % 2 + 1], 'spiffe://custody.local/ns/default/' || (ARRAY['carol', 'dave'])[i % 3 % 2 + 1] FROM generate_series(1, 12) i`)
	config := r.admin.Config()
	documents, err := database.Parse("orders-db.yaml", fmt.Appendf(nil, `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: orders-db}
spec:
  engine: postgresql
  host: 127.0.0.1
  port: %d
  database: postgres
  serverCA: %s
  serverName: localhost
  schemas: [shop]
  roles:
  - {from: [alice, bob], role: custody_agents, write: true}
  rowSecurity:
  - {table: shop.orders, caller: owner}
  - {table: shop.letters, caller: owner, actor: reader}
`, config.Port, roots))
	require.NoError(t, err)
	r.document.Store(&documents[0])
	ca, err := dbca.Create(filepath.Join(t.TempDir(), "ca"), time.Now())
	require.NoError(t, err)
	admin, err := pgx.ParseConfig(started.URL())
	require.NoError(t, err)
	var said bytes.Buffer
	options := dbsetup.Options{Database: &documents[0], CA: ca, Admin: admin, Out: &said, Now: time.Now}
	_, err = dbsetup.Setup(t.Context(), options)
	require.NoError(t, err, said.String())
	held, err := dbsetup.Check(t.Context(), options)
	require.NoError(t, err)
	require.True(t, held, said.String())
	r.clients = ca
	r.setPolicy(rules)
	r.open()
	return r
}

const agentsWork = `
  - {name: work, effect: allow, from: [alice, bob], to: {server: orders-db, sql: {operations: ["*"], tables: ["shop.*"], where: any}}}
`

const (
	ordersOfAlice = "[[2],[4],[6],[8],[10]]"
	ordersOfBob   = "[[1],[3],[5],[7],[9]]"
	orders        = "SELECT id FROM shop.orders ORDER BY id"
)

// Each caller sees its rows and no others, and those of whom it asks for where a token says so.
func TestRowsOfTheCaller(t *testing.T) {
	r := lockedRig(t, agentsWork)
	require.Equal(t, ordersOfAlice, r.query("alice", orders))
	require.Equal(t, ordersOfBob, r.query("bob", orders))
	_, err := r.ask("alice", "exec", "DELETE FROM shop.orders")
	require.NoError(t, err)
	require.Equal(t, int64(5), r.last().Outcome.Rows)
	require.Equal(t, "[]", r.query("alice", orders))
	require.Equal(t, ordersOfBob, r.query("bob", orders))
	_, err = r.ask("alice", "exec", "INSERT INTO shop.orders VALUES (11, 'spiffe://custody.local/ns/default/bob')")
	require.ErrorContains(t, err, "Reference: ")
	require.Equal(t, "SQLSTATE 42501 insufficient_privilege", r.last().Outcome.Reason)

	const letters = "SELECT reader FROM shop.letters GROUP BY reader"
	require.Equal(t, "[]", r.query("alice", letters), "nobody stands behind it")
	h := r.hands()
	require.Equal(t, `[["spiffe://custody.local/ns/default/carol"]]`, r.query("alice", letters, "Txn-Token", h.through("carol", "alice")))
	require.Equal(t, `[["spiffe://custody.local/ns/default/dave"]]`, r.query("alice", letters, "Txn-Token", h.through("dave", "alice")))
	require.Equal(t, "[]", r.query("alice", letters), "the session is not that of another actor")
}

// With the guard off, whatever a statement does, it sees the rows of its caller alone, and changes nothing.
func TestSecondLock(t *testing.T) {
	r := lockedRig(t, agentsWork)
	r.query("alice", orders)
	r.door.WithoutGuard()
	before := r.scalar("SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM shop.orders o")
	for _, sql := range []string{
		"RESET ROLE", "SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "RESET SESSION AUTHORIZATION",
		"SET row_security = off", "SET default_transaction_read_only = off", "SET TRANSACTION READ WRITE", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
		"SELECT set_config('role', 'postgres', false)", "SELECT set_config('row_security', 'off', false)", "SELECT set_config('custody.caller', 'spiffe://custody.local/ns/default/bob', false)",
		"SET search_path = pg_temp, shop", "COMMIT", "ROLLBACK", "BEGIN READ WRITE", "COMMIT; DELETE FROM shop.orders", "END; BEGIN; DELETE FROM shop.orders; COMMIT",
		"DELETE FROM shop.orders", "WITH gone AS (DELETE FROM shop.orders RETURNING id) SELECT id FROM gone", "TRUNCATE shop.orders", "DROP TABLE shop.orders",
		"ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY", "ALTER TABLE shop.orders NO FORCE ROW LEVEL SECURITY", "DROP POLICY custody_caller ON shop.orders",
		"CREATE OR REPLACE FUNCTION custody.caller() RETURNS text LANGUAGE sql AS $$ SELECT 'spiffe://custody.local/ns/default/bob' $$",
		"CREATE FUNCTION pg_temp.caller() RETURNS text LANGUAGE sql AS $$ SELECT 'spiffe://custody.local/ns/default/bob' $$",
		"CREATE TEMP TABLE orders (id int)", "CREATE VIEW shop.all AS SELECT * FROM shop.orders", "CREATE EXTENSION dblink",
		"COPY shop.orders TO '/tmp/custody-second-lock'", "COPY shop.orders TO PROGRAM 'cat > /tmp/custody-second-lock'",
		"DO $$ BEGIN DELETE FROM shop.orders; END $$", "SELECT pg_read_file('PG_VERSION')", "SELECT lo_import('/etc/passwd')",
		"SELECT query_to_xml('SELECT * FROM shop.orders', true, true, '')", "LOCK TABLE shop.orders", "GRANT ALL ON shop.orders TO PUBLIC", "ALTER ROLE custody_agents SUPERUSER",
		"PREPARE x AS SELECT * FROM shop.orders", "DEALLOCATE ALL", "DISCARD ALL", "LISTEN x", "SELECT pg_advisory_lock(1)",
	} {
		t.Run(sql, func(t *testing.T) {
			response, err := r.ask("alice", "query", sql)
			if err == nil {
				require.NotContains(t, string(response.Data), "default/bob\",")
				require.NotContains(t, string(response.Data), "owner>spiffe://custody.local/ns/default/bob")
			}
			// Whatever it has left in the session is the caller's own.
			if response, err = r.ask("alice", "query", orders); err == nil {
				require.Equal(t, ordersOfAlice, string(response.Data))
			}
			require.Equal(t, ordersOfBob, r.query("bob", orders))
			require.Equal(t, before, r.scalar("SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM shop.orders o"), "the rows have changed")
			require.Equal(t, "t t", r.scalar("SELECT concat_ws(' ', relrowsecurity, relforcerowsecurity) FROM pg_class WHERE oid = 'shop.orders'::regclass"))
		})
	}
	_, err := os.Stat("/tmp/custody-second-lock")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, ordersOfAlice, r.query("alice", orders))
}
