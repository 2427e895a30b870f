// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/toolcall"
)

// kindEndSession is the step of the protocol that is no method of MCP.
const kindEndSession = "mcp.session/delete"

// replayVerdict is a decision that was made or would be.
type replayVerdict struct {
	Effect policy.Effect `json:"effect"`
	Policy string        `json:"policy,omitempty"`
	Rule   string        `json:"rule,omitempty"`
	Reason string        `json:"reason,omitempty"`
	// DependsOn says what is not known, where Effect is "depends".
	DependsOn []string `json:"dependsOn,omitempty"`
}

func (v replayVerdict) String() string {
	switch {
	case v.Effect == policy.Depends:
		return "depends on " + strings.Join(v.DependsOn, " and ")
	case v.Rule != "":
		return string(v.Effect) + " (" + v.Policy + "/" + v.Rule + ")"
	}
	return string(v.Effect)
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
}

// newRecorded takes what is known of a decision. An intent without a receipt was
// allowed, and its rule is not recorded.
func newRecorded(item *evidence.Item) *recorded {
	r := &recorded{id: item.ID(), journal: item.Source, unknown: []string{policy.FactIP, policy.FactTraceID, policy.FactSession}}
	var action receipt.Action
	if i := item.Intent; item.Receipt == nil {
		r.Effect, r.Reason = policy.Allow, "there is no receipt yet, and an intent names no rule"
		r.at, r.caller, r.set, action = i.Decided, i.Caller, i.SetDigest.Hex(), i.Action
		r.unknown = append(r.unknown, policy.FactArguments, policy.FactProof)
	} else {
		i := item.Receipt
		r.Effect, r.Policy, r.Rule, r.Reason = policy.Effect(i.Decision.Effect), i.Decision.Policy, i.Decision.Rule, i.Decision.Reason
		r.at, r.caller, r.set, action = i.Times.Decided, i.Caller.SPIFFEID, i.Decision.SetDigest.Hex(), i.Action
		if r.facts.Proof = i.Caller.Proof; r.facts.Proof == "" {
			r.unknown = append(r.unknown, policy.FactProof)
		}
		if !i.ArgumentsDigest.IsZero() {
			r.unknown = append(r.unknown, policy.FactArguments)
		}
	}
	r.facts.Now = r.at
	r.action = policy.Action{Kind: action.Kind, Server: action.Server, Name: action.Name}
	return r
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
	return isMCP && toolcall.DefaultOf(method) != toolcall.Named || r.action.Kind == kindEndSession
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
func (c *candidate) decide(r *recorded) replayVerdict {
	if r.plumbing() && !c.set.Reaches(r.caller, r.action.Server) {
		return replayVerdict{Effect: policy.Deny, Reason: policy.ReasonUnreached}
	}
	key := concern{r.caller, r.action}
	found := c.concerns[key]
	if found == nil {
		if len(c.concerns) >= maxConcerns {
			clear(c.concerns)
		}
		found = c.set.Concerning(r.caller, r.action)
		c.concerns[key] = found
	}
	f := found.Foresee(r.facts, r.unknown...)
	if r.plumbing() && f.Effect == policy.Deny && f.Reason == policy.ReasonNoRule {
		return replayVerdict{Effect: policy.Allow, Reason: policy.ReasonReaches}
	}
	return replayVerdict{
		Effect: f.Effect, Policy: f.Policy, Rule: f.Rule, Reason: f.Reason, DependsOn: append(dependsOn(f.Depends), rates(r, f)...),
	}
}

// changes reports what would be decided, and whether that is or may be otherwise.
func (c *candidate) changes(r *recorded) (would replayVerdict, differs bool) {
	if r.set == c.set.Digest() {
		return would, false
	}
	would = c.decide(r)
	if r.heldBack() && would.Effect == policy.Allow && len(would.DependsOn) > 0 {
		return would, false
	}
	return would, would.Effect != r.Effect
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
