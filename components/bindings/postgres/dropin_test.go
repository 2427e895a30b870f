// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/dapr/components-contrib/bindings"
	dapr "github.com/dapr/components-contrib/bindings/postgres"
	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"
)

// plain is Dapr's own binding to the database of the rig, with the settings of the door's sessions.
func (r *rig) plain() bindings.OutputBinding {
	r.t.Helper()
	parsed, err := url.Parse(inDatabase(r.t, server.database.URL(), r.database))
	require.NoError(r.t, err)
	parsed.User = url.UserPassword("direct", "direct")
	b := dapr.NewPostgres(logger.NewLogger("test"))
	meta := bindings.Metadata{Base: metadata.Base{Properties: map[string]string{"connectionString": parsed.String()}}}
	require.NoError(r.t, b.Init(context.Background(), meta))
	r.t.Cleanup(func() { require.NoError(r.t, b.Close()) })
	return b
}

// alike asks both bindings the same, and compares all but the times.
func alike(t *testing.T, plain, guarded bindings.OutputBinding, ctx context.Context, request bindings.InvokeRequest) {
	t.Helper()
	want, wantErr := plain.Invoke(ctx, &request)
	got, err := guarded.Invoke(ctx, &request)
	if wantErr != nil {
		require.Error(t, err)
		require.Nil(t, got)
		return
	}
	require.NoError(t, err)
	require.Equal(t, string(want.Data), string(got.Data))
	require.Equal(t, want.Data == nil, got.Data == nil)
	require.Equal(t, want.ContentType, got.ContentType)
	for _, response := range []*bindings.InvokeResponse{want, got} {
		for _, name := range []string{"start-time", "end-time", "duration"} {
			require.NotEmpty(t, response.Metadata[name])
			delete(response.Metadata, name)
		}
	}
	require.Equal(t, want.Metadata, got.Metadata)
}

func TestDropIn(t *testing.T) {
	r := newRig(t, allowAll)
	plain, guarded := r.plain(), r.binding("writer")
	ctx := r.as(t.Context(), "writer")
	require.ElementsMatch(t, plain.Operations(), guarded.Operations())
	run(t, r.admin, `CREATE TABLE shop.types (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, m money, t text, v varchar(9), c char(4),
		bin bytea, u uuid, d date, tm time, ttz timetz, ts timestamp, tz timestamptz, iv interval, j json, jb jsonb, x xml, vb varbit, ip inet, net cidr, mac macaddr,
		p point, r int4range, mr int4multirange, a int[], aa text[][], e shop.mood, tsv tsvector, o oid);
		INSERT INTO shop.types VALUES (1, true, -3, 9007199254740993, 1.5, 0.1, 12345678901234567890.123, '$1.50', 'h"<>&é', 'v', 'c', '\x00ff', '00112233-4455-6677-8899-aabbccddeeff',
		'2026-02-28', '12:34:56.789', '12:34:56+02', '2026-02-28 12:34:56.789', '2026-02-28 12:34:56.789+02', '1 year 2 days 03:04:05', '{"a": [1, null]}', '{"b": {"c": 1e3}}',
		'<a/>', B'101', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '(1,2)', '[1,5)', '{[1,2),[4,6)}', '{1,NULL,3}', '{{a,"b c"},{NULL,d}}', 'happy', 'a b', 7),
		(2, NULL, NULL, NULL, 'Infinity', NULL, 'NaN', NULL, '', NULL, NULL, NULL, NULL, 'infinity', NULL, NULL, 'infinity', NULL, NULL, 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'empty', NULL, '{}', NULL, NULL, NULL, NULL);
		GRANT SELECT ON shop.types TO writer, direct`)
	for _, column := range strings.Fields("b i2 i8 f8 n m t v c bin u d tm ttz ts tz iv j jb x vb ip net mac p r mr a aa e tsv o") {
		t.Run("type "+column, func(t *testing.T) {
			for _, sql := range []string{"SELECT " + column + " FROM shop.types WHERE id = 1", "SELECT " + column + " FROM shop.types ORDER BY id"} {
				alike(t, plain, guarded, ctx, bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": sql}})
			}
		})
	}
	for _, tt := range []struct{ operation, sql, params string }{
		{"query", "SELECT 1", ""},
		{"query", "SELECT", ""},
		{"query", "SELECT * FROM shop.orders", ""},
		{"query", "SELECT * FROM shop.orders WHERE false", ""},
		{"query", "SELECT f4 FROM shop.types WHERE id = 2", ""}, // Infinity, which JSON has not
		{"query", "SELECT id FROM shop.orders WHERE id = $1", "[7]"},
		{"query", "SELECT id FROM shop.orders WHERE id = $1", "[7.5]"},
		{"query", "SELECT id FROM shop.orders WHERE id = $1", `["7"]`},
		{"query", "SELECT id FROM shop.orders WHERE id = $1", "[null]"},
		{"query", "SELECT id FROM shop.orders WHERE id = $1", "[]"},
		{"query", "SELECT id FROM shop.orders WHERE id = $1", "[1, 2]"},
		{"query", "SELECT id FROM shop.orders WHERE id = $1", "null"},
		{"query", "SELECT id FROM shop.orders WHERE id = ANY($1)", "[[1, 2, 3]]"},
		{"query", "SELECT $1::text, $2::float8, $3::bool, $4::numeric", `["ü<", 0.1, true, 1.25]`},
		{"query", "SELECT $1::jsonb, $2::json", `[{"a": [1, {"b": null}]}, [1, "x"]]`},
		{"query", "SELECT $1::timestamptz, $2::uuid, $3::date", `["2026-01-02T03:04:05Z", "00112233-4455-6677-8899-aabbccddeeff", "2026-01-02"]`},
		{"query", "SELECT id FROM shop.orders WHERE status = $1 AND total > $2 ORDER BY id", `["paid", 10]`},
		{"query", "UPDATE shop.stock SET on_hand = $1 WHERE sku = $2 RETURNING sku, on_hand", `[4, "sku-1"]`},
		{"query", "UPDATE shop.stock SET on_hand = 5", ""},
		{"exec", "SELECT id FROM shop.orders", ""},
		{"exec", "UPDATE shop.stock SET on_hand = 6", ""},
		{"exec", "UPDATE shop.stock SET on_hand = $1 WHERE sku = $2", `[7, "sku-2"]`},
		{"exec", "DELETE FROM shop.items WHERE false", ""},
		{"exec", "INSERT INTO shop.stock VALUES ('sku-1', 1, NULL)", ""}, // there is one
		{"exec", "SELECT nothing FROM shop.orders", ""},
		{"query", "SELECT nothing FROM shop.orders", ""},
		{"query", "this is no SQL", ""},
	} {
		t.Run(tt.operation+" "+tt.sql+" "+tt.params, func(t *testing.T) {
			request := bindings.InvokeRequest{Operation: bindings.OperationKind(tt.operation), Metadata: map[string]string{"sql": tt.sql}}
			if tt.params != "" {
				request.Metadata["params"] = tt.params
			}
			alike(t, plain, guarded, ctx, request)
		})
	}
}

// Dapr's binding takes an error that comes after the statement was bound for the end of the rows. The door does not.
func TestDropInTellsErrors(t *testing.T) {
	r := newRig(t, allowAll)
	plain, guarded := r.plain(), r.binding("writer")
	ctx := r.as(t.Context(), "writer")
	for params, sql := range map[string]string{
		`["x"]`: "SELECT id FROM shop.orders WHERE id = $1", `["\u0000"]`: "SELECT $1::text", "": "SELECT 1 / 0",
		"[null]": "UPDATE shop.orders SET status = $1 WHERE id = 1 RETURNING id",
	} {
		request := bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": sql, "params": params}}
		want, err := plain.Invoke(ctx, &request)
		require.NoError(t, err)
		require.Equal(t, "[]", string(want.Data))
		_, err = guarded.Invoke(ctx, &request)
		require.ErrorContains(t, err, "error executing query: the database refused it: SQLSTATE 2")
	}
}

// What is no request is told in the words of Dapr's binding, and recorded.
func TestDropInMalformed(t *testing.T) {
	r := newRig(t, allowAll)
	plain, guarded := r.plain(), r.binding("writer")
	ctx := r.as(t.Context(), "writer")
	for _, request := range []*bindings.InvokeRequest{
		{Operation: "query"},
		{Operation: "query", Metadata: map[string]string{}},
		{Operation: "query", Metadata: map[string]string{"SQL": "SELECT 1"}},
		{Operation: "query", Metadata: map[string]string{"sql": "SELECT 1", "params": "{}"}},
		{Operation: "query", Metadata: map[string]string{"sql": "SELECT 1", "params": "[1"}},
		{Operation: "get", Metadata: map[string]string{"sql": "SELECT 1"}},
	} {
		_, want := plain.Invoke(ctx, request)
		require.Error(t, want)
		_, err := guarded.Invoke(ctx, request)
		require.Error(t, err)
		require.True(t, strings.HasPrefix(err.Error(), want.Error()), "%s\n%s", want, err)
		require.Equal(t, "denied", r.last().Outcome.Status)
	}
	_, want := plain.Invoke(ctx, nil)
	_, err := guarded.Invoke(ctx, nil)
	require.Equal(t, want, err)
	for _, b := range []bindings.OutputBinding{plain, guarded} {
		response, err := b.Invoke(ctx, &bindings.InvokeRequest{Operation: "close"})
		require.NoError(t, err)
		require.Nil(t, response)
	}
	_, want = plain.Invoke(ctx, &bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": "SELECT 1"}})
	_, err = guarded.Invoke(ctx, &bindings.InvokeRequest{Operation: "query", Metadata: map[string]string{"sql": "SELECT 1"}})
	require.Equal(t, want, err)
	require.Equal(t, plain.Init(ctx, bindings.Metadata{}), guarded.Init(ctx, bindings.Metadata{}))
}
