// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"

	pg_query "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// typeof returns a regtype, and with it PostgreSQL reads any literal beside it as one: ARRAY[pg_typeof(1), '16450'] gives
// the name of the table whose rows are that type. It may stand where there is nothing beside it.
const typeof = "pg_typeof"

// alone notes a call that stands where its value meets no other.
func (w *walker) alone(n *pg_query.Node) {
	call := n.GetFuncCall()
	if call == nil || lastString(call.Funcname) != typeof {
		return
	}
	if w.apart == nil {
		w.apart = map[*pg_query.FuncCall]bool{}
	}
	w.apart[call] = true
}

// aloneIn notes the calls that the outermost SELECT returns as they are.
func (w *walker) aloneIn(s *pg_query.SelectStmt) {
	if s.Op != pg_query.SetOperation_SETOP_NONE {
		return
	}
	for _, target := range s.TargetList {
		w.alone(target.GetResTarget().GetVal())
	}
}

// visitCast notes a call that becomes text at once.
func (w *walker) visitCast(m protoreflect.Message, p *plan) error {
	cast := m.Interface().(*pg_query.TypeCast)
	to := cast.GetTypeName()
	if slices.Contains([]string{"text", "varchar"}, lastString(to.GetNames())) && len(to.GetArrayBounds()) == 0 {
		w.alone(cast.Arg)
	}
	return w.fields(m, p)
}
