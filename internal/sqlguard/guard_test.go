// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

func newGuard(t testing.TB, options sqlguard.Options) *sqlguard.Guard {
	t.Helper()
	guard, err := sqlguard.New(functionSet(t, "shop"), options)
	require.NoError(t, err)
	return guard
}

func TestInspect(t *testing.T) {
	tests := []struct {
		in   string
		want sqlguard.Class // "" passes
	}{
		{"SELECT lower(name), count(*) FROM customers", ""},
		{"SELECT upper(name) FROM customers", sqlguard.ClassFunction},
		{"SELECT pg_catalog.upper(name) FROM customers", ""},
		{"SELECT * FROM ts_stat('x')", sqlguard.ClassFunction},
		{"SELECT c.evil_row FROM customers c", sqlguard.ClassFunction},
		{"SELECT (c).evil_row FROM customers c", sqlguard.ClassFunction},
		{"SELECT c.count, c.tax FROM customers c", ""},
		{"SELECT evil_row FROM customers", ""},            // Without a dot it is a column or an error.
		{"SELECT JSON_SCALAR(1)", sqlguard.ClassFunction}, // PostgreSQL 15 calls shop.json_scalar.
		{"SELECT JSON_OBJECT('{a,b}')", sqlguard.ClassFunction},
		{"SELECT JSON_ARRAY(1, 2), JSON_ARRAY(SELECT 1), JSON_ARRAYAGG(x), JSON_OBJECTAGG('a': x), JSON_SERIALIZE('1'), JSON('1') FROM customers", ""},
		{"SELECT JSON_VALUE(x, '$.a' RETURNING int DEFAULT 1 ON EMPTY), JSON_EXISTS(x, '$.a'), JSON_QUERY(x, '$' WITH WRAPPER) FROM customers", ""},
		{"SELECT t.a FROM customers c, JSON_TABLE(c.profile, '$[*]' COLUMNS (a int PATH '$.a', NESTED '$.b' COLUMNS (b text))) t", ""},
		{"SELECT JSON_ARRAY(nextval('x'))", sqlguard.ClassFunction},
		{"SELECT t.a FROM JSON_TABLE('1', '$' COLUMNS (a int DEFAULT nextval('x') ON EMPTY)) t", sqlguard.ClassFunction},
		{"SELECT t.a FROM JSON_TABLE('1', '$' COLUMNS (a shop.mood PATH '$')) t", sqlguard.ClassType},
		{"SELECT x IS JSON OBJECT WITH UNIQUE KEYS FROM customers", ""},
		{"SELECT c.volatile, c.nextval FROM customers c", ""}, // They take no row.
		{"SELECT (c.name).volatile FROM customers c", sqlguard.ClassFunction},
		{"SELECT ('x'::text).lower", ""},
		{"SELECT (1).status", sqlguard.ClassType},
		{"SELECT f.volatile FROM lower('x') f", sqlguard.ClassFunction},
		{"SELECT lower.volatile FROM lower('x')", sqlguard.ClassFunction},
		{"SELECT f.status FROM lower('x') AS f", sqlguard.ClassType},
		{"SELECT s.volatile FROM (SELECT 1 AS volatile) s", ""},
		{"SELECT c.status FROM customers c", ""},
		{"SELECT pg_typeof(1), x, pg_catalog.pg_typeof(2) AS t FROM customers ORDER BY t", ""},
		{"SELECT lower(pg_typeof(id)::text), CAST(pg_typeof(id) AS varchar(9)) FROM customers WHERE pg_typeof(id)::text = 'x'", ""},
		{"SELECT pg_typeof(1) = 'a'", sqlguard.ClassFunction},
		{"SELECT pg_typeof(1) UNION SELECT '1'", sqlguard.ClassFunction},
		{"SELECT ARRAY[pg_typeof(1), '1']::text[]", sqlguard.ClassFunction},
		{"SELECT pg_typeof(pg_typeof(1))", sqlguard.ClassFunction},
		{"SELECT pg_typeof(1)::text[]", sqlguard.ClassFunction},
		{"SELECT t FROM (SELECT pg_typeof(1) AS t) x", sqlguard.ClassFunction},
		{"VALUES (pg_typeof(1)), ('1')", sqlguard.ClassFunction},
		{"SELECT c.pg_typeof FROM customers c", sqlguard.ClassFunction},
		{"SELECT (1).pg_typeof", sqlguard.ClassFunction},
		{"SELECT now(1)", sqlguard.ClassFunction}, // shop.now is a type.
		{"SELECT pg_catalog.now(1), now()", ""},
		{"SELECT CASE 1 WHEN 2 THEN 3 END", ""},
		{"SELECT 1 OPERATOR(pg_catalog.+) 1", ""},
		{"SELECT 1 OPERATOR(shop.+) 1", sqlguard.ClassOperator},
		{"SELECT 1 === 1", sqlguard.ClassOperator},
		{"SELECT 5 % 3", sqlguard.ClassOperator},
		{"SELECT 5 OPERATOR(pg_catalog.%) 3", ""},
		{"SELECT a <-> b FROM customers", ""}, // The other <-> is not on the search path.
		{"SELECT 'a'::text, 1::int4[], DATE '2026-01-01', CAST(1 AS pg_catalog.int8), '{}'::_text", ""},
		{"SELECT 'a'::shop.status", ""},
		{"SELECT 'a'::status", ""},
		{"SELECT 'a'::other.status", sqlguard.ClassType},
		{"SELECT 'a'::shop.mood", sqlguard.ClassType},
		{"SELECT 'a'::regclass", sqlguard.ClassType},
		{"SELECT 'a'::pg_catalog.regproc", sqlguard.ClassType},
		{"SELECT '(1)'::customers", sqlguard.ClassType},
		{"SELECT 'a'::cstring", sqlguard.ClassType},
		{"SELECT * FROM pg_class", sqlguard.ClassRelation},
		{"SELECT * FROM pg_catalog.pg_authid", sqlguard.ClassRelation},
		{"SELECT * FROM information_schema.tables", sqlguard.ClassRelation},
		{"SELECT * FROM information_schema.columns", ""},
		{"SELECT * FROM pg_toast.pg_toast_1", sqlguard.ClassRelation},
		{"SELECT * FROM pg_temp_3.x", sqlguard.ClassRelation},
		{"SELECT * FROM pg_tables", ""},
		{"SELECT * FROM shop.pg_class", ""},
		{"WITH pg_class AS (SELECT 1) SELECT * FROM pg_class", ""},
		{"INSERT INTO pg_class VALUES (1)", sqlguard.ClassRelation},
		{"SELECT tables.x FROM tables", ""},
	}
	guard := newGuard(t, sqlguard.Options{
		Types:           []string{"shop.status"},
		SystemRelations: []string{"information_schema.columns", "pg_catalog.pg_tables"},
	})
	for _, test := range tests {
		for range 2 { // From the cache too.
			_, err := guard.Inspect(test.in)
			require.Equal(t, test.want, sqlguard.ClassOf(err), "%s: %v", test.in, err)
			require.Equal(t, test.want == "", err == nil, "%s: %v", test.in, err)
		}
	}
}

func TestNew(t *testing.T) {
	_, err := sqlguard.New(nil, sqlguard.Options{})
	require.Error(t, err)
	for _, name := range []string{"status", ".status", "shop."} {
		_, err = sqlguard.New(functionSet(t), sqlguard.Options{Types: []string{name}})
		require.Error(t, err, name)
		_, err = sqlguard.New(functionSet(t), sqlguard.Options{SystemRelations: []string{name}})
		require.Error(t, err, name)
	}
}

func TestNamedFunctionsAreMarked(t *testing.T) {
	set, err := functionSet(t, "shop").With("shop.tax")
	require.NoError(t, err)
	guard, err := sqlguard.New(set, sqlguard.Options{})
	require.NoError(t, err)
	statement, err := guard.Inspect("SELECT tax(total), lower(name) FROM orders")
	require.NoError(t, err)
	require.Len(t, statement.Functions, 2)
	require.Equal(t, "tax", statement.Functions[0].String())
	require.True(t, statement.Functions[0].Named)
	require.Equal(t, "lower", statement.Functions[1].String())
	require.False(t, statement.Functions[1].Named)
}

func TestTheCacheIsByExactBytesAndBounded(t *testing.T) {
	guard := newGuard(t, sqlguard.Options{CacheBytes: 1000})
	first, err := guard.Inspect("SELECT 1")
	require.NoError(t, err)
	again, err := guard.Inspect(strings.Clone("SELECT 1"))
	require.NoError(t, err)
	require.Same(t, first, again)
	other, err := guard.Inspect("SELECT  1")
	require.NoError(t, err)
	require.NotSame(t, first, other)
	for i := range 500 {
		_, err := guard.Inspect(fmt.Sprintf("SELECT %d", i+1000))
		require.NoError(t, err)
	}
	forgotten, err := guard.Inspect("SELECT 1")
	require.NoError(t, err)
	require.NotSame(t, first, forgotten)

	without := newGuard(t, sqlguard.Options{CacheBytes: -1})
	one, err := without.Inspect("SELECT 1")
	require.NoError(t, err)
	two, err := without.Inspect("SELECT 1")
	require.NoError(t, err)
	require.NotSame(t, one, two)
}

func TestWhatIsAskedForStaysInTheCache(t *testing.T) {
	guard := newGuard(t, sqlguard.Options{CacheBytes: 1000})
	kept, err := guard.Inspect("SELECT 1")
	require.NoError(t, err)
	for i := range 500 {
		_, err := guard.Inspect(fmt.Sprintf("SELECT %d", i+1000))
		require.NoError(t, err)
		now, err := guard.Inspect("SELECT 1")
		require.NoError(t, err)
		require.Same(t, kept, now)
	}
}

func TestManyAtOnce(t *testing.T) {
	guard := newGuard(t, sqlguard.Options{CacheBytes: 400})
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for i := range 200 {
				text := fmt.Sprintf("SELECT id FROM orders WHERE id = %d", (worker+i)%40)
				statement, err := guard.Inspect(text)
				if err != nil || !statement.ReadOnly() || len(statement.Relations) != 1 {
					t.Errorf("%s: %v", text, err)
				}
				if _, err := guard.Inspect("SELECT pg_sleep(1)"); sqlguard.ClassOf(err) != sqlguard.ClassFunction {
					t.Errorf("pg_sleep passed: %v", err)
				}
			}
		})
	}
	group.Wait()
}

// What stands after a relation's name and may be a function of its row is told, since it may read all of it.
func TestCalled(t *testing.T) {
	tests := []struct{ in, want string }{
		{"SELECT o.count, o.id, o.lower, count FROM orders o", "count"},
		{"SELECT count, id FROM orders o", ""},
		{"SELECT shop.orders.count FROM shop.orders", "count"},
		{"SELECT j.count FROM (orders o CROSS JOIN customers) AS j", "count count"},
		{"UPDATE orders SET count = 1 WHERE id = 2", ""},
		{"UPDATE orders o SET count = 1 WHERE o.count = 2", "count"},
	}
	for _, test := range tests {
		statement, err := newGuard(t, sqlguard.Options{}).Inspect(test.in)
		require.NoError(t, err, test.in)
		var called []string
		for _, relation := range statement.Relations {
			for _, column := range relation.Columns {
				if column.Called {
					called = append(called, column.Name)
				}
			}
		}
		require.Equal(t, test.want, strings.Join(called, " "), test.in)
	}
}
