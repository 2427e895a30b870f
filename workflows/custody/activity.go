// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dapr-custody/custody/internal/receipt"
)

// begun reads the order of an activity and gives it the number of the activity: Dapr's ID of the event by which it was
// scheduled, plus one. That number is the same when the activity is done again after a crash. What begins a chain is given
// its start too; where that cannot be found out the order comes with an error of this package, and nothing can be signed.
func (w *Worker) begun(ctx workflow.ActivityContext) (*order, error) {
	var o order
	if err := ctx.GetInput(&o); err != nil {
		return nil, fmt.Errorf("custody: the input of the activity: %w", err)
	}
	id := ctx.GetTaskID()
	if id < 0 {
		return nil, fmt.Errorf("custody: the activity has number %d", id)
	}
	if o.Workflow.Task = o.As; o.As == 0 {
		o.Workflow.Task = uint32(id) + 1
	}
	if !o.Workflow.Chain.Started.IsZero() {
		return &o, nil
	}
	var err error
	o.Workflow.Chain.Started, err = w.sidecar.created(ctx.Context(), o.Workflow.Chain.Instance)
	return &o, err
}

// statement is what the own sidecar is to sign.
type statement struct {
	asked
	Kind      string          `json:"kind"`
	Statement json.RawMessage `json:"statement"`
}

func (o *order) statement() statement { return statement{o.asked, o.Kind, o.Statement} }

// state is the activity that has a statement signed.
func (w *Worker) state(ctx workflow.ActivityContext) (any, error) {
	o, err := w.begun(ctx)
	out := outcome{Version: outcomeVersion, State: stateAnswered}
	switch {
	case o == nil:
		return nil, err
	case err != nil:
		return out.failed(err), nil
	}
	var of string
	if o.Kind == kindBegin {
		if of, err = w.continues(ctx.Context(), o); err != nil {
			return out.failed(err), nil
		}
	}
	var given signed
	if err := w.sidecar.own(ctx.Context(), "/custody/v1/attest", o.statement(), &given); err != nil {
		return out.failed(err), nil
	}
	link, r, err := given.link()
	if err == nil && !o.Workflow.names(r.Workflow) {
		err = errors.New("the sidecar has stated another step")
	}
	if err == nil && o.Kind == kindBegin && r.Workflow.App != of {
		err = fmt.Errorf("the generation before is one of app %q", of)
	}
	if err != nil {
		return out.failed(fmt.Errorf("%w: %w", ErrRefused, err)), nil
	}
	out.Status, out.Links, out.Task = r.Outcome.Status, []Link{link}, r.Workflow.Task
	out.from(r)
	return w.give(&out, o.Held, o.After)
}

// failed is the outcome where nothing was signed.
func (o outcome) failed(err error) outcome {
	// outcome.err says again which of these it is.
	o.Detail = err.Error()
	for _, kind := range []error{ErrRefused, ErrUnreachable} {
		o.Detail = strings.TrimPrefix(o.Detail, kind.Error()+": ")
	}
	switch {
	case errors.Is(err, ErrNoCaller):
		o.State = stateNoCaller
	case errors.Is(err, ErrUnreachable):
		o.State = stateUnreachable
	default:
		o.State = stateRefused
	}
	return o
}

// from takes what the own sidecar filled in.
func (o *outcome) from(r *receipt.Receipt) {
	o.ChainApp, o.Started = r.Workflow.Chain.App.String(), r.Workflow.Chain.Started
	o.App, o.Door = r.Workflow.App, r.Door.SPIFFEID.String()
}
