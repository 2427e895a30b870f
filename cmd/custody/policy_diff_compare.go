// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/policy"
)

// The changes.
const (
	diffOpens   = "+"
	diffCloses  = "-"
	diffDepends = "~"
	diffObliges = "="
)

type diffLine struct {
	// Change is "+" if the call is allowed now and was not, "-" if it was and is
	// not, "~" if it depends on conditions that are not those of before, and "=" if
	// it is allowed or depends as before and obliges to something else.
	Change string `json:"change"`
	Caller string `json:"caller"`
	Server string `json:"server"`
	// One of them says what is done.
	Tool     string `json:"tool,omitempty"`
	Prompt   string `json:"prompt,omitempty"`
	Resource string `json:"resource,omitempty"`
	// Part is a kind of action and a key, table or function, as sql.select shop.orders.
	Part string `json:"part,omitempty"`
	// Policy and Rule name the rule that allows or allowed it.
	Policy string `json:"policy"`
	Rule   string `json:"rule"`
	// DeniedBy is the POLICY/RULE that denies what was allowed, and Reason how, if
	// it is no deny rule; empty if no rule allows it.
	DeniedBy string `json:"deniedBy,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// Conditions are those that it depends on now.
	Conditions []string `json:"conditions,omitempty"`
	// Obligations come with it now, ObligationsBefore did where that is the change.
	Obligations       []string `json:"obligations,omitempty"`
	ObligationsBefore []string `json:"obligationsBefore,omitempty"`
}

func (l diffLine) String() string {
	switch l.Change {
	case diffDepends:
		return fmt.Sprintf("~ depends %s %s: %s%s", l.Caller, l.what(), strings.Join(l.Conditions, "; "), obliging(l.Obligations))
	case diffObliges:
		return fmt.Sprintf("= obliges %s %s: %s -> %s", l.Caller, l.what(), orNothing(l.ObligationsBefore), orNothing(l.Obligations))
	}
	text := fmt.Sprintf("%s allow %s %s (%s/%s)%s", l.Change, l.Caller, l.what(), l.Policy, l.Rule, obliging(l.Obligations))
	if l.DeniedBy != "" {
		text += ", denied by " + l.DeniedBy
	}
	if l.Reason != "" {
		text += ": " + l.Reason
	}
	return text
}

func orNothing(obligations []string) string {
	if len(obligations) == 0 {
		return "nothing"
	}
	return strings.Join(obligations, "; ")
}

func (l diffLine) what() string {
	switch {
	case l.Prompt != "":
		return l.Server + " prompt " + l.Prompt
	case l.Resource != "":
		return l.Server + " resource " + l.Resource
	case l.Part != "":
		return l.Server + " " + l.Part
	}
	return l.Server + "/" + l.Tool
}

// lineFor is a line about the action, without what changes.
func lineFor(a policy.Action) diffLine {
	l := diffLine{Server: a.Server}
	switch {
	case a.Kind == policy.KindPromptGet:
		l.Prompt = a.Name
	case a.Kind == policy.KindResourceRead:
		l.Resource = a.Name
	case isData(a.Kind):
		l.Part = a.Kind + " " + a.Name
	default:
		l.Tool = a.Name
	}
	return l
}

// verdict is what a Set says of a call of which the caller and the action are known.
type verdict struct {
	policy.Foresight

	conditions  []string // what it depends on, by rule; empty if on nothing
	weighed     []string // the same without the rules' names, sorted
	obligations []string
}

func verdictOf(set *policy.Set, caller spiffeid.ID, action policy.Action) verdict {
	unknown := []string{
		policy.FactArguments, policy.FactNow, policy.FactProof, policy.FactIP, policy.FactTraceID, policy.FactSession,
		policy.FactChain, policy.FactActor,
	}
	if isData(action.Kind) {
		unknown = append(unknown, unknownOf(action)...)
	} else if action.Name == unnamed[action.Kind] {
		unknown = append(unknown, policy.FactTool, policy.FactPrompt, policy.FactResource)
	}
	concern := set.Concerning(caller, action)
	v := verdict{Foresight: concern.Foresee(policy.Facts{}, unknown...)}
	if v.Effect == policy.Depends {
		v.conditions, v.weighed = conditionsOf(concern.Rules())
	}
	v.obligations = obligationsOf(v.Foresight)
	return v
}

// obligationsOf words what comes with an allow, some of it under conditions.
func obligationsOf(f policy.Foresight) []string {
	words := f.Obligations.Words()
	for _, rule := range f.MayOblige {
		for _, word := range rule.Obligations {
			if maybe := word + narrowing(rule.When, rule.Demands); !slices.Contains(words, word) && !slices.Contains(words, maybe) {
				words = append(words, maybe)
			}
		}
	}
	return words
}

// conditionsOf words the rules that a decision may depend on: those with a
// condition, and the first that allows without one. What comes of them does not
// go by their names, their order and how often they say the same.
func conditionsOf(rules []policy.RuleInfo) (words, weighed []string) {
	allowed := false
	for _, rule := range rules {
		narrowed := narrowing(rule.When, rule.Demands)
		if narrowed == "" && (allowed || rule.Effect == policy.Deny) {
			continue
		}
		allowed = allowed || narrowed == ""
		words = append(words, fmt.Sprintf("%s (%s/%s)%s", rule.Effect, rule.Policy, rule.Rule, narrowed))
		weighed = append(weighed, string(rule.Effect)+narrowed)
	}
	slices.Sort(weighed)
	return words, slices.Compact(weighed)
}

// compareCall returns what changes for one call, if anything does.
func compareCall(caller spiffeid.ID, action policy.Action, before, after *policy.Set) (line diffLine, differs bool) {
	was, is := verdictOf(before, caller, action), verdictOf(after, caller, action)
	line = lineFor(action)
	line.Caller = caller.String()
	switch {
	case is.Effect == was.Effect && slices.Equal(is.weighed, was.weighed):
		if is.Effect == policy.Deny || sameWords(is.obligations, was.obligations) {
			return line, false
		}
		line.Change, line.Policy, line.Rule = diffObliges, is.Policy, is.Rule
		line.Obligations, line.ObligationsBefore = is.obligations, was.obligations
	case is.Effect == policy.Depends:
		line.Change, line.Conditions, line.Obligations = diffDepends, is.conditions, is.obligations
	case is.Effect == policy.Allow:
		line.Change, line.Policy, line.Rule, line.Obligations = diffOpens, is.Policy, is.Rule, is.obligations
	case was.Effect == policy.Depends:
		line.Change, line.Conditions = diffDepends, []string{"no more; it is denied"}
	default:
		line.Change, line.Policy, line.Rule = diffCloses, was.Policy, was.Rule
		if is.Rule != "" {
			line.DeniedBy = is.Policy + "/" + is.Rule
			if is.Reason != policy.ReasonDenied {
				line.Reason = is.Reason
			}
		}
	}
	return line, true
}

// sameWords compares obligations whose order says nothing.
func sameWords(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
