// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// planUndo finds what setup made and is still there.
func (s *server) planUndo(ctx context.Context) (*plan, error) {
	p := &plan{}
	d := s.o.Database
	made, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	var gone []record
	for _, r := range made {
		if r.Document == d.Name {
			gone = append(gone, r)
		}
	}
	found, err := s.unrecorded(ctx, gone)
	if err != nil {
		return nil, err
	}
	if err := s.planTaking(ctx, p, append(gone, found...), made); err != nil {
		return nil, err
	}
	last := !slices.ContainsFunc(made, func(r record) bool { return r.Document != shared && r.Document != d.Name })
	lines := map[string][]string{}
	for _, path := range []string{s.facts.HBA, s.facts.Ident, s.ownCAFile()} {
		if path != "" {
			lines[path] = []string{}
		}
	}
	if last {
		if err := s.planShared(ctx, p, made); err != nil {
			return nil, err
		}
	}
	take := func(text string, _ []string) (string, error) { return withoutBlock(text, d.Name) }
	if err := s.planFiles(ctx, p, lines, take, "take out the lines from mark to mark", "lines of "+d.Name+" taken out"); err != nil {
		return nil, err
	}
	s.planDistrust(p)
	return p, nil
}

// unrecorded finds roles and policies of the document of which the record was lost.
func (s *server) unrecorded(ctx context.Context, known []record) ([]record, error) {
	d := s.o.Database
	var found []record
	roles, err := column[string](ctx, s.tx, `SELECT rolname FROM pg_roles WHERE pg_catalog.shobj_description(oid, 'pg_authid') = $1`, marker(d))
	if err != nil {
		return nil, err
	}
	tables, err := column[string](ctx, s.tx, `SELECT DISTINCT pg_catalog.format('"%s"."%s"', n.nspname, c.relname) FROM pg_policy p
		JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.polname = ANY($1)`,
		[]string{policyName(d.Name, "PERMISSIVE"), policyName(d.Name, "RESTRICTIVE")})
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		found = append(found, record{Document: d.Name, Kind: madePolicy, Object: t})
	}
	for _, r := range roles {
		found = append(found, record{Document: d.Name, Kind: madeRole, Object: r})
	}
	return slices.DeleteFunc(found, func(r record) bool {
		return slices.ContainsFunc(known, func(k record) bool { return k.Kind == r.Kind && k.Object == r.Object })
	}), nil
}

// planTaking takes away what these records are about, policies before the roles that they name.
func (s *server) planTaking(ctx context.Context, p *plan, gone, made []record) error {
	for _, kind := range []string{madePolicy, madeRole} {
		for _, r := range gone {
			if r.Kind != kind {
				continue
			}
			take := s.takePolicies
			if kind == madeRole {
				take = s.takeRole
			}
			if err := take(ctx, p, r, made); err != nil {
				return err
			}
		}
	}
	return nil
}

// takePolicies drops those of a table, and restores its row security if no other document has policies there.
func (s *server) takePolicies(ctx context.Context, p *plan, r record, made []record) error {
	there, err := ask[bool](ctx, s.tx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", r.Object)
	if err != nil {
		return err
	}
	var sql []string
	if there {
		for _, kind := range policyKinds {
			sql = append(sql, fmt.Sprintf("DROP POLICY IF EXISTS %s ON %s", ident(policyName(r.Document, kind)), r.Object))
		}
	}
	if s.facts.HasRecords {
		sql = append(sql, forget(r))
	}
	others := slices.ContainsFunc(made, func(o record) bool {
		return o.Kind == madePolicy && o.Object == r.Object && o.Document != r.Document
	})
	for _, o := range made {
		if others || o.Kind != madeRowSecurity || o.Object != r.Object {
			continue
		}
		enabled, forced, _ := strings.Cut(o.Before, " ")
		if there && forced != "true" {
			sql = append(sql, "ALTER TABLE "+r.Object+" NO FORCE ROW LEVEL SECURITY")
		}
		if there && enabled != "true" {
			sql = append(sql, "ALTER TABLE "+r.Object+" DISABLE ROW LEVEL SECURITY")
		}
		sql = append(sql, forget(o))
	}
	p.change("policies on "+r.Object+" taken away", sql...)
	return nil
}

// takeRole drops a role with its rights. One that owns something is left, with all the rest, since that may be data.
func (s *server) takeRole(ctx context.Context, p *plan, r record, _ []record) error {
	found, there, err := s.role(ctx, r.Object)
	if err != nil {
		return err
	}
	var sql []string
	if there && found.Comment == marker(s.o.Database) {
		owns, err := ask[int](ctx, s.tx, `SELECT count(*)::int FROM pg_shdepend
			WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'o'`, found.OID)
		if err != nil {
			return err
		}
		if owns > 0 {
			return fmt.Errorf("role %s owns %d things, which would go with it: give them to another with REASSIGN OWNED BY %s TO that role, in every database",
				r.Object, owns, r.Object)
		}
		sql = append(sql, "DROP OWNED BY "+r.Object, "DROP ROLE "+r.Object)
		p.ended = append(p.ended, r.Object)
	}
	if s.facts.HasRecords {
		sql = append(sql, forget(r))
	}
	if len(sql) > 0 {
		p.change("role "+r.Object+" taken away", sql...)
	}
	return nil
}

// planShared takes away what the documents of the database shared, the last first.
func (s *server) planShared(ctx context.Context, p *plan, made []record) error {
	for _, r := range made {
		if r.Document != shared || r.Kind == madeRowSecurity {
			continue
		}
		there, err := s.stillThere(ctx, r)
		if err != nil {
			return err
		}
		switch {
		case r.Kind == madeSchema:
			continue // last of all, below
		case there:
			p.change(takings[r.Kind].what+" "+r.Object, fmt.Sprintf(takings[r.Kind].sql, sqlName(r)), forget(r))
		default:
			p.change("record of "+r.Object+" taken away", forget(r))
		}
	}
	if slices.ContainsFunc(made, func(r record) bool { return r.Kind == madeSchema }) {
		p.change("schema custody taken away", "DROP TABLE custody.made", "DROP SCHEMA custody")
	}
	return nil
}

var takings = map[string]struct{ what, sql, there string }{
	madeExtension: {"extension taken away:", "DROP EXTENSION %s", "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = $1)"},
	madeFunctions: {"function taken away:", "DROP FUNCTION %s", "SELECT pg_catalog.to_regprocedure($1) IS NOT NULL"},
	madeTemp: {
		"TEMP given back to PUBLIC in database", "GRANT TEMP ON DATABASE %s TO PUBLIC",
		"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)",
	},
	madeCreate: {
		"CREATE given back to PUBLIC in database", "GRANT CREATE ON DATABASE %s TO PUBLIC",
		"SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)",
	},
	madeSchemaCreate: {
		"CREATE given back to PUBLIC in schema", "GRANT CREATE ON SCHEMA %s TO PUBLIC",
		"SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
	},
	madeExecute: {
		"EXECUTE given back to PUBLIC on", "GRANT EXECUTE ON FUNCTION pg_catalog.%s TO PUBLIC",
		"SELECT pg_catalog.to_regprocedure('pg_catalog.' || $1) IS NOT NULL",
	},
}

func (s *server) stillThere(ctx context.Context, r record) (bool, error) {
	t, known := takings[r.Kind]
	if !known {
		return false, nil
	}
	return ask[bool](ctx, s.tx, t.there, r.Object)
}

// sqlName is what a record names as SQL takes it.
func sqlName(r record) string {
	if r.Kind == madeFunctions || r.Kind == madeExecute {
		return r.Object // a signature
	}
	return ident(r.Object)
}
