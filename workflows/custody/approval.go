// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr/durabletask-go/task"
	"github.com/dapr/durabletask-go/workflow"
)

// approvalEvent is what the names of events begin with that carry an approval.
const approvalEvent = "custody.approval."

// Ask is what an approver is asked to approve. It stands in the custom status of the workflow while it is awaited
// (PendingApprovals), and goes to Approve.
type Ask struct {
	// Event is the external event that the approval is raised as, with what Approve gives as its payload.
	Event string `json:"event"`
	// Workflow names the step, and Prev what it continues, as they will stand in the approval.
	Workflow json.RawMessage `json:"workflow"`
	Prev     []string        `json:"prev"`
	// Statement is what is to be approved.
	Statement json.RawMessage `json:"statement"`
	// Refused counts the events that were no approval, and Detail says why the last one was not.
	Refused int    `json:"refused,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// customStatus is the custom status while approvals are awaited.
type customStatus struct {
	Approvals []Ask  `json:"custody.dev/approvals"`
	Status    string `json:"status,omitempty"`
}

// PendingApprovals gives what a workflow waits for, from its custom status. It is nil for any other status.
func PendingApprovals(status string) []Ask {
	var in customStatus
	if err := json.Unmarshal([]byte(status), &in); err != nil {
		return nil // It is the workflow's own text.
	}
	return in.Approvals
}

func (c *Context) showStatus() {
	status := c.status
	if len(c.approvals) > 0 {
		// An Ask was made of JSON and text, and cannot fail.
		if text, err := json.Marshal(customStatus{Approvals: c.approvals, Status: c.status}); err == nil {
			status = string(text)
		}
	}
	c.WorkflowContext.SetCustomStatus(status)
}

// Approved is what Await of an approval gives.
type Approved struct {
	// By is the SPIFFE ID of the app whose sidecar signed, and At when it did by its own clock.
	By   string
	At   time.Time
	Link Link
}

// ApprovalOption changes what Approval takes.
type ApprovalOption func(*approval)

// ApprovedBy takes only approvals by these SPIFFE IDs. Without it any app of the trust domain may approve but the one that
// asks; policy conditions (chain.approvedBy) decide in any case which approvals count for a call.
func ApprovedBy(ids ...string) ApprovalOption {
	return func(a *approval) { a.by = append(a.by, ids...) }
}

// Approval asks for an approval and waits for it: an external event named custody.approval.<name>, whose payload is the
// link that the sidecar of the approver signed (Approve). What is asked is stated in the chain, as step
// custody.ask.<name>, and stands in the custom status. An event that is not an approval of exactly this, by an app that
// may approve, is passed over and stays in the history; the wait goes on. Only one approval of a name can be awaited at a
// time. The timeout is counted from now; below 0 there is none. Await saves an Approved, and fails with ErrTimeout.
//
// What is asked is anything that can be marshalled to JSON. This function waits until it is stated.
func Approval(ctx *Context, name string, ask any, timeout time.Duration, options ...ApprovalOption) workflow.Task {
	a := &approval{ctx: ctx}
	for _, option := range options {
		option(a)
	}
	statement, err := json.Marshal(ask)
	if err == nil {
		err = a.begin(name, statement)
	}
	if err != nil {
		return ctx.failed(fmt.Errorf("approval %s: %w", name, err))
	}
	a.limit = timeout
	a.until = ctx.CurrentTimeUTC().Add(max(timeout, 0))
	ctx.approvals = append(ctx.approvals, a.ask)
	ctx.showStatus()
	a.event = ctx.WaitForExternalEvent(a.ask.Event, timeout)
	return a
}

// approval is an approval that is awaited. It is a workflow.Task.
type approval struct {
	ctx   *Context
	by    []string
	asker string
	ask   Ask
	limit time.Duration
	until time.Time
	event workflow.Task

	done bool
	out  *outcome
	err  error
}

// begin states what is asked. The approval bears the number of that statement.
func (a *approval) begin(name string, statement json.RawMessage) error {
	stated := a.ctx.attest(kindAttest, "custody.ask."+name, statement)
	if err := stated.Await(nil); err != nil {
		return err
	}
	if err := a.ctx.narrow(); err != nil {
		return err
	}
	o := a.ctx.step(name)
	o.Workflow.App, o.Workflow.Task = stated.out.App, stated.out.Task
	named, err := json.Marshal(o.Workflow)
	if err != nil {
		return err
	}
	a.asker = stated.out.Door
	a.ask = Ask{Event: approvalEvent + name, Workflow: named, Prev: o.Prev, Statement: statement}
	return nil
}

func (a *approval) Await(v any) error {
	a.settle()
	if a.err != nil || v == nil {
		return a.err
	}
	approved, ok := v.(*Approved)
	if !ok {
		return fmt.Errorf("custody: an approval is saved in a *custody.Approved, not in a %T", v)
	}
	*approved = Approved{By: a.out.By, At: a.out.At, Link: whole(a.out.Links[:1])[0]}
	return nil
}

func (a *approval) TaskExecutionId() string { return "" }

func (a *approval) settle() {
	if a.done {
		return
	}
	for !a.done {
		a.next()
	}
	event := a.ask.Event
	a.ctx.approvals = slices.DeleteFunc(a.ctx.approvals, func(other Ask) bool { return other.Event == event })
	a.ctx.showStatus()
}

// next waits for one event and has it verified.
func (a *approval) next() {
	var payload json.RawMessage
	switch err := a.event.Await(&payload); {
	case errors.Is(err, task.ErrTaskCanceled):
		a.done, a.err = true, fmt.Errorf("custody: %s: %w", a.ask.Event, ErrTimeout)
		return
	case err != nil: // The payload is not even JSON.
		a.refuse(err.Error())
		return
	}
	in := verification{Ask: a.ask, Asker: a.asker, By: a.by, Envelope: payload}
	var err error
	a.out, err = a.ctx.await(a.ctx.CallActivity(activityVerify, workflow.WithActivityInput(in)))
	switch {
	case err != nil:
		a.done, a.err = true, fmt.Errorf("custody: activity %s: %w", activityVerify, err)
	case a.out.State == stateAnswered && a.out.head() != nil:
		a.done = true
		a.ctx.advance(a.ask.Prev, []string{a.out.head().Digest}, a.out.Links)
	case a.out.State == stateRefused:
		a.refuse(a.out.Detail)
	default:
		a.done, a.err = true, a.out.err()
	}
}

// refuse shows why an event was passed over, and waits for the next.
func (a *approval) refuse(detail string) {
	a.ask.Refused++
	a.ask.Detail = detail
	for i := range a.ctx.approvals {
		if a.ctx.approvals[i].Event == a.ask.Event {
			a.ctx.approvals[i] = a.ask
		}
	}
	a.ctx.showStatus()
	left := a.limit
	if a.limit > 0 {
		left = max(0, a.until.Sub(a.ctx.CurrentTimeUTC()))
	}
	a.event = a.ctx.WaitForExternalEvent(a.ask.Event, left)
}
