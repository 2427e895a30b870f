// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/dapr/durabletask-go/workflow"
)

const (
	// endTask is the number of the last step of a generation, whatever Dapr's number of the event is that bears it.
	endTask = math.MaxUint32
	// endTimer is what the name of the timer begins with that bears the end of the chain. It is made in the turn in which
	// the workflow completes, so Dapr records and signs its creation and never starts it.
	endTimer = "custody.end "
	// atOnceTime is how long the workflow waits for its sidecar before it takes an activity.
	atOnceTime = 2 * time.Second
)

// end ends the chain. It takes no turn of its own where the sidecar answers at once.
func (c *Context) end(statement json.RawMessage) error {
	return c.last(kindEnd, statement, func(link Link) error {
		kept, _, err := pack(c.newest, []Link{link}, c.held())
		if err == nil {
			c.CreateTimer(0, workflow.WithTimerName(endTimer+kept))
		}
		return err
	})
}

// last has the last link of the generation signed, and kept; what is kept nowhere is signed again by an activity, whose
// result keeps it.
func (c *Context) last(kind string, statement json.RawMessage, keep func(Link) error) error {
	if err := c.narrow(); err != nil {
		return err
	}
	o := c.stated(kind, kind, statement)
	o.As = endTask
	link, err := c.atOnce(o)
	if err == nil {
		err = keep(link)
	}
	if err != nil {
		return c.do(activityState, o, nil).Await(nil)
	}
	c.advance(o.Prev, []string{link.Digest}, []Link{link})
	return nil
}

var errNotNow = errors.New("it is done in an activity")

// atOnce has the last step of the generation signed while the workflow is executed. That is done only where the events
// that led here are new: Dapr has saved nothing that follows from them, and what is signed now is saved with them or, after
// a crash, asked for again, which gives the same link. In a replay the history says whether an activity was taken, and the
// only way to be in one here is that it was.
func (c *Context) atOnce(o order) (Link, error) {
	if c.IsReplaying() || c.chain.Started.IsZero() {
		return Link{}, errNotNow
	}
	o.Workflow.Task = o.As
	body, err := json.Marshal(o.statement())
	if err != nil {
		return Link{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), atOnceTime)
	defer cancel()
	var given signed
	if _, err := c.worker.sidecar.ownOnce(ctx, "/custody/v1/attest", body, &given); err != nil {
		return Link{}, err
	}
	link, r, err := given.link()
	if err == nil && !o.Workflow.names(r.Workflow) {
		err = errors.New("the sidecar has stated another step")
	}
	return link, err
}
