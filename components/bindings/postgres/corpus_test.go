// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dapr/components-contrib/bindings"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/receipt"
)

const corpora = "../../../tests/sql/testdata"

// attack is what this test needs of a case of tests/sql/testdata/attacks.yaml, whose fields are told of there.
type attack struct {
	Name, SQL, Bytes string
	Repeat           *struct {
		Head, Unit, Middle, Tail string
		Times                    int
	}
}

func (a *attack) text(t *testing.T) string {
	t.Helper()
	if a.Bytes != "" {
		raw, err := hex.DecodeString(a.Bytes)
		require.NoError(t, err)
		return string(raw)
	}
	if r := a.Repeat; r != nil {
		return r.Head + strings.Repeat(r.Unit, r.Times) + r.Middle + strings.Repeat(r.Tail, r.Times)
	}
	return a.SQL
}

// readTables lets two apps read the tables of the shop, by the hand of roles that may do much more.
const readTables = `
  - {name: reads, effect: allow, from: [reader, writer], to: {server: orders-db, sql: {operations: [select], tables:
      [shop.orders, shop.customers, shop.items, shop.products, shop.events, shop.stock]}}}
`

// No attack of the corpus gets through the door, whatever the role may: each is refused before the database sees it.
func TestAttacks(t *testing.T) {
	r := newRig(t, readTables)
	raw, err := os.ReadFile(filepath.Join(corpora, "attacks.yaml"))
	require.NoError(t, err)
	var attacks []attack
	require.NoError(t, yaml.Unmarshal(raw, &attacks))
	require.GreaterOrEqual(t, len(attacks), 253)
	before := r.scalar("SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::text FROM pg_stat_user_tables")
	for _, a := range attacks {
		t.Run(a.Name, func(t *testing.T) {
			for _, operation := range []bindings.OperationKind{"query", "exec"} {
				response, err := r.ask("writer", operation, a.text(t))
				require.ErrorContains(t, err, "Reference: ")
				require.Nil(t, response)
			}
		})
	}
	journal := r.journaled()
	require.Len(t, journal.Receipts, 2*len(attacks))
	require.Empty(t, journal.Intents, "nothing was let pass")
	for _, record := range journal.Receipts {
		require.Equal(t, receipt.StatusDenied, record.Outcome.Status)
		require.NotEmpty(t, record.Decision.Reason)
	}
	require.Equal(t, before, r.scalar("SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::text FROM pg_stat_user_tables"))
}

// statements reads a corpus of one statement to a line.
func statements(t *testing.T, file string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(corpora, file))
	require.NoError(t, err)
	var lines []string
	for _, line := range strings.Split(string(raw), "\n") {
		if line != "" && !strings.HasPrefix(line, "-- ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// fickle are statements whose rows are others each time.
var fickle = regexp.MustCompile(`(?i)\bnow\(|current_|localtime|random|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|uuid\(|tablesample|xmin|session_user|\buser\b`)

// Real work passes, and gives the rows that it gives without the door.
func TestReads(t *testing.T) {
	r := newRig(t, allowAll)
	plain, guarded := r.plain(), r.binding("reader")
	ctx := r.as(t.Context(), "reader")
	reads := statements(t, "reads.sql")
	require.GreaterOrEqual(t, len(reads), 300)
	compared := 0
	for _, sql := range reads {
		t.Run(sql, func(t *testing.T) {
			request := bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": sql}}
			want, err := plain.Invoke(ctx, &request)
			if err != nil { // Not every value has a form in JSON, and then neither binding has an answer.
				_, err := guarded.Invoke(ctx, &request)
				require.ErrorContains(t, err, "JSON")
				return
			}
			got, err := guarded.Invoke(ctx, &request)
			require.NoError(t, err)
			if fickle.MatchString(sql) {
				require.Equal(t, shape(t, want.Data), shape(t, got.Data))
				return
			}
			require.Equal(t, string(want.Data), string(got.Data))
			compared++
		})
	}
	require.Greater(t, compared, len(reads)*8/10)
	for _, record := range r.journaled().Receipts {
		require.Contains(t, []string{receipt.StatusOK, receipt.StatusFailed}, record.Outcome.Status)
	}
}

// shape is how many rows of how many values there are.
func shape(t *testing.T, data []byte) string {
	t.Helper()
	var rows [][]any
	require.NoError(t, json.Unmarshal(data, &rows))
	if len(rows) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d x %d", len(rows), len(rows[0]))
}

// contents is all that the tables of the shop hold, but for the times that differ from run to run.
const contents = `SELECT md5(concat(
	(SELECT string_agg(concat(id, customer_id, status, total, notes), ';' ORDER BY id) FROM shop.orders t), (SELECT string_agg(t::text, ';' ORDER BY t::text) FROM shop.customers t),
	(SELECT string_agg(t::text, ';' ORDER BY t::text) FROM shop.items t), (SELECT string_agg(concat(sku, on_hand), ';' ORDER BY sku) FROM shop.stock t),
	(SELECT string_agg(concat(id, kind, payload), ';' ORDER BY id) FROM shop.events t), (SELECT string_agg(t::text, ';' ORDER BY t::text) FROM shop.products t)))`

// Writes do through the door what they do without it. The corpus is no sequence: each begins with the shop as it was.
func TestWrites(t *testing.T) {
	r, other := newRig(t, allowAll), newRig(t, allowAll)
	plain := other.plain()
	schema, err := os.ReadFile(filepath.Join(corpora, "schema.sql"))
	require.NoError(t, err)
	writes := statements(t, "writes.sql")
	require.GreaterOrEqual(t, len(writes), 40)
	untouched := r.scalar(contents)
	for _, sql := range writes {
		t.Run(sql, func(t *testing.T) {
			defer func() {
				if r.scalar(contents) == untouched && other.scalar(contents) == untouched {
					return
				}
				for _, database := range []*rig{r, other} {
					run(t, database.admin, "DROP SCHEMA shop, vault CASCADE; DROP EXTENSION dblink, file_fdw CASCADE;"+string(schema)+grants)
				}
			}()
			want, err := plain.Invoke(t.Context(), &bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": sql}})
			require.NoError(t, err)
			got, err := r.ask("writer", "query", sql)
			require.NoError(t, err)
			if fickle.MatchString(sql) {
				require.Equal(t, shape(t, want.Data), shape(t, got.Data))
			} else {
				require.Equal(t, string(want.Data), string(got.Data))
			}
			changed := r.scalar(contents)
			require.Equal(t, other.scalar(contents), changed)
			// The role and the rule of another app only read.
			r.refused("reader", sql)
			require.Equal(t, changed, r.scalar(contents))
		})
	}
}
