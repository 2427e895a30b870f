// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// What a caller is told. The reason of a refusal goes to the record only.
const (
	sayDenied     = "Denied by policy. Reference: "
	sayDeniedTool = "Denied by policy: %s may not call tool %.100s of server %s. Reference: "
	sayMalformed  = "Refused: the request is not one that this server's guard understands. Reference: "
	sayNoSession  = "Session not found. Reference: "
	sayNoTask     = "Task not found. Reference: "
	sayClosed     = "The guard of this server cannot decide or record now; nothing is let through. Reference: "
	sayNoAnswer   = "The server gave no answer that can be passed on. Reference: "
	sayUsedUp     = "Denied by policy: as many calls as a rule allows were made; try again later. Reference: "
	sayWithheld   = "Withheld by policy: the call was made, and its answer is more than a rule lets pass. Reference: "
	sayNotAsked   = "Refused: the workflow step that this call comes with is not one that can be done by it. Reference: "
	sayNoToken    = "Refused: the transaction token that comes with the call is not good here. Reference: "
	sayRepeated   = "Refused: this step of the workflow was passed on before. Reference: "
	sayNotHeld    = "What the question leaves out is not known here: call again with all of it."
	sayWanted     = "The policy asks for the chain of the workflow, and not all of it is known here: present it, and call again."
	sayNoQuestion = "No call was passed on for this question. Reference: "
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
	// result is the version of MCP in which the reply is the result of a tool; empty for an error.
	result string
	// retryAfter is when trying again has a chance; 0 for never.
	retryAfter time.Duration
	// question and answer are links that go with the reply, and chain is what it says of the chain.
	// held is whose certificates the worker has.
	question, answer *receipt.Envelope
	chain            string
	held             receipt.Held
}

// send writes the reply as a JSON-RPC error, which is what MCP clients show, or
// as a result.
func (a reply) send(w http.ResponseWriter, log func(string, ...any)) {
	header := w.Header()
	for name := range header {
		if name != HeaderHas {
			header.Del(name)
		}
	}
	header.Set("Content-Type", "application/json")
	if a.status == http.StatusMethodNotAllowed {
		header.Set("Allow", "POST, DELETE")
	}
	if a.retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(a.retryAfter.Seconds())), 10))
	}
	a.link(header)
	w.WriteHeader(a.status)
	body, err := a.body()
	if err == nil {
		_, err = w.Write(body)
	}
	// Dapr closes the pipe before it has read the answer to a GET stream, and when the caller is gone.
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		log("mcpguard: answering a refused request: %v", err)
	}
}

// link tells of the chain.
func (a reply) link(header http.Header) {
	if a.question != nil {
		header.Set(HeaderQuestion, receipt.EncodeHeader(a.question, a.held))
	}
	if a.answer != nil {
		header.Set(HeaderAnswer, receipt.EncodeHeader(a.answer, a.held))
	}
	if a.chain != "" {
		header.Set(HeaderChain, a.chain)
	}
}

func (a reply) body() ([]byte, error) {
	if a.result != "" {
		return toolcall.ToolErrorBody(a.id, a.say, a.result)
	}
	return toolcall.ErrorBody(a.id, a.code, a.say, a.data)
}

// deniedTool tells a caller that policy denied it a tool. It is the same for a
// tool that is hidden from it and for one that the server does not have.
func (g *Guard) deniedTool(ask gate.Ask, version string) *reply {
	answer := &reply{
		status: http.StatusForbidden, code: toolcall.CodeDenied,
		say: fmt.Sprintf(sayDeniedTool, ask.Caller, ask.Action.Name, ask.Action.Server),
	}
	if g.meta.DenyAs == DenyAsToolError {
		answer.status, answer.result = http.StatusOK, version
	}
	return answer
}

// replyTo turns what the gate said into what the caller is told. refused is how
// a refusal of the door's own is told; where the policy denied it does not count.
func replyTo(err error, refused *reply, id []byte) reply {
	var denied *gate.DeniedError
	if errors.As(err, &denied) {
		answer := reply{status: http.StatusForbidden, code: toolcall.CodeDenied, say: sayDenied}
		if refused != nil {
			answer = *refused
		}
		if denied.RetryAfter > 0 {
			answer.say = sayUsedUp
			if answer.result == "" {
				answer.status, answer.retryAfter = http.StatusTooManyRequests, denied.RetryAfter
			}
		}
		answer.say += denied.Reference
		answer.id, answer.answer = id, denied.Answer
		return answer
	}
	var repeated *gate.RepeatedError
	if errors.As(err, &repeated) {
		return repetition(repeated, id)
	}
	reference := "none"
	var closed *gate.ClosedError
	if errors.As(err, &closed) {
		reference = closed.Reference
	}
	return reply{status: http.StatusServiceUnavailable, code: toolcall.CodeInternalError, say: sayClosed + reference, id: id}
}
