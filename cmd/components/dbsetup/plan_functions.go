// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// The functions say who is named in the certificate of the session. sslinfo gives all names in one text, "URI:a, URI:b",
// and does not mark a comma within a name: so the whole text must be of the one form that Custody's authority makes, in
// which names hold none. Without TLS, and in processes of the server's own, where sslinfo would fail, they are NULL.
//
// They begin at nothing that a caller can set: the search path is theirs, every name is written in full.
const (
	namesBody = `SELECT CASE WHEN pg_catalog.inet_client_addr() IS NULL THEN NULL ELSE (
	SELECT pg_catalog.regexp_match(pg_catalog.min(e.value),
		'^URI:(spiffe://[a-z0-9._-]+(?:/[A-Za-z0-9._-]+)+)(?:, URI:custody-actor:(spiffe://[a-z0-9._-]+(?:/[A-Za-z0-9._-]+)+))?$')
	FROM %s.ssl_extension_info() AS e WHERE e.name OPERATOR(pg_catalog.=) 'subjectAltName'
	HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) 1) END`
	callerBody = `SELECT (custody.names())[1]`
	actorBody  = `SELECT (custody.names())[2]`

	extension = "sslinfo"
)

type function struct {
	name, returns, body string
	open                bool // to the roles
}

func functions(schema string) []function {
	return []function{
		{"names", "text[]", fmt.Sprintf(namesBody, ident(schema)), false},
		{"caller", "text", callerBody, true},
		{"actor", "text", actorBody, true},
	}
}

func (f function) sql() []string {
	name := "custody." + f.name + "()"
	return []string{
		fmt.Sprintf("CREATE OR REPLACE FUNCTION %s RETURNS %s LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER\n"+
			"SET search_path = pg_catalog, pg_temp AS $custody$%s$custody$", name, f.returns, f.body),
		"ALTER FUNCTION " + name + " OWNER TO CURRENT_USER",
		"REVOKE ALL ON FUNCTION " + name + " FROM PUBLIC",
	}
}

const functionSQL = `SELECT p.prosrc = $2 AND p.prosecdef AND p.provolatile = 's' AND p.proparallel = 'r' AND r.rolsuper
	AND p.proconfig = ARRAY['search_path=pg_catalog, pg_temp'] AND p.prorettype = $3::regtype
	AND l.lanname = 'sql' AND NOT pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE')
	FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner JOIN pg_language l ON l.oid = p.prolang
	WHERE p.oid = pg_catalog.to_regprocedure('custody.' || $1 || '()')`

// planFunctions makes sslinfo and the functions on it.
func (s *server) planFunctions(ctx context.Context, p *plan) error {
	schema, err := s.extensionSchema(ctx, p)
	if err != nil {
		return err
	}
	for _, f := range functions(schema) {
		good, err := column[bool](ctx, s.tx, functionSQL, f.name, f.body, f.returns)
		if err != nil {
			return err
		}
		if !slices.Equal(good, []bool{true}) {
			p.change("function custody."+f.name+"() made", append([]string{remember(shared, madeFunctions, "custody."+f.name+"()", "")}, f.sql()...)...)
		}
	}
	return nil
}

// extensionSchema gives the schema that sslinfo is in, or will be.
func (s *server) extensionSchema(ctx context.Context, p *plan) (string, error) {
	schemas, err := column[string](ctx, s.tx, "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'sslinfo'")
	if err != nil {
		return "", err
	}
	if len(schemas) == 1 {
		return schemas[0], nil
	}
	there, err := ask[bool](ctx, s.tx, "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'sslinfo')")
	if err != nil {
		return "", err
	}
	if !there {
		return "", fmt.Errorf("the server does not have extension sslinfo: install its contrib modules (Debian: postgresql-contrib, part of postgresql)")
	}
	p.change("extension sslinfo made", remember(shared, madeExtension, extension, ""), "CREATE EXTENSION sslinfo WITH SCHEMA custody")
	return "custody", nil
}

// openFunctions are those that roles may call.
func openFunctions() string {
	var names []string
	for _, f := range functions("") {
		if f.open {
			names = append(names, "custody."+f.name+"()")
		}
	}
	return strings.Join(names, ", ")
}
