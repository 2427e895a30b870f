// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/internal/database"
)

// spare connections are those beyond the limit of the document, so that check and a component server that starts again
// find a place.
const spare = 2

// marker is the comment by which a role is known as one of setup's for a document.
func marker(d *database.Database) string {
	return fmt.Sprintf("made by custody db setup for %s in database %s", d.Name, d.DBName)
}

type role struct {
	OID uint32
	// Right says that its attributes are what they must be.
	Right   bool
	Comment string
}

const (
	attributes = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS PASSWORD NULL VALID UNTIL 'infinity'"
	roleSQL    = `SELECT a.oid, a.rolcanlogin AND NOT a.rolsuper AND NOT a.rolcreatedb AND NOT a.rolcreaterole AND NOT a.rolinherit
		AND NOT a.rolreplication AND NOT a.rolbypassrls AND a.rolpassword IS NULL AND a.rolconnlimit = $2
		AND (a.rolvaliduntil IS NULL OR a.rolvaliduntil = 'infinity'),
		coalesce(pg_catalog.shobj_description(a.oid, 'pg_authid'), '') FROM pg_authid a WHERE a.rolname = $1`
)

// absent is the number of a role that is not there: 0 would be everybody where rights and settings are looked up.
const absent = math.MaxUint32

func (s *server) role(ctx context.Context, name string) (found role, there bool, err error) {
	roles, err := table[role](ctx, s.tx, roleSQL, name, s.o.Database.Limits.MaxConnections+spare)
	if err != nil || len(roles) == 0 {
		return role{OID: absent}, false, err
	}
	return roles[0], true, nil
}

// setting is a default of a role in the database. sql is the value as ALTER ROLE takes it, stored as it keeps it.
type setting struct{ name, sql, stored string }

func settings(d *database.Database) []setting {
	l := d.Limits
	path := []string{"pg_catalog"}
	for _, schema := range d.Schemas {
		path = append(path, ident(schema))
	}
	path = append(path, "pg_temp")
	ms := func(name string, of int64) setting {
		return setting{name, fmt.Sprintf("'%dms'", of), fmt.Sprintf("%s=%dms", name, of)}
	}
	return []setting{
		{"default_transaction_read_only", "on", "default_transaction_read_only=on"},
		ms("statement_timeout", l.StatementTimeout.Milliseconds()), ms("lock_timeout", l.LockTimeout.Milliseconds()),
		ms("idle_in_transaction_session_timeout", l.IdleTimeout.Milliseconds()),
		{"search_path", strings.Join(path, ", "), "search_path=" + strings.Join(path, ", ")},
	}
}

// planRoles makes the roles and what every session of them begins with.
func (s *server) planRoles(ctx context.Context, p *plan) error {
	d := s.o.Database
	for _, name := range d.Names() {
		found, there, err := s.role(ctx, name)
		if err != nil {
			return err
		}
		if there && found.Comment != marker(d) {
			return fmt.Errorf("%s:%d: role %s is there and was not made for this document (its comment is %q): name another role, or drop it",
				d.File, d.Line, name, found.Comment)
		}
		limit := fmt.Sprintf(" CONNECTION LIMIT %d", d.Limits.MaxConnections+spare)
		switch {
		case !there:
			p.change("role "+name+" made", remember(d.Name, madeRole, name, ""), "CREATE ROLE "+name+" "+attributes+limit,
				"COMMENT ON ROLE "+name+" IS "+literal(marker(d)))
		case !found.Right:
			p.change("role "+name+" made what it must be", "ALTER ROLE "+name+" "+attributes+limit)
		}
		if err := s.planSettings(ctx, p, name, found.OID); err != nil {
			return err
		}
	}
	return nil
}

// configSQL gives the settings of a role in this database, and those for all databases, which are weaker.
const configSQL = `SELECT pg_catalog.unnest(setconfig) FROM pg_db_role_setting WHERE setrole = $1
	AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())`

func (s *server) planSettings(ctx context.Context, p *plan, name string, oid uint32) error {
	has, err := column[string](ctx, s.tx, configSQL, oid)
	if err != nil {
		return err
	}
	for i, h := range has {
		has[i] = strings.ReplaceAll(h, `"`, "") // which names have where they need them
	}
	var sql []string
	for _, w := range settings(s.o.Database) {
		if !slices.Contains(has, strings.ReplaceAll(w.stored, `"`, "")) {
			sql = append(sql, fmt.Sprintf("ALTER ROLE %s IN DATABASE %s SET %s = %s", name, ident(s.o.Database.DBName), w.name, w.sql))
		}
	}
	if len(sql) > 0 {
		p.change("settings of role "+name, sql...)
	}
	return nil
}
