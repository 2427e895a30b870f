// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// corpora are the statements that tests/sql runs on a server.
func corpora(t testing.TB) []string {
	t.Helper()
	var texts []string
	for _, file := range []string{"reads.sql", "writes.sql", "attacks.yaml"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "tests", "sql", "testdata", file))
		require.NoError(t, err)
		for _, line := range strings.Split(string(raw), "\n") {
			line = strings.TrimPrefix(line, "  sql: ")
			if line != "" && !strings.HasPrefix(line, "-- ") {
				texts = append(texts, line)
			}
		}
	}
	return texts
}

// FuzzInspect: whatever the bytes, the process survives; what passes is one statement that PostgreSQL's parser takes,
// in which every name that the raw tree holds in a call or as a relation is among the facts.
func FuzzInspect(f *testing.F) {
	for _, text := range corpora(f) {
		f.Add(text)
	}
	for _, text := range crashers(300) {
		f.Add(text)
	}
	guard := newGuard(f, sqlguard.Options{CacheBytes: -1})
	f.Fuzz(func(t *testing.T, text string) {
		statement, err := sqlguard.Parse(text, sqlguard.Limits{})
		if err != nil {
			require.NotEmpty(t, sqlguard.ClassOf(err), err)
			require.Nil(t, statement)
			_, err = guard.Inspect(text)
			require.Error(t, err, "the guard lets pass what does not parse")
			return
		}
		again, err := sqlguard.Parse(text, sqlguard.Limits{})
		require.NoError(t, err)
		require.Equal(t, statement, again, "two looks at one text differ")
		tree, err := pg_query.ParseToJSON(text)
		require.NoError(t, err)
		checkComplete(t, tree, statement)
		if inspected, err := guard.Inspect(text); err == nil {
			require.Equal(t, statement.Kinds, inspected.Kinds)
		}
	})
}

// checkComplete compares the facts with another way to the same tree: the names in pg_query's JSON.
func checkComplete(t *testing.T, tree string, s *sqlguard.Statement) {
	t.Helper()
	require.Equal(t, strings.Contains(tree, `"FuncCall":{`), len(s.Functions) > 0, tree)
	require.Equal(t, strings.Contains(tree, `{"TypeCast":{`) || strings.Contains(tree, `"typeName":{`) ||
		strings.Contains(tree, `"type_name":{`), len(s.Types) > 0, tree)
	for keyword, kind := range map[string]sqlguard.Kinds{
		`"InsertStmt":{`: sqlguard.Insert, `"UpdateStmt":{`: sqlguard.Update, `"DeleteStmt":{`: sqlguard.Delete,
		`"LockingClause":{`: sqlguard.Update,
	} {
		if strings.Contains(tree, keyword) {
			require.True(t, s.Kinds.Has(kind), "%s in %s", keyword, tree)
		}
	}
	if len(s.Relations) > 0 {
		require.True(t, strings.Contains(tree, `"relname":`) || s.Command == "drop", tree)
	}
	for _, relation := range s.Relations {
		require.NotZero(t, relation.Use)
		require.True(t, s.Kinds.Has(relation.Use), "%s does more than its statement", relation)
	}
}
