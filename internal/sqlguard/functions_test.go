// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sqlguard"
)

// own is a row of a function that PostgreSQL itself brings, harmless in every respect.
func own(name string, change ...func(*sqlguard.FunctionRow)) sqlguard.FunctionRow {
	row := sqlguard.FunctionRow{
		OID: 100, Schema: "pg_catalog", Name: name, Kind: "f", Volatility: "i", Bootstrap: true, Public: true,
		Returns: "text", Arguments: []string{"text"}, Required: 1,
	}
	for _, c := range change {
		c(&row)
	}
	return row
}

func in(schema string) func(*sqlguard.FunctionRow) {
	return func(r *sqlguard.FunctionRow) { r.Schema, r.OID, r.Bootstrap = schema, 20000, false }
}
func volatile(r *sqlguard.FunctionRow) { r.Volatility = "v" }
func takesRow(r *sqlguard.FunctionRow) { r.TakesRow, r.Arguments = true, []string{"record"} }

var rows = []sqlguard.FunctionRow{
	own("lower"), own("upper"), own("sum", func(r *sqlguard.FunctionRow) { r.Kind = "a" }),
	own("rank", func(r *sqlguard.FunctionRow) { r.Kind = "w" }), own("now", func(r *sqlguard.FunctionRow) { r.Volatility = "s" }),
	own("count", takesRow), own("random", volatile),
	own("procedure", func(r *sqlguard.FunctionRow) { r.Kind = "p" }),
	own("volatile", volatile), own("mixed"), own("mixed", volatile), own("mixed"),
	own("revoked", func(r *sqlguard.FunctionRow) { r.Public = false }),
	own("definer", func(r *sqlguard.FunctionRow) { r.Definer = true }),
	own("installed", func(r *sqlguard.FunctionRow) { r.OID = 16384 }),
	own("built_in", func(r *sqlguard.FunctionRow) { r.OID = 16383 }),
	own("others", func(r *sqlguard.FunctionRow) { r.Bootstrap = false }),
	own("unlabelled", func(r *sqlguard.FunctionRow) { r.Volatility = "x" }),
	own("reads_cstring", func(r *sqlguard.FunctionRow) { r.Arguments = []string{"int4", "cstring"} }),
	own("is_trigger", func(r *sqlguard.FunctionRow) { r.Returns = "trigger" }),
	own("ts_stat"), own("query_to_xml"), own("set_config"), own("pg_read_file"), own("pg_sleep"), own("pg_new_in_version_99"),
	own("pg_typeof"), own("nextval", volatile), own("txid_current"), own("has_table_privilege"), own("regexp_replace"), own("regclass"),
	own("oidvectortypes"), own("pg_input_is_valid"), own("pg_input_error_info"), own("pg_basetype"),
	own("lo_get"), own("log"), own("current_setting"), own("version"),
	own("tax", in("shop")), own("lower_case", in("shop")), own("upper", in("shop")), own("evil_row", in("shop"), takesRow),
	own("json_scalar", in("shop")), own("json_object", in("shop")), own("json_object"), own("fmgr_sql_validator"),
	own("helper", in("hidden")), own("dblink", in("public")), own("schedule", in("cron")), own("harmless", in("cron")),
}

func functionSet(t testing.TB, path ...string) *sqlguard.FunctionSet {
	t.Helper()
	set, err := sqlguard.NewFunctionSet(sqlguard.Catalogue{
		Functions: rows, SearchPath: path,
		Operators: []sqlguard.OperatorRow{{Schema: "shop", Name: "==="}, {Schema: "shop", Name: "%"}, {Schema: "hidden", Name: "<->"}},
		Types:     []sqlguard.TypeRow{{Schema: "shop", Name: "status"}, {Schema: "shop", Name: "now"}, {Schema: "hidden", Name: "lower"}},
	})
	require.NoError(t, err)
	return set
}

func TestFunctions(t *testing.T) {
	tests := []struct {
		schema, name string
		want         bool
	}{
		{"", "lower", true},
		{"pg_catalog", "lower", true},
		{"", "sum", true},
		{"", "rank", true},
		{"", "now", true},
		{"", "random", true},
		{"", "built_in", true},
		{"", "pg_typeof", true},
		{"", "regexp_replace", true},
		{"", "log", true},
		{"", "LOWER", false}, // Quoted: PostgreSQL has folded the others.
		{"", "nothing", false},
		{"pg_catalog", "tax", false},
		{"other", "lower", false},
		{"", "procedure", false},
		{"", "volatile", false},
		{"", "mixed", false},
		{"", "revoked", false},
		{"", "definer", false},
		{"", "installed", false},
		{"", "others", false},
		{"", "unlabelled", false},
		{"", "reads_cstring", false},
		{"", "is_trigger", false},
		{"", "ts_stat", false},
		{"", "query_to_xml", false},
		{"", "set_config", false},
		{"", "pg_read_file", false},
		{"", "pg_sleep", false},
		{"", "pg_new_in_version_99", false},
		{"", "nextval", false},
		{"", "txid_current", false},
		{"", "has_table_privilege", false},
		{"", "regclass", false},
		{"", "lo_get", false},
		{"", "oidvectortypes", false},      // It names types by their numbers.
		{"", "pg_input_is_valid", false},   // It runs the input function of any type, regclass or a domain.
		{"", "pg_input_error_info", false}, // As that.
		{"", "pg_basetype", false},         // It takes a regtype, which a literal becomes.
		{"", "current_setting", false},
		{"", "fmgr_sql_validator", false},
		{"", "version", false},
		{"", "tax", false},
		{"shop", "tax", false},
		{"", "upper", false}, // shop.upper may match better.
		{"pg_catalog", "upper", true},
		{"", "helper", false},
		{"hidden", "helper", false},
	}
	set := functionSet(t, "shop")
	for _, test := range tests {
		_, err := set.Judge(sqlguard.Name{Schema: test.schema, Name: test.name})
		require.Equal(t, test.want, err == nil, "%s.%s: %v", test.schema, test.name, err)
		if err != nil {
			require.Equal(t, sqlguard.ClassFunction, sqlguard.ClassOf(err))
		}
	}
	_, err := functionSet(t).Judge(sqlguard.Name{Name: "upper"})
	require.NoError(t, err, "shop is not on the search path")
}

func TestNamedFunctions(t *testing.T) {
	set := functionSet(t, "shop")
	more, err := set.With("shop.tax", "nextval", "pg_catalog.lower", "shop.upper")
	require.NoError(t, err)
	for _, n := range []sqlguard.Name{{Schema: "shop", Name: "tax"}, {Name: "tax"}, {Name: "nextval"}, {Name: "upper"}} {
		named, err := more.Judge(n)
		require.NoError(t, err, n)
		require.True(t, named, n)
		_, err = set.Judge(n)
		require.Error(t, err, "With changed the set it was called on: %s", n)
	}
	named, err := more.Judge(sqlguard.Name{Name: "lower"})
	require.NoError(t, err)
	require.False(t, named, "it was allowed before")
	for _, never := range []string{
		"ts_stat", "query_to_xml", "set_config", "pg_read_file", "public.dblink", "cron.schedule", "cron.harmless",
		"reads_cstring", "is_trigger", "nothing", "shop.nothing", "",
	} {
		_, err := set.With(never)
		require.Error(t, err, never)
	}
}

func TestNewFunctionSetRefuses(t *testing.T) {
	_, err := sqlguard.NewFunctionSet(sqlguard.Catalogue{})
	require.ErrorContains(t, err, "pg_proc")
	for _, schema := range []string{"", "pg_catalog", "pg_temp", "$user", "pg_toast"} {
		_, err := sqlguard.NewFunctionSet(sqlguard.Catalogue{Functions: rows, SearchPath: []string{"shop", schema}})
		require.ErrorContains(t, err, "search path", schema)
	}
}
