// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxTreeDepth bounds the walk. A text of 2,000 tokens cannot reach it.
const maxTreeDepth = 5000

// walker goes through one tree.
type walker struct {
	plans     []*plan
	statement *Statement
	scope     *scope
	ctes      *cte
	depth     int

	// known are the tables in the tree that a clause has already taken note of. One that is met elsewhere stands in a
	// place that is not understood.
	known map[*pg_query.RangeVar]bool
	// outputs are the names in ORDER BY that mean a column of the result, not of a relation.
	outputs map[*pg_query.ColumnRef]bool
	// either are the names in GROUP BY that may mean one or the other.
	either map[*pg_query.ColumnRef]bool
	// apart are the calls of pg_typeof that may stand where they do.
	apart map[*pg_query.FuncCall]bool
}

// visitors are the nodes that say more than what is below them.
func visitors() map[string]visitor {
	return map[string]visitor{
		"SelectStmt": (*walker).visitSelect,
		"InsertStmt": (*walker).visitInsert,
		"UpdateStmt": (*walker).visitUpdate,
		"DeleteStmt": (*walker).visitDelete,
		"MergeStmt":  (*walker).visitMerge,
		"WithClause": (*walker).visitWith,
		"RangeVar":   (*walker).visitRangeVar,

		"RangeSubselect":   (*walker).visitSubselect,
		"RangeTableSample": (*walker).visitSample,
		"JoinExpr":         (*walker).visitJoin,
		"ColumnRef":        (*walker).visitColumnRef,
		"ParamRef":         (*walker).visitParamRef,
		"A_Const":          (*walker).visitConst,
		"A_Expr":           (*walker).visitExpr,
		"A_Indirection":    (*walker).visitIndirection,
		"TypeCast":         (*walker).visitCast,
		"CaseExpr":         (*walker).visitCase,
		"SubLink":          (*walker).visitSubLink,
		"SortBy":           (*walker).visitSortBy,
		"FuncCall":         (*walker).visitFuncCall,
		"TypeName":         (*walker).visitTypeName,
		"CollateClause":    (*walker).visitCollate,
		"IndexElem":        (*walker).visitIndexElem,

		"JsonScalarExpr":            (*walker).visitKeyword,
		"JsonSerializeExpr":         (*walker).visitKeyword,
		"JsonParseExpr":             (*walker).visitKeyword,
		"JsonFuncExpr":              (*walker).visitKeyword,
		"JsonTable":                 (*walker).visitKeyword,
		"JsonObjectConstructor":     (*walker).visitKeyword,
		"JsonArrayConstructor":      (*walker).visitKeyword,
		"JsonArrayQueryConstructor": (*walker).visitKeyword,
		"JsonObjectAgg":             (*walker).visitKeyword,
		"JsonArrayAgg":              (*walker).visitKeyword,

		"CreateStmt":        (*walker).visitCreate,
		"CreateTableAsStmt": (*walker).visitCreateAs,
		"IndexStmt":         (*walker).visitIndex,
		"ViewStmt":          (*walker).visitView,
		"AlterTableStmt":    (*walker).visitAlter,
		"AlterTableCmd":     (*walker).visitAlterCommand,
		"DropStmt":          (*walker).visitDrop,
		"TruncateStmt":      (*walker).visitTruncate,
		"Constraint":        (*walker).visitConstraint,
	}
}

// message walks a node that is not nil.
func (w *walker) message(m protoreflect.Message) error {
	p := w.plans[m.Descriptor().Index()]
	if p == nil {
		return refuse(ClassNode, "%s is not understood", m.Descriptor().Name())
	}
	if w.depth++; w.depth > maxTreeDepth {
		return refuse(ClassDepth, "the statement is nested too deep")
	}
	defer func() { w.depth-- }()
	if p.visit != nil {
		return p.visit(w, m, p)
	}
	return w.fields(m, p)
}

// fields walks every field of a node but those that the caller has walked, in the order of the grammar's structs.
func (w *walker) fields(m protoreflect.Message, p *plan, walked ...protoreflect.Name) error {
	if len(m.GetUnknown()) > 0 {
		return refuse(ClassNode, "%s holds fields that are not known", p.name)
	}
	for i := range p.fields {
		field := &p.fields[i]
		if !m.Has(field.descriptor) {
			continue
		}
		if !field.allowed {
			return refuse(ClassNode, "%s with %s is not understood", p.name, field.descriptor.Name())
		}
		if field.enum != nil && field.enum.ByNumber(m.Get(field.descriptor).Enum()) == nil {
			return refuse(ClassNode, "%s has a %s that is not known", p.name, field.descriptor.Name())
		}
		if !field.message || slices.Contains(walked, field.descriptor.Name()) {
			continue
		}
		if err := w.field(m, field); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) field(m protoreflect.Message, field *plannedField) error {
	value := m.Get(field.descriptor)
	if !field.list {
		return w.inner(value.Message(), field)
	}
	list := value.List()
	for i := range list.Len() {
		if err := w.inner(list.Get(i).Message(), field); err != nil {
			return err
		}
	}
	return nil
}

// inner unwraps Node, which stands for any one node.
func (w *walker) inner(m protoreflect.Message, field *plannedField) error {
	wrapped, isNode := m.Interface().(*pg_query.Node)
	if !isNode {
		return w.message(m)
	}
	if wrapped.Node == nil && !field.mayBeEmpty {
		// What pg_query cannot write down it leaves out with a warning: not knowing is a refusal.
		return refuse(ClassNode, "%s holds something that is not known", field.descriptor.FullName())
	}
	return w.node(wrapped)
}

// node walks what a Node holds; nil and the empty Node hold nothing.
func (w *walker) node(n *pg_query.Node) error {
	if n == nil {
		return nil
	}
	m := n.ProtoReflect()
	if len(m.GetUnknown()) > 0 {
		return refuse(ClassNode, "a node is not known")
	}
	if n.Node == nil {
		return nil
	}
	return w.message(m.Get(m.WhichOneof(nodeOneof)).Message())
}

var nodeOneof = (&pg_query.Node{}).ProtoReflect().Descriptor().Oneofs().ByName("node")
