// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// What a caller is told. The reason of a refusal goes to the record only.
const (
	sayDenied     = "Denied by policy. Reference: "
	sayDeniedTool = "Denied by policy: %s may not call tool %.100s of server %s. Reference: "
	sayMalformed  = "Refused: the request is not one that this server's guard understands. Reference: "
	sayNoSession  = "Session not found. Reference: "
	sayClosed     = "The guard of this server cannot decide or record now; nothing is let through. Reference: "
	sayNoAnswer   = "The server gave no answer that can be passed on. Reference: "
	sayNoStreams  = "This server offers no event stream here; use POST."
	sayNoSuchVerb = "Method not allowed. Reference: "
)

// reply is an answer of the guard's own.
type reply struct {
	status int
	code   int
	say    string
	id     []byte
	data   []byte
}

// send writes the reply as a JSON-RPC error, which is what MCP clients show.
func (a reply) send(w http.ResponseWriter, log func(string, ...any)) {
	header := w.Header()
	for name := range header {
		header.Del(name)
	}
	header.Set("Content-Type", "application/json")
	if a.status == http.StatusMethodNotAllowed {
		header.Set("Allow", "POST, DELETE")
	}
	w.WriteHeader(a.status)
	body, err := toolcall.ErrorBody(a.id, a.code, a.say, a.data)
	if err == nil {
		_, err = w.Write(body)
	}
	// Dapr closes the pipe before it has read the answer to a GET stream, and when the caller is gone.
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		log("mcpguard: answering a refused request: %v", err)
	}
}

// deniedTool tells a caller that policy denied it a tool. It is the same for a
// tool that is hidden from it and for one that the server does not have.
func deniedTool(ask gate.Ask) *reply {
	return &reply{
		status: http.StatusForbidden, code: toolcall.CodeDenied,
		say: fmt.Sprintf(sayDeniedTool, ask.Caller, ask.Action.Name, ask.Action.Server),
	}
}

// replyTo turns what the gate said into what the caller is told. refused is how
// a refusal of the door's own is told; where the policy denied it does not count.
func replyTo(err error, refused *reply, id []byte) reply {
	var denied *gate.DeniedError
	if errors.As(err, &denied) {
		if refused == nil {
			return reply{status: http.StatusForbidden, code: toolcall.CodeDenied, say: sayDenied + denied.Reference, id: id}
		}
		answer := *refused
		answer.say += denied.Reference
		answer.id = id
		return answer
	}
	reference := "none"
	var closed *gate.ClosedError
	if errors.As(err, &closed) {
		reference = closed.Reference
	}
	return reply{status: http.StatusServiceUnavailable, code: toolcall.CodeInternalError, say: sayClosed + reference, id: id}
}
