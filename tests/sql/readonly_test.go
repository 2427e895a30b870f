// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sql_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	pg_query "github.com/pganalyze/pg_query_go/v6"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// witness runs what the guard calls read-only, as the superuser and committed, and sees whether anything changed.
type witness struct {
	guard *sqlguard.Guard
	conn  *pgx.Conn
	ran   int // statements that PostgreSQL took
	asked int // statements that the guard called read-only
}

// sessionQuery is all that a statement can leave in its session or take for its transaction.
const sessionQuery = `
SELECT concat_ws(' ', 'xid', pg_current_xact_id_if_assigned(), 'locks', (SELECT count(*) FROM pg_locks WHERE locktype IN ('advisory', 'tuple')
	OR (locktype = 'relation' AND pid = pg_backend_pid() AND mode <> 'AccessShareLock')),
	'prepared', (SELECT count(*) FROM pg_prepared_statements), 'cursors', (SELECT count(*) FROM pg_cursors),
	'channels', (SELECT count(*) FROM pg_listening_channels()), 'user', current_user, session_user,
	'settings', (SELECT md5(string_agg(name || '=' || setting, ';' ORDER BY name)) FROM pg_settings),
	'snapshots', (SELECT count(*) FROM pg_ls_dir('pg_snapshots')), 'proof', (SELECT count(*) FROM vault.proof))`

func (w *witness) session(t *testing.T) string {
	t.Helper()
	result := w.conn.PgConn().ExecParams(t.Context(), sessionQuery, nil, nil, nil, nil).Read()
	require.NoError(t, result.Err)
	return string(result.Rows[0][0])
}

func (w *witness) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := w.conn.PgConn().Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err)
}

// see runs a text if the guard calls it read-only. Whether PostgreSQL takes it does not matter; what it changes does.
func (w *witness) see(t *testing.T, text, pristine string) {
	t.Helper()
	inspected, err := w.guard.Inspect(text)
	if err != nil || !inspected.ReadOnly() {
		return
	}
	w.asked++
	w.exec(t, "BEGIN")
	result := w.conn.PgConn().ExecParams(t.Context(), text, nil, nil, nil, nil).Read()
	if result.Err != nil {
		w.exec(t, "ROLLBACK")
		return
	}
	w.ran++
	require.Equal(t, pristine, w.session(t), "%s", text)
	w.sameRelations(t, inspected, text)
	w.exec(t, "COMMIT")
}

// locksQuery are the relations that the transaction has locked, and so all that the statement reads.
const locksQuery = `
SELECT DISTINCT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND n.nspname IN ('shop', 'vault') AND c.relkind IN ('r', 'v', 'f', 'S')
	AND c.relname <> 'proof' -- sessionQuery counts its rows`

// sameRelations wants every relation that PostgreSQL read to be among those that the guard named.
func (w *witness) sameRelations(t *testing.T, s *sqlguard.Statement, text string) {
	t.Helper()
	named := map[string]bool{}
	for _, relation := range s.Relations {
		named[relation.Name.Name] = true
	}
	named["secrets"] = named["secrets"] || named["leak"] // The view reads it.
	result := w.conn.PgConn().ExecParams(t.Context(), locksQuery, nil, nil, nil, nil).Read()
	require.NoError(t, result.Err)
	for _, row := range result.Rows {
		require.True(t, named[string(row[0])], "PostgreSQL read %s, which the guard did not name: %s", row[0], text)
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	connString := shop(t)("")
	w := &witness{guard: guard(t), conn: connect(t, connString)}
	defer func() { require.NoError(t, w.conn.Close(t.Context())) }()
	w.exec(t, "SET statement_timeout = 2000")
	texts := allTexts(t)
	var directory string
	require.NoError(t, w.conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&directory))
	w.exec(t, "BEGIN")
	pristine := w.session(t)
	w.exec(t, "COMMIT")
	before, filesBefore := state(t, connString), files(t, directory)

	for name, texts := range map[string][]string{
		"corpora": texts, "functions": calls(catalogue(t)), "generated": generated(texts, 6000),
	} {
		w.asked, w.ran = 0, 0
		for _, text := range texts {
			w.see(t, text, pristine)
		}
		t.Logf("%s: %d texts, %d called read-only, %d ran", name, len(texts), w.asked, w.ran)
		require.Greater(t, w.ran, 100, name)
		require.Equal(t, before, state(t, connString), name)
	}
	require.Equal(t, filesBefore, files(t, directory))
}

func allTexts(t *testing.T) []string {
	t.Helper()
	var texts []string
	for _, file := range []string{"reads.sql", "writes.sql"} {
		for _, s := range corpus(t, file) {
			texts = append(texts, s.sql)
		}
	}
	for _, a := range attacks(t) {
		texts = append(texts, a.text(t))
	}
	return texts
}

// files are the names of the server's files, and the sizes of those that hold tables, without those that the server
// makes and removes by itself.
func files(t *testing.T, directory string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	require.NoError(t, filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) { // Temporary files come and go.
			return nil
		}
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		switch top := strings.Split(relative, string(filepath.Separator))[0]; {
		case top == "pg_wal" || strings.HasPrefix(top, "pg_stat") || top == "pg_subtrans" || top == "pg_xact":
			return nil
		case strings.Contains(relative, "pgsql_tmp") || strings.Contains(relative, "pg_internal.init"):
			return nil
		case strings.HasSuffix(relative, "_fsm") || strings.HasSuffix(relative, "_vm"):
			return nil
		}
		found[relative] = 0
		if strings.HasPrefix(relative, "base") && entry.Type().IsRegular() {
			info, err := entry.Info()
			if err != nil {
				return err
			}
			found[relative] = info.Size()
		}
		return nil
	}))
	return found
}

// samples are a value of each type, so that functions are called with something that they take.
var samples = map[string]string{
	"int2": "1::int2", "int4": "1", "int8": "1::int8", "float4": "1::float4", "float8": "1::float8", "numeric": "1.5", "money": "'1'::money",
	"text": "'public'::text", "varchar": "'a'::varchar", "bpchar": "'a'::bpchar", "char": `'a'::"char"`, "name": "'orders'::name",
	"bytea": "'a'::bytea", "bool": "true", "uuid": "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid",
	"date": "'2026-01-01'::date", "time": "'10:00'::time", "timetz": "'10:00+00'::timetz", "timestamp": "'2026-01-01'::timestamp",
	"timestamptz": "'2026-01-01Z'::timestamptz", "interval": "'1 day'::interval",
	"json": `'{"a":[1]}'::json`, "jsonb": `'{"a":[1]}'::jsonb`, "jsonpath": "'$.a'::jsonpath", "xml": "'<a/>'::xml",
	"inet": "'10.0.0.1'::inet", "cidr": "'10.0.0.0/8'::cidr", "macaddr": "'08:00:2b:01:02:03'::macaddr", "macaddr8": "'08:00:2b:01:02:03:04:05'::macaddr8",
	"bit": "B'1'", "varbit": "B'1'::varbit", "tsvector": "'a'::tsvector", "tsquery": "'a'::tsquery", "regconfig": "'english'::regconfig",
	"regdictionary": "'simple'::regdictionary", "oid": "1259::oid", "tid": "'(0,1)'::tid", "xid8": "'3'::xid8", "pg_lsn": "'0/0'::pg_lsn",
	"int4range": "'[1,3)'::int4range", "daterange": "'[2026-01-01,2026-02-01)'::daterange", "numrange": "'[1,2]'::numrange",
	"int4multirange": "'{[1,3)}'::int4multirange", "point": "'(1,2)'::point", "box": "'(1,2),(3,4)'::box", "circle": "'<(1,2),3>'::circle",
	"line": "'{1,2,3}'::line", "lseg": "'[(1,2),(3,4)]'::lseg", "path": "'[(1,2),(3,4)]'::path", "polygon": "'((1,2),(3,4),(5,6))'::polygon",
	"_text": "'{a,b}'::text[]", "_int4": "'{1,2}'::int[]", "_int8": "'{1,2}'::int8[]", "_float8": "'{0.1,0.5}'::float8[]",
	"anyelement": "1", "anycompatible": "1", "anyarray": "'{1,2}'::int[]", "anycompatiblearray": "'{1,2}'::int[]", "anynonarray": "1",
	"anycompatiblenonarray": "1", "anyrange": "'[1,3)'::int4range", "anycompatiblerange": "'[1,3)'::int4range",
	"anymultirange": "'{[1,3)}'::int4multirange", "any": "'a'::text", "record": "ROW(1, 'a')", "regclass": "1259",
}

// calls calls every function of the server, with samples, and with NULL where there is none; one of a single argument in
// the notation of a column too.
func calls(c sqlguard.Catalogue) []string {
	var texts []string
	for _, row := range c.Functions {
		arguments := make([]string, len(row.Arguments))
		for i, argument := range row.Arguments {
			if arguments[i] = samples[argument]; arguments[i] == "" {
				arguments[i] = "NULL"
			}
		}
		over := ""
		if row.Kind == "w" {
			over = " OVER ()"
		}
		texts = append(texts, fmt.Sprintf(`SELECT "%s"."%s"(%s)%s`, row.Schema, row.Name, strings.Join(arguments, ", "), over))
		if len(arguments) == 1 {
			texts = append(texts, fmt.Sprintf(`SELECT (%s)."%s"`, arguments[0], row.Name),
				fmt.Sprintf(`SELECT f."%s" FROM unnest(ARRAY[%s]) AS f`, row.Name, arguments[0]))
		}
	}
	return texts
}

// generated splices tokens of one text into another, the same way each time.
func generated(texts []string, count int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	var pools [][]string
	for _, text := range texts {
		if scanned, err := pg_query.Scan(text); err == nil && len(text) < 2000 {
			tokens := make([]string, len(scanned.Tokens))
			for i, token := range scanned.Tokens {
				tokens[i] = text[token.Start:token.End]
			}
			pools = append(pools, tokens)
		}
	}
	made := make([]string, count)
	for i := range made {
		base, donor := pools[random.IntN(len(pools))], pools[random.IntN(len(pools))]
		from, to := span(random, len(base), 3)
		start, end := span(random, len(donor), 6)
		made[i] = strings.Join(base[:from], " ") + " " + strings.Join(donor[start:end], " ") + " " + strings.Join(base[to:], " ")
	}
	return made
}

func span(random *rand.Rand, length, longest int) (from, to int) {
	from = random.IntN(length + 1)
	return from, min(length, from+random.IntN(longest+1))
}
