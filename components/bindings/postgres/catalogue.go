// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// catalogue is what a database said of what it holds.
type catalogue struct {
	// server is where and since when (session.server).
	server    string
	read      time.Time
	era       int      // of memory, in which it was read
	path      []string // in which unqualified names are looked up
	functions *sqlguard.FunctionSet
	routines  []string // the names of functions of the user's schemas, each once
	// relations holds the columns of each, sorted.
	relations map[sqlguard.Name][]string
}

// relationRow is a row of relationsSQL.
type relationRow struct {
	Schema, Name string
	Columns      []string
}

// relationsSQL reads whatever a statement can name in the place of a table, PostgreSQL's own apart. Those of pg_catalog
// that do not look it are read too, since the search path puts them first.
const relationsSQL = `
SELECT n.nspname::text, c.relname::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped ORDER BY a.attname::text COLLATE "C")
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_(toast|temp_)'
  AND (n.nspname <> 'pg_catalog' OR c.relname !~ '^pg_')`

// readCatalogue asks the database of the session, in one transaction with a patience of its own.
func readCatalogue(ctx context.Context, s *session, schemas []string, now time.Time) (*catalogue, error) {
	c := &catalogue{server: s.server, read: now, path: append([]string{"pg_catalog"}, schemas...)}
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", fmt.Sprintf("SET LOCAL statement_timeout = %d", readTimeout.Milliseconds()),
		fmt.Sprintf("SET LOCAL idle_in_transaction_session_timeout = %d", readTimeout.Milliseconds()),
	} {
		if result := s.conn.ExecParams(ctx, sql, nil, nil, nil, nil).Read(); result.Err != nil {
			return nil, s.broken(result.Err)
		}
	}
	err := c.collect(ctx, s, schemas)
	s.rollback(readTimeout)
	return c, err
}

func (c *catalogue) collect(ctx context.Context, s *session, schemas []string) error {
	functions, err := collectRows[sqlguard.FunctionRow](ctx, s, sqlguard.FunctionsQuery)
	if err != nil {
		return err
	}
	operators, err := collectRows[sqlguard.OperatorRow](ctx, s, sqlguard.OperatorsQuery)
	if err != nil {
		return err
	}
	types, err := collectRows[sqlguard.TypeRow](ctx, s, sqlguard.TypesQuery)
	if err != nil {
		return err
	}
	relations, err := collectRows[relationRow](ctx, s, relationsSQL)
	if err != nil {
		return err
	}
	c.relations = make(map[sqlguard.Name][]string, len(relations))
	for _, r := range relations {
		c.relations[sqlguard.Name{Schema: r.Schema, Name: r.Name}] = r.Columns
	}
	for _, f := range functions {
		if f.Schema != "pg_catalog" && f.Schema != "information_schema" {
			c.routines = append(c.routines, f.Schema+"."+f.Name)
		}
	}
	slices.Sort(c.routines)
	c.routines = slices.Compact(c.routines)
	c.functions, err = sqlguard.NewFunctionSet(sqlguard.Catalogue{
		Functions: functions, Operators: operators, Types: types, SearchPath: schemas,
	})
	return err
}

func collectRows[T any](ctx context.Context, s *session, sql string) ([]T, error) {
	rows := pgx.RowsFromResultReader(s.types, s.conn.ExecParams(ctx, sql, nil, nil, nil, nil))
	collected, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, s.broken(err)
	}
	return collected, nil
}

// nameError says that a name is that of no relation, or of several. The caller must not be told which.
type nameError struct{ reason string }

func (e *nameError) Error() string { return e.reason }

// resolve gives a relation its schema, and its columns if it is known. A name that the text qualifies is what it says,
// whether or not there is such a relation.
func (c *catalogue) resolve(name sqlguard.Name) (sqlguard.Name, []string, error) {
	if name.Schema != "" {
		return name, c.relations[name], nil
	}
	var found []sqlguard.Name
	for _, schema := range c.path {
		if candidate := (sqlguard.Name{Schema: schema, Name: name.Name}); c.relations[candidate] != nil {
			found = append(found, candidate)
		}
	}
	switch len(found) {
	case 0:
		return name, nil, &nameError{fmt.Sprintf("no schema of the search path holds a relation %.80q", name.Name)}
	case 1:
		return found[0], c.relations[found[0]], nil
	}
	// Which one is meant would hang on what is made or dropped until the statement runs.
	return name, nil, &nameError{fmt.Sprintf("several schemas of the search path hold a relation %.80q: the statement has to qualify it", name.Name)}
}

// has reports whether a relation may have a column. Of one that is not known it may.
func has(columns []string, column string) bool {
	if columns == nil {
		return true
	}
	_, found := slices.BinarySearch(columns, column)
	return found
}
