// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/dapr-custody/custody/internal/database"
)

// secured is a table with rowSecurity.
type secured struct {
	OID             uint32
	Kind            string
	Enabled, Forced bool
	Owner           string
}

const securedSQL = `SELECT c.oid, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity, o.rolname
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
	WHERE n.nspname = $1 AND c.relname = $2`

// securedTables finds the tables of rowSecurity, in the order of the document, and says where there is something else.
func (s *server) securedTables(ctx context.Context) ([]secured, error) {
	var all []secured
	d := s.o.Database
	for i, r := range d.RowSecurity {
		place := fmt.Sprintf("%s:%d: spec.rowSecurity[%d]", d.File, d.Line, i)
		found, err := table[secured](ctx, s.tx, securedSQL, r.Schema, r.Table)
		switch {
		case err != nil:
			return nil, err
		case len(found) == 0:
			return nil, fmt.Errorf("%s: database %s has no table %s.%s: make it, or take the entry out", place, d.DBName, r.Schema, r.Table)
		case found[0].Kind != "r" && found[0].Kind != "p":
			return nil, fmt.Errorf("%s: %s.%s is no table: name the tables that it shows", place, r.Schema, r.Table)
		}
		for _, c := range []string{r.Caller, r.Actor} {
			if c == "" {
				continue
			}
			types, err := column[string](ctx, s.tx, `SELECT atttypid::regtype::text FROM pg_attribute
				WHERE attrelid = $1 AND attname = $2 AND attnum > 0 AND NOT attisdropped`, found[0].OID, c)
			switch {
			case err != nil:
				return nil, err
			case len(types) == 0:
				return nil, fmt.Errorf("%s: table %s.%s has no column %s", place, r.Schema, r.Table, c)
			case types[0] != "text" && types[0] != "character varying":
				return nil, fmt.Errorf("%s: column %s of %s.%s is of type %s; a SPIFFE ID is text", place, c, r.Schema, r.Table, types[0])
			}
		}
		all = append(all, found[0])
	}
	return all, nil
}

// qualified is the table as records name it.
func qualified(r database.RowSecurity) string { return ident(r.Schema, r.Table) }

// policyName is one that two documents do not share.
func policyName(document, kind string) string {
	sum := sha256.Sum256([]byte(document))
	return "custody_" + kind + "_" + hex.EncodeToString(sum[:4])
}

// policyKinds: what is permissive lets rows be seen at all, and what is restrictive keeps every other policy, of whoever,
// from showing more.
var policyKinds = []string{"PERMISSIVE", "RESTRICTIVE"}

// condition is that of both policies. The subquery is run once for a statement, not for each row.
func condition(r database.RowSecurity) string {
	var terms []string
	if r.Caller != "" {
		terms = append(terms, ident(r.Caller)+" = (SELECT custody.caller())")
	}
	if r.Actor != "" {
		terms = append(terms, ident(r.Actor)+" = (SELECT custody.actor())")
	}
	return strings.Join(terms, " AND ")
}

// stateSQL tells the policies of a document on a table, as they are, in one text. What it gave after they were made is kept
// in the record, so that any change of them shows.
const stateSQL = `(SELECT coalesce(pg_catalog.string_agg(pg_catalog.format('%%s %%s %%s %%s USING %%s CHECK %%s', p.polname, p.polcmd, p.polpermissive,
	ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.oid = ANY(p.polroles) ORDER BY 1)::text,
	pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), '; ' ORDER BY p.polname), '')
	FROM pg_catalog.pg_policy p WHERE p.polrelid = %s::pg_catalog.regclass AND p.polname IN (%s, %s))`

func policyState(document, object string) string {
	return fmt.Sprintf(stateSQL, literal(object), literal(policyName(document, "PERMISSIVE")), literal(policyName(document, "RESTRICTIVE")))
}

// planRows has tables show the roles the rows of who is named in the certificate.
func (s *server) planRows(ctx context.Context, p *plan) error {
	d := s.o.Database
	tables, err := s.securedTables(ctx)
	if err != nil {
		return err
	}
	made, err := s.records(ctx)
	if err != nil {
		return err
	}
	for i, r := range d.RowSecurity {
		object := qualified(r)
		if t := tables[i]; !t.Enabled || !t.Forced {
			p.change("row security of "+object, remember(shared, madeRowSecurity, object, fmt.Sprintf("%t %t", t.Enabled, t.Forced)),
				"ALTER TABLE "+object+" ENABLE ROW LEVEL SECURITY", "ALTER TABLE "+object+" FORCE ROW LEVEL SECURITY")
			if !t.Enabled {
				p.notes = append(p.notes, fmt.Sprintf("roles other than those of %s see no rows of %s any more, its owner %s too: "+
					"make policies for those that should (CREATE POLICY ... TO role USING (true))", d.Name, object, t.Owner))
			}
		}
		now, err := ask[string](ctx, s.tx, "SELECT "+policyState(d.Name, object))
		if err != nil {
			return err
		}
		wanted := condition(r) + " TO " + strings.Join(d.Names(), ", ")
		if recorded(made, d.Name, madePolicy, object) == wanted+"\n"+now {
			continue
		}
		p.change("policies on "+object, s.policies(r, wanted)...)
	}
	return nil
}

// recorded gives the text of a record, "" if there is none.
func recorded(made []record, document, kind, object string) string {
	for _, r := range made {
		if r.Document == document && r.Kind == kind && r.Object == object {
			return r.Before
		}
	}
	return ""
}

func (s *server) policies(r database.RowSecurity, wanted string) []string {
	d, object := s.o.Database, qualified(r)
	sql := []string{remember(d.Name, madePolicy, object, "")}
	for _, kind := range policyKinds {
		name := ident(policyName(d.Name, kind))
		sql = append(sql, fmt.Sprintf("DROP POLICY IF EXISTS %s ON %s", name, object),
			fmt.Sprintf("CREATE POLICY %s ON %s AS %s FOR ALL TO %s USING (%s) WITH CHECK (%s)",
				name, object, kind, strings.Join(d.Names(), ", "), condition(r), condition(r)))
	}
	return append(sql, fmt.Sprintf("UPDATE custody.made SET before = %s || E'\\n' || %s WHERE document = %s AND kind = %s AND object = %s",
		literal(wanted), policyState(d.Name, object), literal(d.Name), literal(madePolicy), literal(object)))
}
