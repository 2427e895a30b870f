// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dapr-custody/custody/internal/database"
)

// custody.made says what setup changed. Rows without a document are about what documents share.
const madeSQL = `CREATE TABLE IF NOT EXISTS custody.made (
	seq bigint GENERATED ALWAYS AS IDENTITY,
	document text NOT NULL,
	kind text NOT NULL,
	object text NOT NULL,
	before text NOT NULL,
	PRIMARY KEY (document, kind, object))`

// The kinds of records.
const (
	madeSchema       = "schema"
	madeExtension    = "extension"
	madeFunctions    = "functions"
	madeTemp         = "public temp"
	madeCreate       = "public create in database"
	madeSchemaCreate = "public create in schema"
	madeExecute      = "public execute"
	madeRole         = "role"
	madeRowSecurity  = "row security"
	madePolicy       = "policy"
)

// shared is the document of what is all documents' of the database.
const shared = ""

type record struct {
	Document, Kind, Object, Before string
}

// remember is the statement that writes a record down, unless it is there.
func remember(document, kind, object, before string) string {
	return fmt.Sprintf("INSERT INTO custody.made (document, kind, object, before) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
		literal(document), literal(kind), literal(object), literal(before))
}

func forget(r record) string {
	return fmt.Sprintf("DELETE FROM custody.made WHERE document = %s AND kind = %s AND object = %s",
		literal(r.Document), literal(r.Kind), literal(r.Object))
}

// records gives all, the last first.
func (s *server) records(ctx context.Context) ([]record, error) {
	if !s.facts.HasRecords {
		return nil, nil
	}
	owned, err := ask[bool](ctx, s.tx, "SELECT r.rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = 'custody.made'::regclass")
	if err != nil {
		return nil, err
	}
	if !owned {
		return nil, fmt.Errorf("table custody.made is not a superuser's, so what it says cannot be trusted: make postgres its owner after looking at it")
	}
	return table[record](ctx, s.tx, "SELECT document, kind, object, before FROM custody.made ORDER BY seq DESC")
}

// planSetup finds what is not as the document says.
func (s *server) planSetup(ctx context.Context) (*plan, error) {
	p := &plan{}
	if s.facts.Encoding != encoding {
		return nil, fmt.Errorf("database %s is encoded in %s, and the component server takes none but %s: make it anew (createdb -E UTF8 -T template0)",
			s.o.Database.DBName, s.facts.Encoding, encoding)
	}
	made, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context, *plan) error{
		s.planSchema, s.planFunctions, s.planPublic, s.planRoles, s.planGrants, s.planRows,
	} {
		if err := step(ctx, p); err != nil {
			return nil, err
		}
	}
	if err := s.planStale(ctx, p, made); err != nil {
		return nil, err
	}
	return p, s.planServer(ctx, p)
}

// planServer finds what is to change in the server's files.
func (s *server) planServer(ctx context.Context, p *plan) error {
	d := s.o.Database
	if !s.facts.SSL {
		noTLS := "the server speaks no TLS: give it a certificate for " + d.ServerName +
			" (ssl_cert_file, ssl_key_file), then ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()"
		if !s.o.Print {
			return errors.New(noTLS)
		}
		p.left = append(p.left, noTLS)
	}
	if err := s.blockIsOurs(ctx); err != nil {
		return err
	}
	lines := map[string][]string{s.facts.HBA: hbaLines(d), s.facts.Ident: identLines(d)}
	if err := s.planTrust(ctx, p, lines); err != nil {
		return err
	}
	put := func(text string, lines []string) (string, error) { return withBlock(text, d.Name, lines) }
	if err := s.planFiles(ctx, p, lines, put, "put these lines before all others", "lines of "+d.Name+" put first"); err != nil {
		return err
	}
	return nil
}

// planSchema makes the place of what is Custody's own in the database.
func (s *server) planSchema(ctx context.Context, p *plan) error {
	owners, err := column[bool](ctx, s.tx, "SELECT r.rolsuper FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = 'custody'")
	switch {
	case err != nil:
		return err
	case len(owners) == 1 && !owners[0]:
		return fmt.Errorf("schema %s is there and is not a superuser's: it is not setup's, rename or drop it", database.Schema)
	}
	keep := []string{madeSQL, "REVOKE ALL ON custody.made FROM PUBLIC"}
	switch {
	case len(owners) == 0:
		p.change("schema custody made", append([]string{"CREATE SCHEMA custody", "REVOKE ALL ON SCHEMA custody FROM PUBLIC"},
			append(keep, remember(shared, madeSchema, database.Schema, ""))...)...)
	case !s.facts.HasRecords:
		p.change("table custody.made made", keep...)
	default:
		return s.planPrivacy(ctx, p)
	}
	return nil
}

// planPrivacy takes the records from everybody but their owner.
func (s *server) planPrivacy(ctx context.Context, p *plan) error {
	others, err := column[string](ctx, s.tx, `SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END
		FROM pg_class c, pg_catalog.aclexplode(c.relacl) a WHERE c.oid = 'custody.made'::regclass AND a.grantee <> c.relowner`)
	if err != nil {
		return err
	}
	for _, o := range others {
		p.change("rights on custody.made taken from "+o, "REVOKE ALL ON custody.made FROM "+o)
	}
	return nil
}

// planPublic takes from PUBLIC what would let every role make things in the database.
func (s *server) planPublic(ctx context.Context, p *plan) error {
	db := s.o.Database.DBName
	for _, right := range []struct{ name, kind string }{{"TEMP", madeTemp}, {"CREATE", madeCreate}} {
		has, err := ask[bool](ctx, s.tx, "SELECT pg_catalog.has_database_privilege('public', $1, $2)", db, right.name)
		if err != nil {
			return err
		}
		if has {
			p.change(right.name+" on the database taken from PUBLIC", remember(shared, right.kind, db, ""),
				fmt.Sprintf("REVOKE %s ON DATABASE %s FROM PUBLIC", right.name, ident(db)))
		}
	}
	open, err := column[string](ctx, s.tx, `SELECT nspname FROM pg_namespace WHERE pg_catalog.has_schema_privilege('public', oid, 'CREATE')
		AND nspname !~ '^pg_(toast|temp)' ORDER BY 1`)
	if err != nil {
		return err
	}
	for _, schema := range open {
		p.change("CREATE on schema "+schema+" taken from PUBLIC", remember(shared, madeSchemaCreate, schema, ""),
			fmt.Sprintf("REVOKE CREATE ON SCHEMA %s FROM PUBLIC", ident(schema)))
	}
	if !s.o.RevokeFunctions {
		return nil
	}
	functions, err := column[string](ctx, s.tx, `SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
		AND prokind = 'f' AND proname ~ $1 AND pg_catalog.has_function_privilege('public', oid, 'EXECUTE') ORDER BY 1`, harmful)
	if err != nil {
		return err
	}
	for _, f := range functions {
		p.change("EXECUTE on "+f+" taken from PUBLIC", remember(shared, madeExecute, f, ""),
			fmt.Sprintf("REVOKE EXECUTE ON FUNCTION pg_catalog.%s FROM PUBLIC", f))
	}
	return nil
}

// harmful are functions of pg_catalog that everybody may call and that write, wait, hold locks, end sessions or run SQL
// text. nextval and set_config are not among them: inserts and drivers need them.
const harmful = `^(lo_.*|loread|lowrite|pg_sleep.*|pg_notify|pg_(try_)?advisory_.*|pg_terminate_backend|pg_cancel_backend|` +
	`pg_create_(physical|logical)_replication_slot|pg_copy_(physical|logical)_replication_slot|pg_drop_replication_slot|` +
	`pg_logical_.*|pg_export_snapshot|pg_import_system_collations|pg_extension_config_dump|pg_nextoid|brin_(de)?summarize_.*|` +
	`gin_clean_pending_list|(query|cursor|table|schema|database)_to_xml.*|ts_stat|ts_rewrite)$`

// planStale takes away what setup made for what the document does not say any more.
func (s *server) planStale(ctx context.Context, p *plan, made []record) error {
	d := s.o.Database
	var gone []record
	for _, r := range made {
		if r.Document != d.Name {
			continue
		}
		if r.Kind == madeRole && !slices.Contains(d.Names(), r.Object) || r.Kind == madePolicy && !slices.ContainsFunc(d.RowSecurity, func(row database.RowSecurity) bool {
			return qualified(row) == r.Object
		}) {
			gone = append(gone, r)
		}
	}
	return s.planTaking(ctx, p, gone, made)
}
