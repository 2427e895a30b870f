// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate

import (
	"fmt"
	"strings"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/rate"
)

// charge counts the action against the rates that come with the allow. Where one
// has no room the decision becomes a denial and nothing is counted.
func (p *Permit) charge() error {
	if p.decision.Obligations == nil || len(p.decision.Obligations.Rates) == 0 {
		return nil
	}
	if p.gate.options.Rates == nil {
		return ErrNoRates
	}
	rates := p.decision.Obligations.Rates
	claims := make([]rate.Claim, len(rates))
	for i, r := range rates {
		claims[i] = rate.Claim{Key: p.counter(r), Limit: rate.Limit{Count: r.Count, Per: r.Per}}
	}
	ok, which, retryAfter, err := p.gate.options.Rates.Take(claims...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoRates, err)
	}
	if ok {
		return nil
	}
	over := rates[which]
	p.retryAfter = retryAfter
	p.decision = policy.Decision{
		Effect: policy.Deny, Policy: over.Policy, Rule: over.Rule, Set: p.decision.Set, Shadow: p.decision.Shadow,
		Reason: "the rate of " + over.String() + " that the rule allows is used up",
	}
	return nil
}

// counter names what one rate counts: each caller and action by itself. Of what has parts the rule counts as a whole. A
// caller chooses freely which key or table comes first and what else its statement does, and so what it is called by. It
// also writes URIs and paths in any number of ways, and finds new ones without end, so those count together.
func (p *Permit) counter(r policy.Rate) string {
	a := p.ask.Action
	switch a.Kind {
	case policy.KindResourceRead, policy.KindResourceSubscribe, policy.KindResourceUnsubscribe, policy.KindComplete, policy.KindHTTP:
		a.Name = ""
	}
	if len(p.ask.Parts) > 0 {
		a.Kind, a.Name = "", ""
	}
	return strings.Join([]string{r.Policy, r.Rule, p.ask.Caller.ID().String(), a.Kind, a.Server, a.Name}, "\x00")
}
