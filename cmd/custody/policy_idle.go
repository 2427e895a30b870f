// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/nearest"
	"github.com/dapr-custody/custody/internal/policy"
)

// idle says where a rule that denies takes nothing away, since no rule of the set allows anything at its server, or
// anything to one of its callers: so a misspelt name shows, which is otherwise found when it is too late. It says
// nothing where nothing is allowed at all.
func idle(set *policy.Set, policyName, ruleName string) []string {
	rules := set.Rules()
	at := slices.IndexFunc(rules, func(r policy.RuleInfo) bool { return r.Policy == policyName && r.Rule == ruleName })
	if at < 0 || rules[at].Effect != policy.Deny {
		return nil
	}
	var servers, callers []string
	for _, rule := range rules {
		if rule.Effect == policy.Allow {
			servers = append(servers, rule.Server)
			callers = append(callers, rule.From...)
		}
	}
	if len(servers) == 0 {
		return nil
	}
	var lines []string
	if name := rules[at].Server; name != "*" && !slices.Contains(servers, name) && !slices.Contains(servers, "*") {
		lines = append(lines, fmt.Sprintf("no rule of the folder allows anything at a server %q, so that this takes nothing away%s", name, others(name, servers)))
	}
	for _, caller := range rules[at].From {
		if !slices.ContainsFunc(callers, func(other string) bool { return sameCallers(caller, other) }) {
			lines = append(lines, fmt.Sprintf("no rule of the folder allows anything to %s, so that this takes nothing from it%s", caller, others(caller, callers)))
		}
	}
	return lines
}

// others names what was probably meant, or else all that it could have been.
func others(name string, known []string) string {
	slices.Sort(known)
	known = slices.Compact(known)
	if meant := nearest.Word(lastSegment(name), segments(known)); meant != "" {
		return "; did you mean " + meant + "?"
	}
	const most = 10
	if len(known) > most {
		known = append(slices.Clone(known[:most]), "...")
	}
	return "; rules that allow name " + strings.Join(known, ", ")
}

func segments(names []string) []string {
	last := make([]string, 0, len(names))
	for _, name := range names {
		if segment := lastSegment(name); segment != "*" {
			last = append(last, segment)
		}
	}
	return last
}

// lastSegment is the app ID of a SPIFFE ID in Dapr's form, and a name without slashes as it is.
func lastSegment(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// sameCallers reports whether two SPIFFE IDs or patterns can mean the same caller.
func sameCallers(a, b string) bool {
	return slices.EqualFunc(strings.Split(a, "/"), strings.Split(b, "/"), func(x, y string) bool {
		return x == y || x == "*" || y == "*"
	})
}
