// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dapr-custody/custody/internal/policy"
)

// explainedRule is a rule as test --explain prints it.
type explainedRule struct {
	Policy      string        `json:"policy"`
	Rule        string        `json:"rule"`
	Effect      policy.Effect `json:"effect"`
	Match       policy.Match  `json:"match"`
	Decides     bool          `json:"decides"`
	Why         string        `json:"why"`
	When        string        `json:"when,omitempty"`
	Demands     []string      `json:"demands,omitempty"`
	Obligations []string      `json:"obligations,omitempty"`
	Shadow      bool          `json:"shadow,omitempty"`
	Source      string        `json:"source"`
}

// nearness orders rules for people: the one that decides, then near ones, then far ones.
var nearness = []policy.Match{
	policy.Matches, policy.WhenFailed, policy.WhenFalse, policy.OtherUse, policy.OtherAction, policy.OtherServer, policy.OtherCaller,
}

// farRules words the rules that are summed up.
var farRules = []struct {
	match     policy.Match
	one, more string
}{
	{policy.OtherServer, "rule that names another server", "rules that name another server"},
	{policy.OtherCaller, "rule that names another caller", "rules that name another caller"},
}

// explain takes what is said of each rule, near ones first; far ones only if all are wanted.
func (a *policyAnswer) explain(rules []policy.Reasoned, all bool) {
	a.Rules = []explainedRule{}
	for _, r := range rules {
		if !all && (r.Match == policy.OtherCaller || r.Match == policy.OtherServer) {
			if a.LeftOut == nil {
				a.LeftOut = map[policy.Match]int{}
			}
			a.LeftOut[r.Match]++
			continue
		}
		a.Rules = append(a.Rules, explainedRule{
			Policy: r.Policy, Rule: r.Rule, Effect: r.Effect, Match: r.Match, Decides: r.Decides, Why: r.Why,
			When: r.When, Demands: r.Demands, Obligations: r.Obligations, Shadow: r.Mode == policy.Shadow, Source: r.Source,
		})
	}
	slices.SortStableFunc(a.Rules, func(a, b explainedRule) int { return a.near() - b.near() })
}

func (r explainedRule) near() int {
	if r.Decides {
		return -1
	}
	return slices.Index(nearness, r.Match)
}

// printRules writes the table of rules.
func (a *policyAnswer) printRules(w io.Writer) error {
	if len(a.Rules) > 0 {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "RULE\tEFFECT\tMATCHED\tWHY\tSOURCE")
		for _, r := range a.Rules {
			matched := "no"
			if r.Match == policy.Matches {
				matched = "yes"
			}
			fmt.Fprintf(t, "%s/%s\t%s\t%s\t%s\t%s\n", r.Policy, r.Rule, r.Effect, matched, plain(r.why()), r.Source)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	var far []string
	for _, f := range farRules {
		if n := a.LeftOut[f.match]; n > 0 {
			far = append(far, count(n, f.one, f.more))
		}
	}
	if len(far) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "and %s (--all prints them)\n", strings.Join(far, ", "))
	return err
}

// why adds the condition and the obligations where they have a part in it.
func (r explainedRule) why() string {
	var parts []string
	switch r.Match {
	case policy.Matches, policy.WhenFalse, policy.WhenFailed:
		if r.When != "" {
			parts = append(parts, strings.TrimSpace(under(r.When)))
		}
	}
	text := r.Why
	switch {
	case r.Match == policy.Matches:
		parts = append(parts, r.Obligations...)
	case r.Decides:
		text = "decides: " + text
	}
	if len(parts) == 0 {
		return text
	}
	return text + " (" + strings.Join(parts, "; ") + ")"
}
