// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/dbca"
)

// finding is one thing that was tried.
type finding struct {
	holds  bool
	what   string
	detail string
}

// checker gathers findings about one database.
type checker struct {
	*server
	w    *writer
	held bool
}

func (c *checker) report(f finding) {
	word := "ok  "
	if !f.holds {
		word, c.held = "FAIL", false
	}
	detail := ""
	if f.detail != "" {
		detail = " (" + strings.ReplaceAll(f.detail, "\n", " ") + ")"
	}
	c.w.say("  %s  %s%s\n", word, f.what, detail)
}

// nobody owns no rows.
var nobody = spiffeid.RequireFromString("spiffe://custody-check.invalid/nobody")

// Check tries whether all holds that Setup makes, by looking and by connecting as the roles, and writes each finding to
// Out. held is whether all do; an error says that it could not be tried. It changes nothing.
func Check(ctx context.Context, o Options) (held bool, err error) {
	o.Print = true // a transaction that only reads
	s, err := connect(ctx, o)
	if err != nil {
		return false, s.explain(err)
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	c := &checker{server: s, w: &writer{out: o.Out}, held: true}
	c.w.say("%s: %s\n", o.Database.Name, s.where())
	if err := c.check(ctx); err != nil {
		return false, s.explain(err)
	}
	return c.held, c.w.err
}

func (c *checker) check(ctx context.Context) (err error) {
	if err := c.standing(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "custody-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	other, err := dbca.Create(filepath.Join(dir, "ca"), c.o.Now())
	if err != nil {
		return err
	}
	for _, role := range c.o.Database.Names() {
		c.w.say("  role %s\n", role)
		if err := c.tryRole(ctx, role, other); err != nil {
			return err
		}
	}
	return nil
}

// standing looks at what stands in the server.
func (c *checker) standing(ctx context.Context) error {
	p, err := c.planSetup(ctx)
	if err != nil {
		return err
	}
	var missing []string
	for _, ch := range p.changes {
		missing = append(missing, ch.what)
	}
	for _, f := range p.files {
		missing = append(missing, f.path+": "+f.what)
	}
	missing = append(append(missing, p.system...), p.left...)
	c.report(finding{len(missing) == 0, "the server is as the document says", listed(missing, "run custody db setup")})
	for _, n := range p.notes {
		c.w.say("  note  %s\n", n)
	}
	cert, err := c.o.CA.Certificate()
	if err != nil {
		return err
	}
	if left := cert.NotAfter.Sub(c.o.Now()); left < 30*24*time.Hour {
		c.w.say("  note  the authority ends at %s: run custody db rotate-ca\n", cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return c.maps(ctx)
}

// maps looks for lines of the map that let a certificate in as a role that it does not name.
func (c *checker) maps(ctx context.Context) error {
	others, err := column[string](ctx, c.tx, `SELECT 'line ' || line_number || ': ' || sys_name || ' as ' || pg_username
		FROM pg_ident_file_mappings WHERE map_name = $1 AND sys_name <> pg_username`, identMap)
	if err != nil {
		return err
	}
	c.report(finding{len(others) == 0, "a certificate is for the role that it names", listed(others, "take them out of "+c.facts.Ident)})
	return nil
}

func listed(wrong []string, next string) string {
	if len(wrong) == 0 {
		return ""
	}
	return strings.Join(wrong, "; ") + ": " + next
}

// tryRole tries one role.
func (c *checker) tryRole(ctx context.Context, role string, other *dbca.CA) error {
	if err := c.beyond(ctx, role); err != nil {
		return err
	}
	cert, err := c.o.CA.Mint(role, nobody, spiffeid.ID{}, c.o.Now())
	if err != nil {
		return err
	}
	conn, err := enter(ctx, c.o.Database, entry{role: role, cert: &cert})
	if err != nil {
		c.report(finding{false, "gets in with a certificate", err.Error() + "; nothing else can be tried"})
		return nil
	}
	c.report(finding{true, "gets in with a certificate", ""})
	err = errors.Join(c.session(ctx, conn, role), conn.Close(ctx))
	if err != nil {
		return err
	}
	if err := c.strangers(ctx, role, other); err != nil {
		return err
	}
	return c.rows(ctx, role)
}

// strangers try to get in as a role.
func (c *checker) strangers(ctx context.Context, role string, other *dbca.CA) error {
	now := c.o.Now()
	good, err1 := c.o.CA.Mint(role, nobody, spiffeid.ID{}, now)
	another, err2 := c.o.CA.Mint("custody_check", nobody, spiffeid.ID{}, now)
	expired, err3 := c.o.CA.Mint(role, nobody, spiffeid.ID{}, now.Add(-dbca.Validity-dbca.Backdating))
	foreign, err4 := other.Mint(role, nobody, spiffeid.ID{}, now)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	for _, try := range []struct {
		what string
		entry
	}{
		{"is refused without a certificate", entry{role: role}},
		{"is refused with a certificate of another authority", entry{role: role, cert: &foreign}},
		{"is refused with a certificate for another role", entry{role: role, cert: &another}},
		{"is refused with an expired certificate", entry{role: role, cert: &expired}},
		{"is refused with a password", entry{role: role, password: "password"}},
		{"is refused without TLS", entry{role: role, plain: true}},
	} {
		conn, err := enter(ctx, c.o.Database, try.entry)
		if err == nil {
			err = conn.Close(ctx)
			c.report(finding{false, try.what, "was let in: which line of pg_hba.conf does it?"})
			if err != nil {
				return err
			}
			continue
		}
		held, why := refused(err)
		c.report(finding{held, try.what, why})
	}
	return c.elsewhere(ctx, entry{role: role, cert: &good})
}

// elsewhere tries another database of the server.
func (c *checker) elsewhere(ctx context.Context, with entry) error {
	others, err := column[string](ctx, c.tx, "SELECT datname FROM pg_database WHERE datallowconn AND datname <> $1 ORDER BY oid LIMIT 1", c.o.Database.DBName)
	if err != nil || len(others) == 0 {
		return err
	}
	d := *c.o.Database
	d.DBName = others[0]
	conn, err := enter(ctx, &d, with)
	if err == nil {
		err = conn.Close(ctx)
		c.report(finding{false, "is refused at other databases", "was let in at " + d.DBName})
		return err
	}
	held, why := refused(err)
	c.report(finding{held, "is refused at other databases", why})
	return nil
}

// beyond looks for rights that the role has from elsewhere: as a member of others, or as everybody.
func (c *checker) beyond(ctx context.Context, role string) error {
	r, there, err := c.role(ctx, role)
	if err != nil || !there {
		return err
	}
	of, err := column[string](ctx, c.tx, "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = $1", r.OID)
	if err != nil {
		return err
	}
	c.report(finding{len(of) == 0, "is a member of no role", listed(of, "REVOKE them FROM "+role)})
	closed, err := c.aroundRowSecurity(ctx)
	if err != nil {
		return err
	}
	none := []uint32{}
	for oid := range closed {
		none = append(none, oid)
	}
	more, err := column[string](ctx, c.tx, beyondSQL, r.OID, c.o.Database.Schemas, c.writers()[role], none)
	if err != nil {
		return err
	}
	c.report(finding{len(more) == 0, "has no rights beyond the document", listed(more, "who gave them? REVOKE them FROM PUBLIC")})
	return nil
}

// beyondSQL gives relations on which a role has rights by whatever way that the document does not give.
const beyondSQL = `SELECT pg_catalog.format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND pg_catalog.has_schema_privilege($1::oid, n.oid, 'USAGE')
	AND CASE WHEN n.nspname <> ALL($2::text[]) OR c.oid = ANY($4::oid[]) THEN
			pg_catalog.has_table_privilege($1::oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
			OR pg_catalog.has_any_column_privilege($1::oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
		WHEN $3::boolean THEN pg_catalog.has_table_privilege($1::oid, c.oid, 'TRUNCATE, TRIGGER, REFERENCES')
			OR pg_catalog.has_any_column_privilege($1::oid, c.oid, 'REFERENCES')
		ELSE pg_catalog.has_table_privilege($1::oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
			OR pg_catalog.has_any_column_privilege($1::oid, c.oid, 'INSERT, UPDATE, REFERENCES') END
	ORDER BY 1 LIMIT 20`
