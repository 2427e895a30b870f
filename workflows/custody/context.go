// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dapr-custody/custody/internal/linkpack"
)

const (
	// maxHeads is how many links a step continues; more are joined first.
	maxHeads = 16
	// maxJoined is how many links one custody.join continues.
	maxJoined = 512
)

const (
	kindAttest = "custody.attest"
	kindJoin   = "custody.join"
	kindEnd    = "custody.end"
	// kindContinue is the last link of a generation, and kindBegin the first of the next.
	kindContinue = "custody.continue"
	kindBegin    = "custody.begin"
)

// Context is that of a workflow with the chain that its steps form. What it knows of the chain it has from the results
// of activities and children alone, so that it is the same in every replay.
type Context struct {
	*workflow.WorkflowContext
	worker *Worker

	input      json.RawMessage
	chain      chainName
	generation uint32
	// child is set where another instance began the chain.
	child bool

	heads []string
	// links are those that this instance has, oldest first, and inherited says how many of them are the parent's.
	links     []Link
	inherited int
	open      []awaitable
	// memory has the links that results of this generation bear, and newest the last of them. Keys names those whose
	// certificates they bear, oldest first.
	memory linkpack.Memory
	newest *linkpack.Text
	keys   []string
	// children counts those that were called without an instance ID.
	children int
	// unsettled are calls of which it was not known what came, to be looked at once more before the chain ends.
	unsettled []order

	status    string
	approvals []Ask

	next        *json.RawMessage
	nextOptions []workflow.ContinueAsNewOption
	nextErr     error
}

// awaitable is what is awaited when the workflow ends, if nobody has.
type awaitable interface{ settle() }

// begin reads what the chain is so far.
func (w *Worker) begin(wc *workflow.WorkflowContext) (*Context, error) {
	var raw json.RawMessage
	if err := wc.GetInput(&raw); err != nil {
		return nil, fmt.Errorf("custody: reading the input: %w", err)
	}
	c := &Context{WorkflowContext: wc, worker: w}
	carried, input, err := unwrap(raw)
	if err != nil {
		return nil, err
	}
	c.input = input
	if carried != nil {
		return c, c.resume(carried, input)
	}
	c.chain = chainName{Instance: wc.ID()}
	return c, nil
}

// GetInput unmarshals the workflow's input into v.
func (c *Context) GetInput(v any) error {
	if len(c.input) == 0 {
		return nil
	}
	return json.Unmarshal(c.input, v)
}

// SetCustomStatus sets the custom status of the workflow. While approvals are awaited it stands in the member "status"
// beside them (PendingApprovals).
func (c *Context) SetCustomStatus(status string) {
	c.status = status
	c.showStatus()
}

// Heads are the digests of the links that the next step continues.
func (c *Context) Heads() []string { return slices.Clone(c.heads) }

// Links are the links of the chain that this instance knows, oldest first: its own, those of its awaited children, and
// those that it was given by its parent or by the generation before (at most MaxCarriedLinks).
func (c *Context) Links() []Link { return whole(c.links) }

// Chain names the chain: the SPIFFE ID of the app, the instance and the start of the workflow that began it, which is when
// Dapr took it on. ID and start are zero until the first link is there.
func (c *Context) Chain() (app, instance string, started time.Time) {
	return c.chain.App, c.chain.Instance, c.chain.Started
}

// ContinueAsNew starts the instance over with a new input once the function returns without an error. The chain goes on:
// steps that nobody awaited are awaited, the heads are carried, and the newest MaxCarriedLinks links.
func (c *Context) ContinueAsNew(input any, options ...workflow.ContinueAsNewOption) {
	raw, err := marshal(input)
	c.next, c.nextOptions, c.nextErr = &raw, options, err
}

// step names the step to be scheduled now, and what it continues.
func (c *Context) step(name string) asked {
	return asked{
		Workflow: stepName{Chain: c.chain, Instance: c.ID(), Name: c.Name(), Generation: c.generation, Step: name},
		Prev:     slices.Clone(c.heads),
	}
}

// narrow joins heads until a step can continue them all.
func (c *Context) narrow() error {
	for len(c.heads) > maxHeads {
		o := c.stated(kindJoin, "custody.join", json.RawMessage(`{}`))
		o.Prev = o.Prev[:min(len(o.Prev), maxJoined)]
		if err := c.do(activityState, o, nil).Await(nil); err != nil {
			return fmt.Errorf("joining %d heads: %w", len(o.Prev), err)
		}
	}
	return nil
}

func (c *Context) stated(kind, name string, statement json.RawMessage) order {
	return order{asked: c.step(name), Kind: kind, Statement: statement}
}

// advance puts what a step has signed in the place of what it continues.
func (c *Context) advance(prev []string, heads []string, links []Link) {
	if len(heads) > 0 {
		c.heads = slices.DeleteFunc(c.heads, func(d string) bool { return slices.Contains(prev, d) || slices.Contains(heads, d) })
		c.heads = append(c.heads, heads...)
	}
	c.links = append(c.links, links...)
	c.worker.past.add(c.chain, links)
}

// await waits for an activity of this package and gives its outcome, which must not be changed.
func (c *Context) await(task workflow.Task) (*outcome, error) {
	var result text
	if err := task.Await(&result); err != nil {
		return nil, err
	}
	known, err := c.worker.past.outcome(result, &c.memory)
	if err != nil {
		return nil, err
	}
	c.hold(known.links)
	return &known.outcome, nil
}

// finish ends what is open and then the chain, or hands it on.
func (c *Context) finish(output any, failure error) (any, error) {
	for len(c.open) > 0 {
		c.open[0].settle()
	}
	for _, o := range c.unsettled {
		o.asked = c.step("custody.look")
		c.do(activityCall, o, nil).settle() // What is still not known stays so.
	}
	switch {
	case c.next != nil && failure == nil:
		if c.nextErr != nil {
			return nil, fmt.Errorf("custody: the input of ContinueAsNew: %w", c.nextErr)
		}
		if err := c.goOn(*c.next); err != nil {
			return nil, err
		}
		c.WorkflowContext.ContinueAsNew(c.carry(c.generation+1).wrap(*c.next), c.nextOptions...)
		return nil, nil
	case c.child:
		return c.handBack(output, failure)
	}
	end := struct {
		Status string `json:"status"`
	}{Status: "completed"}
	if failure != nil {
		end.Status = "failed"
	}
	statement, err := marshal(end)
	if err != nil {
		return nil, errors.Join(failure, err)
	}
	if err := c.end(statement); err != nil {
		return nil, errors.Join(failure, err)
	}
	c.worker.past.forget(c.chain)
	return output, failure
}

// marshal is json.Marshal, and nil for nil.
func marshal(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}
