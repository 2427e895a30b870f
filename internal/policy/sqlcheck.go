// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/manifest"
)

// sqlCheck is what a rule demands of the use of a table beside its name. A rule that
// demands nothing has none, so that it costs nothing.
type sqlCheck struct {
	// columns says that reads and writes are all that an allow lets be touched, or what
	// a deny denies.
	columns       bool
	reads, writes []string
	// filters are in the order of the tables.
	filters []tableFilter
	// where says that an update and a delete have to have one.
	where bool
}

// tableFilter are the columns that have to be bound in each use of a table.
type tableFilter struct {
	table   string
	columns []string
}

func newSQLCheck(s *SQLRule, effect Effect) *sqlCheck {
	c := &sqlCheck{}
	if s.Columns != nil {
		c.columns, c.reads, c.writes = true, s.Columns.Read, s.Columns.Write
	}
	for _, table := range slices.Sorted(maps.Keys(s.MustFilterBy)) {
		c.filters = append(c.filters, tableFilter{table: table, columns: s.MustFilterBy[table]})
	}
	chooses := func(operation string) bool {
		return operation == "update" || operation == "delete" || operation == every
	}
	c.where = effect == Allow && s.Where != whereAny && slices.ContainsFunc(s.Operations, chooses)
	if !c.columns && len(c.filters) == 0 && !c.where {
		return nil
	}
	return c
}

// words says what the rule demands, for people and for its canonical form.
func (c *sqlCheck) words() []string {
	if c == nil {
		return nil
	}
	var words []string
	if c.columns {
		words = append(words, "columns read: "+listed(c.reads)+"; written: "+listed(c.writes))
	}
	for _, f := range c.filters {
		words = append(words, manifest.Shorten(f.table)+" filtered by "+listed(f.columns))
	}
	if c.where {
		words = append(words, "where required")
	}
	return words
}

// canonical adds what the rule demands to its canonical form.
func (c *sqlCheck) canonical(form []byte) []byte {
	if c == nil {
		return appendText(form, "")
	}
	form = appendText(form, fmt.Sprintf("demands %t %t %d", c.columns, c.where, len(c.filters)))
	form = appendSet(appendSet(form, c.reads), c.writes)
	for _, f := range c.filters {
		form = appendSet(appendText(form, f.table), f.columns)
	}
	return form
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// misfit is why a rule that names an action does not match how it uses the table.
type misfit int

const (
	fits misfit = iota
	misfitRead
	misfitWrite
	misfitFilter
	misfitWhere
	misfitDDL
	misfitUntouched
)

// say words it; column is what misfit names.
func (m misfit) say(column string) string {
	switch m {
	case misfitRead:
		return "it reads column " + quoted(column) + ", which columns does not name"
	case misfitWrite:
		return "it writes column " + quoted(column) + ", which columns does not name"
	case misfitFilter:
		return "it does not bind column " + quoted(column) + ", which mustFilterBy names"
	case misfitWhere:
		return "it has no WHERE that chooses the rows"
	case misfitDDL:
		return "it defines data, and the rule is about columns and filters"
	case misfitUntouched:
		return "it touches no column that the rule denies"
	}
	return ""
}

// misfit compares the demands of a rule with the use of the table that the action names.
// column is what it fails by.
func (c *sqlCheck) misfit(effect Effect, a *Action) (m misfit, column string) {
	if c == nil {
		return fits, ""
	}
	switch a.Kind {
	case KindSQLSelect, KindSQLInsert, KindSQLUpdate, KindSQLDelete, KindSQLDDL:
	default:
		return fits, ""
	}
	if effect == Deny {
		return c.untouched(a), ""
	}
	if a.Kind == KindSQLDDL {
		if c.columns || len(c.filters) > 0 {
			return misfitDDL, ""
		}
		return fits, ""
	}
	if a.Name == "" {
		return fits, ""
	}
	use := a.Use
	if use == nil {
		use = &SQLUse{Reads: []string{EveryColumn}, Writes: []string{EveryColumn}}
	}
	return c.beyond(a, use)
}

// beyond is for an allow: whether the use goes beyond what the rule lets be done.
func (c *sqlCheck) beyond(a *Action, use *SQLUse) (m misfit, column string) {
	if c.where && !use.HasWhere && (a.Kind == KindSQLUpdate || a.Kind == KindSQLDelete) {
		return misfitWhere, ""
	}
	if c.columns {
		for _, column := range use.Reads {
			if !covered(c.reads, column) {
				return misfitRead, column
			}
		}
		for _, column := range use.Writes {
			if !covered(c.writes, column) && a.Kind != KindSQLSelect {
				return misfitWrite, column
			}
		}
	}
	for i := range c.filters {
		if !globMatch(c.filters[i].table, a.Name) {
			continue
		}
		for _, column := range c.filters[i].columns {
			if !slices.Contains(use.Bound, column) {
				return misfitFilter, column
			}
		}
	}
	return fits, ""
}

// untouched is for a deny: it fits if it may touch one of the columns. What defines data
// may touch all.
func (c *sqlCheck) untouched(a *Action) misfit {
	switch {
	case !c.columns || a.Kind == KindSQLDDL:
		return fits
	case a.Name == "":
		return misfitUntouched
	case a.Use == nil, touches(c.reads, a.Use.Reads), a.Kind != KindSQLSelect && touches(c.writes, a.Use.Writes):
		return fits
	}
	return misfitUntouched
}

// covered reports whether one of the patterns covers a column; every column is covered by
// a pattern for all alone.
func covered(patterns []string, column string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return globMatch(pattern, column) })
}

func touches(patterns, columns []string) bool {
	return len(patterns) > 0 && slices.ContainsFunc(columns, func(column string) bool {
		return column == EveryColumn || covered(patterns, column)
	})
}
