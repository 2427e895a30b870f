// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/redact"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// kindEndSession is the step of the protocol that is no method of MCP.
const kindEndSession = "mcp.session/delete"

// What receipts count as redacted beside what detectors hit (redact.Plan.Apply).
const (
	redactedPath   = "path"
	redactedBinary = "binary"
)

// replayVerdict is a decision that was made or would be.
type replayVerdict struct {
	Effect policy.Effect `json:"effect"`
	Policy string        `json:"policy,omitempty"`
	Rule   string        `json:"rule,omitempty"`
	Reason string        `json:"reason,omitempty"`
	// DependsOn says what is not known, where Effect is "depends".
	DependsOn []string `json:"dependsOn,omitempty"`
	// Obligations come with what NEW allows. They are not recorded.
	Obligations []string `json:"obligations,omitempty"`
	// Redacted are the kinds of what was taken out of the answer, where NEW would not.
	Redacted []string `json:"redacted,omitempty"`
}

func (v replayVerdict) String() string {
	switch {
	case v.Effect == policy.Depends:
		return "depends on " + strings.Join(v.DependsOn, " and ")
	case v.Rule != "":
		return string(v.Effect) + " (" + v.Policy + "/" + v.Rule + ")" + v.more()
	}
	return string(v.Effect) + v.more()
}

func (v replayVerdict) more() string {
	if len(v.Redacted) > 0 {
		return ", redacted: " + strings.Join(v.Redacted, ", ")
	}
	return obliging(v.Obligations)
}

// recorded is a decision as a journal has it.
type recorded struct {
	replayVerdict

	at      time.Time
	id      string
	journal string
	set     string // digest of what decided
	caller  spiffeid.ID
	action  policy.Action
	facts   policy.Facts
	unknown []string
	// parts are those of a request to a state store or a database, and untold says what is
	// not recorded of them; empty for nothing.
	parts  []policy.Action
	untold string
	// redacted counts what was taken out of the answer.
	redacted map[string]int
}

// newRecorded takes what is known of a decision. An intent without a receipt was
// allowed, and its rule is not recorded.
func newRecorded(item *evidence.Item) *recorded {
	r := &recorded{id: item.ID(), journal: item.Source, unknown: []string{
		policy.FactIP, policy.FactTraceID, policy.FactSession,
	}}
	var action receipt.Action
	var inWorkflow bool
	if i := item.Intent; item.Receipt == nil {
		r.facts.Actor, inWorkflow = actorOf(i.Txn, i.Actors), i.Workflow != nil
		r.Effect, r.Reason = policy.Allow, "there is no receipt yet, and an intent names no rule"
		r.at, r.caller, r.set, action = i.Decided, i.Caller, i.SetDigest.Hex(), i.Action
		r.unknown = append(r.unknown, policy.FactArguments, policy.FactProof)
	} else {
		i := item.Receipt
		r.facts.Actor, inWorkflow = actorOf(i.Txn, i.Actors), i.Workflow != nil
		r.Effect, r.Policy, r.Rule, r.Reason = policy.Effect(i.Decision.Effect), i.Decision.Policy, i.Decision.Rule, i.Decision.Reason
		r.at, r.caller, r.set, action = i.Times.Decided, i.Caller.SPIFFEID, i.Decision.SetDigest.Hex(), i.Action
		r.redacted = i.Outcome.Redacted
		if r.facts.Proof = i.Caller.Proof; r.facts.Proof == "" {
			r.unknown = append(r.unknown, policy.FactProof)
		}
		if !i.ArgumentsDigest.IsZero() {
			r.unknown = append(r.unknown, policy.FactArguments)
		}
	}
	if inWorkflow {
		r.unknown = append(r.unknown, policy.FactChain)
	}
	r.facts.Now = r.at
	r.action = policy.Action{Kind: action.Kind, Server: action.Server, Name: action.Name}
	if isData(action.Kind) {
		r.takeParts(item.Receipt)
	}
	return r
}

// takeParts takes the parts that a receipt names. An intent names the first of the
// strongest alone.
func (r *recorded) takeParts(from *receipt.Receipt) {
	switch {
	case from == nil || len(from.Touched) == 0:
		r.parts, r.untold = []policy.Action{r.action}, "what else it touched, which is not recorded"
		return
	case from.TouchedMore > 0:
		r.untold = count(from.TouchedMore, "part", "parts") + " of the request that the receipt does not name"
	}
	for _, t := range from.Touched {
		r.parts = append(r.parts, policy.Action{Kind: t.Kind, Server: r.action.Server, Name: t.Name})
	}
}

// decided reports whether a policy decided, and not a door that only says what it
// saw or what its own app asks.
func decided(item *evidence.Item) bool {
	if item.Receipt != nil {
		return !item.Receipt.Outcome.Witness()
	}
	return !strings.HasPrefix(item.Intent.Action.Kind, historyPrefix)
}

// historyPrefix begins the kinds of what is anchored.
const historyPrefix = "custody.history"

// actorOf is what conditions saw of a transaction token, nil where there was none.
func actorOf(txn string, actors []spiffeid.ID) *policy.Actor {
	if len(actors) == 0 {
		return nil
	}
	return &policy.Actor{SPIFFEID: actors[0], Txn: txn, Chain: actors}
}

// ownRefusal reports whether the door refused by itself: no policy had a part in it.
func (r *recorded) ownRefusal() bool {
	if r.caller.IsZero() {
		return true
	}
	return r.Effect != policy.Allow && r.Rule == "" && r.Reason != policy.ReasonNoRule && r.Reason != policy.ReasonUnreached
}

// heldBack reports whether a rule allowed it and what comes with the allow did not,
// such as a rate.
func (r *recorded) heldBack() bool {
	return r.Effect != policy.Allow && r.Rule != "" && r.Reason != policy.ReasonDenied && r.Reason != policy.ReasonNoGrant &&
		!strings.HasPrefix(r.Reason, "the condition of rule")
}

func (r *recorded) plumbing() bool {
	method, isMCP := strings.CutPrefix(r.action.Kind, policy.KindMCPPrefix)
	return isMCP && toolcall.DefaultOf(method) != toolcall.Named ||
		r.action.Kind == kindEndSession || r.action.Kind == policy.KindChain
}

// candidate decides anew.
type candidate struct {
	set      *policy.Set
	concerns map[concern]*policy.Concern
}

type concern struct {
	caller spiffeid.ID
	action policy.Action
}

// maxConcerns bounds what is kept between records: callers may name as many tools
// that are not there as they like.
const maxConcerns = 10_000

func newCandidate(set *policy.Set) *candidate {
	return &candidate{set: set, concerns: map[concern]*policy.Concern{}}
}

// decide does as the gate, with what is known.
func (c *candidate) decide(r *recorded) policy.Foresight {
	if r.plumbing() && !c.set.Reaches(r.caller, r.action.Server) {
		return policy.Foresight{Effect: policy.Deny, Reason: policy.ReasonUnreached}
	}
	if len(r.parts) > 0 {
		return c.decideParts(r)
	}
	f := c.concerning(r.caller, r.action).Foresee(r.facts, r.unknown...)
	if r.plumbing() && f.Effect == policy.Deny && f.Reason == policy.ReasonNoRule {
		return policy.Foresight{Effect: policy.Allow, Reason: policy.ReasonReaches}
	}
	return f
}

func (c *candidate) concerning(caller spiffeid.ID, action policy.Action) *policy.Concern {
	key := concern{caller, action}
	found := c.concerns[key]
	if found == nil {
		if len(c.concerns) >= maxConcerns {
			clear(c.concerns)
		}
		found = c.set.Concerning(caller, action)
		c.concerns[key] = found
	}
	return found
}

// decideParts decides a request part by part. Parts that are not recorded may be denied.
func (c *candidate) decideParts(r *recorded) policy.Foresight {
	all := make([]policy.Foresight, 0, len(r.parts))
	for _, part := range r.parts {
		unknown := append(unknownOf(part), r.unknown...)
		all = append(all, c.concerning(r.caller, part).Foresee(r.facts, unknown...))
	}
	f := policy.Together(all)
	if f.Effect == policy.Allow && r.untold != "" {
		f.Effect = policy.Depends
	}
	return f
}

// changes says what was and what would be, and what change that is: none if empty.
func (c *candidate) changes(r *recorded) (was, would replayVerdict, change string) {
	was = r.replayVerdict
	if r.set == c.set.Digest() {
		return was, would, ""
	}
	f := c.decide(r)
	would = replayVerdict{
		Effect: f.Effect, Policy: f.Policy, Rule: f.Rule, Reason: f.Reason, DependsOn: append(dependsOn(f.Depends), rates(r, f)...),
	}
	if f.Effect == policy.Depends && r.untold != "" {
		would.DependsOn = append(would.DependsOn, r.untold)
	}
	if f.Effect == policy.Allow {
		would.Obligations = obligationsOf(f)
	}
	switch {
	case r.heldBack() && f.Effect == policy.Allow && len(would.DependsOn) > 0:
		return was, would, ""
	case f.Effect == r.Effect:
		was.Redacted, change = revealed(r, f)
		return was, would, change
	case f.Effect == policy.Depends && r.Effect == policy.Allow:
		return was, would, changeMayClose
	case f.Effect == policy.Depends:
		return was, would, changeMayOpen
	case f.Effect == policy.Allow:
		return was, would, changeOpens
	}
	return was, would, changeCloses
}

// revealed returns the kinds of what was redacted that NEW does not redact, or
// redacts by something else that may not find it. What brings back a task is redacted
// as the call was obliged to that made it, which its record does not name.
func revealed(r *recorded, f policy.Foresight) (kinds []string, change string) {
	method := strings.TrimPrefix(r.action.Kind, policy.KindMCPPrefix)
	if f.Effect != policy.Allow || len(r.redacted) == 0 || toolcall.DefaultOf(method) == toolcall.Owner {
		return nil, ""
	}
	var spec redact.Spec
	change = changeReveals
	if f.Obligations != nil && f.Obligations.Redact != nil {
		spec, change = f.Obligations.Redact.Spec(), changeMayReveal
	}
	for _, rule := range f.MayOblige {
		if slices.ContainsFunc(rule.Obligations, func(word string) bool { return strings.HasPrefix(word, "redact: ") }) {
			change = changeMayReveal
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.redacted)) {
		covered := slices.Contains(spec.Detectors, kind)
		switch kind {
		case redactedPath:
			covered = len(spec.Paths) > 0
		case redactedBinary:
			covered = len(spec.Detectors) > 0 && spec.Binary == redact.BinaryRemove
		}
		if !covered {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return nil, ""
	}
	return kinds, change
}

// rates are those that could hold back again what was held back.
func rates(r *recorded, f policy.Foresight) []string {
	if !r.heldBack() || f.Obligations == nil {
		return nil
	}
	var words []string
	for _, rate := range f.Obligations.Rates {
		words = append(words, "the rate of rule "+rate.Policy+"/"+rate.Rule)
	}
	return words
}
