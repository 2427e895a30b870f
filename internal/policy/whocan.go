// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/manifest"
)

// Grant is a caller pattern to which a rule allows an action.
type Grant struct {
	// Caller is a SPIFFE ID or a pattern.
	Caller string
	Policy string
	Rule   string
	// When is the condition under which the rule allows, empty for none.
	When string
	// Demands are what the rule demands of the use of a table, in words.
	Demands []string
	// Source is file:line of the rule.
	Source string
	// Except are the denials of the action that touch the pattern.
	Except []Exception
}

// Exception is a denial that takes callers out of a Grant.
type Exception struct {
	// Caller is the pattern of the deny rule.
	Caller string
	Policy string
	Rule   string
	// When is the condition under which the rule denies, empty for none.
	When string
	// Demands are which use of a table the rule denies, in words; nil for all.
	Demands []string
	Source  string
	// All says that no caller of the Grant is left, whatever the call.
	All bool
}

// Denied reports whether one denial takes every caller out of the Grant.
func (g Grant) Denied() bool {
	for _, e := range g.Except {
		if e.All {
			return true
		}
	}
	return false
}

// WhoCan returns every caller pattern to which some rule allows the action, in the
// order of the rules, with the denials that touch it. It looks at all rules, which
// Decide does not.
func (s *Set) WhoCan(a Action) []Grant {
	q, ok := a.question()
	if s == nil || !ok || a.Server == "" {
		return nil
	}
	var grants []Grant
	var denies []Exception
	for i := range s.rules {
		c := &s.rules[i]
		if c.document.mode == Shadow || !c.rule.concerns(a.Server, &q) {
			continue
		}
		source := manifest.At(c.document.file, c.rule.line, 0).String()
		for _, from := range c.from {
			if c.rule.effect == Allow {
				grants = append(grants, Grant{
					Caller: from, Policy: c.document.name, Rule: c.rule.name, When: c.rule.when.String(), Source: source, Demands: c.demandsOf(&a),
				})
			} else {
				denies = append(denies, Exception{
					Caller: from, Policy: c.document.name, Rule: c.rule.name, When: c.rule.when.String(), Source: source, Demands: c.demandsOf(&a),
				})
			}
		}
	}
	for i := range grants {
		for _, deny := range denies {
			touches, covers := overlap(deny.Caller, grants[i].Caller)
			if touches {
				deny.All = covers && deny.When == "" && len(deny.Demands) == 0
				grants[i].Except = append(grants[i].Except, deny)
			}
		}
	}
	return grants
}

// demandsOf are the demands of the rule that have a part in the action.
func (c *compiledRule) demandsOf(a *Action) []string {
	if a.Kind == KindSQLCall || !strings.HasPrefix(a.Kind, sqlPrefix) {
		return nil
	}
	return c.rule.check.words()
}

// concerns reports whether the rule names the action, whoever the caller is.
func (r *rule) concerns(server string, q *question) bool {
	if r.server != every && r.server != server {
		return false
	}
	return q.name != "" && slices.ContainsFunc(r.names[q.group], func(pattern string) bool {
		return q.matches(pattern, r.effect)
	}) || q.method != "" && slices.ContainsFunc(r.names[groupMethods], func(pattern string) bool {
		return globMatch(pattern, q.method)
	})
}

// overlap reports whether some caller matches both patterns, and whether every
// caller that matches the second one matches the first.
func overlap(first, second string) (touches, covers bool) {
	a, b := strings.Split(first, "/"), strings.Split(second, "/")
	if len(a) != len(b) {
		return false, false
	}
	covers = true
	for i := range a {
		switch {
		case a[i] == b[i] || a[i] == every:
		case b[i] == every:
			covers = false
		default:
			return false, false
		}
	}
	return true, covers
}
