// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	door "github.com/dapr-custody/custody/components/bindings/postgres"
	"github.com/dapr-custody/custody/internal/receipt"
)

func TestParseParams(t *testing.T) {
	for _, tt := range []struct{ text, types, want string }{
		{"", "", ""},
		{"null", "", ""},
		{"[]", "[]", ""},
		{`[1, "x", null, true, [1], {"a": 1.5}]`, "", ""},
		{"[0.1, 1e3, -1.5E-3, 9007199254740992, 123456789012345]", "", ""},
		{"[9007199254740993]", "", "parameter 1 holds a number"},
		{"[1, 0.12345678901234567890]", "", "parameter 2 holds a number"},
		{`[{"a": [9007199254740993]}]`, "", "parameter 1 holds a number"},
		{"[1e999]", "", "failed to unserialize"},
		{"[9007199254740993]", `["int8"]`, ""},
		{"[1, 9007199254740993]", `["int8", null]`, "parameter 2 holds a number"},
		{"[1]", `["int8", null]`, "2 types for 1 parameters"},
		{"[1]", `"int8"`, "must be a JSON array"},
		{"[1]", `["regclass"]`, `"regclass" is not one of`},
		{"[1]", `["_int4"]`, "is not one of"},
		{"[1]", `["int4[][]"]`, "is not one of"},
		{"[[1]]", `["int4[]"]`, ""},
		{"{}", "", "failed to unserialize into an array"},
		{"[1", "", "failed to unserialize into an array"},
		{"[1] x", "", "failed to unserialize into an array"},
	} {
		args, types, err := door.ParseParams(tt.text, tt.types)
		if tt.want != "" {
			require.ErrorContains(t, err, tt.want, tt.text)
			continue
		}
		require.NoError(t, err, tt.text)
		if types != nil {
			require.Len(t, types, len(args))
		}
	}
}

// A number that passes is, as a float64, the number that was written.
func FuzzSurvives(f *testing.F) {
	for _, seed := range []string{"1", "-0", "1e5", "0.1", "9007199254740993", "1e400", "1e-400", "123456789012345678", "0.30000000000000004", "1E+2", "-1.5e-10"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || text != strings.TrimSpace(text) || (text[0] != '-' && (text[0] < '0' || text[0] > '9')) || !door.Survives(text) {
			return
		}
		value, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		want, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		got, ok := new(big.Rat).SetString(strconv.FormatFloat(value, 'g', -1, 64))
		require.True(t, ok)
		require.Zero(t, want.Cmp(got), text)
	})
}

func FuzzParseParams(f *testing.F) {
	f.Add(`[1, "x"]`, `["int8", null]`)
	f.Add(`[[{"a": 1e5}], 9007199254740993]`, "")
	f.Add("null", "null")
	f.Fuzz(func(t *testing.T, text, types string) {
		args, typed, err := door.ParseParams(text, types)
		if err != nil {
			return
		}
		var want []any
		if text != "" {
			require.NoError(t, json.Unmarshal([]byte(text), &want))
		}
		require.Equal(t, len(want), len(args))
		require.True(t, typed == nil || len(typed) == len(args))
	})
}

func TestTypedParams(t *testing.T) {
	r := newRig(t, allowAll)
	for _, tt := range []struct{ sql, params, types, want string }{
		{"SELECT $1", "[9007199254740993]", `["int8"]`, "[[9007199254740993]]"},
		{"SELECT $1::text", "[12345678901234567890.0123456789]", `["numeric"]`, `[["12345678901234567890.0123456789"]]`},
		{"SELECT $1::text", "[null]", `["int4"]`, "[[null]]"},
		{"SELECT $1 = 7, $2", `["7", "x"]`, `["int4", null]`, `[[true,"x"]]`},
		{"SELECT $1", "[true]", `["bool"]`, "[[true]]"},
		{"SELECT $1 + interval '1 hour'", `["2026-01-02T03:04:05Z"]`, `["timestamptz"]`, `[["2026-01-02T04:04:05Z"]]`},
		{"SELECT $1 -> 'a'", `[{"a": 9007199254740993.5}]`, `["jsonb"]`, ""},
		{"SELECT ($1 -> 'a')::text", `[{"a": 9007199254740993.5}]`, `["jsonb"]`, `[["9007199254740993.5"]]`},
		{"SELECT $1::text", `["{\"a\": 1}"]`, `["jsonb"]`, `[["\"{\\\"a\\\": 1}\""]]`},
		{"SELECT $1::text", `[[1, null, "3"]]`, `["int8[]"]`, `[["{1,NULL,3}"]]`},
		{"SELECT $1::text", `[["a\"b", "c\\d", "", "NULL", null, "e,{f}"]]`, `["text[]"]`, `[["{\"a\\\"b\",\"c\\\\d\",\"\",\"NULL\",NULL,\"e,{f}\"}"]]`},
		{"SELECT $1::text", `[[[1, 2], [3, 4]]]`, `["int4[]"]`, `[["{{1,2},{3,4}}"]]`},
		{"SELECT $1::text", `[[[[[[[1]]]]]]]`, `["int4[]"]`, `[["{{{{{{1}}}}}}"]]`},
		{"SELECT $1::text", `[[{"a": [1]}, [2]]]`, `["jsonb[]"]`, `[["{\"{\\\"a\\\": [1]}\",[2]}"]]`},
		{"SELECT $1::text", `["\\x00ff"]`, `["bytea"]`, `[["\\x00ff"]]`},
		{"SELECT id FROM shop.orders WHERE id = ANY($1) ORDER BY id", `[[2, 3]]`, `["int4[]"]`, "[[2],[3]]"},
	} {
		got, err := r.ask("reader", "query", tt.sql, "params", tt.params, "paramTypes", tt.types)
		require.NoError(t, err, tt.sql)
		if tt.want != "" {
			require.Equal(t, tt.want, string(got.Data), "%s %s", tt.sql, tt.params)
		}
	}
	for _, tt := range []struct{ sql, params, types, want string }{
		{"SELECT $1", `["x"]`, `["int8"]`, "SQLSTATE 22P02 invalid_text_representation"},
		{"SELECT $1", "[1.5]", `["int8"]`, "SQLSTATE 22P02 invalid_text_representation"},
		{"SELECT $1", "[[1]]", `["int8"]`, "parameter 1: an array or object is no int8"},
		{"SELECT $1::text", `[{"a": 1}]`, `["text"]`, "parameter 1: an array or object is no text"},
		{"SELECT $1", "[[[[[[[[1]]]]]]]]", `["int4[]"]`, "parameter 1: an array has at most 6 dimensions"},
		{"SELECT $1", "[" + strings.Repeat("[", 5000) + strings.Repeat("1,", 400000) + "1" + strings.Repeat("]", 5000) + "]", `["int4[]"]`, "parameter 1: an array has at most 6 dimensions"},
		{"SELECT 1", "[1]", "", "expected 0 arguments, got 1"},
		{"SELECT $1", "", "", "expected 1 arguments, got 0"},
		{"SELECT id FROM shop.orders WHERE id = $1", `[{"a secret": 1}]`, "", "a parameter does not fit the type"},
	} {
		say := r.refused("reader", tt.sql, "params", tt.params, "paramTypes", tt.types)
		require.Contains(t, say, tt.want)
		require.NotContains(t, say, "secret")
		require.Equal(t, receipt.StatusFailed, r.last().Outcome.Status)
	}
	// What is judged is what runs: a number that the database would get as another is refused.
	require.Contains(t, r.refused("reader", "SELECT $1::int8", "params", "[9007199254740993]"), "name its type in paramTypes")
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"shop.tax", "shop.tax", true},
		{"shop.tax", "shop.taxes", false},
		{"shop.*", "shop.tax", true},
		{"shop.*", "vault.tax", false},
		{"*", "shop.tax", true},
		{"s*.t*x", "shop.tax", true},
		{"s*.t*x", "shop.tx", true},
		{"s*a*a*", "shop.data", true},
		{"s*a*a*x", "shop.tax", false},
		{"tax*tax", "tax", false},
	} {
		require.Equal(t, tt.want, door.Matches(tt.pattern, tt.name), "%s %s", tt.pattern, tt.name)
	}
}
