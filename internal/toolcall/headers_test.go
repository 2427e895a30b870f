// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

type headers = map[string][]string

func with(base headers, name string, values ...string) headers {
	out := headers{}
	for k, v := range base {
		out[k] = v
	}
	if values == nil {
		delete(out, name)
	} else {
		out[name] = values
	}
	return out
}

// TestParseRefusesHeaders has one row for each way in which headers and body can disagree, with the nearest that agree.
func TestParseRefusesHeaders(t *testing.T) {
	plain := headers{"Content-Type": {"application/json"}}
	modern := headers{
		"Content-Type": {"application/json"}, "Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"},
		"Mcp-Name": {"run"},
	}
	bodyPlain := call(`"name":"run","arguments":{"n":42,"s":"eu","t":true,"o":{"in":"deep"},"l":["item"],"z":null,"f":1.5,"e":""}`)
	body := call(`"name":"run","arguments":{"n":42,"s":"eu","t":true,"o":{"in":"deep"},"l":["item"],"z":null},` + metaNew)
	umlaut := call(`"name":"süß",` + metaNew)
	list := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + metaNew + `}}`
	read := `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b",` + metaNew + `}}`
	task := `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t1",` + metaNew + `}}`
	listing := with(with(modern, "Mcp-Method", "tools/list"), "Mcp-Name")
	response := `{"jsonrpc":"2.0","id":1,"result":{}}`
	request := func(method, params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + `}}`
	}
	tests := []struct {
		name     string
		bad      headers
		badBody  string
		good     headers
		goodBody string
		status   int
		code     int
		reason   string
	}{
		{"no content type", headers{}, bodyPlain, plain, bodyPlain, 415, -32600, "application/json"},
		{"other content type", with(plain, "Content-Type", "text/json"), bodyPlain, with(plain, "Content-Type", "Application/JSON"), bodyPlain, 415, -32600, "application/json"},
		{"content type with a tail", with(plain, "Content-Type", "application/json-patch+json"), bodyPlain, plain, bodyPlain, 415, -32600, "application/json"},
		{"other charset", with(plain, "Content-Type", "application/json; charset=utf-16"), bodyPlain, with(plain, "Content-Type", "application/json; charset=utf-8"), bodyPlain, 415, -32600, "application/json"},
		{"charset twice", with(plain, "Content-Type", "application/json; charset=utf-8; charset=utf-8"), bodyPlain, with(plain, "Content-Type", `application/json;charset="UTF-8"`), bodyPlain, 415, -32600, "application/json"},
		{"two content types in one", with(plain, "Content-Type", "application/json, text/plain"), bodyPlain, plain, bodyPlain, 415, -32600, "application/json"},
		{"content type twice", with(plain, "Content-Type", "application/json", "application/json"), bodyPlain, plain, bodyPlain, 415, -32600, "given 2 times"},
		{"gzip", with(plain, "Content-Encoding", "gzip"), bodyPlain, with(plain, "Content-Encoding", "Identity"), bodyPlain, 415, -32600, "not identity"},
		{"encodings", with(plain, "Content-Encoding", "identity, gzip"), bodyPlain, with(plain, "Content-Encoding", "identity"), bodyPlain, 415, -32600, "not identity"},
		{"encoding twice", with(plain, "Content-Encoding", "identity", "identity"), bodyPlain, with(plain, "Content-Encoding", "identity"), bodyPlain, 415, -32600, "given 2 times"},

		{"unknown version", with(plain, "Mcp-Protocol-Version", "2024-11-05"), bodyPlain, with(plain, "Mcp-Protocol-Version", "2025-03-26"), bodyPlain, 400, -32022, "not a revision"},
		{"version of the future", with(modern, "Mcp-Protocol-Version", "2027-01-01"), body, modern, body, 400, -32022, "not a revision"},
		{"empty version", with(plain, "Mcp-Protocol-Version", ""), bodyPlain, plain, bodyPlain, 400, -32022, "not a revision"},
		{"version twice", with(modern, "Mcp-Protocol-Version", "2026-07-28", "2026-07-28"), body, modern, body, 400, -32020, "given 2 times"},
		{"version in two spellings", with(modern, "MCP-PROTOCOL-VERSION", "2025-11-25"), body, modern, body, 400, -32020, "given 2 times"},
		{"version against _meta", with(modern, "Mcp-Protocol-Version", "2025-11-25"), body, modern, body, 400, -32020, "is not what _meta asks for"},
		{"_meta without the header", with(modern, "Mcp-Protocol-Version"), body, with(plain, "Mcp-Protocol-Version", "2025-11-25"), bodyPlain, 400, -32020, "MCP-Protocol-Version is missing"},
		{"header without _meta", modern, bodyPlain, modern, body, 400, -32602, "protocolVersion is missing"},
		{"response in the stateless revision", with(with(modern, "Mcp-Method"), "Mcp-Name"), response, with(plain, "Mcp-Protocol-Version", "2025-11-25"), response, 400, -32600, "sends no responses"},

		{"initialize in the stateless revision", with(listing, "Mcp-Method", "initialize"), request("initialize", metaNew), with(plain, "Mcp-Method", "initialize"), request("initialize", `"protocolVersion":"2025-11-25"`), 404, -32601, `MCP 2026-07-28 has no method "initialize"`},
		{"subscribing in the stateless revision", with(listing, "Mcp-Method", "resources/subscribe"), request("resources/subscribe", metaNew), plain, request("resources/subscribe", `"uri":"a:b"`), 404, -32601, "has no method"},
		{"subscribing to nothing", plain, request("resources/subscribe", ""), plain, request("resources/subscribe", `"uri":"a:b"`), 400, -32602, "params.uri is missing"},
		{"reading nothing in the stateless revision", with(listing, "Mcp-Method", "resources/read"), request("resources/read", metaNew), with(with(modern, "Mcp-Name", "a:b"), "Mcp-Method", "resources/read"), read, 400, -32602, "params.uri is missing"},
		{"subscribing in no revision", with(listing, "Mcp-Method", "resources/subscribe"), request("resources/subscribe", strings.Replace(metaNew, "2026", "2027", 1)), plain, request("resources/subscribe", `"uri":"a:b"`), 400, -32602, "params.uri is missing"},

		{"Mcp-Method missing", with(modern, "Mcp-Method"), body, modern, body, 400, -32020, "Mcp-Method is missing"},
		{"Mcp-Method other", with(modern, "Mcp-Method", "tools/list"), body, modern, body, 400, -32020, "is not the method"},
		{"Mcp-Method in capitals", with(modern, "Mcp-Method", "Tools/Call"), body, modern, body, 400, -32020, "is not the method"},
		{"Mcp-Method empty", with(modern, "Mcp-Method", ""), body, with(modern, "Mcp-Method", " tools/call\t"), body, 400, -32020, "is not the method"},
		{"Mcp-Method twice", with(modern, "Mcp-Method", "tools/call", "tools/call"), body, modern, body, 400, -32020, "given 2 times"},
		{"Mcp-Method twice in one", with(modern, "Mcp-Method", "tools/call, tools/call"), body, modern, body, 400, -32020, "is not the method"},
		{"Mcp-Method encoded", with(modern, "Mcp-Method", "=?base64?dG9vbHMvY2FsbA==?="), body, modern, body, 400, -32020, "is not the method"},
		{"Mcp-Method in an older revision", with(plain, "Mcp-Method", "tools/list"), bodyPlain, with(plain, "Mcp-Method", "tools/call"), bodyPlain, 400, -32020, "is not the method"},
		{"Mcp-Method of a response", with(plain, "Mcp-Method", "ping"), response, plain, response, 400, -32020, "is not the method"},

		{"Mcp-Name missing", with(modern, "Mcp-Name"), body, listing, list, 400, -32020, "Mcp-Name is missing"},
		{"Mcp-Name missing for a resource", with(with(modern, "Mcp-Name"), "Mcp-Method", "resources/read"), read, with(with(modern, "Mcp-Name", "a:b"), "Mcp-Method", "resources/read"), read, 400, -32020, "Mcp-Name is missing"},
		{"Mcp-Name other", with(modern, "Mcp-Name", "Run"), body, modern, body, 400, -32020, "is not the name"},
		{"Mcp-Name twice", with(modern, "Mcp-Name", "run", "run"), body, modern, body, 400, -32020, "given 2 times"},
		{"Mcp-Name in an older revision", with(plain, "Mcp-Name", "list"), bodyPlain, with(plain, "Mcp-Name", "run"), bodyPlain, 400, -32020, "is not the name"},
		{"Mcp-Name encoded, other", with(modern, "Mcp-Name", "=?base64?c3Vucw==?="), body, with(modern, "Mcp-Name", "=?base64?cnVu?="), body, 400, -32020, "is not the name"},
		{"Mcp-Name plain, not ASCII", with(modern, "Mcp-Name", "süß"), umlaut, with(modern, "Mcp-Name", "=?base64?c8O8w58=?="), umlaut, 400, -32020, "not visible ASCII"},
		{"Mcp-Name in bad base64", with(modern, "Mcp-Name", "=?base64?cnVu!?="), body, with(modern, "Mcp-Name", "=?base64?cnVu?="), body, 400, -32020, "bad base64"},
		{"Mcp-Name in loose base64", with(modern, "Mcp-Name", "=?base64?c8O8w59=?="), umlaut, with(modern, "Mcp-Name", "=?base64?c8O8w58=?="), umlaut, 400, -32020, "bad base64"},
		{"Mcp-Name with the marker in capitals", with(modern, "Mcp-Name", "=?BASE64?cnVu?="), body, modern, body, 400, -32020, "is not the name"},
		{"Mcp-Name with half a marker", with(modern, "Mcp-Name", "=?base64?="), body, with(modern, "Mcp-Name", "=?base64?="), call(`"name":"=?base64?=",` + metaNew), 400, -32020, "is not the name"},
		{"Mcp-Name that looks encoded and is not", with(modern, "Mcp-Name", "=?base64?eA==?="), call(`"name":"=?base64?eA==?=",` + metaNew), with(modern, "Mcp-Name", "=?base64?eA==?="), call(`"name":"x",` + metaNew), 400, -32020, "is not the name"},
		{"Mcp-Name where nothing is named", with(modern, "Mcp-Method", "tools/list"), list, listing, list, 400, -32020, "names nothing"},
		{"Mcp-Name of another task", with(with(modern, "Mcp-Method", "tasks/get"), "Mcp-Name", "t2"), task, with(with(modern, "Mcp-Method", "tasks/get"), "Mcp-Name", "t1"), task, 400, -32020, "is not the name"},

		{"session twice", with(plain, "Mcp-Session-Id", "a", "b"), bodyPlain, with(plain, "Mcp-Session-Id", "a"), bodyPlain, 400, -32020, "given 2 times"},
		{"session empty", with(plain, "Mcp-Session-Id", ""), bodyPlain, plain, bodyPlain, 400, -32600, "is empty"},
		{"session with a space", with(plain, "Mcp-Session-Id", "a b"), bodyPlain, with(plain, "Mcp-Session-Id", "a~b"), bodyPlain, 400, -32600, "holds a space"},
		{"session with a control character", with(plain, "Mcp-Session-Id", "a\x01b"), bodyPlain, with(plain, "Mcp-Session-Id", "a1b"), bodyPlain, 400, -32020, "not visible ASCII"},

		{"session too long", with(plain, "Mcp-Session-Id", strings.Repeat("s", 4097)), bodyPlain, with(plain, "Mcp-Session-Id", strings.Repeat("s", 4096)), bodyPlain, 400, -32600, "more than 4096 bytes"},
		{"a long value is shortened in the record", with(modern, "Mcp-Method", strings.Repeat("m", 9000)), body, modern, body, 400, -32020, strings.Repeat("m", 80) + `"...`},

		{"Mcp-Param of no argument", with(modern, "Mcp-Param-Region", "us"), body, with(modern, "Mcp-Param-Region", "eu"), body, 400, -32020, "no argument has"},
		{"Mcp-Param in an older revision", with(plain, "Mcp-Param-Region", "us"), bodyPlain, with(plain, "Mcp-Param-Region", "eu"), bodyPlain, 400, -32020, "no argument has"},
		{"Mcp-Param of another number", with(modern, "Mcp-Param-N", "43"), body, with(modern, "Mcp-Param-N", "42.0"), body, 400, -32020, "no argument has"},
		{"Mcp-Param not a number", with(modern, "Mcp-Param-N", "NaN"), body, with(modern, "Mcp-Param-N", "4.2e1"), body, 400, -32020, "no argument has"},
		{"one of two Mcp-Params", with(with(modern, "Mcp-Param-S", "eu"), "Mcp-Param-T", "us"), body, with(with(modern, "Mcp-Param-S", "eu"), "Mcp-Param-T", "42"), body, 400, -32020, `"mcp-param-t" has a value`},
		{"Mcp-Param of another truth", with(modern, "Mcp-Param-T", "false"), body, with(modern, "Mcp-Param-T", "true"), body, 400, -32020, "no argument has"},
		{"Mcp-Param of null", with(modern, "Mcp-Param-Z", "null"), body, with(modern, "Mcp-Param-O", "deep"), body, 400, -32020, "no argument has"},
		{"Mcp-Param of an array's item", with(modern, "Mcp-Param-L", "item"), body, with(modern, "Mcp-Param-O", "=?base64?ZGVlcA==?="), body, 400, -32020, "no argument has"},
		{"Mcp-Param of a fraction", with(plain, "Mcp-Param-F", "1.5"), bodyPlain, with(plain, "Mcp-Param-N", "42"), bodyPlain, 400, -32020, "no argument has"},
		{"Mcp-Param empty", with(modern, "Mcp-Param-E", ""), body, with(plain, "Mcp-Param-E", ""), bodyPlain, 400, -32020, "no argument has"},
		{"Mcp-Param twice", with(modern, "Mcp-Param-S", "eu", "eu"), body, with(modern, "Mcp-Param-S", "eu"), body, 400, -32020, "given 2 times"},
		{"Mcp-Param in bad base64", with(modern, "Mcp-Param-S", "=?base64?ZXU?="), body, with(modern, "Mcp-Param-S", "=?base64?ZXU=?="), body, 400, -32020, "bad base64"},
		{"Mcp-Param without arguments", with(listing, "Mcp-Param-S", "eu"), list, listing, list, 400, -32020, "no argument has"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := toolcall.Parse(toolcall.HeadersOf(tt.bad), []byte(tt.badBody), toolcall.Limits{})
			r := refusal(t, err)
			require.Contains(t, r.Reason, tt.reason)
			require.Less(t, len(r.Reason), 400, "reasons stay short")
			require.Equal(t, "toolcall: "+r.Reason, r.Error())
			require.Equal(t, tt.status, r.HTTPStatus)
			require.Equal(t, tt.code, r.Code)
			if tt.status == 400 {
				require.Equal(t, "1", string(r.ID), "the client can tell which request was refused")
			}

			_, err = toolcall.Parse(toolcall.HeadersOf(tt.good), []byte(tt.goodBody), toolcall.Limits{})
			require.NoError(t, err)
		})
	}
}

func TestUnknownVersionNamesTheKnown(t *testing.T) {
	h := jsonHeaders()
	h.ProtocolVersion = []string{`"new`}
	_, err := toolcall.Parse(h, []byte(call(`"name":"a"`)), toolcall.Limits{})
	r := refusal(t, err)
	require.JSONEq(t, `{"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26"],"requested":"\"new"}`,
		string(r.Data))
}

func TestProtocolVersionAndSession(t *testing.T) {
	initialize := func(asked string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"` + asked + `"}}`
	}
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	tests := []struct {
		name, header, body, want string
	}{
		{"absent", "", ping, toolcall.Version20250326},
		{"given", toolcall.Version20251125, ping, toolcall.Version20251125},
		{"initialize asks", "", initialize("2025-06-18"), toolcall.Version20250618},
		{"initialize asks for what we do not know", "", initialize("2024-11-05"), "2024-11-05"},
		{"initialize after another session", toolcall.Version20250618, initialize("2025-11-25"), toolcall.Version20251125},
		{"notification without _meta", toolcall.Version20260728, `{"jsonrpc":"2.0","method":"notifications/cancelled"}`, toolcall.Version20260728},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := jsonHeaders()
			if tt.header != "" {
				h.ProtocolVersion = []string{tt.header}
			}
			h.SessionID = []string{"session-1"}
			m, err := toolcall.Parse(h, []byte(tt.body), toolcall.Limits{})
			require.NoError(t, err)
			require.Equal(t, tt.want, m.ProtocolVersion())
			require.Equal(t, "session-1", m.Session())
		})
	}
}
