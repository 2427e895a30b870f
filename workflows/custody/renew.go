// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// goOn ends the generation, which the next continues. Where the sidecar answers at once it takes no turn: the link stands
// in the input of the next generation.
func (c *Context) goOn(input json.RawMessage) error {
	statement, err := chain.Continued(c.generation+1, input)
	if err != nil {
		return fmt.Errorf("custody: the input of ContinueAsNew: %w", err)
	}
	return c.last(kindContinue, statement, func(Link) error { return nil })
}

// renew begins a generation that was given the chain, and that input. The activity looks whether the one before signed
// that.
func (c *Context) renew(input json.RawMessage) error {
	statement, err := chain.Continued(c.generation, input)
	if err != nil {
		return fmt.Errorf("custody: the input: %w", err)
	}
	if len(c.heads) != 1 || len(c.links) == 0 || c.links[len(c.links)-1].Digest != c.heads[0] {
		return errors.New("custody: the input bears the chain of a later generation without what the one before signed last")
	}
	o := c.stated(kindBegin, kindBegin, json.RawMessage(`{}`))
	o.Links, o.Expect = packed{c.links[len(c.links)-1]}, receipt.Sum(statement).String()
	return c.do(activityState, o, nil).Await(nil)
}

// continues holds what a generation is to begin with to the last link of the one before, and gives the app that signed
// it.
func (w *Worker) continues(ctx context.Context, o *order) (app string, err error) {
	if len(o.Links) != 1 || len(o.Prev) != 1 {
		return "", fmt.Errorf("%w: it begins with %d links", ErrRefused, len(o.Links))
	}
	link, r, err := signed{Digest: o.Prev[0], Envelope: o.Links[0].envelope()}.link()
	if err != nil {
		return "", fmt.Errorf("%w: what it begins with: %w", ErrRefused, err)
	}
	n := o.Workflow
	switch of := r.Workflow.Chain; {
	case of.App.String() != n.Chain.App || of.Instance != n.Chain.Instance || !of.Started.Equal(n.Chain.Started):
		err = fmt.Errorf("it is of the chain of instance %q", of.Instance)
	case r.Action.Kind != kindContinue || r.Outcome.Status != receipt.StatusStated:
		err = fmt.Errorf("it is a %s with outcome %s", r.Action.Kind, r.Outcome.Status)
	case r.Workflow.Instance != n.Instance || uint64(r.Workflow.Generation)+1 != uint64(n.Generation):
		err = fmt.Errorf("it is of generation %d of instance %q", r.Workflow.Generation, r.Workflow.Instance)
	case r.RequestDigest.String() != o.Expect:
		err = errors.New("it states another input or generation")
	default:
		err = w.signedByDoor(ctx, link, r)
	}
	if err != nil && !errors.Is(err, ErrUnreachable) {
		err = fmt.Errorf("%w: generation %d of instance %q is not what was signed last before: %w", ErrRefused, n.Generation, n.Instance, err)
	}
	return r.Workflow.App, err
}
