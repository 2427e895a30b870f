// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

const catalogueText = `{"apiVersion":"custody.dev/v1alpha1","kind":"ToolCatalogue","servers":{"orders":{"tools":{"refund":{"inputSchema":{"type":"object"}}}}}}`

func TestCatalogueIsWrittenAndRead(t *testing.T) {
	c := policy.Catalogue{"orders": {"b": []byte(`{"type":"object","properties":{"a":{"type":"string"}}}`), "a": []byte(`null`)}, "crm": {}}
	text, err := c.Encode()
	require.NoError(t, err)
	require.True(t, policy.IsCatalogue(text))
	again, err := policy.ParseCatalogue(text)
	require.NoError(t, err)
	twice, err := again.Encode()
	require.NoError(t, err)
	require.Equal(t, string(text), string(twice))
	require.Less(t, strings.Index(string(text), `"a"`), strings.Index(string(text), `"b"`))

	c.Add(policy.Catalogue{"orders": {"a": []byte(`{}`)}, "new": {"x": []byte(`{}`)}})
	require.Equal(t, `{}`, string(c["orders"]["a"]))
	require.Len(t, c["orders"], 2)
	require.Len(t, c["new"], 1)
}

func TestParseCatalogueRefuses(t *testing.T) {
	c, err := policy.ParseCatalogue([]byte(catalogueText))
	require.NoError(t, err)
	require.Equal(t, policy.Catalogue{"orders": {"refund": []byte(`{"type":"object"}`)}}, c)
	for old, replacement := range map[string]string{
		"ToolCatalogue": "AccessPolicy", "v1alpha1": "v2", "servers": "Servers", `"refund"`: `""`, `{"tools"`: `{"x":1,"tools"`, `"orders"`: `"*"`,
		`refund`: `re\u0007fund`, `"kind":`: `"kind":"ToolCatalogue","kind":`, "}}}}}}": "}}}}}", "{\"api": "[{\"api", `"orders":`: `"a ":`,
	} {
		bad := strings.Replace(catalogueText, old, replacement, 1)
		require.NotEqual(t, catalogueText, bad)
		_, err := policy.ParseCatalogue([]byte(bad))
		require.ErrorContains(t, err, "policy: tool catalogue: ", bad)
	}
	_, err = policy.ParseCatalogue([]byte(strings.Repeat(" ", policy.MaxCatalogueBytes) + catalogueText))
	require.ErrorContains(t, err, "the limit is")
	require.False(t, policy.IsCatalogue([]byte(`{"tools":[]}`)))
}

func TestParseToolList(t *testing.T) {
	want := policy.ServerTools{"a": []byte(`{"type":"object"}`), "b": []byte(`null`)}
	const tools = `{"nextCursor":"x","tools":[{"name":"a","title":"A","inputSchema":{"type":"object"}},{"name":"b"}]}`
	for _, text := range []string{tools, `{"jsonrpc":"2.0","id":1,"result":` + tools + `}`} {
		got, err := policy.ParseToolList([]byte(text))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{``, `{}`, `[]`, `{"result":{}}`, `{"tools":null}`, `{"tools":{}}`, `{"tools":[{"inputSchema":{}}]}`, `{"error":{}}`} {
		_, err := policy.ParseToolList([]byte(text))
		require.ErrorContains(t, err, "policy: tool catalogue: ", text)
	}
}

func TestLearn(t *testing.T) {
	tools := policy.ServerTools{}
	learn := func(name, schema string) (bool, error) { return tools.Learn(name, []byte(schema)) }
	changed, err := learn("a", `{"x":1}`)
	require.NoError(t, err)
	require.True(t, changed)
	require.True(t, tools.Knows("a", []byte(`{"x":1}`)))
	require.False(t, tools.Knows("b", []byte(`{"x":1}`)))
	changed, err = learn("a", `{"x":1}`)
	require.NoError(t, err)
	require.False(t, changed)
	changed, err = learn("a", `{"x":2}`)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, `{"x":2}`, string(tools["a"]))

	huge := strings.Repeat("x", policy.MaxSchemaBytes+1)
	changed, err = learn("a", huge)
	require.NoError(t, err)
	require.True(t, changed, "the schema that was there is no longer true")
	require.Equal(t, "null", string(tools["a"]))
	require.True(t, tools.Knows("a", []byte(huge)))

	text := []byte(`{"x":3}`)
	_, err = tools.Learn("a", text)
	require.NoError(t, err)
	text[2] = 'y'
	require.Equal(t, `{"x":3}`, string(tools["a"]), "it keeps a copy")

	for i := range policy.MaxServerTools - 1 {
		_, err := learn("t"+strconv.Itoa(i), "{}")
		require.NoError(t, err)
	}
	_, err = learn("one-more", "{}")
	require.ErrorContains(t, err, "tool one-more is left out")
	require.Len(t, tools, policy.MaxServerTools)

	tools = policy.ServerTools{}
	large := strings.Repeat("x", policy.MaxSchemaBytes)
	for i := range policy.MaxServerBytes / policy.MaxSchemaBytes {
		_, err := learn("t"+strconv.Itoa(i), large)
		require.NoError(t, err)
	}
	_, err = learn("one-more", "{}")
	require.ErrorContains(t, err, "is left out")
	_, err = learn("t0", "{}")
	require.NoError(t, err)
	_, err = learn("one-more", "{}")
	require.NoError(t, err)
}

// FuzzParseCatalogue: any bytes give a catalogue or an error, and what is taken is
// written and read again the same.
func FuzzParseCatalogue(f *testing.F) {
	f.Add([]byte(catalogueText))
	f.Add([]byte(`{"tools":[{"name":"a","inputSchema":{"type":"object"}},{"name":"a","inputSchema":[1e999]}]}`))
	f.Add([]byte(`{"result":{"result":{"tools":[]}},"tools":[{"name":"\u0000"}]}`))
	f.Add([]byte(`{"apiVersion":"custody.dev/v1alpha1","kind":"ToolCatalogue","servers":{"":{"tools":{}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if tools, err := policy.ParseToolList(data); err == nil {
			_, err := policy.Catalogue{"s": tools}.Encode()
			require.NoError(t, err)
		}
		c, err := policy.ParseCatalogue(data)
		if err != nil {
			return
		}
		require.True(t, policy.IsCatalogue(data))
		text, err := c.Encode()
		require.NoError(t, err)
		again, err := policy.ParseCatalogue(text)
		require.NoError(t, err)
		twice, err := again.Encode()
		require.NoError(t, err)
		require.Equal(t, string(text), string(twice))
	})
}

// FuzzCheck: any condition that is taken can be checked against any schema, with
// every finding at a place within the file, and what is found twice is the same.
func FuzzCheck(f *testing.F) {
	f.Add(`args.amout == 1 && has(args.c.nam)`, `{"properties":{"amount":{"type":"number"},"c":{"type":"object","properties":{"name":{}}}}}`)
	f.Add(`args.l.filter(l, l.n > 1).map(l, l["k"]).exists(x, x in args.l) ? !args.d : "x" in args`, `{"properties":{"l":{"type":"array"},"d":{"type":"boolean"}}}`)
	f.Add("args.a == 'é' ||\n\"x\" +\nargs.b == type(args)", `{"properties":{"a":{"type":"integer","enum":["é"]},"b":{"anyOf":[{"type":"array"},{}]}}}`)
	f.Add(`args.a[0][1].b[args.c] == {"a": args.d}.a`, `{"properties":{"a":{"items":{"items":{"properties":{}}}}}}`)
	f.Add(`[args.x, [], [[1]]].all(x, x.all(y, y.z)) && action.tool in ["t"]`, `{"oneOf":[{"properties":{"x":{"const":[1]}}},{"type":"object"}]}`)
	f.Add(`-args == !args && args - args > args % args`, `{"type":"object","additionalProperties":{"$ref":"#"}}`)
	f.Fuzz(func(t *testing.T, when, schema string) {
		docs, err := policy.Parse("f.yaml", []byte(doc("p", ruleWhen("r", "allow", when))))
		if err != nil {
			return
		}
		c := policy.Catalogue{"s": {"t": []byte(schema), "u": []byte(refundSchema)}}
		got := policy.Check(docs, c)
		for _, finding := range got {
			require.NotEmpty(t, finding.Message)
			if finding.File != "" {
				require.Equal(t, 7, finding.Line)
			}
		}
		require.Equal(t, got, policy.Check(docs, c))
	})
}
