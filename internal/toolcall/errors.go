// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package toolcall

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// JSON-RPC error codes that the guard answers with. The first five are JSON-RPC 2.0's own. MCP 2026-07-28 keeps -32020
// to -32099 for itself and leaves -32000 to -32019 to implementations.
const (
	CodeParseError         = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternalError      = -32603
	CodeHeaderMismatch     = -32020
	CodeUnsupportedVersion = -32022

	// CodeDenied says that policy does not allow the action. It is ours. The official SDKs give other meanings to
	// -32000 to -32005 (-32001 is a timeout in TypeScript and an unknown error in Go), and -32002 and
	// -32042 stay reserved, so it keeps clear of all of these.
	CodeDenied = -32013

	// codeElicitationRequired has a client elicit what error.data.elicitations says, and try again (MCP 2025-11-25,
	// URLElicitationRequiredError).
	codeElicitationRequired = -32042
)

// ErrEventTooLarge says that a server-sent event passed [Limits].BodyBytes before it ended.
var ErrEventTooLarge = errors.New("toolcall: event is larger than the limit")

// Refusal says why a request may not pass. It is the only kind of error [Parse] returns.
type Refusal struct {
	HTTPStatus int    // status of the answer: 400, 404, 413 or 415
	Code       int    // JSON-RPC code of the answer
	Reason     string // the rule broken, for the record; quotes and shortens what the caller sent
	ID         []byte // id of the request as JSON, nil where it could not be read
	Data       []byte // JSON for the data member of the answer, nil if none
}

func (r *Refusal) Error() string { return "toolcall: " + r.Reason }

// AnswerError says why an answer of the server cannot be read for certain. The door fails closed where it has to
// filter, and records the answer as not understood elsewhere.
type AnswerError struct {
	Reason string
}

func (e *AnswerError) Error() string { return "toolcall: answer: " + e.Reason }

// fault is what the scanner finds wrong. It becomes a Refusal or an AnswerError at the exported edge.
type fault struct {
	status, code int
	reason       string
	data         []byte
}

func (f *fault) Error() string { return f.reason }

func invalid(code int, format string, args ...any) error {
	return &fault{status: 400, code: code, reason: fmt.Sprintf(format, args...)}
}

// syntax words an error of the JSON reader.
func syntax(err error) error {
	var se *jsontext.SyntacticError
	if errors.As(err, &se) && errors.Is(se.Err, jsontext.ErrDuplicateName) {
		return invalid(CodeParseError, "member name %s stands twice in one object", clip(se.JSONPointer.LastToken()))
	}
	reason := strings.TrimPrefix(err.Error(), "jsontext: ")
	if len(reason) > 200 {
		reason = strings.ToValidUTF8(reason[:200], "") + "..."
	}
	return invalid(CodeParseError, "not strict JSON: %s", reason)
}

func refuse(err error, id []byte) error {
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{status: 400, code: CodeInternalError, reason: err.Error()}
	}
	return &Refusal{HTTPStatus: f.status, Code: f.code, Reason: f.reason, ID: id, Data: f.data}
}

// clip quotes what a caller sent and keeps the record short.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:most], ""))
	}
	return fmt.Sprintf("%q", s)
}
