// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

func parse(t testing.TB, text string) *sqlguard.Statement {
	t.Helper()
	statement, err := sqlguard.Parse(text, sqlguard.Limits{})
	require.NoError(t, err, text)
	return statement
}

// describe writes relations as "schema.name(alias) kinds [columns] {bindings} flags", one to a line.
func describe(s *sqlguard.Statement) []string {
	lines := []string{}
	for _, r := range s.Relations {
		line := r.String()
		if r.Alias != r.Name.Name {
			line += "(" + r.Alias + ")"
		}
		line += " " + r.Use.String()
		var columns, bound []string
		for _, c := range r.Columns {
			text := c.Name
			if c.Written {
				text += "="
			}
			if c.Written && c.Read {
				text += "+"
			}
			if c.Ambiguous {
				text += "?"
			}
			columns = append(columns, text)
		}
		for _, b := range r.Bound {
			text := b.Column + ":"
			switch {
			case b.Null:
				text += "null"
			case b.Parameter > 0:
				text += fmt.Sprintf("$%d", b.Parameter)
			default:
				text += b.Literal
			}
			if b.Ambiguous {
				text += "?"
			}
			bound = append(bound, text)
		}
		line += " [" + strings.Join(columns, " ") + "]"
		if len(bound) > 0 {
			line += " {" + strings.Join(bound, " ") + "}"
		}
		if r.HasWhere {
			line += " where"
		}
		if r.Returns {
			line += " returns"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestRelationsAndColumns(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
	}{
		{"columns of one table", "SELECT id, total FROM shop.orders WHERE status = 'x'", []string{"shop.orders select [id status total] {status:x} where"}},
		{"all columns", "SELECT * FROM orders", []string{"orders select [*]"}},
		{"all columns of an alias", "SELECT o.* FROM orders o, items i", []string{"orders(o) select [*]", "items(i) select []"}},
		{"a whole row by the name", "SELECT orders FROM orders", []string{"orders select [*? orders]"}},
		{"a whole row by the alias", "SELECT count(o) FROM orders o, items i", []string{"orders(o) select [*? o?]", "items(i) select [o?]"}},
		{"a field of a whole row", "SELECT (o).email FROM customers o", []string{"customers(o) select [*? o]"}},
		{"a qualified column", "SELECT o.id, i.sku FROM orders o JOIN items i ON i.order_id = o.id", []string{"orders(o) select [id]", "items(i) select [order_id sku]"}},
		{"an unqualified column of two tables", "SELECT email FROM orders o, customers c", []string{"orders(o) select [email?]", "customers(c) select [email?]"}},
		{"a column with its schema", "SELECT shop.orders.id FROM shop.orders", []string{"shop.orders select [id]"}},
		{"an inner alias that hides an outer one", "SELECT (SELECT o.email FROM customers o) FROM orders o", []string{"orders(o) select [email?]", "customers(o) select [email?]"}},
		{"an outer column without its alias", "SELECT (SELECT max(total) FROM items) FROM orders", []string{"orders select [total?]", "items select [total?]"}},
		{"renamed columns", "SELECT c.a FROM customers AS c(a, b)", []string{"customers(c) select [*]"}},
		{"a subquery does not see its neighbours", "SELECT 1 FROM customers o, (SELECT id FROM orders) s", []string{"customers(o) select []", "orders select [id]"}},
		{"a neighbour's alias is the outer one to a subquery", "SELECT (SELECT s.email FROM items o, (SELECT o.email FROM orders) s) FROM customers o", []string{"customers(o) select [email]", "items(o) select []", "orders select []"}},
		{"LATERAL sees its neighbours", "SELECT 1 FROM customers c, LATERAL (SELECT c.id, total FROM orders) s", []string{"customers(c) select [id total?]", "orders select [total?]"}},
		{"columns renamed by a join's alias", "SELECT j.a FROM (orders o JOIN items i ON true) AS j(a, b)", []string{"orders(o) select [*]", "items(i) select [*]"}},
		{"columns of a join's alias", "SELECT j.email FROM (orders o JOIN items i ON true) AS j", []string{"orders(o) select [email?]", "items(i) select [email?]"}},
		{"USING", "SELECT 1 FROM orders JOIN items USING (id)", []string{"orders select [id]", "items select [id]"}},
		{"NATURAL", "SELECT 1 FROM orders NATURAL JOIN items", []string{"orders select [*]", "items select [*]"}},
		{"a CTE is no relation", "WITH x AS (SELECT id FROM orders) SELECT id FROM x", []string{"orders select [id]"}},
		{"a CTE that hides a table", "WITH orders AS (SELECT 1 AS id) SELECT id FROM orders", []string{}},
		{"a schema looks past the CTE", "WITH orders AS (SELECT 1 AS id) SELECT id FROM shop.orders", []string{"shop.orders select [id]"}},
		{"a CTE that reads the table of its name", "WITH orders AS (SELECT id FROM orders) SELECT id FROM orders", []string{"orders select [id]"}},
		{"a recursive CTE reads itself", "WITH RECURSIVE orders AS (SELECT 1 AS id UNION SELECT id FROM orders) SELECT id FROM orders", []string{}},
		{"a CTE is not seen by those before it", "WITH a AS (SELECT id FROM b), b AS (SELECT 1 AS id) SELECT * FROM a, b", []string{"b select [id]"}},
		{"a CTE ends with its statement", "SELECT (WITH c AS (SELECT 1) SELECT 1 FROM c), (SELECT count(*) FROM c)", []string{"c select []"}},
		{"a CTE is never written to", "WITH orders AS (SELECT 1) DELETE FROM orders WHERE id = 1", []string{"orders delete [id] {id:1} where"}},
		{"the result's name in ORDER BY", "SELECT sum(total) AS s FROM orders ORDER BY s", []string{"orders select [total]"}},
		{"the result's name below an expression is a column", "SELECT sum(total) AS s FROM orders ORDER BY s + 1", []string{"orders select [s total]"}},
		{"the result's name in GROUP BY may be a column", "SELECT id AS email FROM orders GROUP BY email", []string{"orders select [email? id]"}},
		{"the result's name in GROUPING SETS", "SELECT id AS email, total FROM orders GROUP BY GROUPING SETS ((email), CUBE (email, total))", []string{"orders select [email? id total]"}},
		{"both arms of a union", "SELECT id FROM orders UNION SELECT secret FROM vault.secrets ORDER BY id", []string{"orders select [id]", "vault.secrets select [secret]"}},
		{"ONLY and TABLESAMPLE", "SELECT o.id FROM ONLY orders o TABLESAMPLE SYSTEM (1)", []string{"orders(o) select [id]"}},
		{"an update", "UPDATE orders SET status = 'x', total = total + 1 WHERE id = $1", []string{"orders update [id status= total=+] {id:$1} where"}},
		{"an update that returns", "UPDATE orders o SET status = 'x' WHERE o.id = 1 RETURNING o.notes", []string{"orders(o) update [id notes status=] {id:1} where returns"}},
		{"an update from another table", "UPDATE orders o SET total = c.credit FROM customers c WHERE c.id = o.customer_id AND o.id = 3", []string{"orders(o) update [customer_id id total=] {id:3} where", "customers(c) select [credit id] where"}},
		{"a delete", "DELETE FROM items i USING orders o WHERE o.id = i.order_id", []string{"items(i) delete [order_id] where", "orders(o) select [id] where"}},
		{"an insert of columns", "INSERT INTO orders (id, status) VALUES ($1, 'x')", []string{"orders insert [id= status=] {id:$1 status:x}"}},
		{"an insert of all columns", "INSERT INTO orders VALUES (1)", []string{"orders insert [*=]"}},
		{"an insert of a query", "INSERT INTO log (id) SELECT id FROM orders WHERE total > 1", []string{"orders select [id total] where", "log insert [id=]"}},
		{"an upsert", "INSERT INTO stock (sku, n) VALUES ($1, 2) ON CONFLICT (sku) DO UPDATE SET n = excluded.n WHERE stock.sku = $1", []string{"stock insert,update [n=+ sku=+] {sku:$1} where"}},
		{"a merge", "MERGE INTO stock s USING new n ON n.sku = s.sku WHEN MATCHED THEN UPDATE SET n = n.n WHEN NOT MATCHED THEN INSERT (sku) VALUES (n.sku)", []string{"stock(s) insert,update [n= sku=+] where", "new(n) select [n sku] where"}},
		{"a merge that deletes", "MERGE INTO stock s USING new n ON n.sku = s.sku WHEN MATCHED THEN DELETE", []string{"stock(s) delete [sku] where", "new(n) select [sku] where"}},
		{"a lock", "SELECT id FROM orders WHERE id = 1 FOR UPDATE", []string{"orders select,update [id] {id:1} where"}},
		{"a lock of one of two", "SELECT o.id FROM orders o, items i FOR SHARE OF o", []string{"orders(o) select,update [id]", "items(i) select []"}},
		{"a lock reaches into subqueries", "SELECT 1 FROM (SELECT id FROM orders) o FOR UPDATE", []string{"orders select,update [id]"}},
		{"create table as", "CREATE TABLE copy AS SELECT id FROM orders", []string{"copy ddl []", "orders select [id]"}},
		{"drop", "DROP TABLE shop.orders, items", []string{"shop.orders ddl []", "items ddl []"}},
		{"a foreign key", "CREATE TABLE t (id int REFERENCES customers (id), n int DEFAULT 3 CHECK (n > 0))", []string{"t ddl []", "customers ddl []"}},
		{"truncate", "TRUNCATE orders, items", []string{"orders ddl []", "items ddl []"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, describe(parse(t, test.in)))
		})
	}
}

func TestKinds(t *testing.T) {
	tests := []struct{ in, command, want string }{
		{"SELECT 1", "select", "select"},
		{"VALUES (1)", "select", "select"},
		{"TABLE orders", "select", "select"},
		{"INSERT INTO orders VALUES (1)", "insert", "insert"},
		{"INSERT INTO orders SELECT * FROM items", "insert", "select,insert"},
		{"UPDATE orders SET a = 1", "update", "update"},
		{"UPDATE orders SET a = (SELECT 1 FROM items)", "update", "select,update"},
		{"DELETE FROM orders", "delete", "delete"},
		{"WITH x AS (DELETE FROM orders RETURNING 1) SELECT * FROM x", "select", "select,delete"},
		{"WITH x AS (INSERT INTO orders VALUES (1)), y AS (UPDATE orders SET a = 1) SELECT 1", "select", "select,insert,update"},
		{"SELECT (SELECT 1 FROM orders FOR UPDATE)", "select", "select,update"},
		{"SELECT 1 FOR UPDATE", "select", "select,update"},
		{"INSERT INTO o VALUES (1) ON CONFLICT DO NOTHING", "insert", "insert"},
		{"INSERT INTO o VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2", "insert", "insert,update"},
		{"MERGE INTO o USING i ON true WHEN MATCHED THEN DO NOTHING", "merge", "select"},
		{"MERGE INTO o USING i ON true WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1)", "merge", "select,insert,delete"},
		{"CREATE TABLE t (id int)", "create table", "ddl"},
		{"CREATE MATERIALIZED VIEW v AS SELECT 1 FROM o", "create table as", "select,ddl"},
		{"CREATE VIEW v AS SELECT 1", "create view", "ddl"},
		{"CREATE UNIQUE INDEX i ON o USING btree (lower(a), b DESC) WHERE c > 1", "create index", "ddl"},
		{"ALTER TABLE o ADD COLUMN a int, DROP COLUMN b", "alter table", "ddl"},
		{"TRUNCATE o", "truncate", "ddl"},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			statement := parse(t, test.in)
			require.Equal(t, test.command, statement.Command)
			require.Equal(t, test.want, statement.Kinds.String())
			require.Equal(t, test.want == "select", statement.ReadOnly())
		})
	}
}

func TestNamesAndParameters(t *testing.T) {
	s := parse(t, `SELECT f(a.x), lower(b), pg_catalog.upper(c) OVER (ORDER BY shop.g(d) USING OPERATOR(shop.<<)), a::int, b::shop.mood[], f(1)
		FROM h($3) AS a WHERE x OPERATOR(pg_catalog.=) $1 AND y || 'z' = ANY ($2) ORDER BY k($1) LIMIT 7`)
	var functions, operators, types []string
	for _, f := range s.Functions {
		functions = append(functions, f.String())
	}
	for _, o := range s.Operators {
		operators = append(operators, o.String())
	}
	for _, n := range s.Types {
		types = append(types, n.String())
	}
	require.ElementsMatch(t, []string{"f", "lower", "pg_catalog.upper", "shop.g", "h", "k"}, functions)
	require.ElementsMatch(t, []string{"shop.<<", "pg_catalog.=", "||", "="}, operators)
	require.ElementsMatch(t, []string{"pg_catalog.int4", "shop.mood"}, types)
	require.Equal(t, []int{1, 2, 3}, s.Parameters)
	require.EqualValues(t, 7, s.Limit)
	require.NotEmpty(t, s.Fingerprint)
	require.Equal(t, parse(t, "SELECT 1 FROM a WHERE b = 1").Fingerprint, parse(t, "SELECT 2 FROM a WHERE b = 3").Fingerprint)
	require.NotEqual(t, parse(t, "SELECT 1").Digest, parse(t, "SELECT 2").Digest)
}

func TestLimit(t *testing.T) {
	for in, want := range map[string]int64{
		"SELECT 1":                                         -1,
		"SELECT 1 LIMIT 0":                                 0,
		"SELECT 1 LIMIT 5 OFFSET 3":                        5,
		"SELECT 1 LIMIT ALL":                               -1,
		"SELECT 1 LIMIT $1":                                -1,
		"SELECT 1 LIMIT 2 + 3":                             -1,
		"SELECT 1 ORDER BY 1 FETCH FIRST 4 ROWS ONLY":      4,
		"SELECT 1 ORDER BY 1 FETCH FIRST 4 ROWS WITH TIES": -1,
		"SELECT 1 UNION SELECT 2 LIMIT 3":                  3,
		"(SELECT 1 LIMIT 3) UNION SELECT 2":                -1,
		"SELECT * FROM (SELECT 1 LIMIT 3) s":               -1,
	} {
		require.Equal(t, want, parse(t, in).Limit, in)
	}
}
