// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/manifest"
	"github.com/dapr-custody/custody/internal/nearest"
)

// StateRule is what a rule says of a state store, as written.
type StateRule struct {
	// Operations are get, set, delete, query, transact and keys, or "*" for all.
	Operations []string `json:"operations" yaml:"operations"`
	// Keys are keys as the app names them, and patterns.
	Keys []string `json:"keys" yaml:"keys"`
}

// SQLRule is what a rule says of a database, as written.
type SQLRule struct {
	// Operations are select, insert, update, delete and ddl, or "*" for all.
	Operations []string `json:"operations,omitempty" yaml:"operations"`
	// Tables are names as schema.table, and patterns.
	Tables []string `json:"tables,omitempty" yaml:"tables"`
	// Columns are those that an allow rule lets be touched, or a deny rule denies. Nil for all.
	Columns *SQLColumns `json:"columns,omitempty" yaml:"columns"`
	// Functions are names as schema.function, and patterns.
	Functions []string `json:"functions,omitempty" yaml:"functions"`
	// MustFilterBy are the columns that a statement has to bind to a value, by table or pattern.
	MustFilterBy map[string][]string `json:"mustFilterBy,omitempty" yaml:"mustFilterBy"`
	// Where is "required" or "any"; empty where it is not written, which is "required".
	Where string `json:"where,omitempty" yaml:"where"`
}

// SQLColumns are names of columns, and patterns. A list that is not written names none.
type SQLColumns struct {
	Read  []string `json:"read,omitempty" yaml:"read"`
	Write []string `json:"write,omitempty" yaml:"write"`
}

// The words of `where`.
const (
	whereRequired = "required"
	whereAny      = "any"
)

var (
	stateKeys       = []string{"operations", "keys"}
	sqlKeys         = []string{"operations", "tables", "columns", "functions", "mustFilterBy", "where"}
	sqlRequired     = sqlKeys[:0]
	columnsKeys     = []string{"read", "write"}
	columnsRequired = columnsKeys[:0]
	stateOperations = []string{"get", "set", "delete", "query", "transact", "keys"}
	sqlOperations   = []string{"select", "insert", "update", "delete", "ddl"}
	whereWords      = []string{whereRequired, whereAny}
)

// state reads to.state.
func (r *policyReader) state(n *yaml.Node, field string, into *rule) {
	m, ok := r.Members(n, field, stateKeys, stateKeys)
	if !ok {
		return
	}
	into.state = &StateRule{
		Operations: r.operations(m["operations"], field+".operations", stateOperations),
		Keys:       r.texts(m["keys"], field+".keys", checkText),
	}
	into.expand(statePrefix, into.state.Operations, stateOperations, into.state.Keys)
}

// sql reads to.sql.
func (r *policyReader) sql(n *yaml.Node, field string, into *rule) {
	m, ok := r.Members(n, field, sqlKeys, sqlRequired)
	if !ok {
		return
	}
	s := &SQLRule{
		Operations: r.operations(m["operations"], field+".operations", sqlOperations),
		Tables:     r.texts(m["tables"], field+".tables", checkTable),
		Functions:  r.texts(m["functions"], field+".functions", checkTable),
	}
	into.sql = s
	switch {
	case m["operations"] != nil && m["tables"] == nil:
		r.Fail(n, field+".tables", "is missing: name the tables of the operations")
	case m["operations"] == nil && m["tables"] != nil:
		r.Fail(n, field+".operations", "is missing: name what may be done with the tables")
	case m["tables"] == nil && m["functions"] == nil:
		r.Fail(n, field, "name operations and tables, or functions: a rule without them matches nothing")
	}
	for _, key := range []string{"columns", "mustFilterBy", "where"} {
		switch {
		case m[key] == nil:
		case m["tables"] == nil:
			r.Fail(m[key], field+"."+key, "is about tables, and there are none: add operations and tables, or remove it")
		case key != "columns" && into.effect == Deny:
			r.Fail(m[key], field+"."+key, "a rule that denies makes no demands: remove it")
		}
	}
	if n := m["columns"]; n != nil {
		s.Columns = r.columns(n, field+".columns")
	}
	if n := m["mustFilterBy"]; n != nil {
		s.MustFilterBy = r.filters(n, field+".mustFilterBy", s.Tables)
	}
	if n := m["where"]; n != nil {
		s.Where = r.word(n, field+".where", whereWords)
	}
	into.expand(sqlPrefix, s.Operations, sqlOperations, s.Tables)
	into.expand(sqlPrefix, []string{strings.TrimPrefix(KindSQLCall, sqlPrefix)}, nil, s.Functions)
	into.check = newSQLCheck(s, into.effect)
}

// expand adds the names by which the index finds the rule: each kind with each pattern.
// A kind is never a pattern there, since a pattern would run on into the name.
func (r *rule) expand(prefix string, operations, all, patterns []string) {
	if slices.Contains(operations, every) {
		operations = all
	}
	for _, operation := range operations {
		for _, pattern := range patterns {
			r.names[groupData] = append(r.names[groupData], prefix+operation+" "+pattern)
		}
	}
}

func (r *policyReader) operations(n *yaml.Node, field string, known []string) []string {
	return r.texts(n, field, func(word string) error {
		near := nearest.Word(word, known)
		switch {
		case word == every || slices.Contains(known, word):
			return nil
		case near != "":
			return fmt.Errorf("%q is no operation: did you mean %q?", word, near)
		}
		return fmt.Errorf("%q is no operation: write one of %s, or \"*\" for all", word, strings.Join(known, ", "))
	})
}

// texts returns the texts of a list. What check says is wrong with one is noted.
func (r *policyReader) texts(n *yaml.Node, field string, check func(string) error) []string {
	var found []string
	for i, item := range r.List(n, field) {
		at := field + "[" + strconv.Itoa(i) + "]"
		text, ok := r.Text(item, at)
		if !ok {
			continue
		}
		if err := check(text); err != nil {
			r.Fail(item, at, "%v", err)
		}
		found = append(found, text)
	}
	return found
}

// columns takes one list for reading and writing, or one for each.
func (r *policyReader) columns(n *yaml.Node, field string) *SQLColumns {
	if n.Kind == yaml.SequenceNode {
		list := r.texts(n, field, checkText)
		return &SQLColumns{Read: list, Write: list}
	}
	m, ok := r.Members(n, field, columnsKeys, columnsRequired)
	if !ok {
		return nil
	}
	if m["read"] == nil && m["write"] == nil {
		r.Fail(n, field, "name columns under read, write or both, or write one list for both")
	}
	return &SQLColumns{Read: r.texts(m["read"], field+".read", checkText), Write: r.texts(m["write"], field+".write", checkText)}
}

// filters reads mustFilterBy. A table that is none of the rule's is an error: what was
// meant would not be filtered.
func (r *policyReader) filters(n *yaml.Node, field string, tables []string) map[string][]string {
	if !r.Plain(n, field) {
		return nil
	}
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		r.Fail(n, field, "want a mapping of tables to lists of columns, as in {shop.orders: [customer_id]}")
		return nil
	}
	filters := map[string][]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		table, ok := r.Text(n.Content[i], field)
		if !ok {
			continue
		}
		at := manifest.Join(field, manifest.Shorten(table))
		if filters[table] != nil {
			r.Fail(n.Content[i], at, "is given twice: remove one")
		}
		if err := checkTable(table); err != nil {
			r.Fail(n.Content[i], at, "%v", err)
		} else if !slices.ContainsFunc(tables, func(pattern string) bool { return meets(pattern, ranging(table)) }) {
			r.Fail(n.Content[i], at, "is none of the tables of the rule: write it as tables does")
		}
		filters[table] = r.texts(n.Content[i+1], at, checkColumn)
	}
	return filters
}

// checkTable takes schema.table or schema.function, in which `*` may stand for any run
// of characters.
func checkTable(name string) error {
	if !strings.ContainsAny(name, every+".") {
		return fmt.Errorf("%q names no schema: write schema.name, as in shop.%s", name, name)
	}
	return checkText(name)
}

// checkColumn takes the name of one column.
func checkColumn(name string) error {
	if strings.Contains(name, every) {
		return errors.New("name one column: a pattern would not say which ones have to be bound")
	}
	return checkText(name)
}

func (s *StateRule) clone() *StateRule {
	if s == nil {
		return nil
	}
	return &StateRule{Operations: slices.Clone(s.Operations), Keys: slices.Clone(s.Keys)}
}

func (s *SQLRule) clone() *SQLRule {
	if s == nil {
		return nil
	}
	c := &SQLRule{
		Operations: slices.Clone(s.Operations), Tables: slices.Clone(s.Tables), Functions: slices.Clone(s.Functions),
		MustFilterBy: maps.Clone(s.MustFilterBy), Where: s.Where,
	}
	for table, columns := range c.MustFilterBy {
		c.MustFilterBy[table] = slices.Clone(columns)
	}
	if s.Columns != nil {
		c.Columns = &SQLColumns{Read: slices.Clone(s.Columns.Read), Write: slices.Clone(s.Columns.Write)}
	}
	return c
}
