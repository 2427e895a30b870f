// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Answer is what one message of a server says of the outcome.
type Answer struct {
	Kind      Kind   // KindResponse for the answer itself; the others come before it on a stream of events
	Method    string // of a request or notification
	ID        []byte // as JSON in our encoding, nil if absent
	RPCError  bool   // the response has error instead of result
	ErrorCode int64  // error.code
	ToolError bool   // result.isError is true

	// Asks are the methods that the client is to answer by itself, of result.inputRequests (2026-07-28) or, in a
	// notification about a task, params.inputRequests. An error of code -32042 (2025-11-25) asks for elicitation/create.
	Asks []string
	// Task is the ID of the task that the result makes of the request: result.task.taskId (2025-11-25), or
	// result.taskId where resultType is "task" (the extension of 2026-07-28).
	Task string
	// URI and TaskID are params.uri and params.taskId of a request or notification, "" where they are no strings.
	URI, TaskID string
	// Beside says that there is something which JSON-RPC does not know in a message of its kind, and which is no part of
	// [Answer.Part]: another member, or the params of a response.
	Beside bool

	value []byte
	// body is the whole message in our encoding, and part what of it holds data.
	body []byte
	part field
}

// Part is what the message carries, in our encoding: result or error of a response, params of a request or
// notification. It is nil where there is nothing.
func (a *Answer) Part() []byte { return a.part.raw }

// Body is the whole message in our encoding. It must not be written to.
func (a *Answer) Body() []byte { return a.body }

// WithPart is the message in our encoding with another value in the place of [Answer.Part], which must not be nil. The
// value has to be JSON.
func (a *Answer) WithPart(value []byte) []byte {
	end := a.part.at + len(a.part.raw)
	body := make([]byte, 0, len(a.body)-len(a.part.raw)+len(value))
	body = append(body, a.body[:a.part.at]...)
	body = append(body, value...)
	return append(body, a.body[end:]...)
}

// ReadAnswer reads a JSON-RPC message that came from the server: a body of type application/json, or the data of an
// event. Every error is an *[AnswerError]. Zero limits are the defaults for answers.
func ReadAnswer(body []byte, lim Limits) (*Answer, error) {
	r := &answerReader{scanner: newScanner(body, lim.orAnswer())}
	defer r.release()
	a, err := r.read(body)
	if err != nil {
		return nil, &AnswerError{Reason: err.Error()}
	}
	a.body = r.out
	a.Beside = r.beside || a.Kind == KindResponse && r.params.present()
	return a, nil
}

// Digest is the SHA-256 in hex of the canonical form (RFC 8785) of result, or of error; "" for a message that is not a
// response.
func (a *Answer) Digest() (string, error) {
	if a.value == nil {
		return "", nil
	}
	d, err := canonicalDigest(a.value)
	if err != nil {
		return "", fmt.Errorf("toolcall: answer: %w", err)
	}
	return d, nil
}

// answerReader keeps of an answer what says how it went. With a filter it takes items of a list out on the way.
type answerReader struct {
	*scanner
	jsonrpc, id, method  field
	result, fail, params field
	isError, code        field
	asks                 []string
	resultType           field
	task, newTask        field // result.taskId, result.task.taskId
	about, aboutTask     field // params.uri, params.taskId
	beside               bool
	filter               *listFilter
}

func (r *answerReader) read(body []byte) (*Answer, error) {
	if err := r.document(body, r.messageMember); err != nil {
		return nil, err
	}
	switch {
	case string(r.jsonrpc.raw) != `"2.0"`:
		return nil, errors.New("jsonrpc is not \"2.0\"")
	case r.method.present():
		return r.call()
	case r.result.present() == r.fail.present():
		return nil, errors.New("message has not exactly one of method, result and error")
	case r.fail.present():
		return r.failure()
	}
	return r.success()
}

func (r *answerReader) call() (*Answer, error) {
	switch {
	case r.method.kind != '"':
		return nil, errors.New("method is not a string")
	case r.result.present() || r.fail.present():
		return nil, errors.New("message is both a call and an answer")
	}
	a := &Answer{
		Kind: KindNotification, Method: r.method.text, ID: r.id.raw, part: r.params, Asks: r.asks, URI: r.about.text, TaskID: r.aboutTask.text,
	}
	if r.id.present() {
		a.Kind = KindRequest
	}
	return a, nil
}

func (r *answerReader) failure() (*Answer, error) {
	if r.fail.kind != '{' {
		return nil, errors.New("error is not an object")
	}
	code, err := strconv.ParseInt(string(r.code.raw), 10, 64)
	if err != nil {
		return nil, errors.New("error.code is not an integer")
	}
	a := &Answer{Kind: KindResponse, ID: r.id.raw, RPCError: true, ErrorCode: code, value: r.fail.raw, part: r.fail}
	if code == codeElicitationRequired {
		a.Asks = []string{"elicitation/create"}
	}
	return a, nil
}

func (r *answerReader) success() (*Answer, error) {
	switch {
	case r.result.kind != '{':
		return nil, errors.New("result is not an object")
	case r.isError.present() && r.isError.kind != 't' && r.isError.kind != 'f':
		return nil, errors.New("result.isError is neither true nor false")
	case !r.id.present() || r.id.kind == 'n':
		return nil, errors.New("response with a result has no id")
	}
	return &Answer{
		Kind: KindResponse, ID: r.id.raw, ToolError: r.isError.kind == 't', value: r.result.raw, part: r.result,
		Asks: r.asks, Task: r.madeTask(),
	}, nil
}

func (r *answerReader) messageMember(name []byte) error {
	switch string(name) {
	case "jsonrpc":
		return r.keep(&r.jsonrpc, nil)
	case "id":
		return r.keepID(&r.id)
	case "method":
		return r.keepMethod(&r.method)
	case "result":
		err := r.keep(&r.result, r.resultMember)
		if err == nil && r.filter != nil {
			r.closeFiltered()
		}
		return err
	case "error":
		return r.keep(&r.fail, r.errorMember)
	case "params":
		return r.keep(&r.params, r.paramsMember)
	}
	if err := checkMember(name, messageMembers); err != nil {
		return err
	}
	r.beside = true
	return r.value()
}

func (r *answerReader) resultMember(name []byte) error {
	switch string(name) {
	case "isError":
		return r.keep(&r.isError, nil)
	case "resultType":
		return r.keepText(&r.resultType, r.lim.NameBytes)
	case "inputRequests":
		return r.inputRequests()
	case "cacheScope":
		if r.filter != nil {
			return r.makePrivate()
		}
	}
	if r.filter != nil {
		if string(name) == r.filter.member {
			return r.filterList()
		}
		if err := checkMember(name, r.filter.members); err != nil {
			return err
		}
		r.filter.more = r.filter.more || string(name) == "nextCursor"
		return r.resultOther(name)
	}
	switch string(name) {
	case "taskId":
		return r.keepText(&r.task, r.lim.NameBytes)
	case "task":
		return r.keep(new(field), r.taskMember)
	}
	return r.resultOther(name)
}

func (r *answerReader) resultOther(name []byte) error {
	if err := checkMember(name, resultMembers); err != nil {
		return err
	}
	return r.value()
}

func (r *answerReader) errorMember(name []byte) error {
	if string(name) == "code" {
		return r.keep(&r.code, nil)
	}
	if err := checkMember(name, errorMembers); err != nil {
		return err
	}
	return r.value()
}

// ToolErrorBody builds the answer to a tools/call of that revision of MCP: a result that says that the tool failed, with
// the message as its text. The id has to be strict JSON, and the message UTF-8.
func ToolErrorBody(id []byte, message, version string) ([]byte, error) {
	b, err := jsontext.AppendFormat([]byte(`{"jsonrpc":"2.0","id":`), id)
	if err != nil {
		return nil, fmt.Errorf("toolcall: id of a tool error: %w", err)
	}
	b = append(b, `,"result":{`...)
	if version == Version20260728 {
		b = append(b, `"resultType":"complete",`...)
	}
	b, err = jsontext.AppendQuote(append(b, `"content":[{"type":"text","text":`...), message)
	if err != nil {
		return nil, fmt.Errorf("toolcall: message of a tool error: %w", err)
	}
	return append(b, `}],"isError":true}}`...), nil
}

// ErrorBody builds a JSON-RPC error response. A nil id leaves the member out, and nil data likewise. The id and data
// have to be strict JSON, and the message UTF-8.
func ErrorBody(id []byte, code int, message string, data []byte) ([]byte, error) {
	b := append(make([]byte, 0, 96+len(id)+len(message)+len(data)), `{"jsonrpc":"2.0"`...)
	var err error
	if id != nil {
		if b, err = jsontext.AppendFormat(append(b, `,"id":`...), id); err != nil {
			return nil, fmt.Errorf("toolcall: id of an error: %w", err)
		}
	}
	b = strconv.AppendInt(append(b, `,"error":{"code":`...), int64(code), 10)
	if b, err = jsontext.AppendQuote(append(b, `,"message":`...), message); err != nil {
		return nil, fmt.Errorf("toolcall: message of an error: %w", err)
	}
	if data != nil {
		if b, err = jsontext.AppendFormat(append(b, `,"data":`...), data); err != nil {
			return nil, fmt.Errorf("toolcall: data of an error: %w", err)
		}
	}
	return append(b, "}}"...), nil
}
