// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"slices"
	"strings"
)

// Kinds is a set of what a statement does, as actions of policy name it: sql.select and so on. The empty set is no
// statement.
type Kinds uint8

// What a statement does. A merge is what its clauses do; a locking clause counts as an update of what it locks.
const (
	Select Kinds = 1 << iota
	Insert
	Update
	Delete
	DDL
)

var kindNames = []string{"select", "insert", "update", "delete", "ddl"}

// Has says whether every kind of other is in the set.
func (k Kinds) Has(other Kinds) bool { return k&other == other }

// Names lists the set in the order of the constants: "select", "insert" and so on.
func (k Kinds) Names() []string {
	var names []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String joins the names with commas.
func (k Kinds) String() string { return strings.Join(k.Names(), ",") }

// Statement is what is known of one statement. It is shared by all who inspect the same text: nobody may change it.
type Statement struct {
	// Command is the outermost statement: select (VALUES and TABLE are too), insert, update, delete, merge, or one
	// that defines data: create table, create index, create view, create table as, alter table, drop, truncate.
	Command string
	// Kinds is everything that the statement does, CTEs and subqueries among it.
	Kinds Kinds
	// Relations holds one entry for each place in which a table or view is named, in the order of the text's clauses.
	// The names of CTEs are resolved and do not stand here.
	Relations []*Relation
	// Functions holds each name once, wherever it is called: in FROM, ORDER BY, an aggregate's arguments.
	Functions []Function
	// Operators and Types hold each name once, qualified if the text qualifies it.
	Operators []Name
	Types     []Name
	// Parameters are the numbers of the $n, ascending, each once.
	Parameters []int
	// Limit is the outermost LIMIT, if it is a literal and WITH TIES does not soften it; -1 otherwise.
	Limit int64
	// Fingerprint is pg_query's: equal for statements that differ in constants only.
	Fingerprint string
	// Digest is the SHA-256 of the text.
	Digest [32]byte

	// notation holds names that stand after a dot and may therefore call a function.
	notation []notation
	// keywords are what the parser takes for a keyword's call and an older server for a function's.
	keywords []string
}

// notation is x.f, which PostgreSQL reads as f(x) when x has no column f, or as a cast to a type of that name.
type notation struct {
	name string
	// anything says that x may be a value of any type. Otherwise it is a row.
	anything bool
}

// ReadOnly says whether the statement only selects, and locks nothing.
func (s *Statement) ReadOnly() bool { return s.Kinds == Select }

// Name is a name and the schema that qualifies it, both folded as PostgreSQL folds them. Schema is empty when the text
// does not qualify the name, which then resolves through search_path.
type Name struct{ Schema, Name string }

// String is schema.name, or the name alone. It quotes nothing.
func (n Name) String() string {
	if n.Schema == "" {
		return n.Name
	}
	return n.Schema + "." + n.Name
}

// Function is a function that a statement calls by name.
type Function struct {
	Name
	// Named is set by a Guard when the function is allowed only since it was named to FunctionSet.With: the rule that
	// allows the statement has to name it.
	Named bool

	single bool // called with one argument somewhere, so that it may be a cast to a type of that name
}

// Relation is one occurrence of a table, view or foreign table.
type Relation struct {
	Name
	// Alias is what the statement calls it in this place; the name itself if there is no alias.
	Alias string
	// Use is what is done with it in this place: Select for one that is read from.
	Use Kinds
	// HasWhere says that the clause which chooses the rows mentions a column that is this relation's for certain: WHERE,
	// or the ON of a merge. It is false for WHERE true, for a merge with WHEN NOT MATCHED BY SOURCE, and where only
	// unqualified columns of a FROM with several items stand.
	HasWhere bool
	// Returns says that RETURNING hands out something of what was written.
	Returns bool
	// Columns are the columns of this relation that the statement may touch, sorted by name.
	Columns []Column
	// Bound are the columns that are compared by = with a constant or a parameter in a condition which every row
	// of this occurrence has to meet: the top-level AND of WHERE, or of the ON that filters this side of a join.
	Bound []Binding

	renamed bool // columns have other names here: AS t(a, b)
	certain int  // how often a column was read that is this relation's for certain
}

// Column is a column of a relation, as far as it can be told without the catalogue.
type Column struct {
	// Name is "*" for all columns: t.*, a whole row, an INSERT without a list, columns that the text renames.
	Name string
	// Read and Written say how it is used. A column that is only named in SET or in INSERT's list is not read.
	Read, Written bool
	// Ambiguous says that the column may belong to another relation of the statement, since the text does not
	// qualify it. Who decides has to treat it as touched; qualifying it in the text settles it.
	Ambiguous bool
	// Called is set by a Guard and says that there is a function of this name which takes a row, and that the name
	// stands after the relation's: unless the relation has such a column, t.to_json is to_json(t) and reads all of them.
	Called bool

	dotted bool // the name stands after the relation's
}

// Binding is a comparison of a column with one value.
type Binding struct {
	Column string
	// Parameter is the n of $n, or 0 for a literal.
	Parameter int
	// Literal is the constant's text, and Null says that it is NULL. Strings stand without quotes, as they were
	// written, not as the column's type reads them.
	Literal string
	Null    bool
	// Ambiguous says that the column is not qualified and may be another relation's. It binds this relation only if
	// this relation has a column of that name.
	Ambiguous bool
}

// IsBound says whether a column is bound for certain.
func (r *Relation) IsBound(column string) bool {
	return slices.ContainsFunc(r.Bound, func(b Binding) bool { return b.Column == column && !b.Ambiguous })
}

// touch notes a use of a column, merging it with what is known of it.
func (r *Relation) touch(c Column) {
	if r.renamed {
		c.Name = "*"
	}
	if c.Read && !c.Ambiguous {
		r.certain++
	}
	at, found := slices.BinarySearchFunc(r.Columns, c.Name, func(have Column, name string) int {
		return strings.Compare(have.Name, name)
	})
	if !found {
		r.Columns = slices.Insert(r.Columns, at, c)
		return
	}
	have := &r.Columns[at]
	have.Read, have.Written = have.Read || c.Read, have.Written || c.Written
	have.Ambiguous, have.dotted = have.Ambiguous && c.Ambiguous, have.dotted || c.dotted
}
