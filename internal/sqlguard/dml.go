// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// target notes the relation that a statement writes, which is never a CTE.
func (w *walker) target(table *pg_query.RangeVar, use Kinds) (*Relation, error) {
	relation, err := w.relation(table, use)
	if err != nil {
		return nil, err
	}
	w.scope.sources = append(w.scope.sources, source{alias: relation.Alias, relation: relation})
	return relation, nil
}

// writes notes the columns that a list of targets sets.
func (r *Relation) writes(targets []*pg_query.Node) {
	for _, target := range targets {
		r.touch(Column{Name: target.GetResTarget().GetName(), Written: true})
	}
}

func (w *walker) visitUpdate(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.UpdateStmt)
	leave, err := w.enter(s.WithClause)
	if err != nil {
		return err
	}
	defer leave()
	relation, err := w.target(s.Relation, Update)
	if err != nil {
		return err
	}
	relation.writes(s.TargetList)
	relation.Returns = len(s.ReturningList) > 0
	return w.chosen(m, p, s.FromClause, s.WhereClause)
}

func (w *walker) visitDelete(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.DeleteStmt)
	leave, err := w.enter(s.WithClause)
	if err != nil {
		return err
	}
	defer leave()
	relation, err := w.target(s.Relation, Delete)
	if err != nil {
		return err
	}
	relation.Returns = len(s.ReturningList) > 0
	return w.chosen(m, p, s.UsingClause, s.WhereClause)
}

// chosen walks an update or a delete, whose rows FROM and WHERE choose.
func (w *walker) chosen(m protoreflect.Message, p *plan, from []*pg_query.Node, where *pg_query.Node) error {
	for _, item := range from {
		if err := w.collect(item); err != nil {
			return err
		}
	}
	if err := w.fields(m, p, "with_clause", "where_clause"); err != nil {
		return err
	}
	if err := w.where(where); err != nil {
		return err
	}
	w.bindWhere(where)
	return nil
}

func (w *walker) visitInsert(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.InsertStmt)
	leave, err := w.enter(s.WithClause)
	if err != nil {
		return err
	}
	defer leave()
	// What is inserted does not see the relation that it goes into.
	if err := w.node(s.SelectStmt); err != nil {
		return err
	}
	relation, err := w.target(s.Relation, Insert)
	if err != nil {
		return err
	}
	relation.Returns = len(s.ReturningList) > 0
	relation.writes(s.Cols)
	if len(s.Cols) == 0 {
		relation.touch(Column{Name: "*", Written: true})
	}
	inserted := boundByValues(s)
	conflict := s.OnConflictClause
	if conflict != nil {
		w.scope.sources = append(w.scope.sources, source{alias: "excluded", behind: []*Relation{relation}, isJoin: true})
	}
	if conflict.GetInfer().GetConname() != "" { // The constraint's columns, whichever they are.
		relation.touch(Column{Name: "*", Read: true, Ambiguous: true})
	}
	if conflict.GetAction() == pg_query.OnConflictAction_ONCONFLICT_UPDATE {
		w.statement.Kinds |= Update
		relation.Use |= Update
		relation.HasWhere = true // The rows that conflict, no others.
		relation.writes(conflict.TargetList)
		w.bind(conflict.WhereClause, 0, len(w.scope.sources))
		// Both the row that comes and the row that is there have to be bound.
		relation.Bound = slices.DeleteFunc(relation.Bound, func(b Binding) bool { return !slices.Contains(inserted, b) })
	} else {
		relation.Bound = inserted
	}
	return w.fields(m, p, "with_clause", "select_stmt")
}

// boundByValues are the columns that get one and the same literal or parameter in each row of VALUES.
func boundByValues(s *pg_query.InsertStmt) []Binding {
	rows := s.GetSelectStmt().GetSelectStmt().GetValuesLists()
	var bound []Binding
	for i, column := range s.Cols {
		target := column.GetResTarget()
		if len(rows) == 0 || len(target.GetIndirection()) > 0 {
			continue
		}
		first, ok := valueAt(rows[0], i)
		for _, row := range rows[1:] {
			other, isConstant := valueAt(row, i)
			ok = ok && isConstant && other == first
		}
		if ok {
			first.Column = target.GetName()
			bound = append(bound, first)
		}
	}
	return bound
}

func valueAt(row *pg_query.Node, i int) (Binding, bool) {
	values := row.GetList().GetItems()
	if i >= len(values) {
		return Binding{}, false
	}
	return constant(values[i])
}

func (w *walker) visitMerge(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.MergeStmt)
	leave, err := w.enter(s.WithClause)
	if err != nil {
		return err
	}
	defer leave()
	relation, err := w.target(s.Relation, 0)
	if err != nil {
		return err
	}
	relation.Returns = len(s.ReturningList) > 0
	unmatched, err := w.mergeClauses(relation, s.MergeWhenClauses)
	if err != nil {
		return err
	}
	if err := w.collect(s.SourceRelation); err != nil {
		return err
	}
	if err := w.fields(m, p, "with_clause", "join_condition"); err != nil {
		return err
	}
	if err := w.where(s.JoinCondition); err != nil {
		return err
	}
	// The condition says which rows of the target match; of the source, and of what is inserted, it keeps nothing out.
	w.bind(s.JoinCondition, 0, 1)
	if unmatched || relation.Use.Has(Insert) {
		relation.Bound = nil
	}
	relation.HasWhere = relation.HasWhere && !unmatched
	return nil
}

// mergeClauses notes what a merge does with its target, and says whether it does it to rows that the source lacks.
func (w *walker) mergeClauses(target *Relation, clauses []*pg_query.Node) (unmatched bool, err error) {
	for _, item := range clauses {
		clause := item.GetMergeWhenClause()
		switch clause.GetCommandType() {
		case pg_query.CmdType_CMD_INSERT:
			target.Use |= Insert
			if len(clause.TargetList) == 0 {
				target.touch(Column{Name: "*", Written: true})
			}
		case pg_query.CmdType_CMD_UPDATE:
			target.Use |= Update
		case pg_query.CmdType_CMD_DELETE:
			target.Use |= Delete
		case pg_query.CmdType_CMD_NOTHING:
			continue
		default:
			return false, refuse(ClassNode, "MERGE with a clause that is not understood")
		}
		target.writes(clause.TargetList)
		unmatched = unmatched || clause.MatchKind == pg_query.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_SOURCE
	}
	if target.Use == 0 { // DO NOTHING in every clause: it reads.
		target.Use = Select
	}
	w.statement.Kinds |= target.Use
	return unmatched, nil
}
