// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/redact"
)

// planted are values that FuzzApply puts into what it makes up.
var planted = []string{
	"kate@example.com", "4111 1111 1111 1111", "GB29NWBK60161331926819", "+49 30 1234567", "078-05-1120", "AKIA" + "ABCDEFGHIJKLMNOP",
}

// texts returns all strings, names and numbers in a JSON text, and those of JSON in its strings.
func texts(raw []byte, out []string) []string {
	var v any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return out
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(out, v)
			if len(v) < len(raw) && v != "" && strings.ContainsAny(v[:1], "{[\"") {
				out = texts([]byte(v), out)
			}
		case json.Number:
			out = append(out, v.String())
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for name, e := range v {
				out = append(out, name)
				walk(e)
			}
		}
	}
	walk(v)
	return out
}

func FuzzApply(f *testing.F) {
	all, err := redact.Compile(redact.Spec{Paths: []string{"$..ssn", "$.a[*].b", "$.*.c", "$[0]"}, Detectors: redact.Names()})
	require.NoError(f, err)
	for _, s := range []string{
		``, `{}`, `{"structuredContent":{"a":[{"b":1}],"ssn":"x"},"content":[{"type":"text","text":"{\"ssn\":\"\\u0061\"}"}]}`,
		`{"content":[{"type":"image","data":"aGk="},{"type":"resource","resource":{"blob":"aGk=","text":""}}]}`,
		`{"data":{"x":{"c":1}},"a@b.example":1,"c@d.example":2}`, `["password=Abc123\n-----BEGIN PRIVATE KEY-----\n"]`,
		`["\"kate@example.com\""]`, `[" \\u0040 \\n %40 &#64; \u200b ４１１１ [redacted:email]@x.example"]`, `[4.111111111111111e15]`,
		`["postgres://a:b@c/d?e=f:g@h"]`, `["+1 415 555 2671 x1 (0) 00 49"]`, `["{\"k\":\"a\nb\", \"password\":\"Abc123x\"}"]`,
		`{"tel":["(415) 555-2671"],"[redacted:secret]":"Abc12345"}`, `["eyJhbGciOiJub25lIn0.eyJhIjoxfQ."]`,
	} {
		f.Add([]byte(s), " ")
	}
	for _, name := range redact.Names() {
		for _, s := range corpus(f, name) {
			f.Add([]byte(quoted(s.text)), s.text)
		}
	}
	f.Fuzz(func(t *testing.T, result []byte, text string) {
		before := string(result)
		check(t, all, result)
		require.Equal(t, before, string(result))

		// Blanks keep a value apart from what the text makes of its neighbours, and a new line keeps numbers apart.
		text = strings.ToValidUTF8(text, "")
		if looksLikePEM(text) {
			return
		}
		for i, secret := range planted {
			whole := quoted(text + " \n " + secret + " \n " + text)
			plan, err := redact.Compile(redact.Spec{Detectors: redact.Names()[i : i+1]})
			require.NoError(t, err)
			out := check(t, plan, []byte(`{"content":[{"type":"text","text":`+whole+`}]}`))
			for _, left := range texts(out, nil) {
				require.NotContains(t, left, " \n "+secret+" \n ")
			}
		}
	})
}

// looksLikePEM tells the texts in which what is planted becomes part of a key.
func looksLikePEM(s string) bool { return strings.Contains(s, "-----BEGIN") }

// check applies a plan and demands what is true of all results.
func check(t *testing.T, plan *redact.Plan, result []byte) []byte {
	out, counts, err := plan.Apply(result, limit)
	if err != nil {
		require.Nil(t, out)
		return nil
	}
	require.True(t, jsontext.Value(out).IsValid(), "%s", out)
	require.True(t, json.Valid(out))
	again, more, err := plan.Apply(out, 4*limit)
	require.NoError(t, err, "%s", out)
	require.Empty(t, more, "%s became %s", out, again)
	require.Equal(t, out, again)
	if len(counts) == 0 {
		require.Equal(t, result, out)
	}
	return out
}

func FuzzCompilePath(f *testing.F) {
	for _, s := range []string{
		"$", "$.a", "$..a[0]['b'].*", `$["\u00e4\n\""]`, `$['\'']`, "$[*]..*", "$.ä", "$[01]", "$['a", "$.a\x00", "$..[*]", `$['\ud83d\ude00']`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := redact.Compile(redact.Spec{Paths: []string{text}})
		if err != nil {
			require.Nil(t, p)
			return
		}
		spelled := p.Spec().Paths[0]
		again, err := redact.Compile(redact.Spec{Paths: []string{spelled}})
		if len(spelled) > redact.MaxPathBytes {
			return
		}
		require.NoError(t, err, spelled)
		require.Equal(t, p, again)
		_, _, err = p.Apply([]byte(`{"structuredContent":{"a":[{"b":1}],"ä":{"":2}}}`), limit)
		require.NoError(t, err)
	})
}
