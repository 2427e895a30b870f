// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dapr-custody/custody/internal/receipt"
)

// attempt is one attempt at a call.
type attempt struct {
	*Worker
	order  *order
	server *server
	out    outcome
	// question is the digest of what was asked in this attempt.
	question string
	// asking and answering are the signers whose certificates need not come back.
	asking, answering held
}

// call is the activity that calls a tool.
func (w *Worker) call(ctx workflow.ActivityContext) (any, error) {
	o, err := w.begun(ctx)
	switch {
	case o == nil:
		return nil, err
	case o.Target == nil:
		return nil, errors.New("custody: the input of the activity names no tool")
	}
	out := outcome{Version: outcomeVersion, Task: o.Workflow.Task}
	if err != nil {
		return out.failed(err), nil
	}
	a := &attempt{Worker: w, order: o, server: w.servers.of(o.Target), out: out}
	if o.Pending == "" || (a.pending(ctx.Context()) && !o.Look) {
		a.run(ctx.Context())
	}
	return w.give(&a.out, o.Held, o.After)
}

func (a *attempt) end(state, detail string) {
	a.out.State, a.out.Detail = state, detail
}

// pending finds out what came of the attempt before. It is true where the call can be made.
func (a *attempt) pending(ctx context.Context) bool {
	switch state, err := a.settle(ctx, a.order.Pending); state {
	case settleAbsent:
		return true
	case settleSettled:
		a.out.State, a.out.Found = stateSettled, true
	case settleUnknown:
		if a.order.Repeat {
			return true
		}
		a.end(stateUnknown, "the server has no receipt of it")
		a.out.Pending = a.order.Pending
	default:
		a.end(stateUnreachable, err.Error())
		a.out.Pending = a.order.Pending
	}
	return false
}

// run makes the call.
func (a *attempt) run(ctx context.Context) {
	if err := a.sidecar.present(ctx); err != nil {
		a.out = a.out.failed(err)
		return
	}
	d := a.server.spoken()
	if d.version == "" {
		var err error
		if d, err = a.sidecar.greet(ctx, a.order.Target, a.server); err != nil {
			a.end(stateUnreachable, err.Error())
			return
		}
	}
	a.showAhead(ctx)
	a.asking, a.answering = a.sidecar.signers.held(), a.server.signers.held()
	got, err := a.insist(ctx, d, false)
	if err == nil && got.status == http.StatusPreconditionRequired && got.header.Get(headerChain) == "wanted" {
		missing, showErr := a.show(ctx)
		if showErr != nil {
			a.asks(got)
			a.end(stateUnreachable, showErr.Error())
			return
		}
		if missing && !a.order.All {
			a.asks(got)
			a.end(stateLinks, "the server wants links that this worker does not have")
			return
		}
		got, err = a.insist(ctx, d, true)
	}
	switch {
	case errors.Is(err, ErrUnreachable):
		a.end(stateUnreachable, err.Error())
	case err != nil:
		a.end(stateUnknown, err.Error())
	default:
		a.read(ctx, d, got)
	}
}

// insist sends the call until the own sidecar answers. The same step asked again is the same question, which the guard
// lets through once. ErrUnreachable says that nothing was sent.
func (a *attempt) insist(ctx context.Context, d dialect, presented bool) (*told, error) {
	sent := false
	for n, wait := 1, ownFirstWait; ; n, wait = n+1, wait*2 {
		got, err := a.send(ctx, d, presented)
		if err == nil {
			return got, nil
		}
		var dial *net.OpError
		sent = sent || !errors.As(err, &dial) || dial.Op != "dial"
		if n == ownAttempts || !pause(ctx, wait) {
			if !sent {
				err = fmt.Errorf("%w: %w", ErrUnreachable, err)
			}
			return nil, err
		}
	}
}

// send sends the question's request. presented says that all that there is of the chain was shown.
func (a *attempt) send(ctx context.Context, d dialect, presented bool) (*told, error) {
	step := append(a.order.appendMembers([]byte("{")), '}')
	body, err := d.callBody(a.order.Workflow.requestID(), a.order.Target.Tool, a.order.Arguments)
	if err != nil {
		return nil, err
	}
	r, err := a.sidecar.post(ctx, a.order.Target, d, methodCall, a.order.Target.Tool, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set(headerStep, base64.RawURLEncoding.EncodeToString(step))
	r.Header.Set(headerHeld, heldHeader(a.asking, a.answering))
	if presented {
		r.Header.Set(headerChain, "presented")
	}
	return a.sidecar.send(r)
}

// requestID is the JSON-RPC ID of the call: another for each step, and the same whenever the step is asked.
func (n stepName) requestID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s", n.Chain.key(), n.Instance))
	return fmt.Sprintf("%s-%d-%d", hex.EncodeToString(sum[:8]), n.Generation, n.Task)
}

// asks takes the question out of an answer. It is false where there is none, or not that of this step.
func (a *attempt) asks(got *told) bool {
	if got.question == "" {
		return false
	}
	link, r, err := a.sidecar.signers.read(got.question, a.asking)
	if err != nil {
		a.end(stateRefused, "the question that came back cannot be read: "+err.Error())
		return false
	}
	if !a.order.Workflow.names(r.Workflow) {
		a.end(stateRefused, "the question that came back is not of this step")
		return false
	}
	a.question = link.Digest
	a.out.Links = append(a.out.Links, link)
	if a.order.Workflow.Chain.App == "" {
		a.out.ChainApp, a.out.Started = r.Workflow.Chain.App.String(), r.Workflow.Chain.Started
	}
	return true
}

// answers takes the answer out of a header or comment.
func (a *attempt) answers(text string) bool {
	link, r, err := a.server.signers.read(text, a.answering)
	if err == nil {
		err = a.take(link, r, a.question)
	}
	if err != nil {
		a.end(stateRefused, "the answer that came back is not one: "+err.Error())
		return false
	}
	return true
}

// take makes the answer to that question the newest link of the outcome.
func (a *attempt) take(link Link, r *receipt.Receipt, question string) error {
	if len(r.Prev) != 1 || r.Prev[0].String() != question {
		return errors.New("it does not continue the question")
	}
	a.out.Links = append(a.out.Links, link)
	a.out.Status, a.out.HTTPStatus = r.Outcome.Status, r.Outcome.HTTPStatus
	return nil
}

// read says what the answer to the question means.
func (a *attempt) read(ctx context.Context, d dialect, got *told) {
	if !a.asks(got) {
		if a.out.State == "" {
			a.unasked(got)
		}
		return
	}
	switch {
	case got.answer == "":
		a.unanswered(ctx, got)
	case !a.answers(got.answer):
	case got.status == http.StatusConflict:
		a.out.State = stateSettled
	case got.status == http.StatusNotFound && d.session != "":
		a.server.set(dialect{})
		a.end(stateSession, got.text)
	default:
		a.answered(got)
	}
}

// unasked is an answer that no question came back with.
func (a *attempt) unasked(got *told) {
	detail := fmt.Sprintf("status %d: %s", got.status, got.text)
	switch {
	case got.status >= http.StatusInternalServerError, got.status == http.StatusTooManyRequests:
		a.end(stateUnreachable, detail)
	case got.status >= http.StatusBadRequest:
		a.end(stateRefused, detail)
	default:
		a.end(stateNoCaller, "")
	}
}

// unanswered is an answer to the question that no receipt came back with: the server's guard is asked for one.
func (a *attempt) unanswered(ctx context.Context, got *told) {
	detail := fmt.Sprintf("status %d: %s", got.status, got.text)
	if got.broken != nil {
		detail = got.broken.Error()
	}
	switch state, err := a.settle(ctx, a.question); state {
	case settleSettled:
		a.out.State = stateSettled
	case settleUnknown:
		a.end(stateUnknown, detail)
		a.out.Pending = a.question
	case settleAbsent:
		a.end(stateUnreachable, detail)
		if got.status >= http.StatusBadRequest && got.status < http.StatusInternalServerError && got.status != http.StatusTooManyRequests {
			a.end(stateRefused, detail)
		}
		a.out.Pending = a.question
	default:
		a.end(stateUnreachable, detail+"; "+err.Error())
		a.out.Pending = a.question
	}
}

// answered fills in what the server said.
func (a *attempt) answered(got *told) {
	a.out.State = stateAnswered
	switch {
	case a.out.Status == receipt.StatusOK && (got.broken != nil || len(got.result) == 0):
		a.out.State = stateSettled // The tool has answered, and its result did not come.
	case got.broken != nil:
		a.out.Detail = got.broken.Error()
	case len(got.result) == 0:
		a.out.Code, a.out.Detail = got.code, got.text
	default:
		result := &toolResult{}
		err := json.Unmarshal(got.result, result)
		if err == nil && result.IsError {
			a.out.Detail = result.text()
			break
		}
		a.out.Result = got.result
		if err == nil {
			a.out.tool = result
		}
	}
	if a.out.Status == receipt.StatusDenied {
		if _, reference, ok := strings.Cut(a.out.Detail, "Reference: "); ok {
			a.out.Reference = reference
		}
	}
}
