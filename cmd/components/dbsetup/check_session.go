// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/database"
)

// session tries what a session of a role is and can do.
func (c *checker) session(ctx context.Context, conn *pgx.Conn, role string) error {
	var session, caller, actor *string
	err := conn.QueryRow(ctx, "SELECT session_user::text, custody.caller(), custody.actor()").Scan(&session, &caller, &actor)
	seen := err == nil && session != nil && *session == role && caller != nil && *caller == nobody.String() && actor == nil
	c.report(finding{seen, "the database knows who asks from the certificate", message(err)})
	has, err := column[string](ctx, conn, "SELECT name || '=' || setting FROM pg_catalog.pg_settings WHERE name = ANY($1)", settingNames(c.o.Database))
	if err != nil {
		return err
	}
	for i, h := range has {
		has[i] = strings.ReplaceAll(h, `"`, "")
	}
	var want []string
	for _, w := range settings(c.o.Database) {
		want = append(want, strings.ReplaceAll(strings.TrimSuffix(w.stored, "ms"), `"`, ""))
	}
	c.report(finding{len(only(want, has)) == 0, "begins with the limits of the document", strings.Join(only(has, want), "; ")})
	return c.cannot(ctx, conn)
}

func settingNames(d *database.Database) []string {
	var names []string
	for _, s := range settings(d) {
		names = append(names, s.name)
	}
	return names
}

// cannot tries what must fail for want of rights, each in a transaction that may write and is rolled back.
func (c *checker) cannot(ctx context.Context, conn *pgx.Conn) error {
	tries := []struct{ what, sql string }{
		{"cannot make temporary tables", "CREATE TEMP TABLE custody_check ()"},
		{"cannot make schemas", "CREATE SCHEMA custody_check"},
		{"cannot make roles", "CREATE ROLE custody_check"},
		{"cannot read files", "SELECT pg_catalog.pg_read_file('PG_VERSION')"},
		{"cannot run programs", "COPY (SELECT 1) TO PROGRAM 'true'"},
		{"cannot become another role", "SET LOCAL ROLE " + ident(c.facts.User)},
		{"cannot read passwords", "SELECT rolpassword FROM pg_catalog.pg_authid"},
		{"cannot read what setup wrote down", "SELECT * FROM custody.made"},
	}
	for _, schema := range append([]string{"custody"}, c.o.Database.Schemas...) {
		tries = append(tries, struct{ what, sql string }{"cannot make tables in " + schema, "CREATE TABLE " + ident(schema, "custody_check") + " ()"})
	}
	for _, t := range tries {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadWrite})
		if err != nil {
			return err
		}
		_, tried := tx.Exec(ctx, t.sql)
		if err := tx.Rollback(ctx); err != nil {
			return err
		}
		var said *pgconn.PgError
		denied := errors.As(tried, &said) && said.Code == "42501" // insufficient_privilege
		c.report(finding{denied, t.what, map[bool]string{true: "", false: "it did not fail for want of rights: " + message(tried)}[denied]})
	}
	return nil
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// rows tries whether tables with rowSecurity show the rows of who asks and no other.
func (c *checker) rows(ctx context.Context, role string) error {
	for _, r := range c.o.Database.RowSecurity {
		object := qualified(r)
		count, err := c.count(ctx, role, nobody, nobody, "SELECT count(*)::int FROM (SELECT FROM "+object+" LIMIT 1) AS s")
		c.report(finding{err == nil && count == 0, "somebody without rows sees none of " + object, message(err)})
		caller, actor, found, err := c.owner(ctx, r)
		if err != nil {
			return err
		}
		if !found {
			c.w.say("  note  no row of %s has a SPIFFE ID of an owner, so it was not tried whether owners see theirs\n", object)
			continue
		}
		var foreign []string
		if r.Caller != "" {
			foreign = append(foreign, ident(r.Caller)+" IS DISTINCT FROM "+literal(caller.String()))
		}
		if r.Actor != "" {
			foreign = append(foreign, ident(r.Actor)+" IS DISTINCT FROM "+literal(actor.String()))
		}
		own, err := c.count(ctx, role, caller, actor, "SELECT count(*)::int FROM (SELECT FROM "+object+" LIMIT 1) AS s")
		c.report(finding{err == nil && own == 1, "an owner sees rows of " + object, message(err)})
		others, err := c.count(ctx, role, caller, actor, "SELECT count(*)::int FROM (SELECT FROM "+object+" WHERE "+strings.Join(foreign, " OR ")+" LIMIT 1) AS s")
		c.report(finding{err == nil && others == 0, "an owner sees no others of " + object, message(err)})
	}
	return nil
}

// owner gives who owns some row, as the superuser sees them.
func (c *checker) owner(ctx context.Context, r database.RowSecurity) (caller, actor spiffeid.ID, found bool, err error) {
	pick := func(column string) string {
		if column == "" {
			return literal(nobody.String())
		}
		return ident(column) + "::text"
	}
	terms := []string{"true"}
	for _, name := range []string{r.Caller, r.Actor} {
		if name != "" {
			terms = append(terms, ident(name)+" ~ '^spiffe://[a-z0-9._-]+/'")
		}
	}
	type pair struct{ Caller, Actor string }
	pairs, err := table[pair](ctx, c.tx, fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s LIMIT 100", pick(r.Caller), pick(r.Actor), qualified(r), strings.Join(terms, " AND ")))
	if err != nil {
		return spiffeid.ID{}, spiffeid.ID{}, false, err
	}
	i := slices.IndexFunc(pairs, func(p pair) bool {
		var err1, err2 error
		caller, err1 = spiffeid.FromString(p.Caller)
		actor, err2 = spiffeid.FromString(p.Actor)
		return err1 == nil && err2 == nil
	})
	return caller, actor, i >= 0, nil
}

// count asks as a role on behalf of somebody.
func (c *checker) count(ctx context.Context, role string, caller, actor spiffeid.ID, sql string) (int, error) {
	cert, err := c.o.CA.Mint(role, caller, actor, c.o.Now())
	if err != nil {
		return 0, err
	}
	conn, err := enter(ctx, c.o.Database, entry{role: role, cert: &cert})
	if err != nil {
		return 0, err
	}
	n, err := ask[int](ctx, conn, sql)
	return n, errors.Join(err, conn.Close(ctx))
}
