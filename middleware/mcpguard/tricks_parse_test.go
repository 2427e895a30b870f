// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf16"
)

// params is a tools/call with these members of params.
func params(members string) string {
	return `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{` + members + `}}`
}

// withID is an echo with this ID.
func withID(id string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}`
}

// argument is an echo with one more argument.
func argument(member string) string {
	return params(`"name":"echo","arguments":{"text":"x",` + member + `}`)
}

func inUTF16(text string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		b.WriteByte(byte(unit))
		b.WriteByte(byte(unit >> 8))
	}
	return b.String()
}

// Messages that one reader takes for an echo, which alice may call, and another
// for a reverse, which she may not. internal/toolcall has the rules one by one.
func TestTricksOfParsing(t *testing.T) {
	echo := params(`"name":"echo","arguments":{"text":"x"}`)
	reverse := params(`"name":"reverse","arguments":{"text":"x"}`)
	deep := func(n int) string { return argument(`"x":` + strings.Repeat("[", n) + strings.Repeat("]", n)) }
	const bad, denied, ok = http.StatusBadRequest, http.StatusForbidden, http.StatusOK
	tryJSON(t, []trick{
		{name: "the call itself", body: echo, status: ok, reached: decided(echo)},
		{name: "the other call", body: reverse, status: denied},
		{
			name: "the server sees our encoding", status: ok,
			body:    ` { "method" : "tools/call" , "jsonrpc":"2.0","id": 1234567890123456, "params":{"arguments":{"text":"\u0068i","n":1.10},"name":"ech\u006f"}}`,
			reached: decided(`{"method":"tools/call","jsonrpc":"2.0","id":1234567890123456,"params":{"arguments":{"text":"hi","n":1.10},"name":"echo"}}`),
		},

		{name: "name twice, the denied one last", body: params(`"name":"echo","name":"reverse","arguments":{}`), status: bad},
		{name: "name twice, the denied one first", body: params(`"name":"reverse","name":"echo","arguments":{}`), status: bad},
		{name: "name twice by an escape", body: params(`"name":"echo","n\u0061me":"reverse","arguments":{}`), status: bad},
		{name: "params twice", body: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"},"params":{"name":"reverse"}}`, status: bad},
		{name: "method twice", body: `{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call","params":{"name":"reverse"}}`, status: bad},
		{name: "id twice", body: `{"jsonrpc":"2.0","id":7,"id":8,"method":"tools/call","params":{"name":"echo"}}`, status: bad},
		{name: "arguments twice", body: params(`"name":"echo","arguments":{"text":"x"},"arguments":{"text":"y"}`), status: bad},
		{name: "an argument twice", body: argument(`"text":"y"`), status: bad},
		{name: "a deep argument twice", body: argument(`"a":[{"b":1,"b":2}]`), status: bad},

		{name: "a second name in capitals", body: params(`"name":"echo","NAME":"reverse","arguments":{}`), status: bad},
		{name: "only a name in capitals", body: params(`"Name":"echo","arguments":{}`), status: bad},
		{name: "Params beside params", body: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"},"Params":{"name":"reverse"}}`, status: bad},
		{name: "Method beside method", body: `{"jsonrpc":"2.0","id":7,"method":"ping","Method":"tools/call","params":{"name":"reverse"}}`, status: bad},
		{name: "params with a long s", body: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"},"param\u017f":{"name":"reverse"}}`, status: bad},
		{name: "id with a dotless i", body: `{"jsonrpc":"2.0","id":7,"\u0131d":8,"method":"tools/call","params":{"name":"echo"}}`, status: bad},
		{name: "an argument in another case is another argument", body: argument(`"Text":"y"`), status: ok, reached: decided(argument(`"Text":"y"`))},

		{name: "an escape in a member name", body: params(`"n\u0061me":"echo","argument\u0073":{"text":"x"}`), status: ok, reached: decided(echo)},
		{name: "an escape in the denied name", body: params(`"name":"rever\u0073e","arguments":{"text":"x"}`), status: denied},
		{name: "an escape in the allowed name", body: params(`"name":"\u0065cho","arguments":{"text":"x"}`), status: ok, reached: decided(echo)},
		{name: "an escaped solidus in the method", body: `{"jsonrpc":"2.0","id":7,"method":"tools\/call","params":{"name":"reverse"}}`, status: denied},
		{name: "a member name with U+0000", body: params(`"name":"echo","name\u0000":"reverse"`), status: bad},

		{name: "the name in capitals", body: params(`"name":"ECHO","arguments":{}`), status: denied},
		{name: "the name with a space", body: params(`"name":"echo ","arguments":{}`), status: denied},
		{name: "the name with a space of no width", body: params(`"name":"echo\u200b","arguments":{}`), status: denied},
		{name: "the name in wide letters", body: params(`"name":"ｅｃｈｏ","arguments":{}`), status: denied},
		{name: "the name up to U+0000", body: params(`"name":"echo\u0000reverse","arguments":{}`), status: bad},
		{name: "the name with a line feed", body: params(`"name":"echo\nreverse","arguments":{}`), status: bad},
		{name: "a pattern for a name", body: params(`"name":"*","arguments":{}`), status: denied},
		{name: "no name", body: params(`"arguments":{}`), status: bad},
		{name: "a number for a name", body: params(`"name":7`), status: bad},
		{name: "a list for a name", body: params(`"name":["echo"]`), status: bad},
		{name: "an object for a name", body: params(`"name":{"name":"echo"}`), status: bad},
		{name: "the method in capitals", body: `{"jsonrpc":"2.0","id":7,"method":"Tools/Call","params":{"name":"echo"}}`, status: http.StatusNotFound},
		{name: "the method with a space", body: `{"jsonrpc":"2.0","id":7,"method":"tools/call ","params":{"name":"echo"}}`, status: http.StatusNotFound},
		{name: "a number for a method", body: `{"jsonrpc":"2.0","id":7,"method":7}`, status: bad},

		{
			name: "params in params", body: params(`"name":"echo","arguments":{"text":"x"},"params":{"name":"reverse"}`), status: ok,
			reached: decided(params(`"name":"echo","arguments":{"text":"x"},"params":{"name":"reverse"}`)),
		},
		{name: "params in params, and none outside", body: params(`"params":{"name":"echo"}`), status: bad},
		{name: "params in a list", body: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":[{"name":"echo"}]}`, status: bad},
		{name: "params in a string", body: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":"{\"name\":\"echo\"}"}`, status: bad},
		{name: "params null", body: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":null}`, status: bad},
		{name: "arguments in a string", body: params(`"name":"echo","arguments":"{}"`), status: bad},
		{name: "arguments in a list", body: params(`"name":"echo","arguments":[]`), status: bad},
		{
			name: "a message in a message", body: `{"jsonrpc":"2.0","id":7,"method":"ping","message":` + reverse + `}`, status: ok,
			reached: decided(`{"jsonrpc":"2.0","id":7,"method":"ping","message":` + reverse + `}`),
		},

		{name: "an ID in a string stays a string", body: withID(`"7"`), status: ok, reached: decided(withID(`"7"`))},
		{name: "an ID with a fraction", body: withID("7.0"), status: bad},
		{name: "an ID with an exponent", body: withID("7e0"), status: bad},
		{name: "an ID of minus zero", body: withID("-0"), status: bad},
		{name: "the largest ID, which this server gives back as another one", body: withID("9223372036854775807"), status: http.StatusBadGateway, reached: decided(withID("9223372036854775807"))},
		{name: "an ID one larger", body: withID("9223372036854775808"), status: bad},
		{name: "an ID of many digits", body: withID(strings.Repeat("9", 400)), status: bad},
		{name: "an ID of many letters", body: withID(`"` + strings.Repeat("i", 257) + `"`), status: bad},
		{name: "an ID of a megabyte", body: withID(`"` + strings.Repeat("i", 1<<20) + `"`), status: bad},
		{name: "an ID null", body: withID("null"), status: bad},
		{name: "an ID that is an object", body: withID(`{"id":7}`), status: bad},
		{name: "no ID", body: `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}`, status: bad},
		{name: "numbers keep their text", body: argument(`"n":1.10,"m":"1.10","k":1E2`), status: ok, reached: decided(argument(`"n":1.10,"m":"1.10","k":1E2`))},
		{name: "a number beyond float64", body: argument(`"n":1e309`), status: bad},
		{name: "a number of many digits", body: argument(`"n":` + strings.Repeat("1", 65)), status: bad},
		{name: "a number in hexadecimal", body: argument(`"n":0x10`), status: bad},
		{name: "a version that is a number", body: `{"jsonrpc":2.0,"id":7,"method":"tools/call","params":{"name":"echo"}}`, status: bad},

		{name: "a byte order mark", body: "\xef\xbb\xbf" + echo, status: bad},
		{name: "UTF-16", body: inUTF16(echo), status: bad},
		{name: "overlong UTF-8 in the name", body: params("\"name\":\"\xc1\xa5cho\",\"arguments\":{}"), status: bad},
		{name: "overlong UTF-8 in a member name", body: params("\"n\xc1\xa1me\":\"echo\""), status: bad},
		{name: "overlong UTF-8 in an argument", body: argument("\"y\":\"\xc0\xaf\""), status: bad},
		{name: "half a surrogate pair", body: argument(`"y":"\ud800"`), status: bad},
		{name: "a surrogate in UTF-8", body: argument("\"y\":\"\xed\xa0\x80\""), status: bad},

		{name: "nested as deep as may be", body: deep(61), status: ok, reached: decided(deep(61))},
		{name: "nested one deeper", body: deep(62), status: bad},
		{name: "nested very deep", body: deep(100_000), status: bad},
		{name: "too many values", body: argument(`"x":[` + strings.Repeat("0,", 100_000) + `0]`), status: bad},
		{name: "too large", body: argument(`"x":"` + strings.Repeat("x", 4<<20) + `"`), status: http.StatusRequestEntityTooLarge},

		{name: "a batch", body: "[" + echo + "," + reverse + "]", status: bad},
		{name: "a batch of one", body: "[" + echo + "]", status: bad},
		{name: "two messages", body: echo + reverse, status: bad},
		{name: "two lines", body: echo + "\n" + reverse, status: bad},
		{name: "a record separator", body: "\x1e" + echo, status: bad},
		{name: "a comment", body: echo + "// " + reverse, status: bad},
		{name: "a comma at the end", body: params(`"name":"echo",`), status: bad},
		{name: "a name without quotes", body: params(`name:"echo"`), status: bad},
		{name: "a form", body: "method=tools%2Fcall&params=%7B%22name%22%3A%22echo%22%7D", status: bad},
		{name: "half a message", body: echo[:40], status: bad},
		{name: "nothing", body: "", status: bad},

		{name: "an answer that nobody asked for", body: `{"jsonrpc":"2.0","id":7,"result":{}}`, status: denied},
		{name: "an answer and a request", body: `{"jsonrpc":"2.0","id":7,"result":{},"method":"tools/call","params":{"name":"reverse"}}`, status: bad},
		{name: "a method that MCP does not have", body: `{"jsonrpc":"2.0","id":7,"method":"tools/destroy"}`, status: http.StatusNotFound},
		{name: "a method of a later revision", body: `{"jsonrpc":"2.0","id":7,"method":"server/discover"}`, status: http.StatusNotFound},
		{name: "a notification for a call", body: `{"jsonrpc":"2.0","method":"notifications/tools/call","params":{"name":"reverse"}}`, status: http.StatusNotFound},
	})
}
