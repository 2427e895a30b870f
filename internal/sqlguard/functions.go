// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sqlguard

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FunctionRow is a row of what FunctionsQuery returns, in the order of its columns.
type FunctionRow struct {
	OID        uint32
	Schema     string
	Name       string
	Kind       string // f function, a aggregate, w window function, p procedure
	Volatility string // i immutable, s stable, v volatile
	Bootstrap  bool   // owned by the superuser whom initdb made
	Public     bool   // EXECUTE granted to PUBLIC
	Definer    bool   // runs with its owner's rights
	Returns    string // the name of the type
	Arguments  []string
	// Required is the number of arguments without a default.
	Required int
	// TakesRow says that the first argument can be a row: a composite, polymorphic or "any" type.
	TakesRow bool
}

// OperatorRow is a row of what OperatorsQuery returns, in the order of its columns.
type OperatorRow struct{ Schema, Name string }

// TypeRow is a row of what TypesQuery returns, in the order of its columns.
type TypeRow struct{ Schema, Name string }

// FunctionsQuery reads every function of the database. It needs no privilege.
const FunctionsQuery = `
SELECT p.oid, n.nspname::text, p.proname::text, p.prokind::text, p.provolatile::text, p.proowner = 10,
       p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'),
       p.prosecdef, r.typname::text,
       ARRAY(SELECT t.typname::text FROM unnest(p.proargtypes) WITH ORDINALITY u(type, i) JOIN pg_type t ON t.oid = u.type ORDER BY i),
       p.pronargs - p.pronargdefaults,
       COALESCE((SELECT t.typtype = 'c' OR t.typname IN ('record', 'any', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray')
                 FROM pg_type t WHERE t.oid = p.proargtypes[0]), false)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_type r ON r.oid = p.prorettype`

// OperatorsQuery reads the operators that somebody other than the bootstrap superuser has made.
const OperatorsQuery = `
SELECT n.nspname::text, o.oprname::text
FROM pg_catalog.pg_operator o
JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oprowner <> 10 OR (n.nspname = 'pg_catalog' AND o.oid >= 16384)`

// TypesQuery reads the names of the types that are not PostgreSQL's own, those of tables' rows among them.
const TypesQuery = `
SELECT n.nspname::text, t.typname::text
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')`

// Catalogue is what a FunctionSet is made of. All of it is read from the database that runs the statements.
type Catalogue struct {
	Functions []FunctionRow
	Operators []OperatorRow
	Types     []TypeRow
	// SearchPath are the schemas that stand in the session's search_path between pg_catalog and pg_temp. Empty means
	// that everything outside of pg_catalog has to be qualified.
	SearchPath []string
}

// FunctionSet says of each function whether a statement may call it. It never changes and may be shared.
type FunctionSet struct {
	path     []string
	verdicts map[Name]verdict
	// rows are the verdicts on the functions on the search path that can be called as x.f if x is a row, by name;
	// singles on those that can be if x is anything.
	rows, singles map[string]verdict
	// types are those of others on the search path.
	types map[string]bool
	// operators are those of others on the search path.
	operators map[string]string
}

type verdict struct {
	allowed bool
	named   bool
	never   bool // With cannot name it
	reason  string
}

// firstNormalOID is the first OID that PostgreSQL gives to what was made after initdb (FirstNormalObjectId).
const firstNormalOID = 16384

// NewFunctionSet makes the set: the functions that PostgreSQL itself brings in pg_catalog, which are IMMUTABLE or
// STABLE or on a short list of harmless volatile ones, which everybody may execute, and which are on none of the lists
// in lists.go. A name is allowed only if every function of that name is, since the overload that the server will
// choose is not known.
func NewFunctionSet(c Catalogue) (*FunctionSet, error) {
	if len(c.Functions) == 0 {
		return nil, errors.New("sqlguard: a function set needs the rows of pg_proc, and there are none")
	}
	for _, schema := range c.SearchPath {
		if schema == "" || schema == catalog || strings.HasPrefix(schema, "pg_") || strings.HasPrefix(schema, "$") {
			return nil, fmt.Errorf("sqlguard: search path: %q is not a schema of the user's", schema)
		}
	}
	set := &FunctionSet{
		path:      append([]string{catalog}, c.SearchPath...),
		verdicts:  make(map[Name]verdict, len(c.Functions)),
		rows:      map[string]verdict{},
		singles:   map[string]verdict{},
		types:     map[string]bool{},
		operators: map[string]string{},
	}
	for i := range c.Functions {
		set.add(&c.Functions[i])
	}
	for _, operator := range c.Operators {
		if slices.Contains(set.path, operator.Schema) {
			set.operators[operator.Name] = operator.Schema
		}
	}
	for _, t := range c.Types {
		if slices.Contains(set.path, t.Schema) {
			set.types[t.Name] = true
		}
	}
	return set, nil
}

func (s *FunctionSet) add(row *FunctionRow) {
	judged := judge(row)
	name := Name{row.Schema, row.Name}
	s.verdicts[name] = worse(s.verdicts, name, judged)
	if row.Required > 1 || len(row.Arguments) == 0 || !slices.Contains(s.path, row.Schema) {
		return
	}
	s.singles[row.Name] = worse(s.singles, row.Name, judged)
	if row.TakesRow {
		s.rows[row.Name] = worse(s.rows, row.Name, judged)
	}
}

// worse keeps a refusal of an earlier row of the same name.
func worse[K comparable](verdicts map[K]verdict, key K, next verdict) verdict {
	before, seen := verdicts[key]
	if !seen || before.allowed {
		return next
	}
	before.never = before.never || next.never
	return before
}

func judge(row *FunctionRow) verdict {
	switch {
	case runsAnything(row):
		return verdict{never: true, reason: "it runs SQL text, changes settings or reaches outside of the database"}
	case takesInternals(row):
		return verdict{never: true, reason: "it is part of the server's machinery"}
	case row.Schema != catalog || row.OID >= firstNormalOID || !row.Bootstrap:
		return verdict{reason: "it is not one of PostgreSQL's own"}
	case row.Kind != "f" && row.Kind != "a" && row.Kind != "w":
		return verdict{reason: "it is a procedure"}
	case !row.Public:
		return verdict{reason: "not everybody may execute it"}
	case row.Definer:
		return verdict{reason: "it runs with its owner's rights"}
	case refusedByName(row.Name):
		return verdict{reason: "it waits, writes, locks, or tells of the server and its catalogue"}
	case row.Volatility == "v" && !slices.Contains(harmless, row.Name):
		return verdict{reason: "it is volatile"}
	case row.Volatility != "i" && row.Volatility != "s" && row.Volatility != "v":
		return verdict{reason: "its volatility is not known"}
	}
	return verdict{allowed: true}
}

// With returns a set that also allows the named functions, for rules that name them. A name has a schema, or means
// pg_catalog. It is an error to name one that the database lacks, or one that can never be allowed since it would
// undo what the guard found: one that runs SQL text, changes settings, or reads or writes files or the network.
func (s *FunctionSet) With(names ...string) (*FunctionSet, error) {
	copied := *s
	set := &copied
	set.verdicts = maps.Clone(s.verdicts)
	for _, text := range names {
		schema, function, qualified := strings.Cut(text, ".")
		if !qualified {
			schema, function = catalog, text
		}
		name := Name{schema, function}
		judged, known := set.verdicts[name]
		switch {
		case !known:
			return nil, fmt.Errorf("sqlguard: function %s does not exist", name)
		case judged.never:
			return nil, fmt.Errorf("sqlguard: function %s can never be allowed: %s", name, judged.reason)
		case judged.allowed:
			continue
		}
		set.verdicts[name] = verdict{allowed: true, named: true}
	}
	return set, nil
}

// Judge says whether a function may be called by this name, and whether only since it was named to With. An
// unqualified name is every function of that name on the search path. The error is a *Refusal.
func (s *FunctionSet) Judge(n Name) (named bool, err error) {
	if n.Schema != "" {
		judged, known := s.verdicts[n]
		if !known {
			return false, refuse(ClassFunction, "function %s is not known", n)
		}
		return judged.named, judged.refusal(n)
	}
	found := false
	for _, schema := range s.path {
		qualified := Name{schema, n.Name}
		judged, known := s.verdicts[qualified]
		if !known {
			continue
		}
		found = true
		if err := judged.refusal(qualified); err != nil {
			return false, err
		}
		named = named || judged.named
	}
	if !found {
		return false, refuse(ClassFunction, "function %s is not known", n)
	}
	return named, nil
}

func (v verdict) refusal(n Name) error {
	if v.allowed {
		return nil
	}
	return refuse(ClassFunction, "function %s is not allowed: %s", n, v.reason)
}

// judgeCall is Judge for a call in a statement. A function of one argument that is not qualified may be a cast to a
// type of that name, which PostgreSQL tries before it looks for the best match.
func (s *FunctionSet) judgeCall(f Function) (named bool, err error) {
	if f.single && f.Schema == "" && s.types[f.Name.Name] {
		return false, refuse(ClassFunction, "%s(x) may be a cast to a type of that name; qualify the function", f.Name.Name)
	}
	return s.Judge(f.Name)
}

// judgeKeyword refuses what an older server may take for a call of a function of the user's.
func (s *FunctionSet) judgeKeyword(keyword string) error {
	for _, schema := range s.path[1:] {
		if judged, known := s.verdicts[Name{schema, keyword}]; known && !judged.allowed {
			return refuse(ClassFunction, "%s may be the function of schema %s: %s", keyword, schema, judged.reason)
		}
	}
	return nil
}

// takesRow says whether x.f may be a call of f with the row x.
func (s *FunctionSet) takesRow(name string) bool {
	_, found := s.rows[name]
	return found
}

// judgeNotation refuses x.f where f is a function that may not be called, or a type, since x may have no column f.
func (s *FunctionSet) judgeNotation(n notation) error {
	if n.name == typeof {
		return refuse(ClassFunction, "%s must be called with its argument in brackets", typeof)
	}
	verdicts := s.rows
	if n.anything {
		verdicts = s.singles
		if s.types[n.name] {
			return refuse(ClassType, "%s after a dot may be a cast to a type of that name", n.name)
		}
	}
	if judged, known := verdicts[n.name]; known && !judged.allowed {
		return refuse(ClassFunction, "%s after a dot may call a function: %s", n.name, judged.reason)
	}
	return nil
}
