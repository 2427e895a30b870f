// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const catalog = "pg_catalog"

// name reads a name that one schema at most may qualify.
func name(list []*pg_query.Node) (Name, error) {
	var parts [2]string
	if len(list) == 0 || len(list) > len(parts) {
		return Name{}, refuse(ClassName, "a name has %d parts; it may have a schema and a name", len(list))
	}
	for i, n := range list {
		part, ok := n.GetNode().(*pg_query.Node_String_)
		if !ok || part.String_.Sval == "" {
			return Name{}, refuse(ClassName, "a name holds something that is not a name")
		}
		parts[i+2-len(list)] = part.String_.Sval
	}
	return Name{parts[0], parts[1]}, nil
}

func appendOnce[T comparable](list []T, item T) []T {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

// visitColumnRef reads column, alias.column and schema.table.column, or * in place of the column.
func (w *walker) visitColumnRef(m protoreflect.Message, _ *plan) error {
	ref := m.Interface().(*pg_query.ColumnRef)
	if len(m.GetUnknown()) > 0 || len(ref.Fields) == 0 {
		return refuse(ClassNode, "a column is named in a way that is not understood")
	}
	if w.outputs[ref] {
		return nil
	}
	if w.either[ref] {
		w.resolveBare(ref.Fields[0].GetString_().GetSval(), true)
		return nil
	}
	var array [3]string
	names := array[:0]
	for i, field := range ref.Fields {
		switch part := field.GetNode().(type) {
		case *pg_query.Node_String_:
			names = append(names, part.String_.Sval)
		case *pg_query.Node_AStar:
			if i != len(ref.Fields)-1 {
				return refuse(ClassNode, "a column is named in a way that is not understood")
			}
			return w.resolve(append(names, "*"))
		default:
			return refuse(ClassNode, "a column is named in a way that is not understood")
		}
	}
	return w.resolve(names)
}

// visitIndirection notes (x).f, whatever x is: (0.5).pg_sleep sleeps.
func (w *walker) visitIndirection(m protoreflect.Message, p *plan) error {
	for _, part := range m.Interface().(*pg_query.A_Indirection).Indirection {
		if field, ok := part.GetNode().(*pg_query.Node_String_); ok {
			w.notes(field.String_.Sval, true)
		}
	}
	return w.fields(m, p)
}

func (w *walker) visitParamRef(m protoreflect.Message, p *plan) error {
	number := int(m.Interface().(*pg_query.ParamRef).Number)
	if number < 1 {
		return refuse(ClassName, "parameters are numbered from $1")
	}
	w.statement.Parameters = append(w.statement.Parameters, number)
	return w.fields(m, p)
}

// visitConst spares constants, of which there are many, the walk: they hold no nodes.
func (w *walker) visitConst(m protoreflect.Message, _ *plan) error {
	if len(m.GetUnknown()) > 0 {
		return refuse(ClassNode, "a constant is not known")
	}
	return nil
}

func (w *walker) visitExpr(m protoreflect.Message, p *plan) error {
	expr := m.Interface().(*pg_query.A_Expr)
	switch expr.Kind {
	case pg_query.A_Expr_Kind_AEXPR_BETWEEN, pg_query.A_Expr_Kind_AEXPR_NOT_BETWEEN,
		pg_query.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg_query.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		// Their name is a word; they run < and >, unqualified.
		w.operator(Name{"", "<"})
		w.operator(Name{"", "<="})
		w.operator(Name{"", ">="})
		w.operator(Name{"", ">"})
		return w.fields(m, p, "name")
	case pg_query.A_Expr_Kind_A_EXPR_KIND_UNDEFINED:
		return refuse(ClassNode, "an expression is of a kind that is not known")
	}
	return w.operates(m, p, expr.Name)
}

// operates notes an operator, if there is one, and walks the node that it stands in.
func (w *walker) operates(m protoreflect.Message, p *plan, list []*pg_query.Node) error {
	if len(list) > 0 {
		operator, err := name(list)
		if err != nil {
			return err
		}
		w.operator(operator)
	}
	return w.fields(m, p)
}

func (w *walker) operator(n Name) {
	w.statement.Operators = appendOnce(w.statement.Operators, n)
}

// visitCase notes that CASE x WHEN y compares with =.
func (w *walker) visitCase(m protoreflect.Message, p *plan) error {
	if m.Interface().(*pg_query.CaseExpr).Arg != nil {
		w.operator(Name{"", "="})
	}
	return w.fields(m, p)
}

func (w *walker) visitSubLink(m protoreflect.Message, p *plan) error {
	link := m.Interface().(*pg_query.SubLink)
	switch link.SubLinkType {
	case pg_query.SubLinkType_EXISTS_SUBLINK, pg_query.SubLinkType_ALL_SUBLINK, pg_query.SubLinkType_ANY_SUBLINK,
		pg_query.SubLinkType_EXPR_SUBLINK, pg_query.SubLinkType_ARRAY_SUBLINK:
	default:
		return refuse(ClassNode, "a subquery is of a kind that is not understood")
	}
	if link.SubLinkType == pg_query.SubLinkType_ANY_SUBLINK && len(link.OperName) == 0 { // IN
		w.operator(Name{"", "="})
	}
	return w.operates(m, p, link.OperName)
}

func (w *walker) visitSortBy(m protoreflect.Message, p *plan) error {
	return w.operates(m, p, m.Interface().(*pg_query.SortBy).UseOp)
}

func (w *walker) visitFuncCall(m protoreflect.Message, p *plan) error {
	call := m.Interface().(*pg_query.FuncCall)
	called, err := name(call.Funcname)
	if err != nil {
		return err
	}
	if called.Name == typeof && !w.apart[call] {
		return refuse(ClassFunction, "%s must be returned as it is, or cast to text at once", typeof)
	}
	at := slices.IndexFunc(w.statement.Functions, func(f Function) bool { return f.Name == called })
	if at < 0 {
		at = len(w.statement.Functions)
		w.statement.Functions = append(w.statement.Functions, Function{Name: called})
	}
	function := &w.statement.Functions[at]
	function.single = function.single || len(call.Args) == 1
	if called == (Name{catalog, "json_object"}) { // The parser writes the schema by itself.
		w.statement.keywords = appendOnce(w.statement.keywords, called.Name)
	}
	return w.fields(m, p)
}

// keywords are the names by which the text calls a node that is a keyword's only since PostgreSQL 16 or 17.
var keywords = map[string][]string{
	"JsonScalarExpr": {"json_scalar"}, "JsonSerializeExpr": {"json_serialize"}, "JsonParseExpr": {"json"},
	"JsonFuncExpr": {"json_exists", "json_value", "json_query"}, "JsonTable": {"json_table"},
	"JsonObjectConstructor": {"json_object"}, "JsonArrayConstructor": {"json_array"}, "JsonArrayQueryConstructor": {"json_array"},
	"JsonObjectAgg": {"json_objectagg"}, "JsonArrayAgg": {"json_arrayagg"},
}

func (w *walker) visitKeyword(m protoreflect.Message, p *plan) error {
	for _, keyword := range keywords[p.name] {
		w.statement.keywords = appendOnce(w.statement.keywords, keyword)
	}
	return w.fields(m, p)
}

func (w *walker) visitTypeName(m protoreflect.Message, p *plan) error {
	named, err := name(m.Interface().(*pg_query.TypeName).Names)
	if err != nil {
		return err
	}
	w.statement.Types = appendOnce(w.statement.Types, named)
	return w.fields(m, p)
}

func (w *walker) visitCollate(m protoreflect.Message, p *plan) error {
	if err := collation(m.Interface().(*pg_query.CollateClause).Collname); err != nil {
		return err
	}
	return w.fields(m, p)
}

func collation(list []*pg_query.Node) error {
	if len(list) == 0 {
		return nil
	}
	named, err := name(list)
	if err != nil {
		return err
	}
	if named.Schema != "" && named.Schema != catalog {
		return refuse(ClassType, "collation %s is not one of pg_catalog", named)
	}
	return nil
}

// visitIndexElem reads a column, or an expression, of ON CONFLICT or of an index.
func (w *walker) visitIndexElem(m protoreflect.Message, p *plan) error {
	element := m.Interface().(*pg_query.IndexElem)
	if err := collation(element.Collation); err != nil {
		return err
	}
	if element.Name != "" {
		w.resolveBare(element.Name, false)
	}
	return w.fields(m, p)
}
