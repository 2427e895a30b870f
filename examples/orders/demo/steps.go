// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dapr-custody/custody/examples/orders/callers"
	"github.com/dapr-custody/custody/examples/stage"
)

const reloadPatience = 10 * time.Second

// denyAll: under the blanket deny nobody can do or see anything.
func (p *play) denyAll(ctx context.Context) error {
	p.out.Title("1. Blanket deny (policies-deny-all/orders.yaml)")
	set, err := p.policySet(ctx)
	if err != nil {
		return err
	}
	p.Check(set.State == inForce, "custody policy status: want %q, got %q", inForce, set.State)
	p.out.Note("%s", set)
	return p.matrix(ctx, nil)
}

// granular: the policy of the example is put in its place while all runs.
func (p *play) granular(ctx context.Context) error {
	p.out.Title("2. Granular policy, swapped in while everything runs (policies/orders.yaml)")
	before, err := p.policySet(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := p.stage.installPolicy("policies"); err != nil {
		return err
	}
	after, err := p.awaitSet(ctx, before.Digest)
	if err != nil {
		return err
	}
	p.out.Note("%s, seen after %d ms", after, time.Since(began).Milliseconds())
	return p.matrix(ctx, callers.MayUse())
}

// inForce is the state of a guard whose policy files are in force as they are.
const inForce = "in force"

// policySet is what of `custody policy status -o json` is used here.
type policySet struct {
	Digest string `json:"digest"`
	State  string `json:"state"`
	Rules  int    `json:"rules"`
}

func (s policySet) String() string {
	return fmt.Sprintf("policy set %.12s with %d rules is %s", s.Digest, s.Rules, s.State)
}

func (p *play) policySet(ctx context.Context) (policySet, error) {
	output, err := p.stage.Command(ctx, "policy", "status", "-o", "json")
	if err != nil {
		return policySet{}, err
	}
	var guards []policySet
	if err := json.Unmarshal([]byte(output), &guards); err != nil {
		return policySet{}, fmt.Errorf("custody policy status: %w", err)
	}
	if len(guards) != 1 {
		return policySet{}, fmt.Errorf("custody policy status: want one guard, got %d", len(guards))
	}
	return guards[0], nil
}

// awaitSet waits until another set than before is in force.
func (p *play) awaitSet(ctx context.Context, before string) (set policySet, err error) {
	err = stage.Await(ctx, reloadPatience, func(ctx context.Context) (is bool, err error) {
		set, err = p.policySet(ctx)
		return set.Digest != before && set.State == inForce, err
	})
	if err != nil {
		return set, fmt.Errorf("put the new policy in force: %w (%s)", err, set)
	}
	return set, nil
}

// matrix has every agent call every tool and list the tools it sees.
func (p *play) matrix(ctx context.Context, allowed map[string][]string) error {
	agents, tools := callers.Agents(), callers.Tools()
	rows := make([][]stage.Cell, len(agents))
	for i, agent := range agents {
		for _, tool := range tools {
			r, err := p.call(ctx, agent, tool, callers.Arguments(tool), nil)
			if err != nil {
				return err
			}
			want, got := callers.Expected(allowed, agent, tool), r.Outcome()
			p.Check(got == want, "%s %s: want %s, got %s (%s)", agent, tool, want, got, stage.OneLine(r.String()))
			rows[i] = append(rows[i], stage.Cell{Text: got, Met: got == want})
		}
		sees, err := p.sees(ctx, agent, allowed[agent])
		if err != nil {
			return err
		}
		rows[i] = append(rows[i], sees)
	}
	head := append(append([]string{"agent"}, tools...), "tools/list shows")
	p.out.Table(head, agents, rows)
	return nil
}

// sees: an agent that may use no tool is not let in at all, or sees none.
func (p *play) sees(ctx context.Context, agent string, allowed []string) (stage.Cell, error) {
	r, err := callers.Visible(ctx, p.stage.Stage, agent)
	if err != nil {
		return stage.Cell{}, err
	}
	text := strings.Join(r.Tools, ", ")
	met := r.OK && sameTools(r.Tools, allowed)
	switch {
	case r.Refused():
		text, met = "(refused)", len(allowed) == 0
	case !r.OK:
		text = "error"
	case text == "":
		text = "(nothing)"
	}
	p.Check(met, "tools/list of %s: want %s, got %s", agent, strings.Join(allowed, ", "), text)
	return stage.Cell{Text: text, Met: met}, nil
}
