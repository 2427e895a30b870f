// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"context"
	"slices"

	"cel.dev/cel-go/common/types"
)

// weighing decides one request as Decide does, but from the list of all rules that
// match it, and with facts that may not be known. It keeps what came of each
// condition.
type weighing struct {
	set     *Set
	facts   *partial
	denies  []int32 // places of the rules that match, in order, of enforced policies
	allows  []int32
	results map[int32]result
	// reached: the action needs no rule that allows it.
	reached bool
}

type result struct {
	match Match
	why   string
}

// conclusion is what comes of a weighing. place is that of the rule that decides,
// 0 for none. An effect of Depends has the places that it depends on,
// and the obligations of an allow. weighRules gives them also with a denial because
// of a condition that cannot be evaluated.
type conclusion struct {
	effect      Effect
	place       int32
	reason      string
	obligations *Obligations
	depends     []int32
	// mayOblige are the places of allow rules that oblige under conditions that are not known.
	mayOblige []int32
}

// weighing finds the rules that match. unknown are names of conditions.
func (s *Set) weighing(r Request, unknown []string) *weighing {
	w := &weighing{set: s}
	for i := range s.rules {
		c := &s.rules[i]
		if c.document.mode == Shadow {
			continue
		}
		if match, _ := c.distance(&r); match != Matches {
			continue
		}
		place := int32(i + 1) //nolint:gosec // MaxRules fits
		if c.rule.effect == Deny {
			w.denies = append(w.denies, place)
		} else {
			w.allows = append(w.allows, place)
		}
	}
	q, _ := r.Action.question()
	w.reached = q.bare() && runs(s.roots, r.Caller, r.Action.Server)
	w.know(&r, unknown)
	return w
}

// know takes the facts of a request of the same caller and action.
func (w *weighing) know(r *Request, unknown []string) {
	w.facts = &partial{variables: newVariables(r), unknown: unknown}
	w.results = map[int32]result{}
}

// result returns what comes of a rule, also where the decision did not need it.
func (w *weighing) result(place int32) (Match, string) {
	found, ok := w.results[place]
	if !ok {
		// What the others have spent is no part of what this rule says.
		found = w.facts.again().rule(&w.set.rules[place-1])
	}
	return found.match, found.why
}

func (w *weighing) look(place int32) result {
	found := w.facts.rule(&w.set.rules[place-1])
	w.results[place] = found
	return found
}

// weigh concludes as Decide does.
func (w *weighing) weigh() conclusion {
	c := w.weighRules()
	if c.effect != Deny {
		return c
	}
	asked := c.obligations
	c.obligations = nil
	switch {
	case !w.reached, c.reason == ReasonNoGrant, c.place != 0 && w.set.rules[c.place-1].rule.effect == Deny:
		return c
	case asked != nil && asked.grant != 0:
		return conclusion{effect: Deny, place: asked.grant, reason: ReasonNoGrant}
	}
	return conclusion{effect: Allow, reason: ReasonReaches, obligations: asked}
}

// weighRules looks at the conditions in the order in which Decide does, for together
// they may cost only so much.
func (w *weighing) weighRules() conclusion {
	var open []int32
	for _, place := range w.denies {
		switch found := w.look(place); found.match {
		case Matches:
			return conclusion{effect: Deny, place: place, reason: ReasonDenied}
		case WhenFailed:
			return conclusion{effect: Deny, place: place, reason: unevaluated(w.set.rules[place-1].rule.name, found.why)}
		case WhenUnknown:
			open = append(open, place)
		}
	}
	return w.weighAllows(open)
}

// weighAllows concludes where no rule denies for certain; those at open may.
func (w *weighing) weighAllows(open []int32) conclusion {
	a := &allowing{weighing: w, allow: w.certain()}
	for _, place := range w.allows {
		c := &w.set.rules[place-1]
		if c.obligations == nil && a.allow != 0 && a.allow <= place {
			continue
		}
		a.add(place)
	}
	return a.conclude(open)
}

// certain returns the first rule that allows whatever the facts are and asks for
// nothing, 0 for none.
func (w *weighing) certain() int32 {
	i := slices.IndexFunc(w.allows, func(place int32) bool {
		c := &w.set.rules[place-1]
		return c.rule.when == nil && c.rule.check == nil && c.obligations == nil
	})
	if i < 0 {
		return 0
	}
	return w.allows[i]
}

// allowing collects what allow rules say.
type allowing struct {
	*weighing

	allow    int32 // the first that allows, for certain
	failed   int32 // the first whose condition cannot be evaluated
	possible bool  // one may allow
	asked    *Obligations
	maybe    bool    // a grant may be asked for
	open     []int32 // those whose conditions are not known
}

func (a *allowing) add(place int32) {
	c := &a.set.rules[place-1]
	grant := c.obligations != nil && c.obligations.grant != 0
	// Behind a condition whose cost is not known, another one may cost too much with it.
	unsure := c.rule.when != nil && a.facts.loose
	switch a.look(place).match {
	case Matches:
		a.possible = true
		if !unsure {
			a.allow = first(a.allow, place)
		}
	case WhenFailed:
		a.failed = first(a.failed, place)
	case WhenUnknown:
		a.possible, a.maybe = true, a.maybe || grant
		a.open = append(a.open, place)
		return
	default:
		a.maybe = a.maybe || grant && unsure
		return
	}
	a.asked = a.asked.and(c.obligations)
}

func (a *allowing) conclude(denies []int32) conclusion {
	grant := a.asked != nil && a.asked.grant != 0
	switch {
	case a.allow != 0 && grant:
		return conclusion{effect: Deny, place: a.asked.grant, reason: ReasonNoGrant}
	case a.allow != 0 && len(denies) == 0 && !a.maybe:
		return conclusion{effect: Allow, place: a.allow, reason: ReasonAllowed, obligations: a.asked, mayOblige: a.obliging()}
	case a.possible && !grant || a.allow != 0:
		return conclusion{effect: Depends, obligations: a.asked, depends: slices.Concat(denies, a.open), mayOblige: a.obliging()}
	case a.possible:
		return conclusion{effect: Deny, place: a.asked.grant, reason: ReasonNoGrant}
	case a.failed != 0:
		why := a.results[a.failed].why
		return conclusion{effect: Deny, place: a.failed, reason: unevaluated(a.set.rules[a.failed-1].rule.name, why), obligations: a.asked}
	}
	return conclusion{effect: Deny, reason: ReasonNoRule}
}

// obliging returns those of the open rules that oblige to something.
func (a *allowing) obliging() []int32 {
	var places []int32
	for _, place := range a.open {
		if a.set.rules[place-1].obligations != nil {
			places = append(places, place)
		}
	}
	return places
}

// partial gives the names of a request their values, save those that are not known.
type partial struct {
	*variables

	unknown []string
	// asked is the first unknown name that the condition asked for.
	asked string
	spent uint64
	// loose is set once a condition asked for what is not known: it could have
	// spent more than it did.
	loose bool
}

// again returns the same names, with nothing spent.
func (p *partial) again() *partial { return &partial{variables: p.variables, unknown: p.unknown} }

// ResolveName gives a name its value, or an error where it is not known.
func (p *partial) ResolveName(name string) (any, bool) {
	if of := fact(name); slices.Contains(p.unknown, of) {
		if p.asked == "" {
			p.asked = of
		}
		return types.NewErr("not known"), true
	}
	return p.variables.ResolveName(name)
}

// rule does what evaluation.rule does.
func (p *partial) rule(c *compiledRule) result {
	if c.rule.check != nil && slices.Contains(p.unknown, FactUse) {
		return result{match: WhenUnknown, why: "it asks for the use of the table, which is not known"}
	}
	if m, column := c.rule.check.misfit(c.rule.effect, &p.request.Action); m != fits {
		return result{match: OtherUse, why: m.say(column)}
	}
	return p.evaluate(c.rule.when)
}

// evaluate does what evaluation.holds does. A condition that asks for what is not
// known is unknown, whatever came of it: the value could have made it cost too much.
func (p *partial) evaluate(c *condition) result {
	if c == nil {
		return result{match: Matches}
	}
	e := &evaluation{variables: p.variables, spent: p.spent}
	if e.spent > maxRequestCost || len(p.unknown) == 0 {
		holds, why := e.holds(c)
		p.spent = e.spent
		return concluded(holds, why)
	}
	ctx := p.facts.Context
	if ctx == nil {
		ctx = context.Background()
	}
	p.asked = ""
	out, details, err := c.program.ContextEval(ctx, p)
	if spent := details.ActualCost(); spent != nil {
		p.spent += *spent
	}
	switch {
	case p.asked != "":
		p.loose = true
		return result{match: WhenUnknown, why: "its condition asks for " + p.asked + ", which is not known"}
	case err != nil:
		return concluded(false, c.explain(err))
	}
	return concluded(out == types.True, "")
}

func concluded(holds bool, why string) result {
	switch {
	case why != "":
		return result{match: WhenFailed, why: why}
	case holds:
		return result{match: Matches}
	}
	return result{match: WhenFalse, why: "its condition is false"}
}
