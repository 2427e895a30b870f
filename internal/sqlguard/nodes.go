// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"fmt"
	"strings"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// nodes is the allow-list: each node that a statement may hold, and the fields of it that may be set. "location" may be
// set everywhere. After a field's name, ? says that its list may hold an empty node, where the grammar writes one.
// A node or a field that does not stand here is refused. Fields that only the server's later stages set are left out.
var nodes = map[string]string{
	// Names and constants.
	"String": "sval", "Integer": "ival", "Float": "fval", "Boolean": "boolval", "BitString": "bsval",
	"A_Const":   "ival fval boolval sval bsval isnull",
	"A_Star":    "",
	"ColumnRef": "fields", "ParamRef": "number",
	"Alias": "aliasname colnames",
	"List":  "items?",

	// Statements.
	"SelectStmt": "distinct_clause? target_list from_clause where_clause group_clause group_distinct having_clause " +
		"window_clause values_lists sort_clause limit_offset limit_count limit_option locking_clause with_clause op all larg rarg",
	"InsertStmt": "relation cols select_stmt on_conflict_clause returning_list with_clause override",
	"UpdateStmt": "relation target_list where_clause from_clause returning_list with_clause",
	"DeleteStmt": "relation using_clause where_clause returning_list with_clause",
	"MergeStmt":  "relation source_relation join_condition merge_when_clauses returning_list with_clause",

	// Their clauses.
	"WithClause":       "ctes recursive",
	"CommonTableExpr":  "ctename aliascolnames ctematerialized ctequery search_clause cycle_clause",
	"CTESearchClause":  "search_col_list search_breadth_first search_seq_column",
	"CTECycleClause":   "cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column",
	"ResTarget":        "name indirection val",
	"SortBy":           "node sortby_dir sortby_nulls use_op",
	"GroupingSet":      "kind content",
	"WindowDef":        "name refname partition_clause order_clause frame_options start_offset end_offset",
	"LockingClause":    "locked_rels strength wait_policy",
	"OnConflictClause": "action infer target_list where_clause",
	"InferClause":      "index_elems where_clause conname",
	"IndexElem":        "name expr collation ordering nulls_ordering",
	"MergeWhenClause":  "match_kind command_type override condition target_list values",
	"MultiAssignRef":   "source colno ncolumns",
	"SetToDefault":     "",

	// What stands in FROM.
	"RangeVar":          "schemaname relname inh relpersistence alias",
	"JoinExpr":          "jointype is_natural larg rarg using_clause join_using_alias quals alias",
	"RangeSubselect":    "lateral subquery alias",
	"RangeFunction":     "lateral ordinality is_rowsfrom functions alias coldeflist",
	"RangeTableFunc":    "lateral docexpr rowexpr namespaces columns alias",
	"RangeTableFuncCol": "colname type_name for_ordinality is_not_null colexpr coldefexpr",
	"RangeTableSample":  "relation method args repeatable",
	"ColumnDef":         "colname type_name is_local coll_clause constraints raw_default",

	// Expressions.
	"A_Expr": "kind name lexpr rexpr", "BoolExpr": "boolop args", "NullTest": "arg nulltesttype", "BooleanTest": "arg booltesttype",
	"FuncCall":      "funcname args agg_order agg_filter over agg_within_group agg_star agg_distinct func_variadic funcformat",
	"NamedArgExpr":  "arg name argnumber",
	"TypeCast":      "arg type_name",
	"TypeName":      "names typmods typemod array_bounds",
	"CollateClause": "arg collname",
	"CaseExpr":      "arg args defresult", "CaseWhen": "expr result",
	"CoalesceExpr": "args", "MinMaxExpr": "op args", "RowExpr": "args row_format", "GroupingFunc": "args",
	"A_ArrayExpr": "elements", "A_Indirection": "arg indirection", "A_Indices": "is_slice lidx uidx",
	"SubLink":          "sub_link_type testexpr oper_name subselect",
	"SQLValueFunction": "op typmod",
	"XmlExpr":          "op name named_args args xmloption indent", "XmlSerialize": "xmloption expr type_name indent",

	// SQL/JSON.
	"JsonFormat": "format_type encoding", "JsonReturning": "format", "JsonOutput": "type_name returning",
	"JsonValueExpr": "raw_expr format", "JsonKeyValue": "key value", "JsonArgument": "val name",
	"JsonBehavior":              "btype expr coerce",
	"JsonIsPredicate":           "expr format item_type unique_keys",
	"JsonObjectConstructor":     "exprs output absent_on_null unique",
	"JsonArrayConstructor":      "exprs output absent_on_null",
	"JsonArrayQueryConstructor": "query output format absent_on_null",
	"JsonAggConstructor":        "output agg_filter agg_order over",
	"JsonObjectAgg":             "constructor arg absent_on_null unique", "JsonArrayAgg": "constructor arg absent_on_null",
	"JsonParseExpr": "expr output unique_keys", "JsonScalarExpr": "expr output", "JsonSerializeExpr": "expr output",
	"JsonFuncExpr":      "op column_name context_item pathspec passing output on_empty on_error wrapper quotes",
	"JsonTable":         "context_item pathspec passing columns on_error alias lateral",
	"JsonTablePathSpec": "string name name_location",
	"JsonTableColumn":   "coltype name type_name pathspec format wrapper quotes columns on_empty on_error",
}

// plan is a node of the allow-list, made ready for the walk.
type plan struct {
	name   string
	fields []plannedField // every field of the message, in its order
	visit  visitor        // nil: walk the fields
}

type plannedField struct {
	descriptor protoreflect.FieldDescriptor
	allowed    bool
	mayBeEmpty bool
	message    bool
	list       bool
	enum       protoreflect.EnumValueDescriptors // nil: not an enum
}

// visitor notes the facts of a node and sees that all of its fields are walked.
type visitor func(w *walker, m protoreflect.Message, p *plan) error

// plans are the nodes of the allow-list by their index in pg_query's file; nil for all others.
var plans = makePlans()

func makePlans() []*plan {
	messages := pg_query.File_pg_query_proto.Messages()
	made := make([]*plan, messages.Len())
	byName := make(map[string]*plan, len(nodes)+len(ddlNodes))
	for _, list := range []map[string]string{nodes, ddlNodes} {
		for name, spec := range list {
			message := messages.ByName(protoreflect.Name(name))
			if message == nil {
				panic("sqlguard: pg_query has no node " + name)
			}
			made[message.Index()] = makePlan(message, spec)
			byName[name] = made[message.Index()]
		}
	}
	for name, visit := range visitors() {
		byName[name].visit = visit
	}
	return made
}

// makePlan panics on a field that pg_query does not have, so that no update of it can make the list mean less.
func makePlan(message protoreflect.MessageDescriptor, spec string) *plan {
	made := &plan{name: string(message.Name())}
	allowed := map[string]bool{"location": false}
	for _, field := range strings.Fields(spec) {
		allowed[strings.TrimSuffix(field, "?")] = strings.HasSuffix(field, "?")
	}
	for i := range message.Fields().Len() {
		descriptor := message.Fields().Get(i)
		field := plannedField{descriptor: descriptor, message: descriptor.Message() != nil, list: descriptor.IsList()}
		field.mayBeEmpty, field.allowed = allowed[string(descriptor.Name())]
		if enum := descriptor.Enum(); enum != nil {
			field.enum = enum.Values()
		}
		delete(allowed, string(descriptor.Name()))
		made.fields = append(made.fields, field)
	}
	delete(allowed, "location")
	if len(allowed) > 0 {
		panic(fmt.Sprintf("sqlguard: node %s has no fields %v", made.name, allowed))
	}
	return made
}
