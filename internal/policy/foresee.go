// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Depends is the effect of a Foresight that depends on what is not known. No
// Decision has it.
const Depends Effect = "depends"

// The names by which conditions ask for what may not be known, for Foresee. The last
// three are the empty text for an action that names nothing of the kind; completing
// an argument of a prompt or a resource names these.
const (
	FactArguments = "args"
	FactNow       = "now"
	FactProof     = "caller.proof"
	FactIP        = "request.ip"
	FactTraceID   = "request.traceID"
	FactSession   = "session.id"
	FactChain     = "chain" // all that begins with it
	FactActor     = "actor" // actor.spiffeID, actor.txn and actors
	FactTool      = "action.tool"
	FactPrompt    = "action.prompt"
	FactResource  = "action.resource"
	FactSQL       = "sql"       // params, sql.command, sql.tables and sql.limit
	FactKey       = "state.key" // of a Name that stands for keys which no rule names
	FactUse       = "use"       // Action.Use: what rules demand beside the name of a table
)

// Foresight is what can be told of a decision from a part of the facts.
type Foresight struct {
	// Effect is Allow or Deny if the decision has this effect whatever the facts
	// are that are not known, else Depends.
	Effect Effect
	// Policy, Rule and Reason are those of the Decision with nothing more known:
	// with it, a rule that stands before could be named. Empty for Depends.
	Policy string
	Rule   string
	Reason string
	// Obligations are what comes for certain with an allow, also with one that depends.
	Obligations *Obligations
	// MayOblige are the rules whose conditions ask for what is not known, and which
	// add their obligations to an allow where these are true.
	MayOblige []RuleInfo
	// Depends are the rules whose conditions ask for what is not known.
	Depends []RuleInfo
}

// Concern is a Set's answer to the requests of one caller for one action. It is
// for asking many times: finding the rules takes time in proportion to all rules,
// Foresee in proportion to those found. It is used by one goroutine at a time.
type Concern struct {
	request  Request
	weighing *weighing
	// settled is the answer where no fact has a part in it.
	settled *Foresight
}

// Concerning returns the Concern of a caller with an action. A nil Set denies.
func (s *Set) Concerning(caller spiffeid.ID, action Action) *Concern {
	c := &Concern{request: Request{Caller: caller, Action: action}}
	if s == nil {
		c.settled = &Foresight{Effect: Deny, Reason: ReasonNoSet}
		return c
	}
	c.weighing = s.weighing(c.request, nil)
	for _, places := range [2][]int32{c.weighing.denies, c.weighing.allows} {
		for _, place := range places {
			if rule := s.rules[place-1].rule; rule.when != nil || rule.check != nil {
				return c
			}
		}
	}
	f := c.weighing.foresight()
	c.settled = &f
	return c
}

// Rules returns the rules that name the caller and the action, whatever their
// conditions say, in the order of the rules. Policies in shadow mode are left out.
func (c *Concern) Rules() []RuleInfo {
	if c.weighing == nil {
		return nil
	}
	places := slices.Concat(c.weighing.denies, c.weighing.allows)
	slices.Sort(places)
	return c.weighing.set.infos(places)
}

// Foresee decides with the facts, of which those named in unknown are not known. A
// condition that asks for one of these is not decided, and counts as decided
// neither way. With nothing unknown the answer is that of Decide.
func (c *Concern) Foresee(facts Facts, unknown ...string) Foresight {
	if c.settled != nil {
		return *c.settled
	}
	r := c.request
	r.Facts = &facts
	c.weighing.know(&r, unknown)
	return c.weighing.foresight()
}

func (w *weighing) foresight() Foresight {
	decided := w.weigh()
	f := Foresight{Effect: decided.effect, Reason: decided.reason, Obligations: decided.obligations}
	if decided.place != 0 {
		c := &w.set.rules[decided.place-1]
		f.Policy, f.Rule = c.document.name, c.rule.name
	}
	f.MayOblige, f.Depends = w.set.infos(decided.mayOblige), w.set.infos(decided.depends)
	return f
}
