// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func (w *walker) visitSelect(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.SelectStmt)
	if s.IntoClause != nil {
		return refuseStatement("select into", "SELECT INTO")
	}
	leave, err := w.enter(s.WithClause)
	if err != nil {
		return err
	}
	defer leave()
	first := len(w.statement.Relations)
	for _, item := range s.FromClause {
		if err := w.collect(item); err != nil {
			return err
		}
	}
	w.noteOutputs(s)
	for _, locking := range s.LockingClause {
		for _, table := range locking.GetLockingClause().GetLockedRels() {
			w.know(table.GetRangeVar())
		}
	}
	if err := w.fields(m, p, "with_clause", "where_clause"); err != nil {
		return err
	}
	if err := w.where(s.WhereClause); err != nil {
		return err
	}
	w.bindWhere(s.WhereClause)
	for _, locking := range s.LockingClause {
		if err := w.lock(locking.GetLockingClause(), w.statement.Relations[first:]); err != nil {
			return err
		}
	}
	return nil
}

// enter opens the level of a statement: its CTEs, which see what is around it, then a scope. The function that it
// returns, never nil, closes the level.
func (w *walker) enter(with *pg_query.WithClause) (leave func(), err error) {
	ctes := w.ctes
	if with != nil {
		if err := w.message(with.ProtoReflect()); err != nil {
			return func() {}, err
		}
	}
	pop := w.push()
	return func() { pop(); w.ctes = ctes }, nil
}

// visitWith makes the names of CTEs known. Without RECURSIVE each is known only to those after it, so that in
// WITH orders AS (SELECT * FROM orders) the inner name is the table.
func (w *walker) visitWith(m protoreflect.Message, p *plan) error {
	clause := m.Interface().(*pg_query.WithClause)
	if err := w.fields(m, p, "ctes"); err != nil {
		return err
	}
	if clause.Recursive {
		for _, item := range clause.Ctes {
			w.ctes = &cte{item.GetCommonTableExpr().GetCtename(), w.ctes}
		}
	}
	for _, item := range clause.Ctes {
		expr := item.GetCommonTableExpr()
		if expr == nil {
			return refuse(ClassNode, "WITH holds something that is not understood")
		}
		if err := w.message(expr.ProtoReflect()); err != nil {
			return err
		}
		if !clause.Recursive {
			w.ctes = &cte{expr.Ctename, w.ctes}
		}
	}
	return nil
}

// noteOutputs remembers the columns of ORDER BY and DISTINCT ON that PostgreSQL takes for names of the result: a bare
// name that the select list gives, and every bare name above a UNION. In GROUP BY it takes a bare name for that of the
// result only if FROM has no such column, so that it may be either.
func (w *walker) noteOutputs(s *pg_query.SelectStmt) {
	if len(s.SortClause) == 0 && len(s.DistinctClause) == 0 && len(s.GroupClause) == 0 {
		return
	}
	given := map[string]bool{}
	for _, target := range s.TargetList {
		given[target.GetResTarget().GetName()] = true
	}
	delete(given, "")
	note := func(n *pg_query.Node) {
		names, ok := plainColumn(n.GetColumnRef())
		if !ok || len(names) != 1 || !given[names[0]] && s.Op == pg_query.SetOperation_SETOP_NONE {
			return
		}
		if w.outputs == nil {
			w.outputs = map[*pg_query.ColumnRef]bool{}
		}
		w.outputs[n.GetColumnRef()] = true
	}
	for _, item := range s.SortClause {
		note(item.GetSortBy().GetNode())
	}
	for _, item := range s.DistinctClause {
		note(item)
	}
	w.noteGroups(s.GroupClause, given)
}

func (w *walker) noteGroups(groups []*pg_query.Node, given map[string]bool) {
	for _, item := range groups {
		w.noteGroups(item.GetGroupingSet().GetContent(), given)
		if names, ok := plainColumn(item.GetColumnRef()); ok && len(names) == 1 && given[names[0]] {
			if w.either == nil {
				w.either = map[*pg_query.ColumnRef]bool{}
			}
			w.either[item.GetColumnRef()] = true
		}
	}
}

// where walks the clause that chooses rows and notes which relations of this level it speaks of.
func (w *walker) where(condition *pg_query.Node) error {
	if condition == nil {
		return nil
	}
	before := make([]int, len(w.scope.sources))
	for i, s := range w.scope.sources {
		if s.relation != nil {
			before[i] = s.relation.certain
		}
	}
	if condition.Node == nil {
		return refuse(ClassNode, "WHERE holds something that is not known")
	}
	if err := w.node(condition); err != nil {
		return err
	}
	for i, s := range w.scope.sources {
		if s.relation != nil && s.relation.certain > before[i] {
			s.relation.HasWhere = true
		}
	}
	return nil
}

// lock notes what a locking clause locks: what it names, or every relation in FROM, those of subqueries too.
func (w *walker) lock(clause *pg_query.LockingClause, inside []*Relation) error {
	for _, item := range clause.GetLockedRels() {
		name := item.GetRangeVar().GetRelname()
		found := false
		for _, s := range w.scope.sources {
			if s.alias != name {
				continue
			}
			found = true
			if s.relation != nil {
				w.locked(s.relation)
			} else {
				w.locked(inside...)
			}
		}
		if !found {
			return refuse(ClassName, "the locking clause names %q, which is not in FROM", name)
		}
	}
	if len(clause.GetLockedRels()) == 0 {
		w.locked(inside...)
	}
	w.statement.Kinds |= Update
	return nil
}

func (w *walker) locked(relations ...*Relation) {
	for _, relation := range relations {
		relation.Use |= Update
	}
}

// visitRangeVar sees that every table has been noted by the clause in which it stands.
func (w *walker) visitRangeVar(m protoreflect.Message, p *plan) error {
	if !w.known[m.Interface().(*pg_query.RangeVar)] {
		return refuse(ClassNode, "a relation stands in a place that is not understood")
	}
	return w.fields(m, p)
}

// visitSubselect hides the other items of FROM from a subquery that is not LATERAL, as PostgreSQL does.
func (w *walker) visitSubselect(m protoreflect.Message, p *plan) error {
	item := m.Interface().(*pg_query.RangeSubselect)
	if item.Lateral || w.scope == nil {
		return w.fields(m, p)
	}
	defer func(level *scope) { w.scope = level }(w.scope)
	w.scope = w.scope.parent
	return w.fields(m, p)
}

// visitSample admits the two methods that PostgreSQL has: a method is a function.
func (w *walker) visitSample(m protoreflect.Message, p *plan) error {
	method, err := name(m.Interface().(*pg_query.RangeTableSample).Method)
	if err != nil {
		return err
	}
	if method.Schema != "" && method.Schema != catalog || method.Name != "bernoulli" && method.Name != "system" {
		return refuse(ClassFunction, "TABLESAMPLE with %s is not understood", method)
	}
	return w.fields(m, p)
}

func (w *walker) visitJoin(m protoreflect.Message, p *plan) error {
	join := m.Interface().(*pg_query.JoinExpr)
	if join.IsNatural || len(join.UsingClause) > 0 {
		w.operator(Name{"", "="})
	}
	switch join.Jointype {
	case pg_query.JoinType_JOIN_INNER, pg_query.JoinType_JOIN_LEFT, pg_query.JoinType_JOIN_RIGHT, pg_query.JoinType_JOIN_FULL:
		return w.fields(m, p)
	default:
		return refuse(ClassNode, "a join is of a kind that is not understood")
	}
}
