// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
)

// scope is what a level of the statement sees by name, within the levels around it.
type scope struct {
	parent  *scope
	sources []source
	joins   []join
}

// source is one item of FROM: a relation, or something derived, of which no columns need be noted.
type source struct {
	alias    string
	relation *Relation   // nil: derived
	behind   []*Relation // of a name for other sources: every relation that it may mean
	isJoin   bool        // such a name, and no item of FROM itself
	hidden   bool        // a join's alias hides the names of what it joins
	value    bool        // a function, so that the alias may stand for a value that is not a row
}

// join remembers which sources stand on which side, and its condition.
type join struct {
	kind             pg_query.JoinType
	quals            *pg_query.Node
	from, middle, to int // sources[from:middle] are on the left, sources[middle:to] on the right
}

// cte is a list of the names of common table expressions that can be seen.
type cte struct {
	name string
	next *cte
}

func (c *cte) has(name string) bool {
	for ; c != nil; c = c.next {
		if c.name == name {
			return true
		}
	}
	return false
}

// push opens a level; the function that it returns closes it.
func (w *walker) push() (pop func()) {
	opened := &scope{parent: w.scope}
	w.scope = opened
	return func() { w.scope = opened.parent }
}

// collect notes the names that an item of FROM brings. What is inside of it is walked later.
func (w *walker) collect(n *pg_query.Node) error {
	switch item := n.GetNode().(type) {
	case *pg_query.Node_RangeVar:
		return w.collectTable(item.RangeVar)
	case *pg_query.Node_RangeSubselect:
		w.derived(item.RangeSubselect.GetAlias(), "")
	case *pg_query.Node_RangeFunction:
		w.derived(item.RangeFunction.GetAlias(), firstFunction(item.RangeFunction))
		w.scope.sources[len(w.scope.sources)-1].value = true
	case *pg_query.Node_RangeTableFunc:
		w.derived(item.RangeTableFunc.GetAlias(), "xmltable")
	case *pg_query.Node_JsonTable:
		w.derived(item.JsonTable.GetAlias(), "json_table")
	case *pg_query.Node_RangeTableSample:
		return w.collect(item.RangeTableSample.GetRelation())
	case *pg_query.Node_JoinExpr:
		return w.collectJoin(item.JoinExpr)
	default:
		return refuse(ClassNode, "FROM holds something that is not understood")
	}
	return nil
}

func (w *walker) derived(alias *pg_query.Alias, name string) {
	if alias != nil {
		name = alias.Aliasname
	}
	w.scope.sources = append(w.scope.sources, source{alias: name})
}

// firstFunction is the name by which PostgreSQL calls a function in FROM that has no alias.
func firstFunction(item *pg_query.RangeFunction) string {
	if len(item.Functions) == 0 {
		return ""
	}
	items := item.Functions[0].GetList().GetItems()
	if len(items) == 0 {
		return ""
	}
	switch called := items[0].GetNode().(type) {
	case *pg_query.Node_FuncCall:
		return lastString(called.FuncCall.Funcname)
	case *pg_query.Node_SqlvalueFunction, *pg_query.Node_CoalesceExpr, *pg_query.Node_MinMaxExpr:
		return "" // PostgreSQL has names for these too; a text that uses them is refused as unresolved.
	}
	return ""
}

func lastString(names []*pg_query.Node) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1].GetString_().GetSval()
}

func (w *walker) collectTable(table *pg_query.RangeVar) error {
	if table.Schemaname == "" && w.ctes.has(table.Relname) {
		w.know(table)
		w.derived(table.GetAlias(), table.Relname)
		return nil
	}
	relation, err := w.relation(table, Select)
	if err != nil {
		return err
	}
	w.scope.sources = append(w.scope.sources, source{alias: relation.Alias, relation: relation})
	return nil
}

func (w *walker) know(table *pg_query.RangeVar) {
	if w.known == nil {
		w.known = map[*pg_query.RangeVar]bool{}
	}
	w.known[table] = true
}

// relation notes a use of a table, which is none of the CTEs.
func (w *walker) relation(table *pg_query.RangeVar, use Kinds) (*Relation, error) {
	if table.GetRelname() == "" {
		return nil, refuse(ClassName, "a relation has no name")
	}
	if table.Relpersistence != "p" {
		return nil, refuse(ClassNode, "temporary and unlogged tables are always refused")
	}
	w.know(table)
	made := &Relation{Name: Name{table.Schemaname, table.Relname}, Alias: table.Relname, Use: use}
	if alias := table.GetAlias(); alias != nil {
		made.Alias = alias.Aliasname
		rename([]*Relation{made}, alias)
	}
	w.statement.Relations = append(w.statement.Relations, made)
	w.statement.Kinds |= use
	return made, nil
}

func (w *walker) collectJoin(item *pg_query.JoinExpr) error {
	s := w.scope
	from := len(s.sources)
	if err := w.collect(item.GetLarg()); err != nil {
		return err
	}
	middle := len(s.sources)
	if err := w.collect(item.GetRarg()); err != nil {
		return err
	}
	to := len(s.sources)
	s.joins = append(s.joins, join{kind: item.Jointype, quals: item.Quals, from: from, middle: middle, to: to})
	behind := relationsOf(s.sources[from:to])
	for _, relation := range behind {
		if item.IsNatural {
			relation.touch(Column{Name: "*", Read: true})
		}
		for _, name := range item.UsingClause {
			relation.touch(Column{Name: name.GetString_().GetSval(), Read: true, Ambiguous: len(behind) > 2})
		}
	}
	for _, alias := range []*pg_query.Alias{item.GetAlias(), item.GetJoinUsingAlias()} {
		if alias != nil {
			s.sources = append(s.sources, source{alias: alias.Aliasname, behind: behind, isJoin: true})
			rename(behind, alias)
		}
	}
	if item.GetAlias() != nil {
		for i := range s.sources[from:to] {
			s.sources[from+i].hidden = true
		}
	}
	return nil
}

// rename notes that an alias gives columns of these relations other names, if it does.
func rename(relations []*Relation, alias *pg_query.Alias) {
	if len(alias.GetColnames()) == 0 {
		return
	}
	for _, relation := range relations {
		relation.renamed = true
	}
	touchAll(relations)
}

func relationsOf(sources []source) []*Relation {
	var relations []*Relation
	for _, s := range sources {
		if s.relation != nil {
			relations = append(relations, s.relation)
		}
	}
	return relations
}

func touchAll(relations []*Relation) {
	for _, relation := range relations {
		relation.touch(Column{Name: "*", Read: true})
	}
}

// resolve notes a use of columns: [column], [alias, column] or [schema, table, column], the column "*" for all.
func (w *walker) resolve(names []string) error {
	column := names[len(names)-1]
	switch len(names) {
	case 1:
		w.resolveBare(column, false)
		return nil
	case 2, 3:
	default:
		return refuse(ClassName, "a column is named with more than schema, table and column")
	}
	var found []source
	for s := w.scope; s != nil; s = s.parent {
		for _, candidate := range s.sources {
			if candidate.isCalled(names[:len(names)-1]) {
				found = append(found, candidate)
			}
		}
	}
	if len(found) == 0 {
		return refuse(ClassName, "%q in front of column %q names nothing in FROM", names[len(names)-2], column)
	}
	for _, candidate := range found {
		if column != "*" {
			w.notes(column, candidate.value)
		}
		if candidate.relation != nil {
			candidate.relation.touch(Column{Name: column, Read: true, Ambiguous: len(found) > 1, dotted: true})
		}
		for _, relation := range candidate.behind {
			relation.touch(Column{Name: column, Read: true, Ambiguous: column != "*", dotted: true})
		}
	}
	return nil
}

// notes remembers a name that stands after a dot.
func (w *walker) notes(name string, anything bool) {
	w.statement.notation = appendOnce(w.statement.notation, notation{name, anything})
}

// isCalled says whether a qualifier, [alias] or [schema, table], may mean this source.
func (s source) isCalled(qualifier []string) bool {
	if len(qualifier) == 1 {
		return s.alias == qualifier[0]
	}
	// An alias hides the table's own name. A table that is not qualified in FROM may be in any schema.
	return s.relation != nil && s.alias == qualifier[1] && s.relation.Name.Name == qualifier[1] &&
		(s.relation.Schema == qualifier[0] || s.relation.Schema == "")
}

// resolveBare notes an unqualified name with every relation whose column, or whole row, it may be. ambiguous says that it
// may be none's.
func (w *walker) resolveBare(column string, ambiguous bool) {
	if column == "*" {
		if w.scope != nil {
			touchAll(relationsOf(w.scope.sources))
		}
		return
	}
	visible := 0
	for s := w.scope; s != nil; s = s.parent {
		for _, candidate := range s.sources {
			if !candidate.isJoin {
				visible++
			}
		}
	}
	for s := w.scope; s != nil; s = s.parent {
		for _, candidate := range s.sources {
			if candidate.alias == column { // The whole row, unless there is a column of that name.
				touchAll(candidate.behind)
			}
			if candidate.relation == nil {
				continue
			}
			if candidate.alias == column {
				candidate.relation.touch(Column{Name: "*", Read: true, Ambiguous: true})
			}
			candidate.relation.touch(Column{Name: column, Read: true, Ambiguous: ambiguous || visible > 1})
		}
	}
}

// only returns the one source of this level that a qualifier means, if it is a relation whose columns keep their names.
func (s *scope) only(qualifier []string) (int, *Relation) {
	at := slices.IndexFunc(s.sources, func(c source) bool { return c.isCalled(qualifier) })
	if at < 0 || slices.ContainsFunc(s.sources[at+1:], func(c source) bool { return c.isCalled(qualifier) }) {
		return -1, nil
	}
	found := s.sources[at]
	if found.relation == nil || found.relation.renamed || found.hidden {
		return -1, nil
	}
	if len(qualifier) == 2 && found.relation.Schema != qualifier[0] { // It may be an outer level's.
		return -1, nil
	}
	return at, found.relation
}
