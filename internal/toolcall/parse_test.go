// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

// jsonHeaders are the headers of a revision that needs no more than a content type.
func jsonHeaders() toolcall.Headers {
	return toolcall.Headers{ContentType: []string{"application/json"}}
}

const metaNew = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`

func call(members string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + members + `}}`
}

func refusal(t *testing.T, err error) *toolcall.Refusal {
	t.Helper()
	var r *toolcall.Refusal
	require.ErrorAs(t, err, &r)
	return r
}

// TestParseRefusesBodies has one row for each trick, with the nearest body that is taken.
func TestParseRefusesBodies(t *testing.T) {
	deep := func(n int) string { // depth 3 is arguments
		return call(`"name":"a","arguments":{"x":` + strings.Repeat("[", n-3) + strings.Repeat("]", n-3) + `}`)
	}
	args := func(v string) string { return call(`"name":"a","arguments":{"x":` + v + `}`) }
	many := func(n int) string { // each element is one token, the rest of the message 15
		return args("[" + strings.Repeat("0,", n-1) + "0]")
	}
	tests := []struct {
		name, bad, good string
		code            int
		reason          string
	}{
		{"empty", "", call(`"name":"a"`), -32700, "body is empty"},
		{"white space only", " ", " " + call(`"name":"a"`), -32700, "body holds no JSON"},
		{"byte order mark", "\xef\xbb\xbf" + call(`"name":"a"`), "\n" + call(`"name":"a"`), -32700, "byte order mark"},
		{"batch", "[" + call(`"name":"a"`) + "]", call(`"name":"a"`), -32600, "batches"},
		{"not an object", `"tools/call"`, call(`"name":"a"`), -32600, "not an object"},
		{"trailing message", call(`"name":"a"`) + "{}", call(`"name":"a"`) + "\r\n", -32700, "data follows"},
		{"trailing brace", call(`"name":"a"`) + "}", call(`"name":"a"`) + "\t", -32700, "not strict JSON"},
		{"trailing comma", call(`"name":"a",`), call(`"name":"a"`), -32700, "not strict JSON"},
		{"comment", call(`"name":"a"/**/`), call(`"name":"a"  `), -32700, "not strict JSON"},
		{"truncated", `{"jsonrpc":"2.0","id":1`, call(`"name":"a"`), -32700, "not strict JSON"},
		{"single quotes", call(`"name":'a'`), call(`"name":"'a'"`), -32700, "not strict JSON"},
		{"unquoted name", call(`name:"a"`), call(`"name":"a"`), -32700, "not strict JSON"},
		{"not a number", args("NaN"), args(`"NaN"`), -32700, "not strict JSON"},
		{"leading zero", args("01"), args("10"), -32700, "not strict JSON"},
		{"plus sign", args("+1"), args("-1"), -32700, "not strict JSON"},
		{"no digit after point", args("1."), args("1.0"), -32700, "not strict JSON"},

		{"name twice", call(`"name":"a","name":"b"`), call(`"name":"a","nam":"b"`), -32700, `"name" stands twice`},
		{"name twice by escape", call(`"name":"a","\u006eame":"b"`), call(`"\u006eame":"b"`), -32700, `"name" stands twice`},
		{
			"params twice", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}`,
			call(`"name":"a"`), -32700, `"params" stands twice`,
		},
		{"argument twice", args(`1,"x":2`), args(`1,"X":2`), -32700, `"x" stands twice`},
		{"deep member twice", args(`[{"a":{"b":1,"b":2}}]`), args(`[{"a":{"b":1},"b":2}]`), -32700, `"b" stands twice`},
		{
			"many members, last twice", args("{" + members(100) + `,"m0":1}`), args("{" + members(100) + `,"m100":1}`),
			-32700, `"m0" stands twice`,
		},

		{"name in capitals", call(`"name":"a","NAME":"b"`), call(`"name":"a","NAMES":"b"`), -32600, "only in case"},
		{"nAme alone", call(`"nAme":"a"`), call(`"name":"a"`), -32600, `"nAme" differs from "name" only in case`},
		{"long s in params", `{"jsonrpc":"2.0","id":1,"method":"tools/call","param\u017f":{},"params":{"name":"a"}}`, call(`"name":"a"`), -32600, `from "params" only`},
		{"long s by escape", call(`"name":"a","argument\u017f":{}`), call(`"name":"a","argumentz":{}`), -32600, `from "argument`},
		{"kelvin sign", call(`"name":"a","tas\u212aId":"1"`), call(`"name":"a","tasqId":"1"`), -32600, `from "taskId" only`},
		{"dotless i", `{"jsonrpc":"2.0","id":1,"\u0131d":2,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"jd":2,"method":"ping"}`, -32600, `from "id" only`},
		{"dotted capital i", `{"jsonrpc":"2.0","id":1,"\u0130D":2,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"IX":2,"method":"ping"}`, -32600, `from "id" only`},
		{"Method", `{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}`, `{"jsonrpc":"2.0","id":1,"method":"ping","Methods":1}`, -32600, `from "method" only`},
		{"_Meta", call(`"name":"a","_Meta":{}`), call(`"name":"a","_meta":{}`), -32600, `from "_meta" only`},
		{"progresstoken in _meta", call(`"name":"a","_meta":{"progresstoken":1}`), call(`"name":"a","_meta":{"progressToken":1}`), -32600, "only in case"},
		{
			"version in _meta", call(`"name":"a","_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}`),
			call(`"name":"a","_meta":{"io.example/ProtocolVersion":"2026-07-28"}`), -32600, "only in case",
		},
		{"U+0000 in a member name", call(`"name":"a","name\u0000x":"b"`), call(`"name":"a","name\u0001x":"b"`), -32600, "holds U+0000"},

		{"invalid UTF-8", args("\"\xff\""), args(`"\u00ff"`), -32700, "invalid UTF-8"},
		{"overlong UTF-8", args("\"\xc0\xaf\""), args("\"\xc3\xaf\""), -32700, "invalid UTF-8"},
		{"surrogate as UTF-8", args("\"\xed\xa0\x80\""), args("\"\xed\x9f\xbf\""), -32700, "invalid UTF-8"},
		{"beyond Unicode", args("\"\xf4\x90\x80\x80\""), args("\"\xf4\x8f\xbf\xbf\""), -32700, "invalid UTF-8"},
		{"unpaired high surrogate", args(`"\ud800"`), args(`"\ud800\udc00"`), -32700, "surrogate"},
		{"unpaired low surrogate", args(`"\udc00"`), args(`"\ud7ff"`), -32700, "surrogate"},
		{"surrogates the wrong way", args(`"\udc00\ud800"`), args(`"\ud800\udc00"`), -32700, "surrogate"},
		{"invalid UTF-8 in a name", call("\"name\":\"a\",\"\xff\":1"), call("\"name\":\"a\",\"\xc3\xbf\":1"), -32700, "invalid UTF-8"},
		{"line feed in a string", args("\"\n\""), args(`"\n"`), -32700, "not strict JSON"},
		{"bad escape", args(`"\x41"`), args(`"\u0041"`), -32700, "not strict JSON"},

		{"too deep", deep(65), deep(64), -32600, "deeper than 64"},
		{"deep objects", args(strings.Repeat(`{"a":`, 62) + "1" + strings.Repeat("}", 62)), args(strings.Repeat(`{"a":`, 61) + "1" + strings.Repeat("}", 61)), -32600, "deeper than 64"},
		{"long number", args(strings.Repeat("1", 65)), args(strings.Repeat("1", 64)), -32600, "more than 64 characters"},
		{"number too large", args("1e309"), args("1e308"), -32600, "beyond the range"},
		{"number too small", args("-1e-400"), args("-1e-300"), -32600, "beyond the range"},
		{"zero with a large exponent", args("1E400"), args("0E400"), -32600, "beyond the range"},
		{"long string", args(`"` + strings.Repeat("a", 1<<20+1) + `"`), args(`"` + strings.Repeat("a", 1<<20) + `"`), -32600, "more than 1048576 bytes"},
		{"long member name", args(`{"` + strings.Repeat("a", 4097) + `":1}`), args(`{"` + strings.Repeat("a", 4096) + `":1}`), -32600, "more than 4096 bytes"},
		{"too many values", many(100_000 - 14), many(100_000 - 15), -32600, "more than 100000 members"},

		{"jsonrpc missing", `{"id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, -32600, "jsonrpc"},
		{"jsonrpc 1.0", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, `{"jsonrpc":"\u0032.0","id":1,"method":"ping"}`, -32600, "jsonrpc"},
		{"jsonrpc a number", `{"jsonrpc":2.0,"id":1,"method":"ping"}`, `{"id":1,"method":"ping","jsonrpc":"2.0"}`, -32600, "jsonrpc"},
		{"id null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, `{"jsonrpc":"2.0","id":"null","method":"ping"}`, -32600, "null"},
		{"id fractional", `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`, `{"jsonrpc":"2.0","id":"1.0","method":"ping"}`, -32600, "not an integer"},
		{"id with exponent", `{"jsonrpc":"2.0","id":1e0,"method":"ping"}`, `{"jsonrpc":"2.0","id":10,"method":"ping"}`, -32600, "not an integer"},
		{"id beyond 64 bits", `{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}`, `{"jsonrpc":"2.0","id":9223372036854775807,"method":"ping"}`, -32600, "not an integer"},
		{"id minus zero", `{"jsonrpc":"2.0","id":-0,"method":"ping"}`, `{"jsonrpc":"2.0","id":-1,"method":"ping"}`, -32600, "not an integer"},
		{"id true", `{"jsonrpc":"2.0","id":true,"method":"ping"}`, `{"jsonrpc":"2.0","id":"true","method":"ping"}`, -32600, "neither"},
		{"id an array", `{"jsonrpc":"2.0","id":[1],"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, -32600, "neither"},
		{"id long", `{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 257) + `","method":"ping"}`, `{"jsonrpc":"2.0","id":"` + strings.Repeat("i", 256) + `","method":"ping"}`, -32600, "more than 256"},
		{"request without id", `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}`, `{"jsonrpc":"2.0","method":"x/unknown"}`, -32600, "has no id"},
		{"notification with id", `{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}`, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, -32600, "has an id"},
		{"method a number", `{"jsonrpc":"2.0","id":1,"method":1}`, `{"jsonrpc":"2.0","id":1,"method":"1"}`, -32600, "method is not a string"},
		{"method null", `{"jsonrpc":"2.0","id":1,"method":null}`, `{"jsonrpc":"2.0","id":1,"method":"null"}`, -32600, "method is not a string"},
		{"method empty", `{"jsonrpc":"2.0","id":1,"method":""}`, `{"jsonrpc":"2.0","id":1,"method":" "}`, -32600, "method is empty"},
		{"method with U+0000", `{"jsonrpc":"2.0","id":1,"method":"ping\u0000"}`, `{"jsonrpc":"2.0","id":1,"method":"ping "}`, -32600, "control character"},
		{"method and result", `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`, `{"jsonrpc":"2.0","id":1,"result":{}}`, -32600, "both"},
		{"nothing", `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","id":1,"result":{}}`, -32600, "exactly one"},
		{"result and error", `{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`, `{"jsonrpc":"2.0","id":1,"error":{}}`, -32600, "exactly one"},
		{"response with params", `{"jsonrpc":"2.0","id":1,"result":{},"params":{}}`, `{"jsonrpc":"2.0","id":1,"result":{"params":{}}}`, -32600, "has params"},
		{"result an array", `{"jsonrpc":"2.0","id":1,"result":[]}`, `{"jsonrpc":"2.0","id":1,"result":{}}`, -32600, "result is not"},
		{"error a string", `{"jsonrpc":"2.0","id":1,"error":"no"}`, `{"jsonrpc":"2.0","id":null,"error":{}}`, -32600, "error is not"},
		{"result without id", `{"jsonrpc":"2.0","result":{}}`, `{"jsonrpc":"2.0","error":{}}`, -32600, "has no id"},
		{"params an array", `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`, `{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}`, -32600, "params is not"},
		{"params null", `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, -32600, "params is not"},

		{"tool name missing", call(`"arguments":{}`), call(`"name":"a","arguments":{}`), -32602, "params.name is missing"},
		{"tool name a number", call(`"name":1`), call(`"name":"1"`), -32602, "params.name is not a string"},
		{"tool name an object", call(`"name":{"name":"a"}`), call(`"name":"a"`), -32602, "params.name is not a string"},
		{"tool name empty", call(`"name":""`), call(`"name":"-"`), -32602, "params.name is empty"},
		{"tool name with U+0000", call(`"name":"delete\u0000"`), call(`"name":"delete0"`), -32602, "control character"},
		{"tool name with DEL", call("\"name\":\"delete\x7f\""), call(`"name":"delete~"`), -32602, "control character"},
		{"no params", `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, call(`"name":"a"`), -32602, "params.name is missing"},
		{"arguments an array", call(`"name":"a","arguments":[]`), call(`"name":"a","arguments":{}`), -32602, "arguments is not"},
		{"arguments null", call(`"name":"a","arguments":null`), call(`"name":"a"`), -32602, "arguments is not"},
		{"arguments a string", call(`"name":"a","arguments":"{}"`), call(`"name":"a","arguments":{}`), -32602, "arguments is not"},
		{"_meta null", call(`"name":"a","_meta":null`), call(`"name":"a","_meta":{}`), -32602, "_meta is not"},
		{"version in _meta a number", call(`"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":1}`), call(`"name":"a","_meta":{"io.modelcontextprotocol/x":1}`), -32602, "is not a string"},
		{"uri missing", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"name":"a"}}`, `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}`, -32602, "params.uri is missing"},
		{"prompt name missing", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{}}`, `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p"}}`, -32602, "params.name is missing"},
		{"task missing", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"name":"a"}}`, `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"a"}}`, -32602, "params.taskId is missing"},
		{"task a number", `{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":1}}`, `{"jsonrpc":"2.0","id":1,"method":"tasks/result","params":{"taskId":"1"}}`, -32602, "params.taskId is not a string"},
		{"completion of nothing", complete(`"argument":{}`), complete(`"ref":{"type":"ref/prompt","name":"p"}`), -32602, "params.ref is not an object"},
		{"reference a string", complete(`"ref":"ref/prompt"`), complete(`"ref":{"type":"ref/prompt","name":"p"}`), -32602, "params.ref is not an object"},
		{"reference without type", complete(`"ref":{"name":"p"}`), complete(`"ref":{"type":"ref/prompt","name":"p"}`), -32602, "params.ref.type is missing"},
		{"reference of another type", complete(`"ref":{"type":"ref/tool","name":"p"}`), complete(`"ref":{"type":"ref/prompt","name":"p"}`), -32602, "neither ref/prompt nor ref/resource"},
		{"reference to a prompt by uri", complete(`"ref":{"type":"ref/prompt","uri":"p:"}`), complete(`"ref":{"type":"ref/resource","uri":"p:"}`), -32602, "has both a name and a uri"},
		{"reference to a prompt and a uri", complete(`"ref":{"type":"ref/prompt","name":"p","uri":"p:"}`), complete(`"ref":{"type":"ref/prompt","name":"p","title":"p:"}`), -32602, "has both a name and a uri"},
		{"reference to no resource", complete(`"ref":{"type":"ref/resource"}`), complete(`"ref":{"type":"ref/resource","uri":"p:"}`), -32602, "params.ref.uri is missing"},
		{"reference with a Name", complete(`"ref":{"type":"ref/prompt","name":"p","Name":"q"}`), complete(`"ref":{"type":"ref/prompt","name":"p","names":"q"}`), -32600, "only in case"},
		{"initialize without version", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`, -32602, "protocolVersion is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := toolcall.Parse(jsonHeaders(), []byte(tt.bad), toolcall.Limits{})
			r := refusal(t, err)
			require.Equal(t, 400, r.HTTPStatus)
			require.Equal(t, tt.code, r.Code, r.Reason)
			require.Contains(t, r.Reason, tt.reason)
			require.Less(t, len(r.Reason), 400, "reasons stay short")

			m, err := toolcall.Parse(jsonHeaders(), []byte(tt.good), toolcall.Limits{})
			require.NoError(t, err)
			require.NotEmpty(t, m.Body())
		})
	}
}

func complete(params string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{` + params + `}}`
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"m` + strconv.Itoa(i) + `":1`)
	}
	return b.String()
}

func TestParseLimitsBodySize(t *testing.T) {
	body := call(`"name":"a"`)
	_, err := toolcall.Parse(jsonHeaders(), []byte(body), toolcall.Limits{BodyBytes: len(body) - 1})
	r := refusal(t, err)
	require.Equal(t, 413, r.HTTPStatus)
	require.Contains(t, r.Reason, "more than")
	_, err = toolcall.Parse(jsonHeaders(), []byte(body), toolcall.Limits{BodyBytes: len(body)})
	require.NoError(t, err)

	over := make([]byte, 4<<20+1)
	_, err = toolcall.Parse(jsonHeaders(), over, toolcall.Limits{})
	require.Equal(t, 413, refusal(t, err).HTTPStatus)
}

func TestRefusalBearsTheIDWhereItWasRead(t *testing.T) {
	tests := []struct{ name, body, id string }{
		{"before the fault", `{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{}}`, `"ab"`},
		{"after the fault, which is judged last", `{"jsonrpc":"2.0","method":"tools/call","params":{},"id":7}`, "7"},
		{"behind a syntax error", `{"jsonrpc":"2.0","method":,"id":7}`, ""},
		{"not an id", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, ""},
		{"null", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := toolcall.Parse(jsonHeaders(), []byte(tt.body), toolcall.Limits{})
			r := refusal(t, err)
			require.Equal(t, tt.id, string(r.ID))
			require.Equal(t, tt.id == "", r.ID == nil)
		})
	}
}

func TestParseReads(t *testing.T) {
	tests := []struct {
		name, body                    string
		kind                          toolcall.Kind
		method, id, target, arguments string
		encoded                       string // "" if it is the body
	}{
		{
			"tools/call", call(`"name":"get_order","arguments":{"id":7}`), toolcall.KindRequest, "tools/call", "1",
			"get_order", `{"id":7}`, "",
		},
		{
			"order of members does not matter and stays",
			`{"params":{"arguments":{"b":1,"a":2},"name":"t"},"method":"tools/call","id":"x","jsonrpc":"2.0"}`,
			toolcall.KindRequest, "tools/call", `"x"`, "t", `{"b":1,"a":2}`, "",
		},
		{
			"white space goes and strings are shortest",
			" { \"jsonrpc\" : \"2.0\" ,\n\"id\":\"\\u0061\\/\" ,\r\t\"method\":\"tools\\/call\",\"params\":{\"n\\u0061me\":\"\\u00e9\\ud83d\\ude00\"," +
				"\"arguments\":{\"\\u001F\":\"\\u2028\\u0022\\u000a<\"}} } ",
			toolcall.KindRequest, "tools/call", `"a/"`, "é😀", "{\"\\u001f\":\"\u2028\\\"\\n<\"}",
			"{\"jsonrpc\":\"2.0\",\"id\":\"a/\",\"method\":\"tools/call\",\"params\":{\"name\":\"é😀\",\"arguments\":{\"\\u001f\":\"\u2028\\\"\\n<\"}}}",
		},
		{
			"numbers keep their text", call(`"name":"t","arguments":{"a":[1.50,1E2,-0,10000000000000000000001,0.1e-7]}`),
			toolcall.KindRequest, "tools/call", "1", "t", `{"a":[1.50,1E2,-0,10000000000000000000001,0.1e-7]}`, "",
		},
		{
			"prompts/get", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p","arguments":{"k":"v"}}}`,
			toolcall.KindRequest, "prompts/get", "1", "p", `{"k":"v"}`, "",
		},
		{
			"resources/read", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a","name":"no"}}`,
			toolcall.KindRequest, "resources/read", "1", "file:///a", "", "",
		},
		{
			"resources/subscribe", `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"u:1"}}`,
			toolcall.KindRequest, "resources/subscribe", "1", "u:1", "", "",
		},
		{
			"resources/unsubscribe", `{"jsonrpc":"2.0","id":1,"method":"resources/unsubscribe","params":{"uri":"u:1"}}`,
			toolcall.KindRequest, "resources/unsubscribe", "1", "u:1", "", "",
		},
		{
			"completion of a prompt", complete(`"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}`),
			toolcall.KindRequest, "completion/complete", "1", "ref/prompt p", "", "",
		},
		{
			"completion of a template", complete(`"ref":{"uri":"file:///{x}","type":"ref/resource"}`),
			toolcall.KindRequest, "completion/complete", "1", "ref/resource file:///{x}", "", "",
		},
		{
			"tasks/get", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t"}}`,
			toolcall.KindRequest, "tasks/get", "1", "t", "", "",
		},
		{
			"a tool call that is to become a task", call(`"name":"a","task":{"ttl":1}`),
			toolcall.KindRequest, "tools/call", "1", "a", "", "",
		},
		{
			"a name means nothing elsewhere", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"name":"p"}}`,
			toolcall.KindRequest, "tools/list", "1", "", "", "",
		},
		{
			"an unknown method", `{"jsonrpc":"2.0","id":1,"method":"x/y"}`, toolcall.KindRequest, "x/y", "1", "", "", "",
		},
		{
			"a notification", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
			toolcall.KindNotification, "notifications/cancelled", "", "", "", "",
		},
		{
			"a response", `{"jsonrpc":"2.0","id":3,"result":{"action":"accept","content":{}}}`,
			toolcall.KindResponse, "", "3", "", "", "",
		},
		{
			"an error response", `{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"no"}}`,
			toolcall.KindResponse, "", "3", "", "", "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := toolcall.Parse(jsonHeaders(), []byte(tt.body), toolcall.Limits{})
			require.NoError(t, err)
			require.Equal(t, tt.kind, m.Kind())
			require.Equal(t, tt.method, m.Method())
			require.Equal(t, tt.id, string(m.ID()))
			require.Equal(t, tt.target, m.Name())
			require.Equal(t, tt.arguments, string(m.Arguments()))
			if tt.encoded == "" {
				tt.encoded = tt.body
			}
			require.Equal(t, tt.encoded, string(m.Body()))
			require.Equal(t, toolcall.Version20250326, m.ProtocolVersion())
			require.Empty(t, m.Session())
		})
	}
}

// TestParseLeavesTheBodyAlone shows that a message neither keeps nor changes what it was read from.
func TestParseLeavesTheBodyAlone(t *testing.T) {
	body := []byte(call(`"name":"a","arguments":{"x":"\u0041"}`))
	before := string(body)
	m, err := toolcall.Parse(jsonHeaders(), body, toolcall.Limits{})
	require.NoError(t, err)
	require.Equal(t, before, string(body))
	clear(body)
	require.Equal(t, `{"x":"A"}`, string(m.Arguments()))
	require.Equal(t, "a", m.Name())
}

func TestHeadersOf(t *testing.T) {
	all := http.Header{}
	all.Set("Content-Type", "application/json")
	all.Add("Mcp-Name", "a")
	all.Add("Mcp-Param-Region", "eu")
	all.Set("MCP-Protocol-Version", "2026-07-28")
	all.Set("Mcp-Session-Id", "s")
	all.Set("Mcp-Method", "tools/call")
	all.Set("Authorization", "Bearer x")
	all["mcp-name"] = []string{"b"} // not canonical: came from elsewhere than net/http
	all["MCP-PARAM-REGION"] = []string{"us"}

	h := toolcall.HeadersOf(all)
	require.Equal(t, []string{"application/json"}, h.ContentType)
	require.Equal(t, []string{"2026-07-28"}, h.ProtocolVersion)
	require.Equal(t, []string{"tools/call"}, h.Method)
	require.Equal(t, []string{"s"}, h.SessionID)
	require.ElementsMatch(t, []string{"a", "b"}, h.Name)
	require.Len(t, h.Params, 1)
	require.ElementsMatch(t, []string{"eu", "us"}, h.Params["mcp-param-region"])
	require.Equal(t, []string{"a"}, all["Mcp-Name"], "the request keeps its headers")
}
