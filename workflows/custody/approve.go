// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/dapr-custody/custody/internal/receipt"
)

// Approve has the sidecar of this app, which is the approver's, sign an approval of what is asked, and gives the payload
// of the event Ask.Event. Whoever can reach the instance may raise it: the payload says by its signature who approved.
func Approve(ctx context.Context, o Options, ask Ask) (json.RawMessage, error) {
	s, err := o.sidecar()
	if err != nil {
		return nil, err
	}
	in := struct {
		Workflow  json.RawMessage `json:"workflow"`
		Prev      []string        `json:"prev"`
		Kind      string          `json:"kind"`
		Statement json.RawMessage `json:"statement"`
	}{ask.Workflow, ask.Prev, "custody.approval", ask.Statement}
	var given signed
	if err := s.own(ctx, "/custody/v1/approve", in, &given); err != nil {
		return nil, fmt.Errorf("custody: approving: %w", err)
	}
	if _, _, err := given.link(); err != nil {
		return nil, fmt.Errorf("custody: approving: %w", err)
	}
	return given.Envelope, nil
}

// verification is the input of the activity that verifies an approval.
type verification struct {
	Ask Ask `json:"ask"`
	// Asker is the SPIFFE ID of the own app, which may not approve unless By names it.
	Asker    string          `json:"asker"`
	By       []string        `json:"by,omitempty"`
	Envelope json.RawMessage `json:"envelope"`
}

// verify is the activity that verifies an approval, with the roots that the own sidecar has now.
func (w *Worker) verify(ctx workflow.ActivityContext) (any, error) {
	var in verification
	if err := ctx.GetInput(&in); err != nil {
		return nil, fmt.Errorf("custody: the input of the activity: %w", err)
	}
	out := outcome{Version: outcomeVersion, State: stateAnswered, Status: receipt.StatusApproved}
	link, r, err := signed{Envelope: in.Envelope}.link()
	if err == nil {
		err = in.covers(r)
	}
	if err == nil {
		err = w.signedByDoor(ctx.Context(), link, r)
	}
	if err != nil {
		return out.failed(err), nil
	}
	out.Links, out.By, out.At = []Link{link}, r.Door.SPIFFEID.String(), r.Times.Settled
	return w.give(&out, nil, "")
}

// covers tells whether the receipt is an approval of exactly what was asked, by one who may give it.
func (in *verification) covers(r *receipt.Receipt) error {
	var step stepName
	if err := json.Unmarshal(in.Ask.Workflow, &step); err != nil {
		return err
	}
	canonical := jsontext.Value(slices.Clone(in.Ask.Statement))
	if err := canonical.Canonicalize(); err != nil {
		return err
	}
	door := r.Door.SPIFFEID.String()
	switch {
	case r.Action.Kind != "custody.approval" || r.Outcome.Status != receipt.StatusApproved:
		return fmt.Errorf("it is a %s with outcome %s, not an approval", r.Action.Kind, r.Outcome.Status)
	case !step.names(r.Workflow):
		return errors.New("it approves another step")
	case r.RequestDigest != receipt.Sum(canonical):
		return errors.New("it approves another statement")
	case !slices.Equal(digests(r.Prev), in.Ask.Prev):
		return errors.New("it does not continue what was asked")
	case len(in.By) > 0 && !slices.Contains(in.By, door):
		return fmt.Errorf("%s may not approve this", door)
	case len(in.By) == 0 && door == in.Asker:
		return fmt.Errorf("%s has asked for it itself", door)
	}
	return nil
}

func digests(all []receipt.Digest) []string {
	texts := make([]string, len(all))
	for i, d := range all {
		texts[i] = d.String()
	}
	return texts
}

// signedByDoor has the own sidecar verify the link.
func (w *Worker) signedByDoor(ctx context.Context, link Link, r *receipt.Receipt) error {
	in := struct {
		Chain *receipt.Chain    `json:"chain"`
		Links []json.RawMessage `json:"links"`
	}{r.Workflow.Chain, []json.RawMessage{link.envelope()}}
	var out struct {
		Links []struct {
			Digest string `json:"digest"`
		} `json:"links"`
		Faults []struct {
			Digest string `json:"digest"`
			Detail string `json:"detail"`
		} `json:"faults"`
	}
	if err := w.sidecar.own(ctx, "/custody/v1/verify", in, &out); err != nil {
		return err
	}
	for _, l := range out.Links {
		if l.Digest == link.Digest {
			return nil
		}
	}
	for _, f := range out.Faults {
		if f.Digest == link.Digest {
			return errors.New(f.Detail)
		}
	}
	return errors.New("the sidecar does not verify it")
}
