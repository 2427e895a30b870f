// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/sqlguard"
)

const kindPrefix = "sql."

// parts are what policy has to decide of a statement: each use of a relation, each function that a rule has to name, and
// each kind that neither stands for.
func (k *knowledge) parts(server string, s *sqlguard.Statement) ([]policy.Action, error) {
	var parts []policy.Action
	covered := sqlguard.Kinds(0)
	if err := dotted(s); err != nil {
		return nil, err
	}
	for _, relation := range s.Relations {
		name, columns, err := k.resolve(relation.Name)
		if err != nil {
			return nil, err
		}
		use := used(relation, columns)
		kinds := relation.Use
		if relation.Returns { // Who may only change a table does not read what RETURNING hands out.
			kinds |= sqlguard.Select
		}
		covered |= kinds
		for _, kind := range kinds.Names() {
			parts = append(parts, policy.Action{Kind: kindPrefix + kind, Server: server, Name: name.String(), Use: use})
		}
	}
	for _, function := range s.Functions {
		if function.Named {
			parts = append(parts, k.calls(server, function.Name)...)
		}
	}
	for _, kind := range (s.Kinds &^ covered).Names() {
		parts = append(parts, policy.Action{Kind: kindPrefix + kind, Server: server})
	}
	return parts, nil
}

// dotted refuses names of which schema and name could not be told apart in a rule: the table "a.b" is not a's table b.
func dotted(s *sqlguard.Statement) error {
	names := []sqlguard.Name{}
	for _, relation := range s.Relations {
		names = append(names, relation.Name)
	}
	for _, function := range s.Functions {
		names = append(names, function.Name)
	}
	for _, name := range names {
		if strings.Contains(name.Schema, ".") || strings.Contains(name.Name, ".") {
			return fmt.Errorf("the name %.130q has a dot in it, so that no rule can tell its schema from its name", name.String())
		}
	}
	return nil
}

// used tells how a statement uses a relation, with what only its columns can tell.
func used(r *sqlguard.Relation, columns []string) *policy.SQLUse {
	use := &policy.SQLUse{HasWhere: r.HasWhere}
	for _, column := range r.Columns {
		if column.Called && (columns == nil || !has(columns, column.Name)) {
			column.Name = policy.EveryColumn // It is a function of the row.
		}
		if column.Ambiguous && column.Name != policy.EveryColumn && !has(columns, column.Name) {
			continue // It is another relation's.
		}
		if column.Read {
			use.Reads = append(use.Reads, column.Name)
		}
		if column.Written {
			use.Writes = append(use.Writes, column.Name)
		}
	}
	for _, bound := range r.Bound {
		// An unqualified column that this relation has is this one's, or PostgreSQL refuses the statement.
		certain := !bound.Ambiguous || columns != nil && has(columns, bound.Column)
		if certain && !slices.Contains(use.Bound, bound.Column) {
			use.Bound = append(use.Bound, bound.Column)
		}
	}
	return use
}

// calls are the functions that a call can mean and that only a rule allows.
func (k *knowledge) calls(server string, name sqlguard.Name) []policy.Action {
	schemas := []string{name.Schema}
	if name.Schema == "" {
		schemas = k.path
	}
	var calls []policy.Action
	for _, schema := range schemas {
		function := sqlguard.Name{Schema: schema, Name: name.Name}
		if named, err := k.named.Judge(function); err == nil && named {
			calls = append(calls, policy.Action{Kind: policy.KindSQLCall, Server: server, Name: function.String()})
		}
	}
	return calls
}

// tables are the names of the relations that parts touch, each once.
func tables(parts []policy.Action) []string {
	names := []string{}
	for _, part := range parts {
		if part.Use != nil && !slices.Contains(names, part.Name) {
			names = append(names, part.Name)
		}
	}
	return names
}
