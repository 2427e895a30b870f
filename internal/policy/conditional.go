// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"
	"strings"
)

// conditional finds the rules with a condition or obligations about one server. Their places
// stand apart from those of names, so that deciding by rules without conditions
// costs what it did.
type conditional struct {
	groups [groupCount]struct {
		exact map[string][]int32
		// globs holds the patterns, "*" among them.
		globs []globPlaces
		// place finds a glob while compiling, so that equal ones share an entry.
		place map[string]int
	}
}

type globPlaces struct {
	pattern string
	places  []int32
}

func (c *conditional) add(g group, name string, place int32) {
	group := &c.groups[g]
	if !strings.Contains(name, every) {
		if group.exact == nil {
			group.exact = map[string][]int32{}
		}
		group.exact[name] = append(group.exact[name], place)
		return
	}
	i, ok := group.place[name]
	if !ok {
		if group.place == nil {
			group.place = map[string]int{}
		}
		i = len(group.globs)
		group.place[name] = i
		group.globs = append(group.globs, globPlaces{pattern: name})
	}
	group.globs[i].places = append(group.globs[i].places, place)
}

// find appends the places of the rules that match.
func (c *conditional) find(found []int32, q *question, rules []compiledRule) []int32 {
	if c == nil {
		return found
	}
	switch {
	case q.name == "":
	case q.form == asText:
		found = c.text(found, q.group, q.name)
	default:
		group := &c.groups[q.group]
		for name, places := range group.exact {
			found = q.kept(found, name, places, rules)
		}
		for i := range group.globs {
			found = q.kept(found, group.globs[i].pattern, group.globs[i].places, rules)
		}
	}
	if q.method != "" {
		found = c.text(found, groupMethods, q.method)
	}
	return found
}

func (c *conditional) text(found []int32, g group, name string) []int32 {
	group := &c.groups[g]
	found = append(found, group.exact[name]...)
	for i := range group.globs {
		if globMatch(group.globs[i].pattern, name) {
			found = append(found, group.globs[i].places...)
		}
	}
	return found
}

// kept appends those of the places of a pattern that match.
func (q *question) kept(found []int32, pattern string, places []int32, rules []compiledRule) []int32 {
	for _, place := range places {
		if q.matches(pattern, rules[place-1].rule.effect) {
			found = append(found, place)
		}
	}
	return found
}

// weigh decides where rules with a condition or obligations match. found are the
// first matching rules without either. The first rule in order decides, denies
// before allows; rules behind one that is certain are evaluated for what they
// oblige to alone.
func (s *Set) weigh(r Request, found hit, places []int32) Decision {
	slices.Sort(places)
	places = slices.Compact(places)
	e := newEvaluation(&r)
	defer func() { e.variables.read.spent = e.spent }()
	for _, place := range s.before(places, Deny, found.deny) {
		holds, why := e.rule(&s.rules[place-1])
		switch {
		case why != "":
			return s.undecided(place, why)
		case holds:
			return s.decision(Deny, place, ReasonDenied)
		}
	}
	if found.deny != 0 {
		return s.decision(Deny, found.deny, ReasonDenied)
	}
	return s.weighAllows(e, found.allow, s.before(places, Allow, 0))
}

// weighAllows decides by the allow rules at places, and the certain one, where no
// rule denies.
func (s *Set) weighAllows(e *evaluation, certain int32, places []int32) Decision {
	w := s.allows(e, certain, places)
	switch {
	case w.allow == 0 && w.failed != 0:
		return s.undecided(w.failed, w.failure)
	case w.allow == 0:
		return Decision{Effect: Deny, Reason: ReasonNoRule, Set: s.digest}
	}
	return s.asked(s.decision(Allow, w.allow, ReasonAllowed), w.asked)
}

// weighed is what came of allow rules.
type weighed struct {
	allow   int32 // the first that allows
	failed  int32 // the first whose condition cannot be evaluated
	failure string
	asked   *Obligations // by all that match, as far as can be told
}

func (s *Set) allows(e *evaluation, certain int32, places []int32) weighed {
	w := weighed{allow: certain}
	for _, place := range places {
		c := &s.rules[place-1]
		if c.obligations == nil && w.allow != 0 && w.allow < place {
			continue
		}
		holds, why := e.rule(c)
		switch {
		case holds:
			w.allow = first(w.allow, place)
		case why == "":
			continue
		case w.failed == 0:
			w.failed, w.failure = place, why
		}
		w.asked = w.asked.and(c.obligations)
	}
	return w
}

// asked is an allow with what comes with it.
func (s *Set) asked(d Decision, asked *Obligations) Decision {
	if asked != nil && asked.grant != 0 {
		return s.decision(Deny, asked.grant, ReasonNoGrant)
	}
	d.Obligations = asked
	return d
}

// before returns the places of rules of one effect that stand before the rule at
// limit, which is 0 for none.
func (s *Set) before(places []int32, effect Effect, limit int32) []int32 {
	var kept []int32
	for _, place := range places {
		if s.rules[place-1].rule.effect == effect && (limit == 0 || place < limit) {
			kept = append(kept, place)
		}
	}
	return kept
}

// undecided denies because of a condition that could not be evaluated.
func (s *Set) undecided(place int32, why string) Decision {
	return s.decision(Deny, place, unevaluated(s.rules[place-1].rule.name, why))
}

// MayAllow reports whether r could be allowed with the right facts: some allow
// rule matches, with a condition or without, and no deny rule without a condition
// does. It evaluates nothing. It is for showing what exists, as in tools/list,
// before the arguments are known, and is no decision: what it shows may still be
// denied. A nil Set may allow nothing.
func (s *Set) MayAllow(r Request) bool {
	if s == nil {
		return false
	}
	q, ok := r.Action.question()
	return ok && s.mayAllow(r, &q)
}

// MayAllowTemplate is MayAllow for a list of URI templates (RFC 6570): r is a
// KindResourceRead whose Name is a template. It reports whether some URI that the
// template makes could be allowed. Two denials that only together cover all of
// them are not seen to do so.
func (s *Set) MayAllowTemplate(r Request) bool {
	if s == nil || r.Action.Kind != KindResourceRead || r.Action.Name == "" {
		return false
	}
	q, ok := r.Action.question()
	q.form, q.template = asPossible, holes(r.Action.Name)
	return ok && s.mayAllow(r, &q)
}

func (s *Set) mayAllow(r Request, q *question) bool {
	found, places := s.find(s.roots, r.Caller, r.Action.Server, q)
	if q.bare() && found.deny == 0 && runs(s.roots, r.Caller, r.Action.Server) {
		return true
	}
	if found.deny != 0 || found.allow != 0 {
		return found.deny == 0
	}
	return slices.ContainsFunc(places, func(place int32) bool { return s.rules[place-1].rule.effect == Allow })
}

// DecideDefault answers r for an action that is allowed to whoever reaches the
// server: Decide, save that such a caller needs no rule that allows it. A deny rule
// that names the action denies it, under its condition if it has one, and an allow
// rule that names it obliges as ever.
func (s *Set) DecideDefault(r Request) Decision {
	if s == nil {
		return Decision{Effect: Deny, Reason: ReasonNoSet}
	}
	return s.shadowed(r, s.decideDefault)
}

func (s *Set) decideDefault(roots map[string]*node, r Request) Decision {
	q, ok := r.Action.question()
	switch {
	case !reaches(roots, r.Caller, r.Action.Server):
		return Decision{Effect: Deny, Reason: ReasonUnreached, Set: s.digest}
	case !ok:
		return Decision{Effect: Deny, Reason: ReasonNoRule, Set: s.digest}
	}
	return s.decideReached(roots, r, &q)
}

// decideReached decides for a caller that needs no rule that allows the action.
func (s *Set) decideReached(roots map[string]*node, r Request, q *question) Decision {
	found, places := s.find(roots, r.Caller, r.Action.Server, q)
	if d := s.conclude(r, hit{deny: found.deny}, s.before(places, Deny, 0)); d.Reason != ReasonNoRule {
		return d
	}
	if places = s.before(places, Allow, 0); len(places) > 0 {
		return s.weighReached(r, found.allow, places)
	}
	return s.reached(found.allow)
}

// reached is the allow for a caller that needs no rule for it; allow is the place of one that there is, 0 for none.
func (s *Set) reached(allow int32) Decision {
	if allow != 0 {
		return s.decision(Allow, allow, ReasonAllowed)
	}
	return Decision{Effect: Allow, Reason: ReasonReaches, Set: s.digest}
}

// weighReached weighs allow rules for such a caller: none of them is needed, but what they demand is.
func (s *Set) weighReached(r Request, certain int32, places []int32) Decision {
	slices.Sort(places)
	e := newEvaluation(&r)
	w := s.allows(e, certain, slices.Compact(places))
	e.variables.read.spent = e.spent
	return s.asked(s.reached(w.allow), w.asked)
}
