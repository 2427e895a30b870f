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

const limit = 1 << 20

func apply(t testing.TB, p *redact.Plan, in string) (string, map[string]int) {
	t.Helper()
	out, counts, err := p.Apply([]byte(in), limit)
	require.NoError(t, err, in)
	require.True(t, jsontext.Value(out).IsValid(), "%s", out)
	again, more, err := p.Apply(out, 2*limit)
	require.NoError(t, err)
	require.Empty(t, more, "%s: %s becomes %s", in, out, again)
	return string(out), counts
}

// quoted is JSON for a string.
func quoted(s string) string {
	raw, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestPathsHit(t *testing.T) {
	for _, c := range []struct{ name, path, in, want string }{
		{"member", "$.a.b", `{"a":{"b":1,"c":2}}`, `{"a":{"b":"[redacted]","c":2}}`},
		{"whatever its type", "$.a", `{"a":{"b":[1,null]}}`, `{"a":"[redacted]"}`},
		{"null", "$.a", `{"a":null}`, `{"a":"[redacted]"}`},
		{"quoted", "$['a.b']", `{"a.b":1,"a":{"b":2}}`, `{"a.b":"[redacted]","a":{"b":2}}`},
		{"escaped in the result", "$.ab", `{"a\u0062":1}`, `{"a\u0062":"[redacted]"}`},
		{"elements", "$.a[*].b", `{"a":[{"b":1},{"c":2},{"b":3}]}`, `{"a":[{"b":"[redacted]"},{"c":2},{"b":"[redacted]"}]}`},
		{"index", "$.a[1]", `{"a":[1,2,3]}`, `{"a":[1,"[redacted]",3]}`},
		{"index is no name", "$.a[1]", `{"a":{"1":2}}`, ""},
		{"name is no index", "$.a['1']", `{"a":[1,2]}`, ""},
		{"empty name is no element", "$.a['']", `{"a":[1,2]}`, ""},
		{"any depth", "$..b", `{"b":1,"a":[{"b":{"b":2}},[[{"b":3}]]]}`, `{"b":"[redacted]","a":[{"b":"[redacted]"},[[{"b":"[redacted]"}]]]}`},
		{"any depth below", "$.a..b", `{"b":1,"a":{"x":{"b":2}}}`, `{"b":1,"a":{"x":{"b":"[redacted]"}}}`},
		{"any depth twice", "$..a..b", `{"a":{"c":{"a":{"d":{"b":1}}}},"b":2}`, `{"a":{"c":{"a":{"d":{"b":"[redacted]"}}}},"b":2}`},
		{"any member", "$.*.b", `{"x":{"b":1},"y":[{"b":2}]}`, `{"x":{"b":"[redacted]"},"y":[{"b":2}]}`},
		{"all", "$.*", `{"x":1,"y":[2]}`, `{"x":"[redacted]","y":"[redacted]"}`},
		{"another case", "$.email", `{"Email":1,"EMAIL":2}`, ""},
		{"longer name", "$.email", `{"emails":1,"e-mail":2}`, ""},
		{"deeper", "$.email", `{"a":{"email":1}}`, ""},
		{"too deep", "$.a.b", `{"a":1}`, ""},
		{"JSON in a string", "$.a.b", `{"a":"{\"b\":1}"}`, `{"a":"{\"b\":\"[redacted]\"}"}`},
		{"JSON in a string begins anew on the way", "$.a.b", `{"a":"{\"a\":{\"b\":1}}"}`, `{"a":"{\"a\":{\"b\":\"[redacted]\"}}"}`},
		{"JSON in a string behind a byte order mark", "$.b", `{"a":"\ufeff{\"b\":1}"}`, `{"a":"{\"b\":\"[redacted]\"}"}`},
		{"JSON in a string begins anew", "$.b", `{"a":"{\"b\":1}"}`, `{"a":"{\"b\":\"[redacted]\"}"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := compile(t, []string{c.path})
			for wrap, want := range map[string]string{
				`{"content":[],"structuredContent":` + c.in + `}`:                   `{"content":[],"structuredContent":` + c.want + `}`,
				`{"content":[{"type":"text","text":` + quoted(c.in) + `}]}`:         `{"content":[{"type":"text","text":` + quoted(c.want) + `}]}`,
				`{"contents":[{"uri":"a:b","text":` + quoted(" "+c.in+"\n") + `}]}`: `{"contents":[{"uri":"a:b","text":` + quoted(c.want) + `}]}`,
				`{"code":-1,"message":"m","data":` + c.in + `}`:                     `{"code":-1,"message":"m","data":` + c.want + `}`,
			} {
				out, counts := apply(t, p, wrap)
				if c.want == "" {
					require.Equal(t, wrap, out)
					require.Nil(t, counts)
					continue
				}
				require.Equal(t, want, out)
				require.Equal(t, map[string]int{"path": strings.Count(c.want, "[redacted]")}, counts)
			}
		})
	}
}

func TestPathsBeginNowhereElse(t *testing.T) {
	p := compile(t, []string{"$..email"})
	for _, in := range []string{
		`{"email":"x"}`, `{"content":[{"type":"text","text":"email is x"}]}`, `{"_meta":{"email":"x"}}`,
		`{"content":[{"type":"text","text":"see {\"email\":\"x\"}"}]}`, `{"a":{"data":{"email":"x"}}}`,
	} {
		out, counts := apply(t, p, in)
		require.Equal(t, in, out)
		require.Nil(t, counts)
	}
}

func TestUnchangedIsTheSameSlice(t *testing.T) {
	in := []byte(` { "n" : 1.50e+1 , "content":[{"type":"image","data":"aaaa"}]} `)
	out, counts, err := compile(t, []string{"$.a"}).Apply(in, len(in))
	require.NoError(t, err)
	require.Nil(t, counts)
	require.Same(t, &in[0], &out[0])
	var none *redact.Plan
	out, _, err = none.Apply(in, len(in))
	require.NoError(t, err)
	require.Same(t, &in[0], &out[0])
}

func TestOrderAndNumbersStay(t *testing.T) {
	out, counts := apply(t, compile(t, nil, "email"),
		` { "z" : 1.50e+1 , "a":-0.0, "big":12345678901234567890, "e":"\u0061@b.example", "s":"\u0041 \/", "t":true,"n":null} `)
	require.Equal(t, `{"z":1.50e+1,"a":-0.0,"big":12345678901234567890,"e":"[redacted:email]","s":"\u0041 \/","t":true,"n":null}`, out)
	require.Equal(t, map[string]int{"email": 1}, counts)
}

// What is taken out first can lay bare what was hidden: here a new line, which JSON does not allow in a string, goes with
// the key.
func TestLaidBare(t *testing.T) {
	p := compile(t, []string{"$.ssn"}, "secret", "email")
	out, counts := apply(t, p, quoted("{\"key\":\"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\",\"ssn\":1}"))
	require.Equal(t, quoted(`{"key":"[redacted:secret]","ssn":"[redacted]"}`), out)
	require.Equal(t, map[string]int{"secret": 1, "path": 1}, counts)
}

func TestNames(t *testing.T) {
	p := compile(t, nil, "email")
	out, counts := apply(t, p, `{"a@b.example":1,"x":2,"c@d.example":3,"[redacted:email] 2":4,"e@f.example":5}`)
	require.Equal(t, `{"[redacted:email]":1,"x":2,"[redacted:email] 3":3,"[redacted:email] 2":4,"[redacted:email] 4":5}`, out)
	require.Equal(t, map[string]int{"email": 3}, counts)
	out, _ = apply(t, p, `{"[redacted:email]":0,"mail \u0061@b.example":1,"a@b.example":2}`)
	require.Equal(t, `{"[redacted:email]":0,"mail [redacted:email]":1,"[redacted:email] 2":2}`, out)
}

func TestMemberNamesHelp(t *testing.T) {
	for _, c := range []struct{ name, detector, in, want string }{
		{"password", "secret", `{"password":"hunter2"}`, `{"password":"[redacted:secret]"}`},
		{"in a list", "secret", `{"apiKeys":["a1b2c3d4e5"]}`, `{"apiKeys":["[redacted:secret]"]}`},
		{"AWS", "secret", `{"SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}`, `{"SecretAccessKey":"[redacted:secret]"}`},
		{"word", "secret", `{"password":"required"}`, ""},
		{"sentence", "secret", `{"password":"at least 8 characters"}`, ""},
		{"progress", "secret", `{"progressToken":"abc123def456"}`, ""},
		{"cursor", "secret", `{"nextCursor":"abc123def456"}`, ""},
		{"other name", "secret", `{"orderNumber":"abc123def456"}`, ""},
		{"redacted name is no hint", "secret", `{"ghp_abcdefghijklmnopqrstuvwxyz0123456789":"abc123def456"}`, `{"[redacted:secret]":"abc123def456"}`},
		{"phone", "phone", `{"homePhone":"4155552671"}`, `{"homePhone":"[redacted:phone]"}`},
		{"phone in German", "phone", `{"telefon":"912 345 678"}`, `{"telefon":"[redacted:phone]"}`},
		{"phone of an id", "phone", `{"phone_id":"4155552671"}`, ""},
		{"hotel", "phone", `{"hotel":"4155552671"}`, ""},
		{"phone as a number", "phone", `{"phone":4155552671}`, ""},
		{"date", "phone", `{"phone":"2024-01-15"}`, ""},
		{"ssn", "us-ssn", `{"ssn":"123456789","n":123456789}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _ := apply(t, compile(t, nil, c.detector), c.in)
			if c.want == "" {
				c.want = c.in
			}
			require.Equal(t, c.want, out)
		})
	}
}

func TestCardNumbers(t *testing.T) {
	p := compile(t, nil, "card")
	for _, hit := range []string{"4111111111111111", "4111111111111111.0", "4.111111111111111e15", "4.111111111111111E+15", "-4111111111111111", "378282246310005"} {
		out, counts := apply(t, p, `{"n":[`+hit+`]}`)
		require.Equal(t, `{"n":["[redacted:card]"]}`, out, hit)
		require.Equal(t, map[string]int{"card": 1}, counts)
	}
	for _, miss := range []string{
		"4111111111111112", "41111111111111110000000", "4111111111111111.5", "0.4111111111111111", "4.111111111111111e-15",
		"4.111111111111111e99999999999999999999", "1704067200000", "123456789", "4111111111111e5", "0e19",
	} {
		in := `{"n":[` + miss + `]}`
		out, _ := apply(t, p, in)
		require.Equal(t, in, out)
	}
	out, _ := apply(t, compile(t, nil, "email", "iban", "phone", "us-ssn", "secret"), `[4111111111111111]`)
	require.Equal(t, `[4111111111111111]`, out)
}

func TestOverlaps(t *testing.T) {
	all := compile(t, nil, redact.Names()...)
	for _, c := range []struct {
		in, want string
		counts   map[string]int
	}{
		{"https://jo:Pa55@mail.example.com", "https://jo:[redacted:secret]@mail.example.com", map[string]int{"secret": 1}},
		{"password=a1@example.com", "password=[redacted:email]", map[string]int{"email": 1}},
		{"password=a1@example.com,b@example.com", "password=[redacted:email],[redacted:email]", map[string]int{"email": 2}},
		{"pwd=ab!cdef1'g@longer.example.com", "pwd=[redacted:email]", map[string]int{"email": 1}},
		{"tel 4111111111111111", "tel [redacted:card]", map[string]int{"card": 1}},
		{"x 123-45-6789 y", "x [redacted:us-ssn] y", map[string]int{"us-ssn": 1}},
		{
			"DE89 3704 0044 0532 0130 00 / 4111 1111 1111 1111 / a@b.example", "[redacted:iban] / [redacted:card] / [redacted:email]",
			map[string]int{"iban": 1, "card": 1, "email": 1},
		},
	} {
		out, counts := apply(t, all, quoted(c.in))
		var got string
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		require.Equal(t, c.want, got, c.in)
		require.Equal(t, c.counts, counts, c.in)
	}
}

func TestEvasions(t *testing.T) {
	p := compile(t, []string{"$..ssn"}, redact.Names()...)
	nested := `{"mail":"kate@example.com"}`
	for range 6 {
		nested = `{"inner":` + quoted(nested) + `}`
	}
	escaped := strings.NewReplacer("@", `\u0040`).Replace(nested)
	for name, in := range map[string]string{
		"JSON escape":                   `{"a":"kate\u0040example.com"}`,
		"JSON in text":                  `{"content":[{"type":"text","text":"{\"mail\":\"\\u006b\\u0061te\\u0040example.com\"}"}]}`,
		"string in text":                `{"content":[{"type":"text","text":"\"kate\\u0040example.com\""}]}`,
		"JSON in prose":                 `{"content":[{"type":"text","text":"I got {\"mail\":\"kate\\u0040example.com\"}."}]}`,
		"deeper than is looked":         nested,
		"escaped deeper than is looked": escaped,
		"zero width":                    `{"a":"ka\u200bte@exam\u200dple.c\ufeffom"}`,
		"soft hyphen":                   `{"a":"kate@exam\u00adple.com"}`,
		"full width":                    `{"a":"ｋａｔｅ＠ｅｘａｍｐｌｅ．ｃｏｍ"}`,
		"percent":                       `{"a":"/x?m=kate%40example.com"}`,
		"name":                          `{"kate@example.com":1}`,
		"deep name":                     `{"a":[{"b":{"kate@example.com":[]}}]}`,
		"card in full width":            `{"a":"４１１１ １１１１ １１１１ １１１１"}`,
		"card in Arabic digits":         `{"a":"٤١١١١١١١١١١١١١١١"}`,
		"card in bold digits":           `{"a":"𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏"}`,
		"card with thin blanks":         `{"a":"4111\u20091111\u20091111\u20091111"}`,
		"card with word joiners":        `{"a":"4111\u20601111\u20601111\u20601111"}`,
		"card as JSON in text":          `{"content":[{"type":"text","text":"{\"n\":4111111111111111}"}]}`,
		"path in text":                  `{"content":[{"type":"text","text":"[{\"ssn\":\"kate\"}]"}]}`,
		"path in text in text":          `{"structuredContent":{"r":"{\"q\":\"{\\\"s\\\\u0073n\\\":\\\"kate\\\"}\"}"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			out, counts := apply(t, p, in)
			require.NotEmpty(t, counts)
			for _, left := range []string{"kate", "te@", "exam", "1111", "１１１", "\U0001d7cf", "١١١"} {
				require.NotContains(t, out, left)
			}
		})
	}
}

func TestBinary(t *testing.T) {
	const stub = `{"type":"text","text":"[redacted:binary]"}`
	p := compile(t, nil, "email")
	passing, err := redact.Compile(redact.Spec{Detectors: []string{"email", "card", "secret"}, Binary: redact.BinaryPass})
	require.NoError(t, err)
	for _, c := range []struct{ name, in, want string }{
		{"image", `{"content":[{"type":"image","data":"aGk=","mimeType":"image/png"},{"type":"text","text":"x"}]}`, `{"content":[` + stub + `,{"type":"text","text":"x"}]}`},
		{"audio of a prompt", `{"messages":[{"role":"user","content":{"type":"audio","data":"aGk="}}]}`, `{"messages":[{"role":"user","content":` + stub + `}]}`},
		{"another case", `{"content":[{"Type":"IMAGE","Data":"aGk="}]}`, `{"content":[` + stub + `]}`},
		{"blob", `{"contents":[{"uri":"a:b","blob":"aGk=","mimeType":"x/y"}]}`, `{"contents":[{"uri":"a:b","text":"[redacted:binary]","mimeType":"x/y"}]}`},
		{"embedded", `{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"aGk="}}]}`, `{"content":[{"type":"resource","resource":{"uri":"a:b","text":"[redacted:binary]"}}]}`},
		{"blob beside text", `{"contents":[{"uri":"a:b","blob":"aGk=","text":"t"}]}`, `{"contents":[{"uri":"a:b","text":"t"}]}`},
		{"two blobs", `{"contents":[{"uri":"a:b","blob":"aGk=","Blob":"aGk="}]}`, `{"contents":[{"uri":"a:b","text":"[redacted:binary]"}]}`},
		{"structured", `{"structuredContent":{"type":"image","data":"aGk=","blob":"aGk="}}`, ""},
		{"schema", `{"tools":[{"inputSchema":{"type":"object","properties":{"blob":{"type":"string"},"data":{}}}}]}`, ""},
		{"no data", `{"content":[{"type":"image","url":"https://x"}]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == "" {
				c.want = c.in
			} else {
				_, counts := apply(t, p, c.in)
				require.Positive(t, counts["binary"])
			}
			out, _ := apply(t, p, c.in)
			require.Equal(t, c.want, out)
			for _, other := range []*redact.Plan{passing, compile(t, []string{"$..data"})} {
				if !strings.Contains(c.in, "structured") {
					out, counts := apply(t, other, c.in)
					require.Equal(t, c.in, out)
					require.Nil(t, counts)
				}
			}
		})
	}
	base64 := `{"content":[{"type":"image","data":"AKIAABCDEFGHIJKLMNOP"}],"contents":[{"blob":"AKIAABCDEFGHIJKLMNOP"}]}`
	out, _ := apply(t, passing, base64)
	require.Equal(t, base64, out)
}

func TestFailsClosed(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	p := compile(t, []string{"$..a"}, "email")
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", "redact: the result: not strict JSON at byte 0"},
		{"not JSON", "kate@example.com", "redact: the result: not strict JSON at byte 0"},
		{"cut off", `{"a":`, "redact: the result: not strict JSON"},
		{"followed by more", `{} {}`, "redact: the result: not strict JSON: data follows the value"},
		{"name twice", `{"kate":1,"x":{"k\u0061te":1,"kate":2}}`, "redact: the result: a member name stands twice in one object"},
		{"not UTF-8", "[\"kate\xff\"]", "redact: the result: not strict JSON"},
		{"half a character", `["\ud800kate"]`, "redact: the result: not strict JSON"},
		{"name no string", `{1:"kate"}`, "redact: the result: not strict JSON"},
		{"byte order mark", "\ufeff{}", "redact: the result: not strict JSON"},
		{"too deep", deep(65), "redact: the result: nesting is deeper than 64"},
		{"too many values", "[" + strings.Repeat("1,", 1<<20-1) + "1]", "redact: the result: more than 1048576 values"},
		{"text with a name twice", `["{\"kate\":1,\"kate\":2}"]`, "redact: the result: a text in it is JSON that readers disagree about: a member name stands twice"},
		{"text with half a character", `["{\"kate\":\"\\ud800\"}"]`, "a text in it is JSON that readers disagree about"},
		{"text with what Python writes", `["{\"kate\":NaN,\"a\":-Infinity,\"b\":Infinity}"]`, "a text in it is JSON that readers disagree about: not strict JSON"},
		{"text too deep", `[` + quoted(deep(65)) + `]`, "a text in it is JSON that readers disagree about: nesting is deeper than 64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, counts, err := p.Apply([]byte(c.in), 4*limit)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "kate")
			require.Nil(t, out)
			require.Nil(t, counts)
		})
	}
	for _, in := range []string{deep(64), `[` + quoted(deep(64)) + `]`, `["{\"kate\":1,\"kate\":2"]`, `["{a} and {b}"]`, `["{NaN}"]`, `["[Infinity War]"]`, `["{\"a\":\"NaN\\\\\"}"]`} {
		_, _, err := p.Apply([]byte(in), limit)
		require.NoError(t, err)
	}
}

func TestSizes(t *testing.T) {
	p := compile(t, nil, "email")
	in := []byte(`["a@b.example"]`)
	_, _, err := p.Apply(in, len(in)-1)
	require.EqualError(t, err, "redact: the result has 15 bytes, more than 14")
	_, _, err = p.Apply(in, len(in))
	require.EqualError(t, err, "redact: the result has 20 bytes once redacted, more than 15")
	_, _, err = p.Apply(in, 20)
	require.NoError(t, err)
	var none *redact.Plan
	_, _, err = none.Apply(in, 0)
	require.Error(t, err)
	_, _, err = new(redact.Plan).Apply(in, limit)
	require.EqualError(t, err, "redact: the plan was not compiled")
}
