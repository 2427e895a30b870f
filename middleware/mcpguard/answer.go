// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"mime"
	"net/http"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/redact"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// answer takes what the server answers, settles it, and passes it on. An answer
// in one piece is held until its receipt is written, so that the receipt's
// digest goes back in a header and an answer that cannot be recorded is
// withheld. Events pass as they come (stream.go). An answer that is larger than
// maxAnswerBytes passes as it comes too, unless it has to be looked into (strict).
type answer struct {
	*exchange

	header http.Header
	stop   context.CancelFunc // ends the request to the server

	status   int
	media    string // media type of the answer, without parameters
	held     bytes.Buffer
	large    hash.Hash    // of an answer that outgrew held
	withheld error        // why the answer must not pass; nil if it may
	plan     *redact.Plan // what has to be taken out, once planned
	planned  bool
	redacted map[string]int // what was taken out, by kind, over all messages
	results  int            // bytes of results that were read, over all messages
	events   *events
}

// Header is the header that the server's answer is copied to.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader is called with the status of the server's answer.
func (a *answer) WriteHeader(status int) {
	if a.status != 0 || status < 200 {
		return
	}
	a.status, a.media = status, mediaType(a.header)
	withoutClaims(a.header)
	if a.withheld = a.misplaced(); a.withheld == nil {
		a.withheld = a.takeSession()
	}
	if a.withheld == nil && a.message != nil && a.media == "text/event-stream" {
		a.events = startEvents(a)
	}
}

// Write is called with the body of the server's answer.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	switch {
	case a.events != nil:
		return a.events.write(p)
	case a.withheld != nil:
		return len(p), nil
	case a.large != nil:
		return a.passOn(p)
	case a.held.Len()+len(p) > a.guard.meta.MaxAnswerBytes:
		return a.outgrow(p)
	}
	return a.held.Write(p)
}

// outgrow gives up holding the answer.
func (a *answer) outgrow(p []byte) (int, error) {
	if a.strict() {
		a.withheld = errors.New("the answer is larger than maxAnswerBytes and has to be looked into before it passes")
	} else {
		a.withheld = a.bounded(a.held.Len() + len(p))
	}
	if a.withheld != nil {
		a.held.Reset()
		return len(p), nil
	}
	a.large = sha256.New()
	a.commit("")
	if _, err := a.passOn(a.held.Bytes()); err != nil {
		return 0, err
	}
	a.held.Reset()
	return a.passOn(p)
}

// passOn sends a part of an answer that is not held. What is more than a rule
// lets pass ends it.
func (a *answer) passOn(p []byte) (int, error) {
	if a.withheld = a.bounded(a.results + len(p)); a.withheld != nil {
		a.stop()
		return 0, a.withheld
	}
	a.results += len(p)
	a.large.Write(p)
	return a.w.Write(p)
}

// finish is called when the server's answer is over, or when there was none.
func (a *answer) finish() {
	switch {
	case a.events != nil:
		a.events.finish()
	case a.status == 0:
		a.withhold(errNoAnswer)
	case a.large != nil:
		a.settleLarge()
	case a.withheld != nil:
		a.withhold(a.withheld)
	default:
		a.settleHeld()
	}
}

var errNoAnswer = errors.New("the server gave no answer")

// settleHeld settles an answer in one piece and passes it on.
func (a *answer) settleHeld() {
	body := a.held.Bytes()
	outcome := receipt.Outcome{Status: statusOf(a.status), HTTPStatus: a.status}
	var err error
	if a.readable(body) {
		var read reading
		read, err = a.read(body)
		if err == nil && read.answer != nil {
			err = a.answers(read.answer)
		}
		body, outcome = read.body, read.outcome
	} else {
		err = a.passable(body)
	}
	if err != nil {
		a.withhold(err)
		return
	}
	outcome.ResponseDigest = receipt.Sum(body)
	digest, err := a.settle(outcome)
	if err != nil {
		a.closed(err)
		return
	}
	a.commit(digest)
	a.send(body)
}

// settle has the gate write what came of the call. The answer to a step of a
// workflow becomes a link of the chain that is known here.
func (a *answer) settle(outcome receipt.Outcome) (string, error) {
	digest, err := a.permit.Settle(outcome)
	if err == nil && a.step != nil {
		a.learn(a.permit.Answer())
	}
	return digest, err
}

// readable reports whether the answer has to be a message. What acknowledges a
// notification is empty, whatever type it says it has.
func (a *answer) readable(body []byte) bool {
	return a.message != nil && a.media == "application/json" && (len(body) > 0 || a.message.Kind() == toolcall.KindRequest)
}

// passable reports why an answer that is not JSON must not pass.
func (a *answer) passable(body []byte) error {
	switch {
	case a.filtered() && a.status < 300:
		return fmt.Errorf("the list came as %.80q", a.header.Get("Content-Type"))
	case a.message != nil && (a.mayAsk() || a.spoken()) && a.status < 300 && len(body) > 0:
		return fmt.Errorf("the answer came as %.80q, of which nobody can tell what it asks of the client", a.header.Get("Content-Type"))
	case a.message != nil && a.redacting() && len(body) > 0:
		return fmt.Errorf("the answer came as %.80q, in which nothing can be redacted", a.header.Get("Content-Type"))
	}
	return a.bounded(len(body))
}

func (a *answer) settleLarge() {
	outcome := receipt.Outcome{Status: statusOf(a.status), HTTPStatus: a.status, ResponseDigest: receipt.Digest(a.large.Sum(nil))}
	if a.withheld != nil {
		outcome.Status, outcome.Reason = receipt.StatusIncomplete, a.withheld.Error()
	}
	if _, err := a.settle(outcome); err != nil {
		a.guard.host.Log("mcpguard: an answer that has passed already could not be settled: %v", err)
	}
}

// reading is what one JSON-RPC message of the server came to.
type reading struct {
	kind    toolcall.Kind
	body    []byte
	outcome receipt.Outcome
	answer  *toolcall.Answer
}

// read makes sense of a message of the server, decides what it asks for, and
// filters it where it is a list. What is no strict JSON passes as it is with the
// status of an error alone, and not where it has to be looked into (strict).
func (a *answer) read(body []byte) (reading, error) {
	limits := toolcall.Limits{BodyBytes: a.guard.meta.MaxAnswerBytes}
	result := reading{body: body, outcome: receipt.Outcome{Status: receipt.StatusIncomplete, HTTPStatus: a.status}}
	if a.filtered() {
		filtered, err := a.filter(body, limits)
		if err != nil {
			return reading{}, err
		}
		result.body = filtered
	}
	read, err := toolcall.ReadAnswer(result.body, limits)
	if err != nil {
		if a.strict() {
			return reading{}, err
		}
		return result, nil
	}
	if err := a.admit(read); err != nil {
		return reading{}, err
	}
	if a.obliged() {
		if read, err = a.oblige(&result, read); err != nil {
			return reading{}, err
		}
	}
	result.kind, result.answer = read.Kind, read
	result.outcome.Status = outcomeOf(read, a.status)
	digest, err := read.Digest()
	if err != nil {
		return reading{}, err
	}
	if digest != "" {
		if result.outcome.ResultDigest, err = receipt.ParseDigest(digest); err != nil {
			return reading{}, err
		}
	}
	return result, nil
}

func outcomeOf(read *toolcall.Answer, status int) string {
	switch {
	case read.RPCError:
		return receipt.StatusRPCError
	case read.ToolError:
		return receipt.StatusToolError
	default:
		return statusOf(status)
	}
}

func statusOf(status int) string {
	if status >= 400 {
		return receipt.StatusHTTPError
	}
	return receipt.StatusOK
}

// mediaType is the type of an answer without parameters, "" where it does not have
// exactly one.
func mediaType(header http.Header) string {
	said := header.Values("Content-Type")
	switch {
	case len(said) != 1:
		return ""
	case said[0] == "application/json": // as nearly all of them are
		return said[0]
	}
	media, _, err := mime.ParseMediaType(said[0])
	if err != nil {
		return ""
	}
	return media
}

// takeSession gives the session that the server opens to the caller, and
// forgets one that ended.
func (a *answer) takeSession() error {
	if a.status >= 300 {
		return nil
	}
	if a.message == nil && a.r.Method == http.MethodDelete {
		a.guard.memory.sessions.end(a.r.Header.Get(sessionHeader))
		return nil
	}
	ids := a.header.Values(sessionHeader)
	switch {
	case len(ids) == 0:
		return nil
	case len(ids) > 1 || len(ids[0]) > maxID:
		return fmt.Errorf("the server gave %d session IDs, or one of more than %d bytes", len(ids), maxID)
	}
	return a.guard.memory.sessions.open(ids[0], a.caller.ID(), struct{}{})
}

// commit sends the status and the header of the server's answer.
func (a *answer) commit(digest string) {
	out := a.w.Header()
	for name, values := range a.header {
		out[name] = values
	}
	out.Del("Content-Length")
	if a.message != nil && (a.events != nil || a.media == "application/json") && a.header.Get("Content-Type") != a.media {
		// It was read as UTF-8, and a charset may have a client read something else in it.
		out.Set("Content-Type", a.media)
	}
	if a.redacting() {
		a.withoutData(out)
	}
	if a.filtered() {
		// What one caller sees is not for another, whoever keeps answers between us.
		out.Set("Cache-Control", "no-store")
		out.Del("ETag")
	}
	if digest != "" {
		out.Set(HeaderReceipt, digest)
	}
	if answer := a.permit.Answer(); answer != nil {
		out.Set(HeaderAnswer, receipt.EncodeHeader(answer, a.holds))
	}
	a.w.WriteHeader(a.status)
}

func (a *answer) send(body []byte) {
	if len(body) == 0 {
		return
	}
	if _, err := a.w.Write(body); err != nil {
		a.guard.host.Log("mcpguard: passing on an answer: %v", err)
	}
}

// withhold settles an answer that must not pass, and says so to the caller.
func (a *answer) withhold(why error) {
	if err := a.settleWithheld(why); err != nil {
		a.closed(err)
		return
	}
	a.withheldReply(why).send(a.w, a.guard.host.Log)
}

func (a *answer) settleWithheld(why error) error {
	a.guard.host.Log("mcpguard: the answer under reference %s is withheld: %v", a.permit.Reference(), why)
	outcome := receipt.Outcome{Status: receipt.StatusWithheld, HTTPStatus: a.status, Reason: why.Error()}
	if errors.Is(why, errNoAnswer) {
		outcome.Status = receipt.StatusIncomplete
	}
	_, err := a.settle(outcome)
	return err
}

// withheldReply is what the caller is told in the place of an answer.
func (a *answer) withheldReply(why error) reply {
	answer := reply{status: http.StatusBadGateway, code: toolcall.CodeInternalError, say: sayNoAnswer + a.permit.Reference(), id: a.id()}
	answer.answer, answer.held = a.permit.Answer(), a.holds
	var withheld *withheldError
	if errors.As(why, &withheld) && withheld.policy {
		answer.status, answer.code, answer.say = http.StatusForbidden, toolcall.CodeDenied, sayWithheld+a.permit.Reference()
	}
	return answer
}

func (a *answer) closed(err error) {
	a.guard.host.Log("mcpguard: %v", err)
	replyTo(err, nil, a.id()).send(a.w, a.guard.host.Log)
}

func (a *answer) id() []byte {
	if a.message == nil {
		return nil
	}
	return a.message.ID()
}
