// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

const sayDenied = "Denied by policy. Reference: "

// asked is a statement with its parameters.
type asked struct{ sql, params string }

// For each thing that a rule allows there is what it almost allows. The roles of the database may do all of it.
func TestRules(t *testing.T) {
	tests := []struct {
		name, rule string
		allowed    []asked
		denied     []asked
	}{
		{
			"a table", `sql: {operations: [select], tables: [shop.orders]}`,
			[]asked{{"SELECT id FROM shop.orders LIMIT 1", ""}, {"SELECT id FROM orders LIMIT 1", ""}, {"SELECT 1", ""}, {`SELECT id FROM "shop"."orders"`, ""}},
			[]asked{
				{"SELECT id FROM shop.customers", ""},
				{"SELECT id FROM customers", ""},
				{"SELECT id FROM shop.orders WHERE customer_id IN (SELECT id FROM shop.customers)", ""},
				{"SELECT (SELECT max(id) FROM shop.customers) FROM shop.orders", ""},
				{"WITH c AS (SELECT id FROM shop.customers) SELECT o.id FROM shop.orders o, c", ""},
				{`SELECT id FROM shop."Orders"`, ""},
				{"SELECT id FROM public.orders", ""},
			},
		},
		{
			"an operation", `sql: {operations: [select, update], tables: [shop.stock]}`,
			[]asked{{"UPDATE shop.stock SET on_hand = 1 WHERE sku = 'sku-1'", ""}, {"SELECT sku FROM shop.stock WHERE sku = 'sku-1' FOR UPDATE", ""}},
			[]asked{
				{"DELETE FROM shop.stock WHERE sku = 'sku-1'", ""},
				{"INSERT INTO shop.stock VALUES ('sku-1', 1, NULL) ON CONFLICT (sku) DO UPDATE SET on_hand = 1", ""},
				{"MERGE INTO shop.stock s USING (VALUES ('sku-1')) v(sku) ON v.sku = s.sku WHEN MATCHED THEN DELETE", ""},
				{"WITH gone AS (DELETE FROM shop.stock WHERE sku = 'x' RETURNING sku) SELECT sku FROM gone", ""},
				{"TRUNCATE shop.stock", ""},
				{"DROP TABLE shop.stock", ""},
			},
		},
		{
			"a WHERE", `sql: {operations: [update, delete], tables: [shop.stock]}`,
			[]asked{{"DELETE FROM shop.stock WHERE sku = $1", `["none"]`}},
			[]asked{{"DELETE FROM shop.stock", ""}, {"DELETE FROM shop.stock WHERE true", ""}, {"UPDATE shop.stock SET on_hand = 0", ""}},
		},
		{
			"RETURNING", `sql: {operations: [update], tables: [shop.stock]}`,
			[]asked{{"UPDATE shop.stock SET on_hand = 1 WHERE sku = 'sku-1'", ""}},
			[]asked{{"UPDATE shop.stock SET on_hand = 1 WHERE sku = 'sku-1' RETURNING on_hand", ""}, {"SELECT on_hand FROM shop.stock", ""}},
		},
		{
			"columns", `sql: {operations: [select, update], tables: ["shop.*"], columns: {read: [id, status, customer_id, name], write: [status]}}`,
			[]asked{
				{"SELECT id, status FROM shop.orders WHERE customer_id = 3", ""},
				{"UPDATE shop.orders SET status = 'paid' WHERE id = 3", ""},
				{"SELECT o.id, c.name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id", ""},
				{"SELECT status, name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id", ""},
				{"SELECT upper(status) AS state, count(*) FROM shop.orders GROUP BY state", ""},
				{"SELECT upper(status) AS state, id % 2 AS odd, count(*) FROM shop.orders GROUP BY ROLLUP (state, (odd))", ""},
				{"SELECT j.status, j.name FROM (shop.orders o JOIN shop.customers c ON c.id = o.customer_id) AS j", ""},
			},
			[]asked{
				{"SELECT * FROM shop.orders", ""},
				{"SELECT total FROM shop.orders", ""},
				{"SELECT id FROM shop.orders ORDER BY total", ""},
				{"SELECT o FROM shop.orders o", ""},
				{"SELECT count(*) FROM shop.orders WHERE total > 5", ""},
				{"UPDATE shop.orders SET total = 0 WHERE id = 3", ""},
				{"UPDATE shop.orders SET status = notes WHERE id = 3", ""},
				{"SELECT status, email FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id", ""},
				{"SELECT id FROM shop.orders JOIN shop.customers USING (id) WHERE email = 'x'", ""},
				{"SELECT id, status FROM shop.orders NATURAL JOIN shop.customers", ""},
				// It is the table's column, whatever the result has of that name.
				{"SELECT max(id) AS total FROM shop.orders GROUP BY total", ""},
				{"SELECT upper(status) AS state, count(*) FROM shop.orders GROUP BY state, total", ""},
				{"SELECT o.to_json FROM shop.orders o", ""},
				{"SELECT shop.orders.concat FROM shop.orders", ""},
				{"SELECT id FROM orders WHERE orders.quote_literal LIKE '%urgent%'", ""},
				{"SELECT j.row_to_json FROM (shop.orders o CROSS JOIN shop.stock s) AS j", ""},
				{"SELECT (SELECT o.to_jsonb FROM (SELECT 1) x) FROM shop.orders o, (SELECT 2) o2", ""},
				{"UPDATE shop.orders SET status = orders.to_json WHERE id = 3", ""},
				{"UPDATE shop.orders SET status = 'paid' WHERE id = 3 RETURNING orders.to_json", ""},
				{"MERGE INTO shop.orders o USING shop.customers c ON c.id = o.id WHEN MATCHED THEN UPDATE SET status = c.concat", ""},
			},
		},
		{
			"a filter", `sql: {operations: [select], tables: ["shop.*"], mustFilterBy: {shop.orders: [customer_id]}}`,
			[]asked{
				{"SELECT id FROM shop.orders WHERE customer_id = $1", "[3]"},
				{"SELECT o.id FROM shop.orders o JOIN shop.items i ON i.order_id = o.id WHERE o.customer_id = 3 AND o.total > 1", ""},
				// The catalogue knows whose customer_id it is.
				{"SELECT o.id FROM shop.orders o JOIN shop.items i ON i.order_id = o.id WHERE customer_id = 3", ""},
				{"SELECT id FROM shop.customers", ""},
			},
			[]asked{
				{"SELECT id FROM shop.orders", ""},
				{"SELECT id FROM shop.orders WHERE customer_id = 3 OR true", ""},
				{"SELECT id FROM shop.orders WHERE customer_id = customer_id", ""},
				{"SELECT id FROM shop.orders WHERE customer_id > 3", ""},
				{"SELECT a.id FROM shop.orders a, shop.orders b WHERE a.customer_id = 3", ""},
				{"SELECT i.line FROM shop.items i LEFT JOIN shop.orders o ON o.id = i.order_id AND i.line = 3", ""},
				{"SELECT o.id FROM shop.orders o JOIN shop.items i ON i.order_id = o.id WHERE order_id = 3", ""},
			},
		},
		{
			"a filter by a column of another table", `sql: {operations: [select], tables: ["shop.*"], mustFilterBy: {shop.customers: [customer_id]}}`,
			[]asked{{"SELECT id FROM shop.orders WHERE customer_id = 3", ""}},
			[]asked{{"SELECT name FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id WHERE customer_id = 3", ""}},
		},
		{
			"a function", `sql: {operations: [select], tables: [shop.orders], functions: [shop.tax]}`,
			[]asked{{"SELECT shop.tax(total) FROM shop.orders WHERE id = 1", ""}, {"SELECT tax(1)", ""}, {"SELECT upper('x')", ""}},
			[]asked{{"SELECT shop.evil()", ""}, {"SELECT pg_sleep(0)", ""}, {"SELECT shop.cast_evil(1)", ""}, {"SELECT tax(evil())", ""}},
		},
		{
			"functions of a schema", `sql: {functions: ["shop.t*"]}`,
			[]asked{{"SELECT shop.tax(1)", ""}},
			[]asked{{"SELECT shop.evil()", ""}, {"SELECT pg_backend_pid()", ""}, {"SELECT set_config('a.b', 'c', false)", ""}},
		},
		{
			"a condition over parameters", "sql: {operations: [select], tables: [shop.orders]}, when: 'params.size() == 1 && params[0] == 3'",
			[]asked{{"SELECT id FROM shop.orders WHERE customer_id = $1", "[3]"}},
			[]asked{
				{"SELECT id FROM shop.orders WHERE customer_id = $1", "[4]"},
				{"SELECT id FROM shop.orders WHERE customer_id = $1", `["3"]`},
				{"SELECT id FROM shop.orders WHERE customer_id = 3", ""},
				{"SELECT id FROM shop.orders WHERE customer_id = $1", "[3, 3]"},
			},
		},
		{
			"a condition over the statement", `sql: {operations: ["*"], tables: ["shop.*"]}, when: 'sql.command == "select" && sql.limit > 0 && sql.limit <= 10 && sql.tables == ["shop.orders"]'`,
			[]asked{{"SELECT id FROM orders LIMIT 10", ""}},
			[]asked{
				{"SELECT id FROM shop.orders", ""},
				{"SELECT id FROM shop.orders LIMIT 11", ""},
				{"SELECT id FROM shop.orders LIMIT $1", "[5]"},
				{"SELECT id FROM shop.customers LIMIT 1", ""},
				{"DELETE FROM shop.orders WHERE id = 1", ""},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rule, when, _ := strings.Cut(tt.rule, ", when: ")
			if when != "" {
				when = ", when: " + when
			}
			r := newRig(t, "\n  - {name: tested, effect: allow, from: [writer], to: {server: orders-db, "+rule+"}"+when+"}\n")
			for _, a := range tt.allowed {
				_, err := r.ask("writer", "query", a.sql, "params", a.params)
				require.NoError(t, err, "%s: %s", a.sql, r.last().Decision.Reason)
				require.Equal(t, receipt.StatusOK, r.last().Outcome.Status)
				require.Equal(t, receipt.EffectAllow, r.last().Decision.Effect)
				say := r.refused("reader", a.sql, "params", a.params)
				require.Equal(t, sayDenied+r.last().ID, say, "another app")
			}
			for _, a := range tt.denied {
				say := r.refused("writer", a.sql, "params", a.params)
				require.Equal(t, receipt.StatusDenied, r.last().Outcome.Status, a.sql)
				require.NotContains(t, say, "shop")
				require.Len(t, r.journaled().Intents, len(tt.allowed), "%s was let pass", a.sql)
			}
		})
	}
}

// A column that the text does not qualify is that of the table which has it, as the catalogue says.
func TestColumnsOfTables(t *testing.T) {
	r := newRig(t, `
  - {name: orders, effect: allow, from: [reader], to: {server: orders-db, sql: {operations: [select], tables: [shop.orders], columns: {read: [id, status, customer_id]}}}}
  - {name: customers, effect: allow, from: [reader], to: {server: orders-db, sql: {operations: [select], tables: [shop.customers], columns: {read: [id, name]}}}}
`)
	const join = " FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id LIMIT 1"
	r.query("reader", "SELECT status, name"+join)
	for _, column := range []string{"email", "total", "notes", "tags", "o", "c", "*"} {
		require.Contains(t, r.refused("reader", "SELECT "+column+join), sayDenied, column)
	}
}

// Who may not touch a table does not learn whether it is there.
func TestNothingIsToldOfWhatIsNotThere(t *testing.T) {
	r := newRig(t, `
  - {name: reads, effect: allow, from: [reader], to: {server: orders-db, sql: {operations: [select], tables: [shop.orders, shop.gone, vault.hidden]}}}
`)
	for _, sql := range []string{
		"SELECT 1 FROM vault.secrets", "SELECT 1 FROM vault.nothing", "SELECT 1 FROM nowhere.nothing", "SELECT 1 FROM secrets",
		"SELECT 1 FROM shop.customers", "SELECT 1 FROM customers", "SELECT 1 FROM nothing", "SELECT email FROM shop.customers", "SELECT nothing FROM shop.customers",
	} {
		say := r.refused("reader", sql)
		require.Equal(t, sayDenied+r.last().ID, say, sql)
	}
	for _, sql := range []string{"SELECT shop.evil()", "SELECT shop.nothing()", "SELECT pg_read_file('x')", "SELECT 1 FROM pg_authid"} {
		require.True(t, strings.HasPrefix(r.refused("reader", sql), "Refused: the statement is not one that may be sent to this database. Reference: "), sql)
	}
	// What a rule allows and the database does not is told like what is not there.
	run(t, r.admin, "CREATE TABLE vault.hidden (id int)")
	hidden, gone := r.refused("reader", "SELECT id FROM vault.hidden"), r.refused("reader", "SELECT id FROM shop.gone")
	require.Equal(t, hidden[:strings.Index(hidden, "Reference")], gone[:strings.Index(gone, "Reference")])
	require.NotContains(t, hidden, "SQLSTATE")
	journal := r.journaled().Receipts
	require.Equal(t, "SQLSTATE 42501 insufficient_privilege", journal[len(journal)-2].Outcome.Reason)
	require.Equal(t, "SQLSTATE 42P01 undefined_table", journal[len(journal)-1].Outcome.Reason)
}

func TestReceipts(t *testing.T) {
	r := newRig(t, allowAll)
	const sql = "UPDATE shop.orders SET status = $1 FROM shop.customers c WHERE c.id = customer_id AND orders.id = $2"
	_, err := r.ask("writer", "exec", sql, "params", `["a secret word", 7]`)
	require.NoError(t, err)
	got := r.last()
	require.Equal(t, "custody-postgres", got.Door.Name)
	require.Equal(t, "spiffe://custody.local/ns/default/writer", got.Caller.SPIFFEID.String())
	require.Equal(t, receipt.Action{Kind: "sql.update", Server: "orders-db", Name: "shop.orders"}, got.Action)
	require.Equal(t, []receipt.Touched{{Kind: "sql.update", Name: "shop.orders"}, {Kind: "sql.select", Name: "shop.customers"}}, got.Touched)
	require.Equal(t, receipt.Sum([]byte(sql)), got.RequestDigest)
	require.Equal(t, receipt.Sum([]byte(sql)), got.Statement.Digest)
	require.NotEmpty(t, got.Statement.Fingerprint)
	require.Empty(t, got.Statement.Text)
	require.True(t, got.ArgumentsDigest.IsZero())
	require.Equal(t, receipt.Outcome{Status: receipt.StatusOK, Rows: 1}, got.Outcome)

	// An error of the database holds values, and none of its text is told or recorded.
	_, err = r.ask("writer", "exec", "INSERT INTO shop.customers (id, name, email, country) VALUES ($1, 'x', 'c7@example.org', 'DE')", "params", "[900]")
	require.EqualError(t, err, "error executing query: the database refused it: SQLSTATE 23505 unique_violation. Reference: "+r.last().ID)
	require.Equal(t, receipt.Outcome{Status: receipt.StatusFailed, Reason: "SQLSTATE 23505 unique_violation"}, r.last().Outcome)

	r.refused("writer", "SELECT pg_read_file('/etc/passwd')")
	got = r.last()
	require.Equal(t, receipt.Action{Kind: "sql.statement", Server: "orders-db"}, got.Action)
	require.Contains(t, got.Decision.Reason, "pg_read_file")
	require.Empty(t, got.Statement.Fingerprint)

	at := *r.document.Load()
	at.RecordStatements = true
	r.document.Store(&at)
	r.query("writer", "SELECT id FROM shop.orders WHERE status = $1", "params", `["a secret word"]`)
	require.Equal(t, "SELECT id FROM shop.orders WHERE status = $1", r.last().Statement.Text)
	r.settled()
	everything := journalText(t, r.journal)
	require.NotContains(t, everything, "a secret word")
	require.NotContains(t, everything, "c7@example.org")
}

// A rule for shop.orders is not one for the table "shop.orders" of another schema.
func TestNamesWithADot(t *testing.T) {
	r := newRig(t, `
  - {name: all, effect: allow, from: [reader], to: {server: orders-db, sql: {operations: ["*"], tables: ["*"]}}}
`)
	for _, sql := range []string{`SELECT id FROM "shop.orders"`, `SELECT id FROM shop."or.ders"`, `SELECT id FROM "s.hop".orders`} {
		r.refused("reader", sql)
		require.Contains(t, r.last().Decision.Reason, "has a dot in it", sql)
	}
	r.query("reader", "SELECT id FROM shop.orders LIMIT 1")
}

// A rate for one operation is charged by every statement that does it, whatever else the statement does.
func TestRateOfAnOperation(t *testing.T) {
	const limited = `
  - {name: reads, effect: allow, from: [writer], to: {server: orders-db, sql: {operations: [select], tables: ["shop.*"]}}}
  - {name: updates, effect: allow, from: [writer], to: {server: orders-db, sql: {operations: [update], tables: ["shop.*"]}}, rate: 3/hour}
  - {name: deletes, effect: allow, from: [writer], to: {server: orders-db, sql: {operations: [delete], tables: ["shop.*"]}}}
`
	const plain = "UPDATE shop.stock SET on_hand = 5 WHERE sku = 'sku-1'"
	updates := []string{
		"WITH x AS (UPDATE shop.stock SET on_hand = 5 WHERE sku = 'sku-1' RETURNING sku) SELECT sku FROM x",
		"WITH x AS (UPDATE shop.stock SET on_hand = 5 WHERE sku = 'sku-1' RETURNING sku) DELETE FROM shop.stock WHERE sku IN (SELECT 'none' || sku FROM x)",
		"SELECT sku FROM shop.stock WHERE sku = 'sku-1' FOR UPDATE",
		plain,
	}
	for _, update := range updates {
		r := newRig(t, limited)
		for range 3 {
			r.query("writer", update)
		}
		for _, more := range updates {
			require.Contains(t, r.refused("writer", more), "as many requests as a rule allows were made", more)
			require.Equal(t, "updates", r.last().Decision.Rule, more)
		}
		r.query("writer", "SELECT sku FROM shop.stock")
		r.query("writer", "DELETE FROM shop.stock WHERE sku = 'none'")
		require.Equal(t, "1", r.scalar("SELECT count(*) FROM shop.stock WHERE sku = 'sku-1'"))
	}
}
