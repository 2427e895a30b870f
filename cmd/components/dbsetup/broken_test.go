// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/cmd/components/dbsetup"
	"github.com/dapr-custody/custody/internal/dbca"
)

// Each thing that setup makes is taken away or changed by hand: check finds it, and setup repairs what is its own.
func TestCheckFindsAndSetupRepairs(t *testing.T) {
	r := newRig(t)
	r.setup()
	reads := r.reads()
	for name, c := range map[string]struct{ sql, found string }{
		"superuser":        {"ALTER ROLE " + reads + " SUPERUSER", "made what it must be"},
		"bypass":           {"ALTER ROLE " + reads + " BYPASSRLS", "made what it must be"},
		"password":         {"ALTER ROLE " + reads + " PASSWORD 'x'", "made what it must be"},
		"no limit":         {"ALTER ROLE " + reads + " CONNECTION LIMIT -1", "made what it must be"},
		"setting":          {"ALTER ROLE " + reads + " IN DATABASE " + r.d.DBName + " SET statement_timeout = 0", "begins with the limits"},
		"settings":         {"ALTER ROLE " + reads + " IN DATABASE " + r.d.DBName + " RESET ALL", "settings of role"},
		"temp":             {"GRANT TEMP ON DATABASE " + r.d.DBName + " TO PUBLIC", "cannot make temporary tables"},
		"create":           {"GRANT CREATE ON SCHEMA shop TO PUBLIC", "cannot make tables in shop"},
		"create schemas":   {"GRANT CREATE ON DATABASE " + r.d.DBName + " TO PUBLIC", "cannot make schemas"},
		"more rights":      {"GRANT DELETE ON shop.orders TO " + reads, "has no rights beyond"},
		"more on a column": {"GRANT UPDATE (amount) ON shop.orders TO " + reads, "has no rights beyond"},
		"less rights":      {"REVOKE SELECT ON shop.orders FROM " + reads, "rights of role"},
		"new table":        {"CREATE TABLE IF NOT EXISTS shop.fresh (a int)", "rights of role"},
		"no row security":  {"ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY", "sees none of"},
		"no force":         {"ALTER TABLE shop.orders NO FORCE ROW LEVEL SECURITY", "row security of"},
		"policy changed":   {fmt.Sprintf("ALTER POLICY %s ON shop.orders USING (true)", r.policy("permissive")), "policies on"},
		"policy gone":      {fmt.Sprintf("DROP POLICY %s ON shop.orders", r.policy("restrictive")), "policies on"},
		"policies open":    {fmt.Sprintf("ALTER POLICY %s ON shop.orders USING (true); ALTER POLICY %s ON shop.orders USING (true)", r.policy("permissive"), r.policy("restrictive")), "sees none of"},
		"function":         {"CREATE OR REPLACE FUNCTION custody.caller() RETURNS text LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$SELECT 'spiffe://a/b'$$", "knows who asks"},
		"function's path":  {"ALTER FUNCTION custody.names() RESET search_path", "function custody.names() made"},
		"function's owner": {"ALTER FUNCTION custody.caller() OWNER TO " + reads, "function custody.caller() made"},
		"function for all": {"GRANT EXECUTE ON FUNCTION custody.names() TO PUBLIC", "function custody.names() made"},
		"function gone":    {"DROP FUNCTION custody.actor()", "function custody.actor() made"},
		"records for all":  {"GRANT SELECT ON custody.made TO " + reads, "cannot read what setup wrote down"},
		"a line before":    {"hba:host all all 127.0.0.1/32 trust\n", "is refused without a certificate"},
		"lines gone":       {"hba-", "pg_hba.conf"},
		"map gone":         {"ident-", "pg_ident.conf"},
		"somebody's line":  {"hba:# a remark\n", ""},
		"trusts nobody":    {"ca-", "gets in with a certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			undo := r.spoil(c.sql)
			said, held := r.check()
			if c.found == "" {
				require.True(t, held, said)
			} else {
				require.False(t, held, said)
				require.True(t, failed(said, c.found), said)
			}
			r.setup()
			undo()
			said, result := r.setup()
			require.False(t, result.Changed, said)
		})
	}
	said, held := r.check()
	require.True(t, held, said)
	for name, c := range map[string]struct{ sql, repair, found string }{
		"member":           {"GRANT pg_read_all_data TO " + reads, "REVOKE pg_read_all_data FROM " + reads, "is a member of no role (pg_read_all_data"},
		"for everybody":    {"CREATE SCHEMA open; CREATE TABLE open.secrets (); GRANT USAGE ON SCHEMA open TO PUBLIC; GRANT SELECT ON open.secrets TO PUBLIC", "DROP SCHEMA open CASCADE", "open.secrets"},
		"write for all":    {"GRANT INSERT ON shop.orders TO PUBLIC", "REVOKE INSERT ON shop.orders FROM PUBLIC", "shop.orders"},
		"truncate for all": {"GRANT TRUNCATE ON shop.\"Items\" TO PUBLIC", "REVOKE TRUNCATE ON shop.\"Items\" FROM PUBLIC", "shop.Items"},
		"map of others":    {"ident:custody /^.*$ " + r.writes() + "\n", "", "a certificate is for the role that it names"},
	} {
		t.Run(name, func(t *testing.T) {
			undo := r.spoil(c.sql)
			said, held := r.check()
			require.False(t, held)
			require.True(t, failed(said, c.found), said)
			undo()
			if c.repair != "" {
				r.exec(c.repair)
			}
		})
	}
	said, held = r.check()
	require.True(t, held, said)
}

// failed says whether a line that begins with FAIL says this.
func failed(said, what string) bool {
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "  FAIL") && strings.Contains(line, what) {
			return true
		}
	}
	return false
}

func (r *rig) policy(kind string) string {
	r.t.Helper()
	return ask[string](r.t, r.conn, "SELECT polname::text FROM pg_policy WHERE polname LIKE 'custody_' || $1 || '%'", kind)
}

// spoil runs SQL, or changes a file: "hba:line" puts a line first, "hba-" takes the block out. What it returns takes a
// line of a file away.
func (r *rig) spoil(how string) (undo func()) {
	r.t.Helper()
	for prefix, setting := range map[string]string{"hba": "hba_file", "ident": "ident_file", "ca": "ssl_ca_file"} {
		path := r.file(setting)
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.file("data_directory"), path)
		}
		text := ""
		if line, ok := strings.CutPrefix(how, prefix+":"); ok {
			text = line + r.content(path)
			undo = func() {
				writeAs(r.t, path, []byte(strings.Replace(r.content(path), line, "", 1)))
				r.reload()
			}
		} else if how == prefix+"-" {
			_, rest, _ := strings.Cut(r.content(path), "# custody end "+r.d.Name+"\n")
			before, _, _ := strings.Cut(r.content(path), "# custody begin "+r.d.Name+"\n")
			text, undo = before+rest, func() {}
			if prefix == "ca" && strings.TrimSpace(text) == "" {
				other, err := dbca.Create(filepath.Join(r.t.TempDir(), "ca"), time.Now())
				require.NoError(r.t, err)
				bundle, err := other.Bundle()
				require.NoError(r.t, err)
				text = string(bundle)
				undo = func() { writeAs(r.t, path, []byte(strings.Replace(r.content(path), text, "", 1))) }
			}
		} else {
			continue
		}
		writeAs(r.t, path, []byte(text))
		r.reload()
		return undo
	}
	r.exec(how)
	return func() {}
}

// finally runs SQL when the test has ended.
func (r *rig) finally(sql string) {
	r.t.Cleanup(func() {
		_, err := r.conn.PgConn().Exec(context.Background(), sql).ReadAll()
		require.NoError(r.t, err)
	})
}

// reload returns when the server has read its files.
func (r *rig) reload() {
	r.t.Helper()
	before := ask[time.Time](r.t, r.conn, "SELECT pg_conf_load_time()")
	r.exec("SELECT pg_reload_conf()")
	require.Eventually(r.t, func() bool {
		conn, err := pgx.ConnectConfig(r.t.Context(), r.admin)
		require.NoError(r.t, err)
		loaded := ask[time.Time](r.t, conn, "SELECT pg_conf_load_time()")
		require.NoError(r.t, conn.Close(r.t.Context()))
		return loaded.After(before)
	}, 10*time.Second, 10*time.Millisecond)
}

// Undo works from whatever half is there.
func TestUndoOfAHalf(t *testing.T) {
	for name, how := range map[string]string{
		"role dropped":     "DROP OWNED BY %[1]s_writes; DROP ROLE %[1]s_writes",
		"policies dropped": "DROP POLICY %[2]s ON shop.orders; DROP POLICY %[3]s ON shop.orders",
		"functions gone":   "DROP FUNCTION custody.caller(), custody.actor() CASCADE",
		"lines gone":       "hba-",
		"temp given back":  "GRANT TEMP ON DATABASE %[1]s TO PUBLIC",
		"records lost":     "DELETE FROM custody.made WHERE kind IN ('role', 'policy')",
		"extension gone":   "DROP EXTENSION sslinfo",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			before := r.snapshot()
			r.setup()
			if strings.Contains(how, "%") {
				how = fmt.Sprintf(how+" -- %[1]s %[2]s %[3]s", r.d.Name, r.policy("permissive"), r.policy("restrictive"))
			}
			r.spoil(how)
			_, result := r.undo()
			require.Empty(t, result.Left)
			require.Equal(t, before, r.snapshot())
		})
	}
	t.Run("table dropped", func(t *testing.T) {
		r := newRig(t)
		r.setup()
		r.exec("DROP TABLE shop.orders CASCADE")
		r.undo()
		require.False(t, ask[bool](t, r.conn, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", r.reads()))
		require.False(t, ask[bool](t, r.conn, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'custody')"))
	})
	t.Run("schema dropped", func(t *testing.T) {
		r := newRig(t)
		r.setup()
		r.exec("DROP SCHEMA custody CASCADE")
		r.undo()
		require.False(t, ask[bool](t, r.conn, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", r.reads()))
		require.NotContains(t, r.content(r.file("hba_file")), r.reads())
	})
}

// Data is never taken, and what others have built on setup's things stops undo, with all as it was.
func TestUndoStops(t *testing.T) {
	for name, c := range map[string]struct{ how, want string }{
		"a table of the role": {"CREATE TABLE shop.mine (); ALTER TABLE shop.mine OWNER TO %s", "REASSIGN OWNED BY"},
		"a policy of others":  {"CREATE POLICY own ON shop.\"Items\" USING (name = custody.caller()) -- %s", "(policy own on table"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.setup()
			r.exec(fmt.Sprintf(c.how, r.reads()))
			before := r.snapshot()
			_, err := dbsetup.Undo(t.Context(), r.options(new(bytes.Buffer)))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, before, r.snapshot())
			r.exec("DROP TABLE IF EXISTS shop.mine; DROP POLICY IF EXISTS own ON shop.\"Items\"")
		})
	}
}

func TestUndoEndsSessions(t *testing.T) {
	r := newRig(t)
	r.setup()
	conn := r.as(r.reads(), agent, none)
	r.undo()
	_, err := conn.Exec(t.Context(), "SELECT 1")
	require.ErrorContains(t, err, "57P01") // admin_shutdown
}

func TestFilesThatAreBroken(t *testing.T) {
	for name, c := range map[string]struct{ file, line, want string }{
		"a line that is wrong":   {"hba_file", "host nonsense\n", "is not accepted by the server: line 1"},
		"a map that is wrong":    {"ident_file", "custody nonsense\n", "is not accepted by the server: line 1"},
		"a block without an end": {"hba_file", "# custody begin x\n", "repair the marks by hand"},
		"an end without a begin": {"ident_file", "# custody end x\n", "repair the marks by hand"},
		"a block within another": {"hba_file", "# custody begin x\n# custody begin y\n# custody end y\n# custody end x\n", "does not fit the marks"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			path := r.file(c.file)
			good := r.content(path)
			writeAs(t, path, []byte(c.line+good))
			before := r.snapshot()
			_, err := dbsetup.Setup(t.Context(), r.options(new(bytes.Buffer)))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, before, r.snapshot())
			writeAs(t, path, []byte(good))
			r.setup()
		})
	}
}

// A file keeps its owner and mode, and one that is a link stays one.
func TestFilesKeepWhoseTheyAre(t *testing.T) {
	r := newRig(t)
	path := r.file("hba_file")
	real := filepath.Join(filepath.Dir(path), "real_hba.conf")
	require.NoError(t, os.Rename(path, real))
	require.NoError(t, os.Chmod(real, 0o640))
	require.NoError(t, os.Symlink("real_hba.conf", path))
	before, err := os.Stat(real)
	require.NoError(t, err)
	r.setup()
	link, err := os.Lstat(path)
	require.NoError(t, err)
	require.NotZero(t, link.Mode()&os.ModeSymlink)
	after, err := os.Stat(real)
	require.NoError(t, err)
	require.Equal(t, before.Mode(), after.Mode())
	require.Contains(t, r.content(real), r.reads())
	r.undo()
	require.NoError(t, os.Rename(real, path))
}

func TestAdminsThatCannot(t *testing.T) {
	r := newRig(t)
	r.exec("CREATE ROLE " + r.d.Name + "_dba LOGIN CREATEROLE CREATEDB PASSWORD 'dba'; ALTER ROLE " + r.d.Name + "_dba SET search_path = shop")
	r.exec("CREATE ROLE " + r.d.Name + "_ro LOGIN SUPERUSER PASSWORD 'ro'; ALTER ROLE " + r.d.Name + "_ro SET default_transaction_read_only = on")
	r.finally("DROP ROLE " + r.d.Name + "_dba; DROP ROLE " + r.d.Name + "_ro")
	before := r.snapshot()
	for name, c := range map[string]struct{ user, password, want string }{
		"no superuser":    {r.d.Name + "_dba", "dba", "is no superuser"},
		"read only":       {r.d.Name + "_ro", "ro", "this connection is read only"},
		"wrong password":  {"postgres", "wrong", "the superuser does not get in"},
		"nobody of these": {"nobody", "x", "--admin-url"},
	} {
		t.Run(name, func(t *testing.T) {
			o := r.options(new(bytes.Buffer))
			o.Admin = r.admin.Copy()
			o.Admin.User, o.Admin.Password = c.user, c.password
			for _, do := range []func() error{
				func() error { _, err := dbsetup.Setup(t.Context(), o); return err },
				func() error { _, err := dbsetup.Undo(t.Context(), o); return err },
			} {
				err := do()
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, "database "+r.d.Name+": ")
				require.NotContains(t, err.Error(), "hunter2")
			}
			require.Equal(t, before, r.snapshot())
		})
	}
}

func TestDocumentsThatDoNotFit(t *testing.T) {
	r := newRig(t)
	r.exec("CREATE ROLE " + r.d.Name + "_taken; CREATE TABLE shop.numeric_owner (owner int)")
	r.finally("DROP ROLE " + r.d.Name + "_taken")
	good, before := r.text, r.snapshot()
	for name, c := range map[string]struct{ old, by, want string }{
		"schema":      {"schemas: [shop]", "schemas: [shop, store]", "has no schema store: make it, or take it from the list"},
		"database":    {"database: " + r.d.Name, "database: " + r.d.Name + "x", "does not exist"},
		"table":       {"shop.orders", "shop.order", "has no table shop.order"},
		"view":        {"shop.orders", "shop.sums", "is no table"},
		"column":      {"caller: owner", "caller: boss", "has no column boss"},
		"column type": {"shop.orders", "shop.numeric_owner", "is of type integer; a SPIFFE ID is text"},
		"role":        {r.d.Name + "_reads", r.d.Name + "_taken", "was not made for this document"},
	} {
		t.Run(name, func(t *testing.T) {
			r.text = strings.ReplaceAll(good, c.old, c.by)
			r.read()
			_, err := dbsetup.Setup(t.Context(), r.options(new(bytes.Buffer)))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, before, r.snapshot())
		})
	}
	r.text = good
	r.read()
}

func TestRotation(t *testing.T) {
	r := newRig(t)
	r.setup()
	serving, err := dbca.Open(r.caDir)
	require.NoError(t, err)
	old, err := serving.Mint(r.reads(), agent, none, time.Now())
	require.NoError(t, err)

	var out bytes.Buffer
	result, err := dbsetup.Rotate(t.Context(), r.ca, []dbsetup.Options{r.options(&out)})
	require.NoError(t, err)
	require.Empty(t, result.Left)
	fresh, err := serving.Mint(r.reads(), agent, none, time.Now())
	require.NoError(t, err)
	require.NotEqual(t, old.Leaf.Issuer, fresh.Leaf.Issuer)
	_, err = r.with(r.reads(), &fresh)
	require.NoError(t, err)
	_, err = r.with(r.reads(), &old)
	require.Regexp(t, "unknown certificate authority|connection reset|broken pipe|EOF", err)
	said, held := r.check()
	require.True(t, held, said)
}

// While a server does not let the next authority in, the old one signs on, and the next run goes on from there.
func TestRotationThatIsHeldUp(t *testing.T) {
	r := newRig(t)
	r.setup()
	own := filepath.Join(r.file("data_directory"), "custody-ca.pem")
	theirs := filepath.Join(r.file("data_directory"), "dba-ca.pem") // a file that is not setup's to write
	writeAs(t, theirs, []byte(r.content(own)))
	r.exec("ALTER SYSTEM SET ssl_ca_file = 'dba-ca.pem'")
	r.reload()
	var out bytes.Buffer
	options := []dbsetup.Options{r.options(&out)}
	result, err := dbsetup.Rotate(t.Context(), r.ca, options)
	require.NoError(t, err)
	require.Len(t, result.Left, 1)
	require.Contains(t, out.String(), "add to "+theirs)
	said, held := r.check()
	require.False(t, held)
	require.True(t, failed(said, "add to"), said)
	cert, err := r.ca.Mint(r.reads(), agent, none, time.Now())
	require.NoError(t, err)
	_, err = r.with(r.reads(), &cert)
	require.NoError(t, err)

	bundle, err := r.ca.Bundle()
	require.NoError(t, err)
	writeAs(t, theirs, bundle)
	r.reload()
	result, err = dbsetup.Rotate(t.Context(), r.ca, options)
	require.NoError(t, err)
	require.Empty(t, result.Left)
	require.Contains(t, out.String(), "trusts other authorities too") // the old one, which the DBA takes out
	cert, err = r.ca.Mint(r.reads(), agent, none, time.Now())
	require.NoError(t, err)
	_, err = r.with(r.reads(), &cert)
	require.NoError(t, err)

	r.exec("ALTER SYSTEM SET ssl_ca_file = 'custody-ca.pem'")
	r.reload()
}

// A line that lets everybody in does not let in the roles, if it stands behind the block.
func TestLinesBehindTheBlock(t *testing.T) {
	r := newRig(t)
	r.setup()
	path := r.file("hba_file")
	before := r.content(path)
	end := "# custody end " + r.d.Name + "\n"
	writeAs(t, path, []byte(strings.Replace(before, end, end+"host all all 127.0.0.1/32 trust\n", 1)))
	r.reload()
	said, held := r.check()
	writeAs(t, path, []byte(before))
	r.reload()
	require.True(t, held, said)
}
