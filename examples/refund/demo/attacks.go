// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
)

// noTask is a number that no step of the workflow has.
const noTask = 100

// attacks: intake was taken over, and wants money that it may not have.
func (p *play) attacks(ctx context.Context) error {
	p.out.Title("2. Intake was taken over: each tries to get money out of payments")
	err := p.attempts(ctx,
		attempt{"the fraud check skipped", "denied", p.deviates("no-check", order{payment: broken, Skip: []string{"fraud"}})},
		attempt{"the approval skipped", "denied", p.deviates("no-approval", order{payment: broken, Skip: []string{"approval"}})},
		attempt{"more paid than was approved", "denied", p.deviates("grown", order{payment: broken, Grow: 5000})},
	)
	if err != nil {
		return err
	}
	if err := p.forged(ctx); err != nil {
		return err
	}
	if err := p.replayed(ctx); err != nil {
		return err
	}
	if err := p.nothingPaid(ctx); err != nil {
		return err
	}
	return p.attempts(ctx,
		attempt{"what was approved, paid once more beside the workflow", "denied", p.paidTwice},
		attempt{"that call, in the chain of the refund", "found", func(ctx context.Context) (bool, string, error) {
			return p.verifyFinds(ctx, "step-missing, step refund_payment", "second")
		}},
	)
}

// deviates: the workflow does not do what it should, and is denied at its end.
func (p *play) deviates(id string, o order) func(context.Context) (bool, string, error) {
	return func(ctx context.Context) (bool, string, error) {
		s, err := p.refund(ctx, id, o)
		return s.denied(), s.String(), err
	}
}

// forged: intake approves for the person. Its sidecar signs, as intake; no
// other key is to be had.
func (p *play) forged(ctx context.Context) error {
	const id = "forged"
	if err := p.begin(ctx, id, order{payment: broken}); err != nil {
		return err
	}
	waits, err := p.waiting(ctx, id, 0)
	if err != nil {
		return err
	}
	w := p.takenOver()
	approval, err := w.approve(ctx, waits)
	if err != nil {
		return err
	}
	raised := func(ctx context.Context) (bool, string, error) {
		handIn := map[string]any{"event": waits.Event, "approval": approval.envelope}
		if _, err := p.ask(ctx, "intake", http.MethodPost, "/approvals/"+id, handIn, nil); err != nil {
			return false, "", err
		}
		now, err := p.waiting(ctx, id, 1)
		return now.Refused == 1 && strings.Contains(now.Detail, "/intake has asked for it itself"), now.Detail, err
	}
	presented := func(ctx context.Context) (bool, string, error) {
		links, err := p.links(ctx, id)
		if err != nil {
			return false, "", err
		}
		return p.forgedCall(ctx, w, append(links, approval), approval)
	}
	return p.attempts(ctx,
		attempt{"an approval that intake signed itself, raised as the event", "passed over", raised},
		attempt{"the same approval, shown to the guard without the library", "denied", presented},
		attempt{"the approval, in the chain of the refund", "found, and who signed it", p.foundForged},
		attempt{"that call, in the chain of the refund", "found", p.foundCall},
	)
}

// forgedCall: the links all verify, and the guard knows who approved.
func (p *play) forgedCall(ctx context.Context, w worker, links []link, approval link) (bool, string, error) {
	as := approval.step
	as.Task, as.Step = noTask, "refund_payment"
	first, err := w.pay(ctx, as, []string{approval.digest}, broken, false)
	if err != nil {
		return false, "", err
	}
	p.Check(first.Status == http.StatusPreconditionRequired, "a call whose chain the guard does not know: want 428, got %s", first)
	said, err := w.show(ctx, as, links)
	if err != nil {
		return false, "", err
	}
	p.Check(len(said.Missing) == 0 && len(said.Faults) == 0, "the links with the forged approval: want them to verify, got %+v", said)
	got, err := w.pay(ctx, as, []string{approval.digest}, broken, true)
	return denial(got) != "", cmp.Or(denial(got), got.String()), err
}

// foundForged: the first that is wrong with the chain is the approval.
func (p *play) foundForged(ctx context.Context) (bool, string, error) {
	met, line, err := p.verifyFinds(ctx, "forged-approval, step refund-approval", "forged")
	return met && strings.Contains(line, ": intake signed it, which may not give it: it asked for it itself"), line, err
}

// foundCall: the call that was denied is in no history of Dapr's.
func (p *play) foundCall(ctx context.Context) (bool, string, error) {
	output, err := p.stage.Command(ctx, "chain", "verify", "forged", "--app", "intake", "--anchored")
	if ctx.Err() != nil {
		return false, "", ctx.Err()
	}
	line, found := finding(output, "step-missing, step refund_payment")
	return err != nil && found && !strings.Contains(output, "link/missing"), line, nil
}

// replayed: what was good for another refund is shown for this one.
func (p *play) replayed(ctx context.Context) error {
	links, err := p.links(ctx, "good")
	if err != nil {
		return err
	}
	var good []link
	for _, l := range links {
		if l.step.Step == "fraud-check" || l.kind == "custody.approval" {
			good = append(good, l)
		}
	}
	p.Check(len(good) == 2, "links of the good refund: want its check and its approval, got %d", len(good))
	if len(good) == 0 {
		return nil
	}
	as := good[0].step
	as.Chain.Instance, as.Instance, as.App, as.Task, as.Step = "replayed", "replayed", "intake", noTask, "refund_payment"
	w := p.takenOver()
	shown := func(ctx context.Context) (bool, string, error) {
		said, err := w.show(ctx, as, good)
		if err != nil {
			return false, "", err
		}
		other := !slices.ContainsFunc(said.Faults, func(f fault) bool { return f.Kind != "other-chain" })
		met := other && len(said.Faults) == len(good) && said.Known == 0
		return met, said.String(), nil
	}
	called := func(ctx context.Context) (bool, string, error) {
		got, err := w.pay(ctx, as, []string{good[len(good)-1].digest}, broken, true)
		return denial(got) != "", cmp.Or(denial(got), got.String()), err
	}
	return p.attempts(ctx,
		attempt{"check and approval of the good refund, shown for another", "found", shown},
		attempt{"a call that names them as its past", "denied", called},
	)
}

// nothingPaid: that attacks got errors does not show that they had no effect;
// the number of the next receipt does, which payments counts on its own.
func (p *play) nothingPaid(ctx context.Context) error {
	s, err := p.refund(ctx, "second", order{payment: late})
	met := s.Output.Receipt == "P-00002"
	p.Check(met, "the next good refund: want receipt P-00002, got %s", s)
	p.out.Result(met, "a second good refund after all that", "is the second payment", s.String())
	return err
}

// paidTwice: an approval does not say how often. A worker goes on from it a second
// time, so that the call does not continue the first payment. The guard counts what
// it has passed on by its own record.
func (p *play) paidTwice(ctx context.Context) (bool, string, error) {
	links, err := p.links(ctx, "second")
	if err != nil {
		return false, "", err
	}
	i := slices.IndexFunc(links, func(l link) bool { return l.kind == "custody.approval" })
	if i < 0 {
		return false, "the second refund has no approval", nil
	}
	as := links[i].step
	as.App, as.Task, as.Step = "intake", noTask, "refund_payment"
	got, err := p.takenOver().pay(ctx, as, []string{links[i].digest}, late, true)
	if err != nil {
		return false, "", err
	}
	return denial(got) != "", cmp.Or(denial(got), got.String()), nil
}
