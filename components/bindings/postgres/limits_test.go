// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/dapr/components-contrib/bindings"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

// The shop has 60 orders, and 12 kinds in stock.
const fewRows = `
  - {name: all, effect: allow, from: [writer], to: {server: orders-db, sql: {operations: ["*"], tables: ["shop.*"], where: any}}}
  - {name: few, effect: allow, from: [writer], to: {server: orders-db, sql: {operations: ["*"], tables: [shop.orders, shop.stock], where: any}}, maxRows: 12, maxResultBytes: 400}
`

func TestLimits(t *testing.T) {
	r := newRig(t, fewRows)
	r.limit("{maxRows: 50, maxBytes: 4096}")
	before := r.scalar(contents)
	for _, tt := range []struct {
		name      string
		operation bindings.OperationKind
		sql       string
		want      string // "" where it passes
	}{
		{"rows of the document", "query", "SELECT line FROM shop.items LIMIT 50", ""},
		{"too many", "query", "SELECT line FROM shop.items LIMIT 51", "more than 50 rows would be returned"},
		{"very many", "query", "SELECT a.line FROM shop.items a, shop.items b, shop.items c, shop.items d, shop.items e", "more than 50 rows would be returned"},
		{"too many that are only counted", "exec", "SELECT line FROM shop.items LIMIT 51", "more than 50 rows would be returned"},
		{"bytes of the document", "query", "SELECT repeat('x', 4088)", ""},
		{"too many bytes", "query", "SELECT repeat('x', 4092)", "more than 4096 bytes would be returned"},
		{"too many in sum", "query", "SELECT repeat('x', 100) FROM generate_series(1, 45)", "more than 4096 bytes would be returned"},
		{"a value too large to be read at all", "query", "SELECT repeat('x', 50000000)", "a row has more bytes than may be returned"},
		{"rows of the rule", "query", "SELECT id FROM shop.orders LIMIT 12", ""},
		{"more than the rule allows", "query", "SELECT id FROM shop.orders LIMIT 13", "more than 12 rows would be returned"},
		{"bytes of the rule", "query", "SELECT repeat('x', 390) FROM shop.orders LIMIT 1", ""},
		{"more bytes than the rule allows", "query", "SELECT repeat('x', 400) FROM shop.orders LIMIT 1", "more than 400 bytes would be returned"},
		{"changes of the rule", "exec", "UPDATE shop.stock SET on_hand = on_hand", ""},
		{"more changes than the rule allows", "exec", "UPDATE shop.orders SET status = 'gone'", "more than 12 rows would be changed"},
		{"more changes that are returned", "query", "UPDATE shop.orders SET status = 'gone' RETURNING id", "more than 12 rows would be returned"},
		{"more deleted", "query", "DELETE FROM shop.items", "more than 50 rows would be changed"},
		{"more deleted and few returned", "query", "WITH gone AS (DELETE FROM shop.items RETURNING order_id) SELECT count(*) FROM gone", "more than 50 rows would be changed"},
		{"more changed in parts", "exec", "WITH a AS (UPDATE shop.items SET line = line WHERE order_id < 26 RETURNING 1) UPDATE shop.stock SET on_hand = 1 WHERE sku = 'sku-1'", "more than 12 rows would be changed"},
		{"few changed in parts", "exec", "WITH a AS (UPDATE shop.items SET line = line WHERE order_id < 6 RETURNING 1) UPDATE shop.stock SET on_hand = on_hand WHERE sku = 'sku-1'", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response, err := r.ask("writer", tt.operation, tt.sql)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.Nil(t, response)
			require.EqualError(t, err, "error executing query: "+tt.want+". Reference: "+r.last().ID)
			require.Equal(t, receipt.Outcome{Status: receipt.StatusWithheld, Reason: tt.want}, r.last().Outcome)
			require.Equal(t, before, r.scalar(contents), "nothing was changed")
		})
	}
	r.settled()
	r.query("writer", "SELECT 1")
	require.Eventually(t, func() bool { return r.sessions() == "1" }, waiting, polling, "what was cut off is gone from the server")
}

func TestTooLargeToRead(t *testing.T) {
	r := newRig(t, allowAll)
	for name, tt := range map[string]struct{ sql, params, want string }{
		"bytes":      {"SELECT '" + strings.Repeat("x", 16<<10) + "'", "", "larger than may be sent"},
		"tokens":     {"SELECT 1" + strings.Repeat("+1", 1000), "", "larger than may be sent"},
		"depth":      {"SELECT " + strings.Repeat("(", 201) + "1" + strings.Repeat(")", 201), "", "larger than may be sent"},
		"parameters": {"SELECT 1", `["` + strings.Repeat("x", 1<<20) + `"]`, "more than 1048576 bytes"},
		"no SQL":     {"SELEC 1", "", "PostgreSQL's parser"},
		"two":        {"SELECT 1; SELECT 2", "", "may be sent to this database"},
		"encoding":   {"SELECT '\xff'", "", "may be sent to this database"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, r.refused("reader", tt.sql, "params", tt.params), tt.want)
			require.Equal(t, receipt.StatusDenied, r.last().Outcome.Status)
		})
	}
	require.Equal(t, `[["`+strings.Repeat("x", 16<<10-20)+`"]]`, r.query("reader", "SELECT '"+strings.Repeat("x", 16<<10-20)+"'"))
	require.Len(t, r.query("reader", "SELECT $1::text", "params", `["`+strings.Repeat("x", 1<<20-4)+`"]`), 1<<20-4+6)
	require.Empty(t, r.journaled().Intents[2:])
}

// A role that the document lets only read writes nothing, whatever the rules and the database allow.
func TestRoleThatReads(t *testing.T) {
	r := newRig(t, strings.ReplaceAll(allowAll, "from: [writer]", "from: [writer, reader]"))
	run(t, r.admin, "GRANT ALL ON ALL TABLES IN SCHEMA shop TO reader")
	require.Contains(t, r.refused("reader", "DELETE FROM shop.items"), sayDenied)
	require.Equal(t, "the document of the database lets role reader only read", r.last().Decision.Reason)
	require.Contains(t, r.refused("reader", "SELECT id FROM shop.orders FOR UPDATE"), sayDenied)
	_, err := r.ask("writer", "exec", "DELETE FROM shop.items")
	require.NoError(t, err)
	require.Contains(t, r.refused("stranger", "SELECT 1"), sayDenied)
	require.Equal(t, "the document of the database has no role for the caller", r.last().Decision.Reason)
}

// A value that comes in a few bytes and would be written in very many is refused before it is written.
func TestValuesThatSwell(t *testing.T) {
	const much = 128 << 20
	r := newRig(t, allowAll)
	r.limit("{maxBytes: 1048576}")
	require.Equal(t, `[[[1.50,null],[],[{"Lower":1,"Upper":2,"LowerType":105,"UpperType":101,"Valid":true}],[],null,[[1,2],"<"]]]`,
		strings.ReplaceAll(r.query("reader", `SELECT ARRAY[1.50, NULL], '{}'::numeric[], '{[1,2)}'::nummultirange, '{}'::nummultirange, NULL::numeric[], ROW(ROW(1, 2), '<'::text)`), `\u003c`, "<"))
	for _, sql := range []string{
		"SELECT array_fill(1e131071::numeric, ARRAY[3000])",
		"SELECT array_agg(ARRAY[1e131071::numeric]) FROM generate_series(1, 3000)",
		"SELECT array_agg(ROW(1, 1e131071::numeric)) FROM generate_series(1, 3000)",
		"SELECT array_fill(numrange(1e131070, 1e131071), ARRAY[1500])",
		"SELECT range_agg(numrange(('1e' || i)::numeric, ('2e' || i)::numeric)) FROM generate_series(130000, 131000) i",
		"SELECT " + strings.Repeat("a, ", 900) + "a FROM (SELECT 1e131071::numeric) x(a)",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := r.ask("reader", "query", sql)
		runtime.ReadMemStats(&after)
		require.ErrorContains(t, err, "more than 1048576 bytes would be returned", sql)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(much), sql)
	}
}
