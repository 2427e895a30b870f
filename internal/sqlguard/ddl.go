// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// ddlNodes are the nodes of the statements of kind DDL that are understood: tables, indexes, views and their removal.
// Everything else that defines something (functions, extensions, roles, grants, triggers, rules, policies, servers,
// languages, types, schemas) is refused always: see refusedStatements.
var ddlNodes = map[string]string{
	"CreateStmt":        "relation table_elts constraints oncommit if_not_exists",
	"CreateTableAsStmt": "query into objtype if_not_exists",
	"IntoClause":        "rel col_names on_commit",
	"IndexStmt":         "idxname relation access_method index_params index_including_params where_clause unique nulls_not_distinct concurrent if_not_exists",
	"ViewStmt":          "view aliases query replace with_check_option",
	"AlterTableStmt":    "relation cmds objtype missing_ok",
	"AlterTableCmd":     "subtype name def behavior missing_ok",
	"DropStmt":          "objects remove_type behavior missing_ok concurrent",
	"TruncateStmt":      "relations restart_seqs behavior",
	"Constraint": "contype conname deferrable initdeferred skip_validation initially_valid raw_expr generated_when nulls_not_distinct " +
		"keys pktable fk_attrs pk_attrs fk_matchtype fk_upd_action fk_del_action fk_del_set_cols",
}

// defines notes a relation that a statement of kind DDL makes, changes or removes, or that a foreign key points at.
func (w *walker) defines(table *pg_query.RangeVar) error {
	_, err := w.relation(table, DDL)
	return err
}

func (w *walker) visitCreate(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.CreateStmt)
	if err := w.defines(s.Relation); err != nil {
		return err
	}
	return w.fields(m, p)
}

func (w *walker) visitCreateAs(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.CreateTableAsStmt)
	if s.Objtype != pg_query.ObjectType_OBJECT_TABLE && s.Objtype != pg_query.ObjectType_OBJECT_MATVIEW {
		return refuse(ClassNode, "CREATE AS of this kind is not understood")
	}
	if s.Query.GetSelectStmt() == nil { // It could be EXECUTE.
		return refuse(ClassNode, "CREATE TABLE AS takes a SELECT")
	}
	if err := w.defines(s.Into.GetRel()); err != nil {
		return err
	}
	return w.fields(m, p)
}

func (w *walker) visitIndex(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.IndexStmt)
	if !slices.Contains([]string{"btree", "hash", "gin", "gist", "spgist", "brin"}, s.AccessMethod) {
		return refuse(ClassNode, "an index of method %q is not understood", s.AccessMethod)
	}
	if err := w.defines(s.Relation); err != nil {
		return err
	}
	leave := w.push()
	defer leave()
	// The expressions of an index see its table and nothing else.
	relation := w.statement.Relations[len(w.statement.Relations)-1]
	w.scope.sources = append(w.scope.sources, source{alias: relation.Alias, relation: relation})
	return w.fields(m, p)
}

func (w *walker) visitView(m protoreflect.Message, p *plan) error {
	if err := w.defines(m.Interface().(*pg_query.ViewStmt).View); err != nil {
		return err
	}
	return w.fields(m, p)
}

func (w *walker) visitAlter(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.AlterTableStmt)
	if s.Objtype != pg_query.ObjectType_OBJECT_TABLE {
		return refuse(ClassNode, "ALTER of anything but a table is refused")
	}
	if err := w.defines(s.Relation); err != nil {
		return err
	}
	return w.fields(m, p)
}

var alterations = []pg_query.AlterTableType{
	pg_query.AlterTableType_AT_AddColumn, pg_query.AlterTableType_AT_DropColumn,
	pg_query.AlterTableType_AT_ColumnDefault, pg_query.AlterTableType_AT_AlterColumnType,
	pg_query.AlterTableType_AT_SetNotNull, pg_query.AlterTableType_AT_DropNotNull,
	pg_query.AlterTableType_AT_AddConstraint, pg_query.AlterTableType_AT_DropConstraint,
}

func (w *walker) visitAlterCommand(m protoreflect.Message, p *plan) error {
	command := m.Interface().(*pg_query.AlterTableCmd)
	if !slices.Contains(alterations, command.Subtype) {
		return refuse(ClassNode, "ALTER TABLE with this command is refused")
	}
	if err := named(command.Behavior); err != nil {
		return err
	}
	return w.fields(m, p)
}

// named refuses CASCADE, which reaches what the statement does not name.
func named(behavior pg_query.DropBehavior) error {
	if behavior == pg_query.DropBehavior_DROP_CASCADE {
		return refuse(ClassNode, "CASCADE is refused: it reaches what the statement does not name")
	}
	return nil
}

func (w *walker) visitDrop(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.DropStmt)
	switch s.RemoveType {
	case pg_query.ObjectType_OBJECT_TABLE, pg_query.ObjectType_OBJECT_VIEW, pg_query.ObjectType_OBJECT_MATVIEW,
		pg_query.ObjectType_OBJECT_INDEX:
	default:
		return refuseStatement("drop", "DROP of anything but a table, a view or an index")
	}
	if err := named(s.Behavior); err != nil {
		return err
	}
	for _, object := range s.Objects {
		dropped, err := name(object.GetList().GetItems())
		if err != nil {
			return err
		}
		w.statement.Relations = append(w.statement.Relations, &Relation{Name: dropped, Alias: dropped.Name, Use: DDL})
	}
	w.statement.Kinds |= DDL
	return w.fields(m, p)
}

func (w *walker) visitTruncate(m protoreflect.Message, p *plan) error {
	s := m.Interface().(*pg_query.TruncateStmt)
	if err := named(s.Behavior); err != nil {
		return err
	}
	for _, item := range s.Relations {
		if err := w.defines(item.GetRangeVar()); err != nil {
			return err
		}
	}
	return w.fields(m, p)
}

func (w *walker) visitConstraint(m protoreflect.Message, p *plan) error {
	if table := m.Interface().(*pg_query.Constraint).Pktable; table != nil {
		if err := w.defines(table); err != nil {
			return err
		}
	}
	return w.fields(m, p)
}
