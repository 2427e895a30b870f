// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/cmd/components/dbsetup"
)

// snapshot is all that setup may change.
func (r *rig) snapshot() string {
	r.t.Helper()
	state := all[string](r.t, r.conn, `SELECT 'role ' || rolname FROM pg_roles
		UNION ALL SELECT 'extension ' || extname FROM pg_extension
		UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
		UNION ALL SELECT 'schema ' || nspname || a::text FROM pg_namespace n, aclexplode(nspacl) a WHERE a.grantee <> n.nspowner
		UNION ALL SELECT 'database ' || has_database_privilege('public', oid, 'TEMP') || has_database_privilege('public', oid, 'CREATE')
			FROM pg_database WHERE datname = current_database()
		UNION ALL SELECT 'rights ' || c.oid::regclass::text || ' ' || a::text FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantee <> a.grantor
		UNION ALL SELECT 'closed ' || p.oid::regprocedure::text FROM pg_proc p WHERE NOT has_function_privilege('public', p.oid, 'EXECUTE')
		UNION ALL SELECT 'rows ' || relname || relrowsecurity || relforcerowsecurity FROM pg_class WHERE relnamespace = 'shop'::regnamespace
		UNION ALL SELECT 'policy ' || polname FROM pg_policy
		UNION ALL SELECT 'setting ' || s::text FROM pg_db_role_setting s
		UNION ALL SELECT 'order ' || o::text FROM shop.orders o ORDER BY 1`)
	return strings.Join(append(state, r.content(r.file("hba_file")), r.content(r.file("ident_file")), r.file("ssl_ca_file")), "\n")
}

func TestSetupCheckUndo(t *testing.T) {
	r := newRig(t)
	before := r.snapshot()

	said, result := r.setup()
	require.True(t, result.Changed)
	require.Empty(t, result.Left)
	for _, want := range []string{
		"schema custody made", "extension sslinfo made", "TEMP on the database taken from PUBLIC", "role " + r.reads() + " made",
		"policies on \"shop\".\"orders\"", "pg_hba.conf: lines of", "pg_ident.conf: lines of", "ALTER SYSTEM SET ssl_ca_file",
		"shop.sums is not given to roles", "its owner postgres too",
	} {
		require.Contains(t, said, want)
	}

	said, held := r.check()
	require.True(t, held, said)
	for _, want := range []string{
		"gets in with a certificate", "refused without a certificate", "certificate of another authority", "for another role", "with an expired",
		"with a password", "without TLS", "other databases", "cannot make temporary tables", "cannot read files", "an owner sees no others",
	} {
		require.Equal(t, 2, strings.Count(said, want), want) // for both roles
	}

	said, result = r.setup()
	require.False(t, result.Changed, said)
	require.Contains(t, said, "nothing changed")

	said, result = r.undo()
	require.True(t, result.Changed)
	require.Empty(t, result.Left, said)
	require.Equal(t, before, r.snapshot())
	_, err := os.Stat(r.file("data_directory") + "/custody-ca.pem")
	require.ErrorIs(t, err, os.ErrNotExist)
	said, result = r.undo()
	require.False(t, result.Changed, said)
	require.Equal(t, before, r.snapshot())

	said, held = r.check()
	require.False(t, held)
	require.Contains(t, said, "nothing else can be tried")
}

func TestRolesReadAndWrite(t *testing.T) {
	r := newRig(t)
	r.setup()
	reads, writes := r.as(r.reads(), agent, none), r.as(r.writes(), agent, none)
	require.Equal(t, 2, ask[int](t, reads, "SELECT count(*) FROM orders"))
	require.Equal(t, "bolt", ask[string](t, reads, `SELECT name FROM "Items"`))

	const insert = "INSERT INTO shop.orders VALUES (5, 'spiffe://custody.local/ns/default/orders-mcp', NULL, 1)"
	for sql, want := range map[string]string{
		insert: "25006", "BEGIN READ WRITE; " + insert + "; COMMIT": "42501",
		"BEGIN READ WRITE; SELECT nextval('shop.numbers'); COMMIT": "42501",
	} {
		_, err := reads.PgConn().Exec(t.Context(), sql).ReadAll()
		require.ErrorContains(t, err, want, sql)
		_, err = reads.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll()
		require.NoError(t, err)
	}
	_, err := writes.Exec(t.Context(), insert)
	require.ErrorContains(t, err, "25006") // writing is said at the begin of a transaction
	for _, sql := range []string{insert, "UPDATE shop.orders SET amount = 2", "DELETE FROM shop.orders WHERE id = 5", "SELECT nextval('shop.numbers')"} {
		_, err := writes.PgConn().Exec(t.Context(), "BEGIN READ WRITE; "+sql+"; COMMIT").ReadAll()
		require.NoError(t, err, sql)
	}
	for _, sql := range []string{"TRUNCATE shop.orders", "DROP TABLE shop.orders", "SELECT setval('shop.numbers', 1)", "SELECT * FROM shop.sums"} {
		_, err := writes.PgConn().Exec(t.Context(), "BEGIN READ WRITE; "+sql).ReadAll()
		require.ErrorContains(t, err, "42501", sql)
		_, err = writes.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll()
		require.NoError(t, err)
	}
	require.Equal(t, []int{2, 2, 30, 40}, all[int](t, r.conn, "SELECT amount FROM shop.orders ORDER BY amount"))
	require.Equal(t, []string{"5s", "1s", "30s", "pg_catalog, shop, pg_temp"}, all[string](t, reads,
		"SELECT current_setting(unnest(ARRAY['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'search_path']))"))
}

// What was printed and done by hand is what setup does.
func TestPrintedByHand(t *testing.T) {
	r := newRig(t)
	before := r.snapshot()
	var out bytes.Buffer
	o := r.options(&out)
	o.Print = true
	result, err := dbsetup.Setup(t.Context(), o)
	require.NoError(t, err)
	require.True(t, result.Changed)
	require.Equal(t, before, r.snapshot())

	printed := out.String()
	begin, end := strings.Index(printed, "BEGIN;"), strings.Index(printed, "COMMIT;")
	r.exec(printed[begin : end+len("COMMIT;")])
	o.Print = false
	out.Reset()
	result, err = dbsetup.Setup(t.Context(), o)
	require.NoError(t, err)
	require.True(t, result.Changed)
	for _, sql := range []string{" made\n", "rights", "policies", "settings", "taken"} {
		require.NotContains(t, out.String(), sql)
	}
	said, held := r.check()
	require.True(t, held, said)

	out.Reset()
	o.Print = true
	_, err = dbsetup.Undo(t.Context(), o)
	require.NoError(t, err)
	require.Contains(t, out.String(), "DROP ROLE "+r.reads())
	said, held = r.check()
	require.True(t, held, said)
}

// A document that says less takes away what it said before.
func TestTheDocumentChanges(t *testing.T) {
	r := newRig(t)
	r.setup()
	full := r.text
	roles, _, _ := strings.Cut(full, "  - {from: [clerk]")
	r.text = strings.ReplaceAll(roles, "_reads}", "_reads, write: true}")
	r.read()
	said, _ := r.setup()
	require.Contains(t, said, "role "+r.writes()+" taken away")
	require.False(t, ask[bool](t, r.conn, "SELECT relrowsecurity OR relforcerowsecurity FROM pg_class WHERE oid = 'shop.orders'::regclass"))
	require.True(t, ask[bool](t, r.conn, "SELECT has_table_privilege($1, 'shop.orders', 'DELETE')", r.reads()))
	said, held := r.check()
	require.True(t, held, said)

	r.text = full
	r.read()
	r.setup()
	require.False(t, ask[bool](t, r.conn, "SELECT has_table_privilege($1, 'shop.orders', 'INSERT, UPDATE, DELETE')", r.reads()))
	r.text = strings.ReplaceAll(full, "caller: owner}", "caller: owner, actor: buyer}")
	r.read()
	said, _ = r.setup()
	require.Contains(t, said, "policies on")
	require.Equal(t, []int64{1}, all[int64](t, r.as(r.reads(), agent, alice), "SELECT id FROM orders"))
	require.Empty(t, all[int64](t, r.as(r.reads(), agent, none), "SELECT id FROM orders"))
	said, held = r.check()
	require.True(t, held, said)
}

// Two documents share a database, and one goes.
func TestTwoDocumentsOfADatabase(t *testing.T) {
	r := newRig(t)
	before := r.snapshot()
	r.setup()
	second := *r
	second.text = strings.NewReplacer("{name: "+r.d.Name+"}", "{name: "+r.d.Name+".second}", r.d.Name+"_", r.d.Name+"_second_").Replace(r.text)
	second.read()
	second.setup()
	_, held := r.check()
	require.True(t, held)
	said, held := second.check()
	require.True(t, held, said)

	r.undo()
	said, held = second.check()
	require.True(t, held, said)
	require.Empty(t, all[int](t, second.as(second.d.Names()[0], alice, none), "SELECT id FROM orders"))
	second.undo()
	require.Equal(t, before, r.snapshot())
}

// Documents of one name for two databases of a server would take each other's lines for their own.
func TestSameNameForAnotherDatabase(t *testing.T) {
	r := newRig(t)
	r.setup()
	before := r.snapshot()
	second := *r
	second.text = strings.NewReplacer("database: "+r.d.DBName, "database: postgres", "schemas: [shop]", "schemas: [public]", r.d.Name+"_", r.d.Name+"_second_").Replace(r.text)
	second.text, _, _ = strings.Cut(second.text, "  rowSecurity")
	second.read()
	for _, do := range []func(context.Context, dbsetup.Options) (dbsetup.Result, error){dbsetup.Setup, dbsetup.Undo} {
		_, err := do(t.Context(), second.options(new(bytes.Buffer)))
		require.ErrorContains(t, err, "for another database")
	}
	require.Equal(t, before, r.snapshot())
}

func TestRevokeFunctions(t *testing.T) {
	r := newRig(t)
	before := r.snapshot()
	o := r.options(new(bytes.Buffer))
	o.RevokeFunctions = true
	_, err := dbsetup.Setup(t.Context(), o)
	require.NoError(t, err)
	for _, sql := range []string{"SELECT pg_sleep(0)", "SELECT lo_create(0)", "SELECT pg_advisory_lock(1)", "SELECT query_to_xml('SELECT 1', true, true, '')"} {
		_, err := r.as(r.reads(), agent, none).Exec(t.Context(), sql)
		require.ErrorContains(t, err, "42501", sql)
	}
	_, result := r.setup() // without the flag they stay
	require.False(t, result.Changed)
	r.undo()
	require.Equal(t, before, r.snapshot())
	_, err = r.conn.Exec(context.Background(), "SELECT 1")
	require.NoError(t, err)
}

// The component server would not use it: that is told before anything is made.
func TestOtherEncoding(t *testing.T) {
	r := newRig(t)
	name := r.d.DBName + "_latin"
	r.exec("CREATE DATABASE " + name + " TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
	defer r.exec("DROP DATABASE " + name + " WITH (FORCE)")
	before := r.content(r.file("hba_file"))
	r.text = strings.Replace(r.text, "database: "+r.d.DBName, "database: "+name, 1)
	r.read()
	_, err := dbsetup.Setup(t.Context(), r.options(new(bytes.Buffer)))
	require.ErrorContains(t, err, "is encoded in LATIN1, and the component server takes none but UTF8")
	_, err = dbsetup.Check(t.Context(), r.options(new(bytes.Buffer)))
	require.ErrorContains(t, err, "is encoded in LATIN1")
	require.Equal(t, before, r.content(r.file("hba_file")))
}
