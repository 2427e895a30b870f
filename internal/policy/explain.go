// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Match says how far a rule is from deciding a request.
type Match string

// From far to near. A rule has the first that is so.
const (
	// OtherCaller: no pattern of from matches the caller.
	OtherCaller Match = "other caller"
	// OtherServer: it names another server.
	OtherServer Match = "other server"
	// OtherAction: none of its tools, methods and paths matches.
	OtherAction Match = "other action"
	// OtherUse: it names the action, and not how the table is used.
	OtherUse Match = "other use"
	// WhenFalse: it names the action, and its condition is false.
	WhenFalse Match = "condition false"
	// WhenFailed: it names the action, and its condition cannot be evaluated.
	WhenFailed Match = "condition failed"
	// WhenUnknown: it names the action, and its condition asks for what is not
	// known. Explain never says so, only Foresee looks at it.
	WhenUnknown Match = "condition unknown"
	// Matches: it names the action, and its condition is true or it has none.
	Matches Match = "matches"
)

// Reasoned is a rule and what it has to do with a request.
type Reasoned struct {
	RuleInfo

	Match Match
	// Why says it in words, which hold no value of the request.
	Why string
	// Decides is set for the one rule that the Decision names.
	Decides bool
}

// Explain says of every rule, in the order of Rules, why it matches the request or
// does not, and which one decides. It agrees with Decide. It is for people who
// write policies: it looks at all rules one by one, and uses no index.
func (s *Set) Explain(r Request) []Reasoned {
	if s == nil {
		return nil
	}
	w := s.weighing(r, nil)
	decided := w.weigh()
	explained := make([]Reasoned, len(s.rules))
	for i := range s.rules {
		e := &explained[i]
		e.RuleInfo = s.info(i)
		e.Match, e.Why = s.rules[i].distance(&r)
		if e.Match != Matches {
			continue
		}
		place := int32(i + 1) //nolint:gosec // MaxRules fits
		e.Match, e.Why = w.result(place)
		e.Decides = place == decided.place
		switch e.Match {
		case Matches:
			e.Why = s.rank(place, decided)
		case WhenFailed:
			e.Why = "its condition could not be evaluated: " + e.Why
		}
		if e.Decides && decided.reason == ReasonNoGrant {
			e.Why += ": it wants a grant, and there is none"
		}
	}
	return explained
}

// rank says what becomes of a rule that matches.
func (s *Set) rank(place int32, decided conclusion) string {
	rule := &s.rules[place-1]
	switch {
	case place == decided.place:
		return "decides"
	case rule.document.mode == Shadow:
		return "decides nothing: its policy is in shadow mode"
	case rule.rule.effect == Deny:
		return "denies too, behind " + s.name(decided.place)
	case decided.effect == Allow:
		return "allows too, behind " + s.name(decided.place)
	default:
		return "would allow, but " + s.name(decided.place) + " decides"
	}
}

func (s *Set) name(place int32) string {
	c := &s.rules[place-1]
	return c.document.name + "/" + c.rule.name
}

// distance says how far the rule is from the request, its condition and its mode
// apart; why is empty for Matches.
func (c *compiledRule) distance(r *Request) (match Match, why string) {
	caller := r.Caller.String()
	if !slices.ContainsFunc(c.from, func(from string) bool { return namesCaller(from, caller) }) {
		return OtherCaller, "no pattern of from matches the caller"
	}
	if r.Action.Server == "" {
		return OtherServer, "no rule matches an action without a server"
	}
	if c.rule.server != every && c.rule.server != r.Action.Server {
		return OtherServer, "it is about server " + c.rule.server
	}
	q, ok := r.Action.question()
	switch {
	case !ok:
		return OtherAction, "no rule matches an action of this kind or without a name"
	case !c.rule.concerns(r.Action.Server, &q):
		return OtherAction, fmt.Sprintf("none of its %s matches", c.rule.lists())
	}
	return Matches, ""
}

// namesCaller reports whether a pattern of callers matches one.
func namesCaller(pattern, caller string) bool {
	for {
		segment, patternRest, patternMore := strings.Cut(pattern, "/")
		other, callerRest, callerMore := strings.Cut(caller, "/")
		if patternMore != callerMore || segment != every && segment != other {
			return false
		}
		if !patternMore {
			return true
		}
		pattern, caller = patternRest, callerRest
	}
}

// lists names the lists of the rule that are not empty.
func (r *rule) lists() string {
	var lists []string
	for g, key := range groupKeys {
		if len(r.names[g]) > 0 {
			lists = append(lists, key)
		}
	}
	if r.state != nil {
		lists = append(lists, "state")
	}
	if r.sql != nil {
		lists = append(lists, "sql")
	}
	return strings.Join(lists, " and ")
}
