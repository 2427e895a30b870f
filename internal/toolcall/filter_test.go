// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

func only(names ...string) func(string) bool {
	return func(tool string) bool { return contains(names, tool) }
}

func list(result string) string { return `{"jsonrpc":"2.0","id":1,"result":{` + result + `}}` }

func TestFilterList(t *testing.T) {
	const a, b, c = `{"name":"a","inputSchema":{"type":"object"}}`, `{"title":"B","name":"b","x":1.50}`, `{"name":"c"}`
	three := `"tools":[` + a + "," + b + "," + c + "]"
	tests := []struct {
		name, version, in, out string
		keep                   func(string) bool
		dropped                int
	}{
		{"all stay", "2025-11-25", list(three), list(three), only("a", "b", "c"), 0},
		{"first goes", "2025-11-25", list(three), list(`"tools":[` + b + "," + c + "]"), only("b", "c"), 1},
		{"middle goes", "2025-11-25", list(three), list(`"tools":[` + a + "," + c + "]"), only("a", "c"), 1},
		{"last goes", "2025-11-25", list(three), list(`"tools":[` + a + "," + b + "]"), only("a", "b"), 1},
		{"one stays", "2025-11-25", list(three), list(`"tools":[` + b + "]"), only("b"), 2},
		{"none stays", "2025-11-25", list(three), list(`"tools":[]`), only(), 3},
		{"nil keeps none", "2025-11-25", list(three), list(`"tools":[]`), nil, 3},
		{"no tools", "2025-11-25", list(`"tools":[]`), list(`"tools":[]`), only("a"), 0},
		{
			"the rest stays", "2025-11-25", ` {"id":"q", "jsonrpc":"2.0","result":{"nextCursor":"\u006e","tools":[` + a + "," + b + ` ],"_meta":{"k":[1, 2.0]}}}`,
			`{"id":"q","jsonrpc":"2.0","result":{"nextCursor":"n","tools":[` + a + `],"_meta":{"k":[1,2.0]}}}`, only("a"), 1,
		},
		{
			"public becomes private", "2026-07-28", list(`"cacheScope":"public","ttlMs":5,` + three),
			list(`"cacheScope":"private","ttlMs":5,"tools":[` + c + "]"), only("c"), 2,
		},
		{
			"also where nothing was taken out", "2025-11-25", list(three + `,"cacheScope":"public"`),
			list(three + `,"cacheScope":"private"`), only("a", "b", "c"), 0,
		},
		{"any scope", "2026-07-28", list(`"cacheScope":{"a":1},` + three), list(`"cacheScope":"private","tools":[]`), only(), 3},
		{"scope is added", "2026-07-28", list(`"ttlMs":0,` + three), list(`"ttlMs":0,"tools":[` + a + `],"cacheScope":"private"`), only("a"), 2},
		{
			"a tool in a tool is not one", "2025-11-25", list(`"tools":[{"name":"a","_meta":{"tools":[{"name":"b"}]}}]`),
			list(`"tools":[{"name":"a","_meta":{"tools":[{"name":"b"}]}}]`), only("a"), 0,
		},
		{"names compare as characters", "2025-11-25", list(`"tools":[{"name":"\u0061"}]`), list(`"tools":[{"name":"a"}]`), only("a"), 0},
		{
			"an error", "2026-07-28", `{"jsonrpc":"2.0","id":1,"error":{"code":1, "message":"m"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`, only(), 0,
		},
		{
			"a notification", "2026-07-28", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"tools":[{"name":"x"}]}}`,
			`{"jsonrpc":"2.0","method":"notifications/progress","params":{"tools":[{"name":"x"}]}}`, only(), 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, dropped, err := toolcall.FilterList("tools/list", []byte(tt.in), tt.version, toolcall.Limits{}, tt.keep)
			require.NoError(t, err)
			require.Equal(t, tt.out, string(out))
			require.Equal(t, tt.dropped, dropped)
		})
	}
}

func TestFilterListFailsClosed(t *testing.T) {
	tests := []struct{ name, in, reason string }{
		{"no tools", list(`"nextCursor":"a"`), "no tools"},
		{"tools an object", list(`"tools":{"name":"a"}`), "not an array"},
		{"tools null", list(`"tools":null`), "not an array"},
		{"tools twice", list(`"tools":[],"tools":[{"name":"a"}]`), "stands twice"},
		{"Tools", list(`"tools":[],"Tools":[{"name":"a"}]`), "only in case"},
		{"Tools alone", list(`"Tools":[{"name":"a"}]`), "only in case"},
		{"tool\u017f", list("\"tools\":[],\"tool\u017f\":[{\"name\":\"a\"}]"), "only in case"},
		{"CacheScope", list(`"tools":[],"CacheScope":"public"`), "only in case"},
		{"result an array", `{"jsonrpc":"2.0","id":1,"result":[{"tools":[]}]}`, "result is not"},
		{"a tool a string", list(`"tools":["a"]`), "not an object"},
		{"a tool null", list(`"tools":[null]`), "not an object"},
		{"a tool without name", list(`"tools":[{"title":"a"}]`), "name of a tool is missing"},
		{"a tool with an empty name", list(`"tools":[{"name":""}]`), "is empty"},
		{"a tool with a number for a name", list(`"tools":[{"name":1}]`), "not a string"},
		{"a tool with a control character", list(`"tools":[{"name":"a\u0000"}]`), "control character"},
		{"a tool with two names", list(`"tools":[{"name":"a","name":"b"}]`), "stands twice"},
		{"a tool with a Name", list(`"tools":[{"name":"a","Name":"b"}]`), "only in case"},
		{"a tool listed twice", list(`"tools":[{"name":"a"},{"name":"b"},{"name":"\u0061"}]`), "listed twice"},
		{"a tool listed twice and denied", list(`"tools":[{"name":"b"},{"name":"b"}]`), "listed twice"},
		{"batch", "[" + list(`"tools":[]`) + "]", "batches"},
		{"cut off", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}`, "not strict JSON"},
		{"result and method", `{"jsonrpc":"2.0","id":1,"method":"x","result":{"tools":[]}}`, "both"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, dropped, err := toolcall.FilterList("tools/list", []byte(tt.in), "2025-11-25", toolcall.Limits{}, only("a"))
			var ae *toolcall.AnswerError
			require.ErrorAs(t, err, &ae)
			require.Contains(t, ae.Reason, tt.reason)
			require.Nil(t, out)
			require.Zero(t, dropped)
		})
	}
}

func TestFilterListOfEachMethod(t *testing.T) {
	for _, tt := range []struct{ method, member, key, item string }{
		{"tools/list", "tools", "name", "tool"},
		{"prompts/list", "prompts", "name", "prompt"},
		{"resources/list", "resources", "uri", "resource"},
		{"resources/templates/list", "resourceTemplates", "uriTemplate", "resource template"},
		{"tasks/list", "tasks", "taskId", "task"},
	} {
		t.Run(tt.method, func(t *testing.T) {
			items := func(names ...string) string {
				var all []string
				for _, name := range names {
					all = append(all, `{"title":"t","`+tt.key+`":"`+name+`","other":[1.0]}`)
				}
				return `"nextCursor":"more","` + tt.member + `":[` + strings.Join(all, ",") + `]`
			}
			filter := func(message, version string) (string, int, error) {
				out, dropped, err := toolcall.FilterList(tt.method, []byte(message), version, toolcall.Limits{}, only("x:a", "x:{c}"))
				return string(out), dropped, err
			}
			out, dropped, err := filter(list(items("x:a", "x:b", "x:{c}")), "2026-07-28")
			require.NoError(t, err)
			require.Equal(t, list(items("x:a", "x:{c}")+`,"cacheScope":"private"`), out)
			require.Equal(t, 1, dropped)
			out, _, err = filter(list(items("x:b")), "2025-06-18")
			require.NoError(t, err)
			require.Equal(t, list(items()), out)

			upper := strings.ToUpper(tt.member[:1]) + tt.member[1:]
			key := strings.ToUpper(tt.key[:1]) + tt.key[1:]
			for reason, in := range map[string]string{
				"result has no " + tt.member:                 list(`"nextCursor":"a"`),
				"not an array":                               list(`"` + tt.member + `":{}`),
				"a " + tt.item + " is not an object":         list(`"` + tt.member + `":["x:a"]`),
				tt.key + " of a " + tt.item + " is missing":  list(`"` + tt.member + `":[{"title":"x:a"}]`),
				tt.item + ` "x:a" is listed twice`:           list(items("x:a", "x:a")),
				`"` + upper + `" differs`:                    list(items() + `,"` + upper + `":[]`),
				`"` + key + `" differs`:                      list(`"` + tt.member + `":[{"` + tt.key + `":"x:a","` + key + `":"x:b"}]`),
				tt.key + " of a " + tt.item + " is not a st": list(`"` + tt.member + `":[{"` + tt.key + `":1}]`),
			} {
				out, _, err := filter(in, "2025-11-25")
				require.ErrorContains(t, err, reason, in)
				require.Empty(t, out)
			}
		})
	}
	out, _, err := toolcall.FilterList("tools/call", []byte(list(`"tools":[]`)), "2025-11-25", toolcall.Limits{}, only("a"))
	require.ErrorContains(t, err, "is no list")
	require.Nil(t, out)
}

func TestLearnTools(t *testing.T) {
	type learned struct{ tool, schema string }
	var got []learned
	learn := func(tool string, schema []byte) {
		text := string(schema)
		if schema == nil {
			text = "nil"
		}
		got = append(got, learned{tool, text})
	}
	message := list(`"inputSchema":{"x":1},"tools":[{"inputSchema": {"properties": {"\u0061": {"inputSchema":[1.0, "name"]}}},"name":"a"},` +
		`{"name":"\u0062","inputSchema":null},{"name":"c","_meta":{"inputSchema":{}}},{"inputSchema":{"type":"object"},"name":"d"}]`)
	want := []learned{{"a", `{"properties":{"a":{"inputSchema":[1.0,"name"]}}}`}, {"b", "null"}, {"c", "nil"}, {"d", `{"type":"object"}`}}
	for _, keep := range []func(string) bool{only("a", "b", "c", "d"), only("b"), nil} {
		got = nil
		plain, _, err := toolcall.FilterList("tools/list", []byte(message), "2025-11-25", toolcall.Limits{}, keep)
		require.NoError(t, err)
		out, last, err := toolcall.LearnTools([]byte(message), "2025-11-25", toolcall.Limits{}, keep, learn)
		require.NoError(t, err)
		require.Equal(t, want, got, "what is denied is learned too")
		require.Equal(t, string(plain), string(out))
		require.True(t, last)
	}
	for _, other := range []string{
		`{"jsonrpc":"2.0","method":"x","params":{"tools":[{"name":"a","inputSchema":{}}]}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"tools":[{"name":"a"}]}}`,
		`{"jsonrpc":"2.0","id":1,"tools":[{"name":"a"}],"result":{"tools":[]}}`,
	} {
		got = nil
		_, last, err := toolcall.LearnTools([]byte(other), "2025-11-25", toolcall.Limits{}, nil, learn)
		require.NoError(t, err)
		require.Empty(t, got, other)
		require.Equal(t, strings.Contains(other, "result"), last, other)
	}
	for _, cursor := range []string{`"n"`, `""`, "null"} {
		_, last, err := toolcall.LearnTools([]byte(list(`"tools":[],"nextCursor":`+cursor)), "2025-11-25", toolcall.Limits{}, nil, learn)
		require.NoError(t, err)
		require.False(t, last, "whatever the server means by it")
	}
	_, last, err := toolcall.LearnTools([]byte(list(`"tools":[],"_meta":{"nextCursor":"n"}`)), "2025-11-25", toolcall.Limits{}, nil, learn)
	require.NoError(t, err)
	require.True(t, last)
	_, _, err = toolcall.LearnTools([]byte(list(`"tools":[{"name":"a","inputSchema":{},"inputSchema":{}}]`)), "2025-11-25", toolcall.Limits{}, nil, learn)
	require.ErrorContains(t, err, "stands twice")
}
