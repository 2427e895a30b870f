// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// relation is a table, view or sequence of the document's schemas.
type relation struct {
	OID          uint32
	Schema, Name string
	Kind         string
	// Have are the rights that the role was given itself; Columns says that it was given some on columns.
	Have    []string
	Columns bool
}

const relationsSQL = `SELECT c.oid, n.nspname, c.relname, c.relkind::text,
	ARRAY(SELECT a.privilege_type FROM pg_catalog.aclexplode(c.relacl) a WHERE a.grantee = $2 ORDER BY 1),
	EXISTS (SELECT FROM pg_attribute t, pg_catalog.aclexplode(t.attacl) a WHERE t.attrelid = c.oid AND a.grantee = $2)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY 2, 3`

// wanted are the rights of a role on a relation, in the order of their names.
func (r relation) wanted(write, closed bool) []string {
	switch {
	case closed:
	case r.Kind == "S" && write:
		return []string{"USAGE"}
	case r.Kind == "S":
	case r.Kind == "m" || !write:
		return []string{"SELECT"}
	default:
		return []string{"DELETE", "INSERT", "SELECT", "UPDATE"}
	}
	return nil
}

// planGrants gives the roles what the document says, and takes what they were given beyond that in its schemas.
func (s *server) planGrants(ctx context.Context, p *plan) error {
	closed, err := s.aroundRowSecurity(ctx)
	if err != nil {
		return err
	}
	if err := s.schemasExist(ctx); err != nil {
		return err
	}
	for name, write := range s.writers() {
		found, _, err := s.role(ctx, name)
		if err != nil {
			return err
		}
		sql, err := s.frameGrants(ctx, name, found.OID)
		if err != nil {
			return err
		}
		relations, err := table[relation](ctx, s.tx, relationsSQL, s.o.Database.Schemas, found.OID)
		if err != nil {
			return err
		}
		for _, r := range relations {
			sql = append(sql, r.grant(name, r.wanted(write, closed[r.OID]))...)
			if note := fmt.Sprintf("%s.%s is not given to roles: it shows rows of a table with rowSecurity without looking at who asks", r.Schema, r.Name); closed[r.OID] && !slices.Contains(p.notes, note) {
				p.notes = append(p.notes, note)
			}
		}
		if len(sql) > 0 {
			p.change("rights of role "+name, sql...)
		}
	}
	return nil
}

// writers says of each role whether it writes.
func (s *server) writers() map[string]bool {
	w := map[string]bool{}
	for _, r := range s.o.Database.Roles {
		w[r.Name] = r.Write
	}
	return w
}

// grant gives the statements after which a role has just these rights.
func (r relation) grant(role string, want []string) []string {
	if slices.Equal(r.Have, want) && !r.Columns {
		return nil
	}
	kind := "TABLE"
	if r.Kind == "S" {
		kind = "SEQUENCE"
	}
	on := kind + " " + ident(r.Schema, r.Name)
	var sql []string
	if len(only(r.Have, want)) > 0 || r.Columns {
		sql = append(sql, "REVOKE ALL ON "+on+" FROM "+role)
	}
	if len(want) > 0 {
		sql = append(sql, "GRANT "+strings.Join(want, ", ")+" ON "+on+" TO "+role)
	}
	return sql
}

// frameGrants lets a role into the database, its schemas and the functions that say who asks.
func (s *server) frameGrants(ctx context.Context, name string, oid uint32) ([]string, error) {
	d := s.o.Database
	have, err := column[string](ctx, s.tx, `SELECT 'database' FROM pg_database, pg_catalog.aclexplode(datacl) a
		WHERE datname = current_database() AND a.grantee = $1 AND a.privilege_type = 'CONNECT'
		UNION ALL SELECT 'schema ' || nspname FROM pg_namespace, pg_catalog.aclexplode(nspacl) a
		WHERE a.grantee = $1 AND a.privilege_type = 'USAGE'
		UNION ALL SELECT 'function ' || p.proname FROM pg_proc p, pg_catalog.aclexplode(p.proacl) a
		WHERE p.pronamespace = pg_catalog.to_regnamespace('custody') AND p.proname IN ('caller', 'actor') AND a.grantee = $1`, oid)
	if err != nil {
		return nil, err
	}
	var sql []string
	if !slices.Contains(have, "database") {
		sql = append(sql, "GRANT CONNECT ON DATABASE "+ident(d.DBName)+" TO "+name)
	}
	for _, schema := range append([]string{"custody"}, d.Schemas...) {
		if !slices.Contains(have, "schema "+schema) {
			sql = append(sql, "GRANT USAGE ON SCHEMA "+ident(schema)+" TO "+name)
		}
	}
	if !slices.Contains(have, "function caller") || !slices.Contains(have, "function actor") {
		sql = append(sql, "GRANT EXECUTE ON FUNCTION "+openFunctions()+" TO "+name)
	}
	return sql, nil
}

func (s *server) schemasExist(ctx context.Context) error {
	d := s.o.Database
	there, err := column[string](ctx, s.tx, "SELECT nspname FROM pg_namespace")
	if err != nil {
		return err
	}
	if missing := only(d.Schemas, there); len(missing) > 0 {
		return fmt.Errorf("%s:%d: spec.schemas: database %s has no schema %s: make it, or take it from the list",
			d.File, d.Line, d.DBName, strings.Join(missing, ", "))
	}
	return nil
}

// aroundSQL gives the relations through which rows of some tables can be read without the policies of these tables for who
// asks: parts and heirs of theirs, and views that look at them with the eyes of the view's owner.
const aroundSQL = `WITH RECURSIVE family AS (
	SELECT pg_catalog.unnest($1::oid[]) AS oid
	UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.oid
), seen AS (
	SELECT oid FROM family
	UNION SELECT r.ev_class FROM seen v JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
		AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite r ON r.oid = d.objid
)
SELECT c.oid FROM pg_class c JOIN seen ON seen.oid = c.oid WHERE c.oid <> ALL($1::oid[]) AND (c.relkind IN ('r', 'p', 'f', 'm')
	OR c.relkind = 'v' AND NOT EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions)
		WHERE option_name = 'security_invoker' AND option_value::boolean))`

// aroundRowSecurity gives the relations that no role may have, since they lead around the row security of the document.
func (s *server) aroundRowSecurity(ctx context.Context) (map[uint32]bool, error) {
	secured, err := s.securedTables(ctx)
	if err != nil || len(secured) == 0 {
		return nil, err
	}
	var oids []uint32
	for _, t := range secured {
		oids = append(oids, t.OID)
	}
	around, err := column[uint32](ctx, s.tx, aroundSQL, oids)
	closed := map[uint32]bool{}
	for _, oid := range around {
		closed[oid] = true
	}
	return closed, err
}
