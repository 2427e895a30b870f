// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

func errorsAs[T error](err error, target *T) bool { return errors.As(err, target) }

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "{}", "[]", "\xef\xbb\xbf{}", call(`"name":"a","arguments":{"x":[1,{"y":null}]}`), call(`"name":"a","nAme":"b"`),
		call(`"name":"a","name":"b"`), call(`"\u006eame":"\ud83d\ude00","_meta":{"progressToken":1}`),
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"1"}}`,
		`{"jsonrpc":"2.0","id":"x","result":{"action":"accept"}}`, `{"jsonrpc":"2.0","id":null,"error":{"code":1}}`,
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}`,
		`{"jsonrpc":"2.0","id":-9223372036854775808,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{` + metaNew + `}}`,
		complete(`"ref":{"type":"ref/prompt","name":"p"}`), complete(`"ref":{"type":"ref/resource","uri":"a:{b}"},"argument":{"name":"b"}`),
		`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t"}}`,
		call(`"name":"a","arguments":{"n":1e308,"m":-0.0,"k":0e999}`), call("\"name\":\"\xff\""), call(`"name":"\ud800"`),
	} {
		f.Add([]byte(s), "", "", "")
		f.Add([]byte(s), "2026-07-28", "tools/call", "=?base64?YQ==?=")
	}
	f.Fuzz(func(t *testing.T, body []byte, version, method, param string) {
		h := jsonHeaders()
		if version != "" {
			h.ProtocolVersion = []string{version}
		}
		if method != "" {
			h.Method = []string{method}
		}
		if param != "" {
			h.Params = map[string][]string{"mcp-param-a": {param}}
		}
		before := bytes.Clone(body)
		m, err := toolcall.Parse(h, body, toolcall.Limits{})
		require.Equal(t, before, body)
		if err != nil {
			require.Nil(t, m)
			r := refusal2(t, err)
			require.Contains(t, []int{400, 404, 413, 415}, r.HTTPStatus)
			require.NotEmpty(t, r.Reason)
			require.NotEqual(t, toolcall.CodeInternalError, r.Code, r.Reason)
			_, err = toolcall.ErrorBody(r.ID, r.Code, "refused", r.Data)
			require.NoError(t, err)
			return
		}
		require.True(t, jsontext.Value(m.Body()).IsValid())
		require.True(t, json.Valid(m.Body()))
		again, err := toolcall.Parse(h, m.Body(), toolcall.Limits{})
		require.NoError(t, err)
		require.Equal(t, m, again)
		checkAgainstEncodingJSON(t, m)
		if m.Kind() != toolcall.KindResponse {
			checkDigestAgainstJCS(t, m)
		}
	})
}

func refusal2(t fataler, err error) *toolcall.Refusal {
	var r *toolcall.Refusal
	require.ErrorAs(t, err, &r)
	return r
}

func FuzzReadAnswer(f *testing.F) {
	for _, s := range []string{
		"", "{}", list(`"isError":true,"content":[]`), list(`"tools":[{"name":"a"}]`), list(`"isError":true,"isError":false`),
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}`, `{"jsonrpc":"2.0","method":"notifications/progress"}`,
		`{"jsonrpc":"2.0","id":"a","method":"roots/list","params":{}}`,
		list(`"inputRequests":{"a":{"method":"roots/list","params":{}}},"resultType":"input_required"`), list(`"task":{"taskId":"t"}`),
		list(`"resultType":"task","taskId":"t"`), list(`"z":[1,-0,0.10,{"b\"":"\\\"","b":{}}],"a":null`), `{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"t","uri":"a:"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := toolcall.ReadAnswer(body, toolcall.Limits{})
		if err != nil {
			var ae *toolcall.AnswerError
			require.ErrorAs(t, err, &ae)
			return
		}
		var lenient struct {
			Result map[string]any
			Error  json.RawMessage
		}
		require.NoError(t, json.Unmarshal(body, &lenient))
		if a.Kind == toolcall.KindResponse && !a.RPCError {
			checkAsks(t, a, lenient.Result)
		}
		require.Equal(t, a.ToolError, lenient.Result["isError"] == true && a.Kind == toolcall.KindResponse)
		require.Equal(t, a.RPCError, lenient.Error != nil)
		d, err := a.Digest()
		require.NoError(t, err)
		require.Equal(t, a.Kind == toolcall.KindResponse, d != "")
		if d != "" {
			checkAnswerAgainstJCS(t, a)
		}
	})
}

func checkAsks(t *testing.T, a *toolcall.Answer, result map[string]any) {
	requests, _ := result["inputRequests"].(map[string]any)
	require.Len(t, a.Asks, len(requests))
	for _, request := range requests {
		require.Contains(t, a.Asks, request.(map[string]any)["method"])
	}
	made, _ := result["task"].(map[string]any)
	id, is := made["taskId"].(string)
	if !is && result["resultType"] == "task" {
		id, _ = result["taskId"].(string)
	}
	require.Equal(t, id, a.Task)
}

func FuzzFilterList(f *testing.F) {
	for _, s := range []string{
		list(`"tools":[{"name":"a"},{"name":"b"}]`), list(`"tools":[],"nextCursor":"x"`), list(`"tools":[{"name":"b","Name":"a"}]`),
		list(`"ttlMs":1,"cacheScope":"public","tools":[{"name":"\u0061b","inputSchema":{"properties":{"name":{}}}}]`),
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}`, `{"jsonrpc":"2.0","method":"notifications/progress"}`,
		list(`"Tools":[{"name":"b"}],"tools":[]`), list(`"tools":[{"name":"b"},null]`), list(`"prompts":[{"name":"b"},{"name":"a"}]`),
		list(`"resources":[{"uri":"a:b","name":"b"},{"name":"a","uri":"b:a"}]`), list(`"tasks":[{"taskId":"b"}]`),
		list(`"resourceTemplates":[{"uriTemplate":"a:{b}"},{"uriTemplate":"b:{a}"}]`),
	} {
		for kind := range byte(5) {
			f.Add([]byte(s), kind%2 == 0, kind)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, modern bool, kind byte) {
		version := toolcall.Version20251125
		if modern {
			version = toolcall.Version20260728
		}
		of := [][3]string{
			{"tools/list", "tools", "name"},
			{"prompts/list", "prompts", "name"},
			{"resources/list", "resources", "uri"},
			{"resources/templates/list", "resourceTemplates", "uriTemplate"},
			{"tasks/list", "tasks", "taskId"},
		}[kind%5]
		keep := func(name string) bool { return name[0] == 'a' }
		out, dropped, err := toolcall.FilterList(of[0], body, version, toolcall.Limits{}, keep)
		if kind%5 == 0 {
			learned := 0
			same, _, wrong := toolcall.LearnTools(body, version, toolcall.Limits{}, keep, func(tool string, schema []byte) {
				require.NotEmpty(t, tool)
				require.True(t, schema == nil || jsontext.Value(schema).IsValid())
				learned++
			})
			require.Equal(t, err == nil, wrong == nil)
			require.Equal(t, string(out), string(same))
			require.True(t, err != nil || learned >= dropped)
		}
		if err != nil {
			require.Nil(t, out)
			return
		}
		require.True(t, jsontext.Value(out).IsValid())
		var before, after struct{ Result map[string]any }
		require.NoError(t, json.Unmarshal(out, &after))
		if after.Result == nil {
			return
		}
		kept := after.Result[of[1]].([]any)
		for _, item := range kept {
			require.True(t, keep(item.(map[string]any)[of[2]].(string)), "a denied item got through: %q", item)
		}
		if json.Unmarshal(body, &before) == nil && before.Result != nil {
			require.Len(t, before.Result[of[1]], len(kept)+dropped)
		}
		if modern {
			require.Equal(t, "private", after.Result["cacheScope"])
		}
		again, more, err := toolcall.FilterList(of[0], out, version, toolcall.Limits{}, keep)
		require.NoError(t, err)
		require.Zero(t, more)
		require.Equal(t, string(out), string(again))
	})
}

func FuzzEvents(f *testing.F) {
	for _, s := range []string{
		"", "data: a\n\n", "event: x\r\nid: 1\r\nretry: 5\r\ndata: a\r\ndata\r\n\r\n", "\xef\xbb\xbfdata: a\r\rdata: b\n\n:c\n\n",
		"data: {\n", "\r\n\r\r\n", "data:a\rdata:b\n\rid:\x00\n\n",
	} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), 100)
	}
	f.Fuzz(func(t *testing.T, stream []byte, chunk int) {
		all := readAll(t, chunked(stream, chunk))
		var raw, encoded []byte
		var want []*toolcall.Event
		for _, ev := range all {
			raw = append(raw, ev.Raw...)
			from := len(encoded)
			var err error
			encoded, err = toolcall.AppendEvent(encoded, ev)
			require.NoError(t, err)
			if len(encoded) > from {
				want = append(want, ev)
			}
		}
		require.Equal(t, string(stream), string(raw))

		got := readAll(t, bytes.NewReader(encoded))
		require.Len(t, got, len(want))
		for i, ev := range got {
			ev.Raw, want[i].Raw, want[i].Unfinished = nil, nil, false
			require.Equal(t, want[i], ev)
		}
	})
}

func readAll(t *testing.T, r io.Reader) []*toolcall.Event {
	all, err := events(t, r, toolcall.Limits{})
	require.NoError(t, err)
	return all
}

// chunked reads at most n bytes at a time.
func chunked(stream []byte, n int) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if len(stream) == 0 {
			return 0, io.EOF
		}
		c := copy(p[:min(len(p), max(n, 1))], stream)
		stream = stream[c:]
		return c, nil
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
