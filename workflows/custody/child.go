// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dapr/durabletask-go/workflow"
)

// ChildOption changes how CallChild calls.
type ChildOption func(*childOptions)

type childOptions struct{ app, instance string }

// WithChildApp runs the child in another app, which has to be written with this package too. Without it the child runs
// in the app of its parent.
func WithChildApp(appID string) ChildOption { return func(o *childOptions) { o.app = appID } }

// WithChildInstanceID gives the instance ID of the child. Without it Dapr makes one, or, after ContinueAsNew, this package
// makes one that no generation before has.
func WithChildInstanceID(id string) ChildOption { return func(o *childOptions) { o.instance = id } }

// ChildError: a child workflow failed. What it signed is part of the chain.
type ChildError struct {
	Workflow string
	Message  string
}

func (e *ChildError) Error() string {
	return fmt.Sprintf("custody: child workflow %s failed: %s", e.Workflow, e.Message)
}

// CallChild calls a child workflow that was added with Worker.AddWorkflow; the chain goes on in it, and its steps are
// steps of the chain. Await saves the child's output in v; a child that failed gives a *ChildError.
//
// Dapr passes the history of this workflow, and of those above it, on to the child, which takes the links from it.
func CallChild(ctx *Context, name string, input any, options ...ChildOption) workflow.Task {
	var o childOptions
	for _, option := range options {
		option(&o)
	}
	value, err := marshal(input)
	if err != nil {
		return ctx.failed(fmt.Errorf("the input of child %s: %w", name, err))
	}
	if err := ctx.named(name); err != nil {
		return ctx.failed(err)
	}
	carried := &carry{Chain: ctx.chain, Child: true, Parent: ctx.ID(), Heads: ctx.Heads()}
	if ctx.worker.unpropagated {
		carried.Links = newest(ctx.links)
	}
	opts := []workflow.ChildWorkflowOption{
		workflow.WithChildWorkflowInput(carried.wrap(value)),
		workflow.ChildWorkflowOption(workflow.WithHistoryPropagation(workflow.PropagateLineage())),
	}
	if o.app != "" {
		opts = append(opts, workflow.WithChildWorkflowAppID(o.app))
	}
	if o.instance == "" && ctx.generation > 0 {
		// Dapr's would be that of the child which an earlier generation called in the same place.
		o.instance = fmt.Sprintf("%s:g%d:%04x", ctx.ID(), ctx.generation, ctx.children)
		ctx.children++
	}
	if o.instance != "" {
		opts = append(opts, workflow.WithChildWorkflowInstanceID(o.instance))
	}
	child := &child{ctx: ctx, name: name, prev: ctx.Heads(), task: ctx.CallChildWorkflow(name, opts...)}
	ctx.open = append(ctx.open, child)
	return child
}

// named has the chain bear the SPIFFE ID of its app and its start, which the first link tells.
func (c *Context) named(child string) error {
	if c.chain.App != "" {
		return nil
	}
	statement, err := marshal(map[string]string{"workflow": child})
	if err != nil {
		return err
	}
	return c.attest(kindAttest, "custody.child", statement).Await(nil)
}

// child is a child workflow that was called. It is a workflow.Task.
type child struct {
	ctx  *Context
	name string
	prev []string
	task workflow.Task

	done  bool
	value json.RawMessage
	err   error
}

func (t *child) Await(v any) error {
	t.settle()
	if t.err != nil || v == nil || len(t.value) == 0 {
		return t.err
	}
	if err := json.Unmarshal(t.value, v); err != nil {
		return fmt.Errorf("custody: the output of child %s: %w", t.name, err)
	}
	return nil
}

func (t *child) TaskExecutionId() string { return t.task.TaskExecutionId() }

func (t *child) settle() {
	if t.done {
		return
	}
	var raw json.RawMessage
	err := t.task.Await(&raw)
	var carried *carry
	if err != nil {
		var message string
		message, carried = splitFailure(err.Error())
		t.err = &ChildError{Workflow: t.name, Message: message}
	} else {
		carried, t.value, t.err = unwrap(raw)
	}
	switch {
	case carried != nil && carried.Chain.Instance == t.ctx.chain.Instance && carried.Chain.Started.Equal(t.ctx.chain.Started):
		t.ctx.advance(t.prev, carried.Heads, carried.Links)
	case t.err == nil:
		t.err = fmt.Errorf("custody: child %s did not give the chain back; is it added with Worker.AddWorkflow?", t.name)
	}
	t.done = true
	t.ctx.open = slices.DeleteFunc(t.ctx.open, func(a awaitable) bool { return a == awaitable(t) })
}

// handBack is what a child gives its parent: the chain with what was added here.
func (c *Context) handBack(output any, failure error) (any, error) {
	back := &carry{Chain: c.chain, Heads: c.Heads(), Links: newest(c.links[c.inherited:])}
	if failure != nil {
		return nil, joinFailure(failure, back)
	}
	value, err := marshal(output)
	if err != nil {
		return nil, joinFailure(fmt.Errorf("custody: the output: %w", err), back)
	}
	return back.wrap(value), nil
}

// failureMark stands between the text of a failure and the chain. A failure crosses Dapr as text, and must not lose it.
const failureMark = " [" + carryMember + " "

func joinFailure(failure error, back *carry) error {
	raw, err := json.Marshal(back)
	if err != nil {
		return errors.Join(failure, err)
	}
	return fmt.Errorf("%w%s%s]", failure, failureMark, base64.RawURLEncoding.EncodeToString(raw))
}

// splitFailure undoes joinFailure; a text that is no such failure is the message.
func splitFailure(text string) (string, *carry) {
	text = strings.TrimPrefix(text, "task failed with an error: ")
	at := strings.LastIndex(text, failureMark)
	if at < 0 {
		return text, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimSuffix(text[at+len(failureMark):], "]"))
	if err != nil {
		return text, nil
	}
	var back carry
	if err := json.Unmarshal(raw, &back); err != nil {
		return text, nil
	}
	back.bound()
	return text[:at], &back
}
