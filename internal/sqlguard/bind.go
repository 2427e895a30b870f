// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"strconv"

	pg_query "github.com/pganalyze/pg_query_go/v6"
)

// bindWhere notes which columns a condition of this level binds. A row gets past it only if it meets the condition.
func (w *walker) bindWhere(condition *pg_query.Node) {
	w.bind(condition, 0, len(w.scope.sources))
	for _, j := range w.scope.joins {
		// The side of an outer join that is kept whole is not filtered by its condition.
		switch j.kind {
		case pg_query.JoinType_JOIN_INNER:
			w.bind(j.quals, j.from, j.to)
		case pg_query.JoinType_JOIN_LEFT:
			w.bind(j.quals, j.middle, j.to)
		case pg_query.JoinType_JOIN_RIGHT:
			w.bind(j.quals, j.from, j.middle)
		}
	}
}

// bind notes what the top-level AND of a condition binds among the sources from:to.
func (w *walker) bind(condition *pg_query.Node, from, to int) {
	switch node := condition.GetNode().(type) {
	case *pg_query.Node_BoolExpr:
		if node.BoolExpr.Boolop == pg_query.BoolExprType_AND_EXPR {
			for _, part := range node.BoolExpr.Args {
				w.bind(part, from, to)
			}
		}
	case *pg_query.Node_AExpr:
		expr := node.AExpr
		if expr.Kind != pg_query.A_Expr_Kind_AEXPR_OP || lastString(expr.Name) != "=" {
			return
		}
		if !w.bindPair(expr.Lexpr, expr.Rexpr, from, to) {
			w.bindPair(expr.Rexpr, expr.Lexpr, from, to)
		}
	}
}

func (w *walker) bindPair(column, value *pg_query.Node, from, to int) bool {
	names, ok := plainColumn(column.GetColumnRef())
	if !ok {
		return false
	}
	binding, ok := constant(value)
	if !ok {
		return false
	}
	binding.Column = names[len(names)-1]
	if len(names) == 1 {
		w.bindBare(binding, from, to)
		return true
	}
	if at, relation := w.scope.only(names[:len(names)-1]); at >= from && at < to {
		relation.Bound = append(relation.Bound, binding)
	}
	return true
}

// bindBare notes an unqualified column: the level's own, if it has one relation and nothing else in FROM.
func (w *walker) bindBare(binding Binding, from, to int) {
	items := 0
	for _, s := range w.scope.sources {
		if !s.isJoin {
			items++
		}
	}
	binding.Ambiguous = items > 1
	for _, s := range w.scope.sources[from:to] {
		if s.relation != nil && !s.relation.renamed {
			s.relation.Bound = append(s.relation.Bound, binding)
		}
	}
}

// plainColumn is a column's name with what qualifies it, if it is not t.*.
func plainColumn(ref *pg_query.ColumnRef) ([]string, bool) {
	if ref == nil || len(ref.Fields) == 0 || len(ref.Fields) > 3 {
		return nil, false
	}
	names := make([]string, len(ref.Fields))
	for i, field := range ref.Fields {
		name, ok := field.GetNode().(*pg_query.Node_String_)
		if !ok {
			return nil, false
		}
		names[i] = name.String_.Sval
	}
	return names, true
}

// constant reads a literal or a parameter, cast or not.
func constant(n *pg_query.Node) (Binding, bool) {
	switch node := n.GetNode().(type) {
	case *pg_query.Node_TypeCast:
		return constant(node.TypeCast.Arg)
	case *pg_query.Node_ParamRef:
		return Binding{Parameter: int(node.ParamRef.Number)}, true
	case *pg_query.Node_AConst:
		return literal(node.AConst)
	}
	return Binding{}, false
}

func literal(c *pg_query.A_Const) (Binding, bool) {
	if c.Isnull {
		return Binding{Null: true}, true
	}
	switch value := c.Val.(type) {
	case *pg_query.A_Const_Ival:
		return Binding{Literal: strconv.Itoa(int(value.Ival.GetIval()))}, true
	case *pg_query.A_Const_Fval:
		return Binding{Literal: value.Fval.GetFval()}, true
	case *pg_query.A_Const_Boolval:
		return Binding{Literal: strconv.FormatBool(value.Boolval.GetBoolval())}, true
	case *pg_query.A_Const_Sval:
		return Binding{Literal: value.Sval.GetSval()}, true
	case *pg_query.A_Const_Bsval:
		return Binding{Literal: value.Bsval.GetBsval()}, true
	}
	return Binding{}, false
}
