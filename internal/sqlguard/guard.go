// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"errors"
	"slices"
	"strings"
)

// Options are what a Guard may be told. The zero value is the strictest.
type Options struct {
	Limits Limits
	// Types are further types that statements may name, each with its schema: "shop.status".
	Types []string
	// SystemRelations are relations of pg_catalog and information_schema that statements may name, each with its
	// schema. Whether the caller may read them is still for policy to say.
	SystemRelations []string
	// CacheBytes bounds the texts of which the verdict is remembered; what is remembered with a text is some times
	// its size. 0 means 2 MiB, less than 0 that nothing is remembered.
	CacheBytes int
}

const defaultCacheBytes = 2 << 20

// Guard inspects statements with the catalogue of one database in mind. It may be used by many at once.
type Guard struct {
	functions *FunctionSet
	limits    Limits
	types     []Name
	system    []Name
	cache     *cache
}

// New makes a Guard. The functions are required.
func New(functions *FunctionSet, options Options) (*Guard, error) {
	if functions == nil {
		return nil, errors.New("sqlguard: a guard needs a function set")
	}
	guard := &Guard{functions: functions, limits: options.Limits.orDefaults()}
	var err error
	if guard.types, err = qualifiedNames(options.Types); err != nil {
		return nil, err
	}
	if guard.system, err = qualifiedNames(options.SystemRelations); err != nil {
		return nil, err
	}
	switch {
	case options.CacheBytes == 0:
		guard.cache = newCache(defaultCacheBytes)
	case options.CacheBytes > 0:
		guard.cache = newCache(options.CacheBytes)
	}
	return guard, nil
}

func qualifiedNames(texts []string) ([]Name, error) {
	names := make([]Name, len(texts))
	for i, text := range texts {
		schema, name, ok := strings.Cut(text, ".")
		if !ok || schema == "" || name == "" {
			return nil, refuse(ClassName, "%q is not a name with its schema", text)
		}
		names[i] = Name{schema, name}
	}
	return names, nil
}

// Inspect parses a statement, or finds it among those that it remembers, and judges its functions, operators, types
// and system relations. The error is a *Refusal. What it returns is shared and must not be changed.
//
// A statement that passes is understood, not allowed: policy decides on what the Statement says.
func (g *Guard) Inspect(text string) (*Statement, error) {
	if known := g.cache.get(text); known != nil {
		return known, nil
	}
	statement, err := Parse(text, g.limits)
	if err != nil {
		return nil, err
	}
	if err := g.judge(statement); err != nil {
		return nil, err
	}
	g.cache.put(text, statement)
	return statement, nil
}

func (g *Guard) judge(s *Statement) error {
	for i := range s.Functions {
		var err error
		if s.Functions[i].Named, err = g.functions.judgeCall(s.Functions[i]); err != nil {
			return err
		}
	}
	for _, keyword := range s.keywords {
		if err := g.functions.judgeKeyword(keyword); err != nil {
			return err
		}
	}
	for _, n := range s.notation {
		if err := g.functions.judgeNotation(n); err != nil {
			return err
		}
	}
	for _, operator := range s.Operators {
		if err := g.judgeOperator(operator); err != nil {
			return err
		}
	}
	for _, name := range s.Types {
		if err := g.judgeType(name); err != nil {
			return err
		}
	}
	for _, relation := range s.Relations {
		if err := g.judgeRelation(relation.Name); err != nil {
			return err
		}
		for i := range relation.Columns {
			column := &relation.Columns[i]
			column.Called = column.dotted && g.functions.takesRow(column.Name)
		}
	}
	return nil
}

func (g *Guard) judgeOperator(n Name) error {
	if n.Schema != "" && n.Schema != catalog {
		return refuse(ClassOperator, "operator %s is not one of pg_catalog", n)
	}
	if schema, others := g.functions.operators[n.Name]; others && (n.Schema == "" || schema == catalog) {
		return refuse(ClassOperator, "operator %s may be the one of schema %s, which is not PostgreSQL's own", n, schema)
	}
	return nil
}

func (g *Guard) judgeType(n Name) error {
	if (n.Schema == "" || n.Schema == catalog) && types[arrayless(n.Name)] {
		return nil
	}
	if n.Schema == "" {
		for _, schema := range g.functions.path {
			if slices.Contains(g.types, Name{schema, n.Name}) {
				return nil
			}
		}
	}
	if slices.Contains(g.types, n) {
		return nil
	}
	return refuse(ClassType, "type %s is not allowed", n)
}

// judgeRelation refuses the system's own relations. An unqualified name that begins with pg_ is pg_catalog's, which
// the search path puts first, if there is one of that name.
func (g *Guard) judgeRelation(n Name) error {
	schema := n.Schema
	if schema == "" && strings.HasPrefix(n.Name, "pg_") {
		schema = catalog
	}
	if schema != "information_schema" && !strings.HasPrefix(schema, "pg_") {
		return nil
	}
	if slices.Contains(g.system, Name{schema, n.Name}) {
		return nil
	}
	return refuse(ClassRelation, "relation %s is one of the system's", n)
}
