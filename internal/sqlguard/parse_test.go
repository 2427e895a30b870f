// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, in string
		want     sqlguard.Class
	}{
		{"nothing", "", sqlguard.ClassEmpty},
		{"a comment alone", "/* SELECT 1 */ -- ;", sqlguard.ClassEmpty},
		{"semicolons alone", ";;", sqlguard.ClassEmpty},
		{"two statements", "SELECT 1; SELECT 2", sqlguard.ClassMultiple},
		{"no SQL", "DROP everything", sqlguard.ClassSyntax},
		{"an open quote", "SELECT 'x", sqlguard.ClassSyntax},
		{"an open comment", "SELECT 1 /* x", sqlguard.ClassSyntax},
		{"a byte order mark", "\ufeffSELECT 1", sqlguard.ClassSyntax},
		{"a NUL", "SELECT 1\x00", sqlguard.ClassEncoding},
		{"bytes that are not UTF-8", "SELECT '\xff'", sqlguard.ClassEncoding},
		{"a surrogate", "SELECT '\xed\xa0\x80'", sqlguard.ClassEncoding},
		{"too long", "SELECT '" + strings.Repeat("x", sqlguard.DefaultBytes) + "'", sqlguard.ClassSize},
		{"too many tokens", "SELECT 1" + strings.Repeat(",1", 1000), sqlguard.ClassTokens},
		{"too deep", "SELECT " + strings.Repeat("(", 201) + "1" + strings.Repeat(")", 201), sqlguard.ClassDepth},
		{"too deep in arrays", "SELECT " + strings.Repeat("ARRAY[", 201) + "1" + strings.Repeat("]", 201), sqlguard.ClassDepth},
		{"a column of nothing", "SELECT o.id FROM orders", sqlguard.ClassName},
		{"a column of another database", "SELECT a.b.c.d FROM b.c", sqlguard.ClassName},
		{"a table of another database", "SELECT 1 FROM a.b.c", sqlguard.ClassNode},
		{"a function of another database", "SELECT a.b.c()", sqlguard.ClassName},
		{"a lock of nothing", "SELECT 1 FROM orders FOR UPDATE OF items", sqlguard.ClassName},
		{"a parameter numbered 0", "SELECT $0", sqlguard.ClassName},
		{"TABLESAMPLE of an extension", "SELECT 1 FROM orders TABLESAMPLE system_rows (1)", sqlguard.ClassFunction},
		{"an index method of an extension", "CREATE INDEX i ON orders USING bloom (id)", sqlguard.ClassNode},
		{"an operator class", "CREATE INDEX i ON orders (id evil_ops)", sqlguard.ClassNode},
		{"a partition", "CREATE TABLE t PARTITION OF orders DEFAULT", sqlguard.ClassNode},
		{"LIKE a table", "CREATE TABLE t (LIKE orders)", sqlguard.ClassNode},
		{"storage options", "CREATE TABLE t (id int) WITH (fillfactor = 10)", sqlguard.ClassNode},
		{"a tablespace", "CREATE TABLE t (id int) TABLESPACE x", sqlguard.ClassNode},
		{"a view with options", "CREATE VIEW v WITH (security_barrier) AS SELECT 1", sqlguard.ClassNode},
		{"DROP SCHEMA", "DROP SCHEMA shop", sqlguard.ClassStatement},
		{"ALTER VIEW", "ALTER VIEW v ALTER COLUMN a SET DEFAULT 1", sqlguard.ClassNode},
		{"SELECT INTO", "SELECT 1 INTO t", sqlguard.ClassStatement},
		{"a collation of the user's", "SELECT 'a' COLLATE shop.c", sqlguard.ClassType},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := sqlguard.Parse(test.in, sqlguard.Limits{})
			require.Error(t, err)
			require.Equal(t, test.want, sqlguard.ClassOf(err), err)
		})
	}
}

// What is said of a text goes into records, and holds no constant of it.
func TestRefusalsHoldNoConstants(t *testing.T) {
	for in, want := range map[string]string{
		"INSERT INTO t VALUES ('a') 'secret'":                   "sqlguard: the statement cannot be parsed: syntax error, at character 28",
		"INSERT INTO t VALUES ('a', 'secret)":                   "sqlguard: the statement cannot be parsed: unterminated quoted string, at character 28",
		"SELECT $$secret":                                       "sqlguard: the statement cannot be parsed: unterminated dollar-quoted string, at character 8",
		"SELECT 1 /* secret":                                    "sqlguard: the statement cannot be parsed: unterminated /* comment, at character 10",
		"SELECT ' at or near ' 'secret":                         "sqlguard: the statement cannot be parsed: unterminated quoted string, at character 23",
		"SELECT U&'secret' UESCAPE 'secret'":                    "sqlguard: the statement cannot be parsed: invalid Unicode escape character, at character 27",
		"SELECT ((1" + strings.Repeat("+1", 1000) + ", 'secret": "sqlguard: the statement cannot be read: unterminated quoted string, at character 2013",
	} {
		_, err := sqlguard.Parse(in, sqlguard.Limits{})
		require.EqualError(t, err, want, in)
	}
}

func TestNearMissesPass(t *testing.T) {
	for name, in := range map[string]string{
		"one statement and a semicolon": "SELECT 1 ; ; -- done",
		"nearly too long":               "SELECT '" + strings.Repeat("x", sqlguard.DefaultBytes-9) + "'",
		"nearly too many tokens":        "SELECT 1" + strings.Repeat(",1", 999),
		"nearly too deep":               "SELECT " + strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200),
		"beside each other, not deep":   "SELECT " + strings.Repeat("(1),", 400) + "1",
		"brackets in a string":          "SELECT '" + strings.Repeat("(", 300) + "'",
	} {
		_, err := sqlguard.Parse(in, sqlguard.Limits{})
		require.NoError(t, err, name)
	}
}

// PostgreSQL cuts names at 63 bytes, and never within a character.
func TestNamesAreCutAsTheServerDoes(t *testing.T) {
	require.Equal(t, strings.Repeat("a", 63), parse(t, "SELECT 1 FROM "+strings.Repeat("a", 70)).Relations[0].Name.Name)
	require.Equal(t, strings.Repeat("é", 31), parse(t, `SELECT 1 FROM "`+strings.Repeat("é", 40)+`"`).Relations[0].Name.Name)
}

func TestLimitsCanBeLoweredOnly(t *testing.T) {
	long := "SELECT '" + strings.Repeat("x", 2000) + "'"
	_, err := sqlguard.Parse(long, sqlguard.Limits{Bytes: 100})
	require.Equal(t, sqlguard.ClassSize, sqlguard.ClassOf(err))
	_, err = sqlguard.Parse("SELECT 1, 2, 3", sqlguard.Limits{Tokens: 3})
	require.Equal(t, sqlguard.ClassTokens, sqlguard.ClassOf(err))
	_, err = sqlguard.Parse("SELECT ((1))", sqlguard.Limits{Depth: 1})
	require.Equal(t, sqlguard.ClassDepth, sqlguard.ClassOf(err))
	_, err = sqlguard.Parse("SELECT '"+strings.Repeat("x", sqlguard.DefaultBytes)+"'", sqlguard.Limits{Bytes: 1 << 30, Tokens: -1})
	require.Equal(t, sqlguard.ClassSize, sqlguard.ClassOf(err))
}

// crashers are texts that are known to kill the parser, or to have killed others, when nothing caps them.
func crashers(count int) map[string]string {
	repeat := func(unit string) string { return strings.Repeat(unit, count) }
	return map[string]string{
		"+": "SELECT 1" + repeat("+1"), "::": "SELECT 1" + repeat("::int"), "UNION": "SELECT 1" + repeat(" UNION SELECT 1"),
		"AND": "SELECT true" + repeat(" AND true"), "NOT": "SELECT " + repeat("NOT ") + "true", "unary -": "SELECT " + repeat("- ") + "1",
		"(": "SELECT " + repeat("(") + "1" + repeat(")"), "(SELECT": repeat("(SELECT ") + "1" + repeat(")"),
		"f(": "SELECT " + repeat("f(") + "1" + repeat(")"), "ARRAY[": "SELECT " + repeat("ARRAY[") + "1" + repeat("]"),
		"[1]": "SELECT (a)" + repeat("[1]"), "CASE": "SELECT " + repeat("CASE WHEN ") + "true" + repeat(" THEN 1 END"),
		"JOIN": "SELECT 1 FROM a" + repeat(" JOIN a ON true"), "IS NULL": "SELECT 1" + repeat(" IS NULL"),
		"COLLATE": "SELECT a" + repeat(` COLLATE "C"`), "AT TIME ZONE": "SELECT a" + repeat(" AT TIME ZONE b"),
		"WITH": repeat("WITH a AS (") + "SELECT 1" + repeat(") SELECT 1"), "||": "SELECT a" + repeat("||a"), ".": "SELECT a" + repeat(".a"),
		"FROM (": "SELECT 1 FROM " + repeat("(") + "a" + repeat(" JOIN a ON true)"), "ROW": "SELECT " + repeat("ROW(") + "1" + repeat(")"),
		"(a).b": "SELECT " + repeat("(") + "a" + repeat(").b"), "IN (": "SELECT 1" + repeat(" IN (1") + repeat(")"),
		"VALUES": "VALUES (1)" + repeat(",(1)"), "/*": repeat("/*") + repeat("*/") + "SELECT 1", "$a$": "SELECT $a$" + repeat("$b$") + "$a$",
	}
}

// Each construct at each size up to far over the caps: refused or understood, and the process is still here.
func TestTheProcessSurvives(t *testing.T) {
	for _, count := range []int{190, 600, 990, 1900, 5000, 100_000, 1_000_000} {
		for name, text := range crashers(count) {
			statement, err := sqlguard.Parse(text, sqlguard.Limits{})
			require.True(t, (statement == nil) != (err == nil), "%s %d", name, count)
			require.NotContains(t, []sqlguard.Class{""}, classOrSomething(err), "%s %d: %v", name, count, err)
		}
	}
}

func classOrSomething(err error) sqlguard.Class {
	if err == nil {
		return "understood"
	}
	return sqlguard.ClassOf(err)
}

const killer = "CUSTODY_TEST_KILL_PARSER"

// The caps are not there for show: without them the same parser takes the process with it.
func TestTheParserAloneKillsTheProcess(t *testing.T) {
	text := crashers(200_000)["+"]
	if os.Getenv(killer) != "" {
		_, err := pg_query.Parse(text)
		t.Fatalf("the parser survived: %v", err)
	}
	child := exec.Command(os.Args[0], "-test.run", "^TestTheParserAloneKillsTheProcess$")
	child.Env = append(os.Environ(), killer+"=1")
	output, err := child.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.True(t, status.Signaled() || strings.Contains(string(output), "SIGSEGV"), "%s", output)
	require.NotContains(t, string(output), "the parser survived")
	_, err = sqlguard.Parse(text, sqlguard.Limits{})
	require.Equal(t, sqlguard.ClassSize, sqlguard.ClassOf(err))
}
