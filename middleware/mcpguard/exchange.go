// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/toolcall"
	"github.com/dapr-custody/custody/internal/txn"
)

// Kinds of action that are not a method of MCP.
const (
	kindResponse  = "mcp.response"
	kindEnd       = "mcp.session/delete"
	kindUnparsed  = "mcp.unparsed"
	configPath    = "/dapr/config"
	sessionHeader = "Mcp-Session-Id"
)

// Handler guards next. Nothing of it depends on which next it was given: Dapr
// builds the pipeline anew for each request and shares it between them
// (pkg/middleware/http/pipeline.go).
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The app's own calls to an HTTPEndpoint run through the same pipeline.
		// What they reach is not the app, and without the mark it cannot be.
		if r.URL.Host != g.host.AppAddress {
			next.ServeHTTP(w, r)
			return
		}
		x := &exchange{guard: g, w: w, r: r, next: next}
		x.serve()
		// Here, where little of the stack is in use: each call of Dapr's has a goroutine of its own, and a stack that
		// has to grow under all this costs as much as the signature does.
		if x.permit != nil {
			x.forward()
		}
	})
}

// exchange is one request and its answer.
type exchange struct {
	guard  *Guard
	w      http.ResponseWriter
	r      *http.Request
	next   http.Handler
	caller identity.Caller
	task   task // that the request is about; zero for none
	step   *gate.Step
	// token is the verified transaction token, nil for none, and distrust is why
	// the one that came is not good.
	token    *txn.Token
	distrust string
	// unnamed is whether the token came by its name alone, which says nothing here.
	unnamed bool
	// holds is whose certificates the worker has that asks for the step.
	holds receipt.Held

	// permit is set once the request may pass: body, which is that of message where there is one.
	permit  *gate.Permit
	message *toolcall.Message // nil for what is not JSON-RPC
	body    []byte
}

// pass has the request go on once serve is over.
func (x *exchange) pass(permit *gate.Permit, message *toolcall.Message, body []byte) {
	x.permit, x.message, x.body = permit, message, body
}

func (x *exchange) serve() {
	if x.asks() {
		x.w.Header().Set(HeaderHas, HasNothing)
	}
	chainErr := x.identify()
	switch {
	case errors.Is(chainErr, identity.ErrNoPeer) && x.ownConfigCall():
		withoutClaims(x.r.Header)
		x.next.ServeHTTP(x.w, markPassed(x.r))
	case chainErr != nil:
		x.refuse(policy.Action{Kind: policy.KindHTTP, Name: x.line()}, nil, "the caller is not known: "+chainErr.Error(), nil)
	case x.atCustody():
		x.custody()
	case x.r.URL.RawQuery != "" || x.r.URL.ForceQuery:
		x.refuse(policy.Action{Kind: policy.KindHTTP, Name: x.line()}, nil, "the request has a query, which no rule can name",
			&reply{status: http.StatusBadRequest, code: toolcall.CodeInvalidRequest, say: sayMalformed})
	case x.exactStream():
		// Dapr would write the answer past our writer (pkg/channel/http/http_channel.go).
		x.stream()
	case x.asks() && (!x.atServer() || x.r.Method != http.MethodPost):
		x.refuse(policy.Action{Kind: policy.KindHTTP, Name: x.line()}, nil, "a question comes with what is no MCP request", notAsked())
	case x.unasked():
		x.refuse(policy.Action{Kind: policy.KindHTTP, Name: x.line()}, nil,
			"the step of a workflow comes without a question: the caller's sidecar has no mcpcaller that would have signed it", notAsked())
	case !x.atServer():
		x.plain()
	case x.r.Method == http.MethodPost:
		x.post()
	case x.r.Method == http.MethodDelete:
		x.endSession()
	case x.r.Method == http.MethodGet:
		// How a client asks for a stream; that there is none is an answer, not a refusal.
		reply{status: http.StatusMethodNotAllowed, code: toolcall.CodeInvalidRequest, say: sayNoStreams}.send(x.w, x.guard.host.Log)
	default:
		x.refuse(policy.Action{Kind: policy.KindHTTP, Name: x.line()}, nil, "the MCP endpoint takes POST and DELETE only",
			&reply{status: http.StatusMethodNotAllowed, code: toolcall.CodeInvalidRequest, say: sayNoSuchVerb})
	}
}

func (x *exchange) identify() error {
	var err error
	if x.caller, err = x.guard.caller(x.r.Context()); err == nil {
		x.behalf()
	}
	return err
}

// unasked reports whether the call is the step of a workflow that no sidecar has
// signed: mcpcaller takes Custody-Step off, and Dapr leaves a middleware out that
// is not loaded (pkg/middleware/http/pipeline.go).
func (x *exchange) unasked() bool { return len(x.r.Header[HeaderStep]) > 0 && !x.asks() }

// ownConfigCall reports whether this is the sidecar's own question at start.
func (x *exchange) ownConfigCall() bool {
	return x.r.Method == http.MethodGet && x.r.URL.EscapedPath() == configPath && x.r.URL.RawQuery == ""
}

// exactStream reports whether Dapr takes the request for a server-sent event
// stream (pkg/sse/sse.go): GET listen streams of MCP are, its POSTs are not.
func (x *exchange) exactStream() bool {
	return strings.EqualFold(strings.TrimSpace(x.r.Header.Get("Accept")), "text/event-stream")
}

func (x *exchange) stream() {
	if x.r.Method == http.MethodGet {
		reply{status: http.StatusMethodNotAllowed, code: toolcall.CodeInvalidRequest, say: sayNoStreams}.send(x.w, x.guard.host.Log)
		return
	}
	x.refuse(policy.Action{Kind: policy.KindHTTP, Name: x.line()}, nil, "Accept is text/event-stream alone, whose answer cannot be recorded",
		&reply{status: http.StatusNotAcceptable, code: toolcall.CodeInvalidRequest, say: sayMalformed})
}

// atServer reports whether the path is that of the MCP endpoint, in its one spelling.
func (x *exchange) atServer() bool { return x.r.URL.EscapedPath() == x.guard.meta.Path }

// likeServer reports whether some servers take the path for that of the MCP
// endpoint: those that do not mind the case of letters, or that cut off what
// follows a semicolon. What comes that way would not be parsed, so that no rule
// for paths may let it pass.
func (x *exchange) likeServer(escaped string) bool {
	parts := strings.Split(escaped, "/")
	for i, part := range parts {
		parts[i], _, _ = strings.Cut(part, ";")
	}
	return strings.EqualFold(path.Clean(strings.Join(parts, "/")), x.guard.meta.Path)
}

// line is how a rule names a plain HTTP request.
func (x *exchange) line() string { return x.r.Method + " " + x.r.URL.EscapedPath() }

// plain passes on a request that is not MCP, if a rule allows its method and path.
func (x *exchange) plain() {
	escaped := x.r.URL.EscapedPath()
	ask := gate.Ask{Caller: x.caller, Action: policy.Action{Kind: policy.KindHTTP, Server: x.guard.meta.Server, Name: x.line()}, Facts: x.facts(nil)}
	switch {
	case escaped != x.r.URL.Path || path.Clean(escaped) != escaped:
		ask.Refusal = "the path is not in its plain form"
	case x.likeServer(escaped):
		ask.Refusal = "the path is another spelling of the MCP endpoint's"
	}
	body, err := x.readBody()
	if err != nil {
		ask.Refusal = err.Error()
	}
	ask.Request = receipt.Sum(body)
	refused := x.onBehalf(&ask, nil)
	permit, err := x.guard.gate.Check(ask)
	if err != nil {
		replyTo(err, refused, nil).send(x.w, x.guard.host.Log)
		return
	}
	x.pass(permit, nil, body)
}

// post decides one JSON-RPC message and passes it on.
func (x *exchange) post() {
	body, err := x.readBody()
	if err != nil {
		x.refuse(policy.Action{Kind: kindUnparsed}, body, err.Error(), unread(err))
		return
	}
	message, err := toolcall.Parse(toolcall.HeadersOf(x.r.Header), body, x.guard.limits)
	if err != nil {
		x.malformed(body, err)
		return
	}
	ask, refused, err := x.ask(message)
	if err != nil {
		x.malformed(body, err)
		return
	}
	if x.asks() && ask.Refusal == "" {
		var wanted *reply
		if refused, wanted = x.question(&ask, message); wanted != nil {
			wanted.send(x.w, x.guard.host.Log)
			return
		}
	}
	refused = x.onBehalf(&ask, refused)
	permit, err := x.guard.gate.Check(ask)
	if err != nil {
		if refused == nil {
			refused = x.denied(ask, err, message)
		}
		answer := replyTo(err, refused, message.ID())
		answer.held = x.holds
		answer.send(x.w, x.guard.host.Log)
		return
	}
	x.pass(permit, message, message.Body())
}

// denied is how a caller is told that the call was refused by what the gate goes
// by; nil for the plain way.
func (x *exchange) denied(ask gate.Ask, err error, message *toolcall.Message) *reply {
	var denied *gate.DeniedError
	switch {
	case ask.Step != nil && errors.As(err, &denied) && denied.Answer == nil:
		return notAsked() // it was no decision, and so is no answer
	case ask.Action.Kind == policy.KindToolCall:
		return x.guard.deniedTool(ask, message.ProtocolVersion())
	}
	return nil
}

// ask is what the message wants done, and how the caller is told if the door
// itself has to refuse it.
func (x *exchange) ask(message *toolcall.Message) (gate.Ask, *reply, error) {
	ask := gate.Ask{
		Caller:   x.caller,
		Action:   policy.Action{Kind: kindResponse, Server: x.guard.meta.Server, Name: message.Name()},
		Request:  receipt.Sum(message.Body()),
		Plumbing: toolcall.DefaultOf(message.Method()) == toolcall.Reach,
		Facts:    x.facts(message),
	}
	arguments, err := message.ArgumentsDigest()
	if err != nil {
		return gate.Ask{}, nil, err
	}
	if arguments != "" {
		if ask.Arguments, err = receipt.ParseDigest(arguments); err != nil {
			return gate.Ask{}, nil, err
		}
	}
	if message.Kind() == toolcall.KindResponse {
		_, err := x.guard.memory.asked.check(askedID(x.caller.ID(), message.Session(), message.ID()), x.caller.ID())
		ask.Plumbing = err == nil // what the server asked, by leave of a rule, may be answered
	} else {
		ask.Action.Kind = policy.KindMCPPrefix + message.Method()
		// Which revision an initialize leads to is for the server to say.
		if message.Method() != "initialize" && !toolcall.Known(message.Method(), message.ProtocolVersion()) {
			ask.Refusal = fmt.Sprintf("MCP %s has no such method", message.ProtocolVersion())
			return ask, &reply{status: http.StatusNotFound, code: toolcall.CodeMethodNotFound, say: sayMalformed}, nil
		}
	}
	if message.Session() != "" {
		if _, err := x.guard.memory.sessions.check(message.Session(), x.caller.ID()); err != nil {
			ask.Refusal = err.Error()
			return ask, noSession(), nil
		}
	}
	if toolcall.DefaultOf(message.Method()) == toolcall.Owner {
		own, err := x.guard.memory.tasks.check(message.Name(), x.caller.ID())
		if err != nil {
			ask.Refusal = err.Error()
			return ask, noTask(), nil
		}
		x.task, ask.Plumbing, ask.Continues = own, true, own.action
	}
	return ask, nil, nil
}

// noSession is the same for a session that is unknown and for that of another
// caller, so that nothing can be learned by trying.
func noSession() *reply {
	return &reply{status: http.StatusNotFound, code: toolcall.CodeInvalidRequest, say: sayNoSession}
}

// noTask is the same for a task that is unknown and for that of another caller.
func noTask() *reply {
	return &reply{status: http.StatusBadRequest, code: toolcall.CodeInvalidParams, say: sayNoTask}
}

// endSession passes on the DELETE by which a client ends its session.
func (x *exchange) endSession() {
	ask := gate.Ask{Caller: x.caller, Action: policy.Action{Kind: kindEnd, Server: x.guard.meta.Server}, Request: receipt.Sum(nil), Plumbing: true}
	ids := x.r.Header.Values(sessionHeader)
	var refused *reply
	if len(ids) != 1 {
		ask.Refusal = "a DELETE must name one session"
	} else if _, err := x.guard.memory.sessions.check(ids[0], x.caller.ID()); err != nil {
		ask.Refusal = err.Error()
	}
	if ask.Refusal != "" {
		refused = noSession()
	}
	refused = x.onBehalf(&ask, refused)
	permit, err := x.guard.gate.Check(ask)
	if err != nil {
		replyTo(err, refused, nil).send(x.w, x.guard.host.Log)
		return
	}
	x.pass(permit, nil, nil)
}

// malformed refuses what could not be parsed.
func (x *exchange) malformed(body []byte, err error) {
	answer := &reply{status: http.StatusBadRequest, code: toolcall.CodeInvalidRequest, say: sayMalformed}
	reason := err.Error()
	var id []byte
	var refusal *toolcall.Refusal
	if errors.As(err, &refusal) {
		answer.status, answer.code, answer.data = refusal.HTTPStatus, refusal.Code, refusal.Data
		reason, id = refusal.Reason, refusal.ID
	}
	x.record(policy.Action{Kind: kindUnparsed}, body, reason, answer, id)
}

func (x *exchange) refuse(action policy.Action, body []byte, reason string, answer *reply) {
	x.record(action, body, reason, answer, nil)
}

// record has the gate write a refusal of the door's own, and tells the caller.
func (x *exchange) record(action policy.Action, body []byte, reason string, answer *reply, id []byte) {
	action.Server = x.guard.meta.Server
	_, err := x.guard.gate.Check(gate.Ask{Caller: x.caller, Action: action, Request: receipt.Sum(body), Token: x.token, Refusal: reason})
	replyTo(err, answer, id).send(x.w, x.guard.host.Log)
}

var (
	errTooLarge = errors.New("the body is larger than maxRequestBytes")
	errTooSlow  = errors.New("the body took longer than maxRequestTime")
)

// unread is how a caller is told that its body could not be read.
func unread(err error) *reply {
	answer := &reply{status: http.StatusBadRequest, code: toolcall.CodeInvalidRequest, say: sayMalformed}
	switch {
	case errors.Is(err, errTooLarge):
		answer.status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errTooSlow):
		answer.status = http.StatusRequestTimeout
	}
	return answer
}

// readBody reads what the caller sent, up to the limits. What was read comes
// back with an error too, so that the record can name its digest.
func (x *exchange) readBody() ([]byte, error) {
	if x.r.Body == nil {
		return nil, nil
	}
	limit := int64(x.guard.meta.MaxRequestBytes)
	var buffer bytes.Buffer
	if x.r.ContentLength > 0 && x.r.ContentLength <= limit {
		buffer.Grow(int(x.r.ContentLength) + bytes.MinRead)
	}
	// Dapr waits for a body without end. What it gives us is one end of a pipe
	// (pkg/api/grpc/daprinternal.go), so that closing it ends the read.
	stop := time.AfterFunc(x.guard.meta.MaxRequestTime, func() {
		if err := x.r.Body.Close(); err != nil {
			x.guard.host.Log("mcpguard: giving up a body: %v", err)
		}
	})
	n, err := buffer.ReadFrom(io.LimitReader(x.r.Body, limit+1))
	switch {
	case !stop.Stop():
		return buffer.Bytes(), errTooSlow
	case err != nil:
		return buffer.Bytes(), fmt.Errorf("the body broke off: %w", err)
	case n > limit:
		return buffer.Bytes(), errTooLarge
	}
	return buffer.Bytes(), nil
}

// forward sends the server exactly what was decided, and settles its answer.
func (x *exchange) forward() {
	body := x.body
	ctx, cancel := context.WithCancel(passedContext(x.r.Context()))
	defer cancel()
	r := x.r.WithContext(ctx)
	introduce(r.Header, x.caller)
	x.handOn(r.Header)
	// The answer has to be read here, so it must not come compressed.
	r.Header.Del("Accept-Encoding")
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	if len(body) == 0 {
		r.Body, r.GetBody = http.NoBody, nil
	}
	if x.message != nil {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Del("Content-Encoding")
	}
	a := &answer{exchange: x, header: http.Header{}, stop: cancel}
	x.next.ServeHTTP(a, r)
	a.finish()
}
