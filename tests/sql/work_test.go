// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sql_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// A guard that refuses real work gets switched off: all of this must pass, and it must be real work.
func TestRealWorkPasses(t *testing.T) {
	reads, writes := corpus(t, "reads.sql"), corpus(t, "writes.sql")
	require.GreaterOrEqual(t, len(reads), 300)
	sqlguard := guard(t)
	conn := connect(t, shop(t)(""))
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	columns := tableColumns(t, conn)
	for _, s := range append(reads, writes...) {
		t.Run(s.name, func(t *testing.T) {
			inspected, err := sqlguard.Inspect(s.sql)
			require.NoError(t, err, s.sql)
			isRead := slices.Contains(reads, s)
			require.Equal(t, isRead, inspected.ReadOnly(), s.sql)
			touched := execute(t, conn, s.sql, nil)
			named := relationNames(inspected)
			if isRead {
				require.Equal(t, touched, named, "PostgreSQL locked others than the guard says: %s", s.sql)
			} else { // Foreign keys lock more than the statement names.
				require.Subset(t, touched, named, s.sql)
			}
			execute(t, conn, s.sql, grants(inspected, columns))
		})
	}
}

// execute runs a statement in a transaction that is rolled back, with nothing but the grants if there are any, and
// returns the relations that it locked.
func execute(t *testing.T, conn *pgx.Conn, sql string, grants []string) []string {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
	if grants != nil {
		for _, grant := range append(grants, "SET LOCAL ROLE least") {
			_, err := tx.Exec(t.Context(), grant)
			require.NoError(t, err, grant)
		}
	}
	result := conn.PgConn().ExecParams(t.Context(), sql, nil, nil, nil, nil).Read()
	require.NoError(t, result.Err, "%s\nwith %s", sql, strings.Join(grants, "; "))
	rows, err := tx.Query(t.Context(), `
		SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE l.pid = pg_backend_pid() AND n.nspname = 'shop' AND c.relkind IN ('r', 'v', 'f') ORDER BY 1`)
	require.NoError(t, err)
	locked, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return locked
}

func relationNames(s *sqlguard.Statement) []string {
	names := []string{}
	for _, relation := range s.Relations {
		name := "shop." + relation.Name.Name
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func tableColumns(t *testing.T, conn *pgx.Conn) map[string][]string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `
		SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position)
		FROM information_schema.columns WHERE table_schema = 'shop' GROUP BY 1`)
	require.NoError(t, err)
	columns := map[string][]string{}
	for rows.Next() {
		var table string
		var names []string
		require.NoError(t, rows.Scan(&table, &names))
		columns[table] = names
	}
	require.NoError(t, rows.Err())
	return columns
}

// grants are exactly the privileges that the guard's facts say the statement uses: if a column were missing from the
// facts, PostgreSQL would refuse the statement.
func grants(s *sqlguard.Statement, columns map[string][]string) []string {
	granted := []string{}
	for _, relation := range s.Relations {
		table := relation.Name.Name
		read, all := named(relation, columns[table], func(c sqlguard.Column) bool { return c.Read })
		if len(read) == 0 && !all && relation.Use.Has(sqlguard.Select) { // count(*) needs the right to any column.
			read = columns[table][:1]
		}
		granted = append(granted, grant("SELECT", table, read, all)...)
		written, all := named(relation, columns[table], func(c sqlguard.Column) bool { return c.Written })
		if relation.Use.Has(sqlguard.Insert) {
			granted = append(granted, grant("INSERT", table, written, all)...)
		}
		if relation.Use.Has(sqlguard.Update) {
			if len(written) == 0 && !all { // A lock needs the right to update any column.
				written = columns[table][:1]
			}
			granted = append(granted, grant("UPDATE", table, written, all)...)
		}
		if relation.Use.Has(sqlguard.Delete) {
			granted = append(granted, grant("DELETE", table, nil, true)...)
		}
	}
	return granted
}

func named(r *sqlguard.Relation, has []string, use func(sqlguard.Column) bool) (names []string, all bool) {
	for _, column := range r.Columns {
		if !use(column) {
			continue
		}
		if column.Name == "*" {
			return nil, true
		}
		if slices.Contains(append([]string{"ctid", "xmin", "tableoid"}, has...), column.Name) {
			names = append(names, column.Name)
		} else if column.Called {
			return nil, true
		}
	}
	return names, false
}

func grant(privilege, table string, columns []string, all bool) []string {
	switch {
	case all:
		return []string{"GRANT " + privilege + " ON shop." + table + " TO least"}
	case len(columns) == 0:
		return nil
	}
	return []string{"GRANT " + privilege + " (" + strings.Join(columns, ", ") + ") ON shop." + table + " TO least"}
}
