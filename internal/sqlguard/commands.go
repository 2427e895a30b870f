// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"fmt"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// commands are the statements that can be allowed.
var commands = map[protoreflect.Name]string{
	"SelectStmt":        "select",
	"InsertStmt":        "insert",
	"UpdateStmt":        "update",
	"DeleteStmt":        "delete",
	"MergeStmt":         "merge",
	"CreateStmt":        "create table",
	"CreateTableAsStmt": "create table as",
	"IndexStmt":         "create index",
	"ViewStmt":          "create view",
	"AlterTableStmt":    "alter table",
	"DropStmt":          "drop",
	"TruncateStmt":      "truncate",
}

// refusedStatements names statements that are always refused in words that a user knows. One that does not stand
// here is refused by the name of its node.
var refusedStatements = map[protoreflect.Name]string{
	"CopyStmt": "copy", "DoStmt": "do", "CallStmt": "call", "LoadStmt": "load", "LockStmt": "lock",
	"PrepareStmt": "prepare", "ExecuteStmt": "prepare", "DeallocateStmt": "prepare",
	"ExplainStmt":     "explain",
	"VariableSetStmt": "set", "AlterSystemStmt": "set", "DiscardStmt": "set", "ConstraintsSetStmt": "set",
	"VariableShowStmt":  "show",
	"TransactionStmt":   "transaction",
	"DeclareCursorStmt": "cursor", "FetchStmt": "cursor", "ClosePortalStmt": "cursor",
	"NotifyStmt": "notify", "ListenStmt": "notify", "UnlistenStmt": "notify",
	"VacuumStmt": "maintenance", "ClusterStmt": "maintenance", "ReindexStmt": "maintenance", "CheckPointStmt": "maintenance",
	"RefreshMatViewStmt": "maintenance",
	"GrantStmt":          "grant", "GrantRoleStmt": "grant", "AlterDefaultPrivilegesStmt": "grant", "AlterOwnerStmt": "grant",
	"CreateRoleStmt": "role", "AlterRoleStmt": "role", "AlterRoleSetStmt": "role", "DropRoleStmt": "role",
	"DropOwnedStmt": "role", "ReassignOwnedStmt": "role",
	"CreateFunctionStmt": "function", "AlterFunctionStmt": "function",
	"CreateExtensionStmt": "extension", "AlterExtensionStmt": "extension", "AlterExtensionContentsStmt": "extension",
}

func refuseStatement(statement, written string) error {
	return &Refusal{Class: ClassStatement, Statement: statement, reason: fmt.Sprintf("%s is always refused", written)}
}

// top walks the one statement of a text.
func (w *walker) top(n *pg_query.Node) error {
	m := n.ProtoReflect()
	holds := m.WhichOneof(nodeOneof)
	if holds == nil {
		return refuse(ClassNode, "the statement is not known")
	}
	node := holds.Message().Name()
	command, known := commands[node]
	if !known {
		written := refusedStatements[node]
		if written == "" {
			written = string(node)
		}
		return refuseStatement(written, fmt.Sprintf("a statement of the kind %s (%s)", written, node))
	}
	w.statement.Command = command
	if s := n.GetSelectStmt(); s != nil {
		w.statement.Kinds = Select
		w.noteLimit(s)
		w.aloneIn(s)
	}
	return w.node(n)
}

func (w *walker) noteLimit(s *pg_query.SelectStmt) {
	literal, ok := s.LimitCount.GetNode().(*pg_query.Node_AConst)
	if !ok || literal.AConst.Isnull || s.LimitOption == pg_query.LimitOption_LIMIT_OPTION_WITH_TIES {
		return
	}
	if value, ok := literal.AConst.Val.(*pg_query.A_Const_Ival); ok {
		w.statement.Limit = int64(value.Ival.GetIval())
	}
}
