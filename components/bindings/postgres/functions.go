// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"strings"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/sqlguard"
)

const everyName = "*"

// naming opens the functions that allowing rules name for a database to sqlguard; whether a caller may call them the policy
// still decides. A pattern means functions of the user's schemas only: one of PostgreSQL's own that waits or writes has to
// be named itself. A function that can never be allowed, or that is not there, is told to the operator and stays closed.
func (c *catalogue) naming(set *policy.Set, server string, log func(string, ...any)) *sqlguard.FunctionSet {
	named := c.functions
	for _, pattern := range functionsOf(set, server) {
		names := []string{pattern}
		if strings.Contains(pattern, everyName) {
			names = c.matching(pattern)
		}
		for _, name := range names {
			with, err := named.With(name)
			if err == nil {
				named = with
			} else if name == pattern {
				log("custody-postgres: database %s: a rule names a function: %v", server, err)
			}
		}
	}
	return named
}

// functionsOf lists what allowing rules say of functions of a server.
func functionsOf(set *policy.Set, server string) []string {
	var patterns []string
	for _, rule := range set.Rules() {
		if rule.Effect == policy.Allow && rule.SQL != nil && (rule.Server == server || rule.Server == everyName) {
			patterns = append(patterns, rule.SQL.Functions...)
		}
	}
	return patterns
}

func (c *catalogue) matching(pattern string) []string {
	var names []string
	for _, name := range c.routines {
		if matches(pattern, name) {
			names = append(names, name)
		}
	}
	return names
}

// matches reports whether a name is of a pattern in which * stands for any run of characters.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, everyName)
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	rest := name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return true
}
