// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/toolcall"
)

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestReadAnswer(t *testing.T) {
	tests := []struct {
		name, body, canonical string
		want                  toolcall.Answer
	}{
		{
			"result", ` {"jsonrpc":"2.0","id":1,"result":{"content":[ ],"_meta":{"b":1.0,"a":"\u0041"}}}`,
			`{"_meta":{"a":"A","b":1},"content":[]}`,
			toolcall.Answer{Kind: toolcall.KindResponse, ID: []byte("1")},
		},
		{
			"isError false", `{"jsonrpc":"2.0","id":"x","result":{"isError":false}}`, `{"isError":false}`,
			toolcall.Answer{Kind: toolcall.KindResponse, ID: []byte(`"x"`)},
		},
		{
			"isError true", `{"result":{"isError":true,"content":[]},"id":2,"jsonrpc":"2.0"}`, `{"content":[],"isError":true}`,
			toolcall.Answer{Kind: toolcall.KindResponse, ID: []byte("2"), ToolError: true},
		},
		{
			"isError deeper down is not it", `{"jsonrpc":"2.0","id":2,"result":{"_meta":{"isError":true}}}`,
			`{"_meta":{"isError":true}}`,
			toolcall.Answer{Kind: toolcall.KindResponse, ID: []byte("2")},
		},
		{
			"error", `{"jsonrpc":"2.0","id":2,"error":{"message":"no","code":-32602}}`, `{"code":-32602,"message":"no"}`,
			toolcall.Answer{Kind: toolcall.KindResponse, ID: []byte("2"), RPCError: true, ErrorCode: -32602},
		},
		{
			"error without id", `{"jsonrpc":"2.0","error":{"code":1,"message":""}}`, `{"code":1,"message":""}`,
			toolcall.Answer{Kind: toolcall.KindResponse, RPCError: true, ErrorCode: 1},
		},
		{
			"notification", `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}`, "",
			toolcall.Answer{Kind: toolcall.KindNotification, Method: "notifications/message"},
		},
		{
			"request", `{"jsonrpc":"2.0","id":9,"method":"roots/list"}`, "",
			toolcall.Answer{Kind: toolcall.KindRequest, Method: "roots/list", ID: []byte("9")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := toolcall.ReadAnswer([]byte(tt.body), toolcall.Limits{})
			require.NoError(t, err)
			require.Equal(t, tt.want.Kind, a.Kind)
			require.Equal(t, tt.want.Method, a.Method)
			require.Equal(t, string(tt.want.ID), string(a.ID))
			require.Equal(t, tt.want.RPCError, a.RPCError)
			require.Equal(t, tt.want.ErrorCode, a.ErrorCode)
			require.Equal(t, tt.want.ToolError, a.ToolError)
			got, err := a.Digest()
			require.NoError(t, err)
			if tt.canonical == "" {
				require.Empty(t, got)
			} else {
				require.Equal(t, hexOf(tt.canonical), got)
			}
		})
	}
}

// A member that JSON-RPC does not know, or that another kind of message has.
func TestReadAnswerTellsOfMembersBeside(t *testing.T) {
	for body, want := range map[string]bool{
		`{"jsonrpc":"2.0","id":1,"result":{"x":1}}`:                                      false,
		`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x","data":{"x":1}}}`:       false,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"x":1}}`:            false,
		`{"jsonrpc":"2.0","id":1,"result":{"x":1},"x":1}`:                                true,
		`{"jsonrpc":"2.0","id":1,"result":{"x":1},"_meta":{}}`:                           true,
		`{"jsonrpc":"2.0","id":1,"result":{"x":1},"params":{}}`:                          true,
		`{"x":1,"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`:                true,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"x":1},"x":1}`:      true,
		`{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"x":1},"meta":{"a":1}}`: true,
	} {
		answer, err := toolcall.ReadAnswer([]byte(body), toolcall.Limits{})
		require.NoError(t, err, body)
		require.Equal(t, want, answer.Beside, body)
	}
}

func TestReadAnswerRefuses(t *testing.T) {
	tests := []struct{ name, body, reason string }{
		{"empty", "", "empty"},
		{"HTML", "<html>", "not strict JSON"},
		{"batch", `[{"jsonrpc":"2.0","id":1,"result":{}}]`, "batches"},
		{"result twice", `{"jsonrpc":"2.0","id":1,"result":{},"result":{"isError":true}}`, "stands twice"},
		{"isError twice", `{"jsonrpc":"2.0","id":1,"result":{"isError":false,"isError":true}}`, "stands twice"},
		{"iserror", `{"jsonrpc":"2.0","id":1,"result":{"iserror":true}}`, "only in case"},
		{"Result", `{"jsonrpc":"2.0","id":1,"Result":{},"result":{}}`, "only in case"},
		{"Code", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"Code":2}}`, "only in case"},
		{"isError a string", `{"jsonrpc":"2.0","id":1,"result":{"isError":"true"}}`, "isError"},
		{"isError null", `{"jsonrpc":"2.0","id":1,"result":{"isError":null}}`, "isError"},
		{"result null", `{"jsonrpc":"2.0","id":1,"result":null}`, "result is not"},
		{"result an array", `{"jsonrpc":"2.0","id":1,"result":[]}`, "result is not"},
		{"result and error", `{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}`, "exactly one"},
		{"neither", `{"jsonrpc":"2.0","id":1}`, "exactly one"},
		{"method and result", `{"jsonrpc":"2.0","id":1,"method":"a","result":{}}`, "both"},
		{"method a number", `{"jsonrpc":"2.0","method":1}`, "method is not"},
		{"error a string", `{"jsonrpc":"2.0","id":1,"error":"no"}`, "error is not"},
		{"code missing", `{"jsonrpc":"2.0","id":1,"error":{"message":"no"}}`, "error.code"},
		{"code fractional", `{"jsonrpc":"2.0","id":1,"error":{"code":1.5}}`, "error.code"},
		{"jsonrpc missing", `{"id":1,"result":{}}`, "jsonrpc"},
		{"id null", `{"jsonrpc":"2.0","id":null,"result":{}}`, "has no id"},
		{"id missing", `{"jsonrpc":"2.0","result":{}}`, "has no id"},
		{"id fractional", `{"jsonrpc":"2.0","id":1.5,"result":{}}`, "not an integer"},
		{"number beyond float64", `{"jsonrpc":"2.0","id":1,"result":{"n":1e999}}`, "beyond the range"},
		{"invalid UTF-8", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\xff\"}}", "invalid UTF-8"},
		{"cut off", `{"jsonrpc":"2.0","id":1,"result":{"a":`, "not strict JSON"},
		{"more behind it", `{"jsonrpc":"2.0","id":1,"result":{}}x`, "not strict JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := toolcall.ReadAnswer([]byte(tt.body), toolcall.Limits{})
			var ae *toolcall.AnswerError
			require.ErrorAs(t, err, &ae)
			require.Contains(t, ae.Reason, tt.reason)
		})
	}
	_, err := toolcall.ReadAnswer([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`), toolcall.Limits{BodyBytes: 35})
	require.ErrorContains(t, err, "more than 35")
	_, err = toolcall.ReadAnswer([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`), toolcall.Limits{BodyBytes: 36})
	require.NoError(t, err)
}

func TestErrorBody(t *testing.T) {
	b, err := toolcall.ErrorBody([]byte(`"a"`), toolcall.CodeDenied, "not \"allowed\"", []byte(`{ "receipt": "x" }`))
	require.NoError(t, err)
	require.Equal(t,
		`{"jsonrpc":"2.0","id":"a","error":{"code":-32013,"message":"not \"allowed\"","data":{"receipt":"x"}}}`, string(b))
	a, err := toolcall.ReadAnswer(b, toolcall.Limits{})
	require.NoError(t, err)
	require.Equal(t, int64(toolcall.CodeDenied), a.ErrorCode)

	b, err = toolcall.ErrorBody(nil, toolcall.CodeParseError, "parse error", nil)
	require.NoError(t, err)
	require.Equal(t, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"parse error"}}`, string(b))

	_, err = toolcall.ErrorBody([]byte("{"), 1, "m", nil)
	require.ErrorContains(t, err, "id")
	_, err = toolcall.ErrorBody(nil, 1, "\xff", nil)
	require.ErrorContains(t, err, "message")
	_, err = toolcall.ErrorBody(nil, 1, "m", []byte(`{"a":1,"a":2}`))
	require.ErrorContains(t, err, "data")
}

func TestWithPart(t *testing.T) {
	for in, want := range map[string]string{
		`{"jsonrpc":"2.0", "id":1, "result": {"a": [1, "b"]}, "x":1}`:   `{"jsonrpc":"2.0","id":1,"result":NEW,"x":1}`,
		`{"error":{"code":1,"message":"m"},"jsonrpc":"2.0","id":"i"}`:   `{"error":NEW,"jsonrpc":"2.0","id":"i"}`,
		`{"jsonrpc":"2.0","method":"notifications/x","params":{"a":1}}`: `{"jsonrpc":"2.0","method":"notifications/x","params":NEW}`,
	} {
		a, err := toolcall.ReadAnswer([]byte(in), toolcall.Limits{})
		require.NoError(t, err)
		require.Equal(t, want, string(a.WithPart([]byte("NEW"))))
		again := a.WithPart(a.Part())
		require.JSONEq(t, in, string(again))
	}
	a, err := toolcall.ReadAnswer([]byte(`{"jsonrpc":"2.0","method":"notifications/x"}`), toolcall.Limits{})
	require.NoError(t, err)
	require.Nil(t, a.Part())
}

// What a message of the server asks of the client, and which task or resource it is about.
func TestReadAnswerAsks(t *testing.T) {
	asks := func(params string) string {
		return `{"jsonrpc":"2.0","method":"notifications/tasks","params":{` + params + `}}`
	}
	tests := []struct {
		name, body string
		want       toolcall.Answer
	}{
		{"nothing", list(`"content":[],"resultType":"complete"`), toolcall.Answer{}},
		{"no requests", list(`"resultType":"input_required","inputRequests":{}`), toolcall.Answer{}},
		{"null", list(`"inputRequests":null`), toolcall.Answer{}},
		{
			"two requests", list(`"inputRequests":{"a":{"method":"roots/list"},"b":{"params":{},"method":"sampling\/createMessage"}},"resultType":"input_required"`),
			toolcall.Answer{Asks: []string{"roots/list", "sampling/createMessage"}},
		},
		{"whatever the type says", list(`"inputRequests":{"a":{"method":"roots/list"}}`), toolcall.Answer{Asks: []string{"roots/list"}}},
		{"deeper down", list(`"structuredContent":{"inputRequests":{"a":{"method":"roots/list"}}}`), toolcall.Answer{}},
		{"a task of 2025-11-25", list(`"task":{"status":"working","taskId":"t1","ttl":null}`), toolcall.Answer{Task: "t1"}},
		{"a task of 2026-07-28", list(`"taskId":"t1","resultType":"task"`), toolcall.Answer{Task: "t1"}},
		{"the state of a task", list(`"taskId":"t1","resultType":"complete"`), toolcall.Answer{}},
		{"a task that is none", list(`"task":"t1"`), toolcall.Answer{}},
		{"a task without an ID", list(`"task":{"taskId":1}`), toolcall.Answer{}},
		{"an update", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x:a"}}`, toolcall.Answer{URI: "x:a"}},
		{"an update of nothing", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":1}}`, toolcall.Answer{}},
		{"a task's state", asks(`"taskId":"t1","status":"working"`), toolcall.Answer{TaskID: "t1"}},
		{"an error that asks", `{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m"}}`, toolcall.Answer{Asks: []string{"elicitation/create"}}},
		{"an error that does not", `{"jsonrpc":"2.0","id":1,"error":{"code":-32041,"message":"m"}}`, toolcall.Answer{}},
		{"a task that asks", asks(`"taskId":"t1","inputRequests":{"a":{"method":"roots/list"}}`), toolcall.Answer{TaskID: "t1", Asks: []string{"roots/list"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := toolcall.ReadAnswer([]byte(tt.body), toolcall.Limits{})
			require.NoError(t, err)
			got := toolcall.Answer{Asks: a.Asks, Task: a.Task, URI: a.URI, TaskID: a.TaskID}
			require.Equal(t, tt.want, got)
		})
	}
	for _, bad := range []string{
		`"inputRequests":[]`, `"inputRequests":"a"`, `"inputRequests":{"a":"roots/list"}`, `"inputRequests":{"a":{}}`,
		`"inputRequests":{"a":{"method":1}}`, `"inputRequests":{"a":{"method":""}}`, `"inputRequests":{"a":{"method":"a","Method":"b"}}`,
		`"InputRequests":{"a":{"method":"a"}}`, `"inputRequests":{"a":null}`, `"inputRequests":{"a":{"method":"a"},"a":{"method":"b"}}`,
	} {
		for _, body := range []string{list(bad), asks(bad)} {
			_, err := toolcall.ReadAnswer([]byte(body), toolcall.Limits{})
			require.Error(t, err, body)
		}
	}
}
