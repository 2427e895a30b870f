// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/dbca"
)

func TestRowsOfWhoIsNamedInTheCertificate(t *testing.T) {
	r := newRig(t)
	r.text = strings.Replace(r.text, "{table: shop.orders, caller: owner}", "{table: shop.orders, caller: owner}\n  - {table: shop.tasks, actor: boss}", 1)
	r.read()
	r.exec(`CREATE TABLE shop.tasks (boss text); INSERT INTO shop.tasks VALUES ('spiffe://custody.local/ns/default/alice'), (NULL), ('')`)
	r.setup()
	for name, c := range map[string]struct {
		caller, actor spiffeid.ID
		orders        []int64
		tasks         int
	}{
		"agent":              {agent, none, []int64{1, 2}, 0},
		"agent for alice":    {agent, alice, []int64{1, 2}, 1},
		"other":              {other, none, []int64{3}, 0},
		"other for agent":    {other, agent, []int64{3}, 0},
		"alice herself":      {alice, none, nil, 0},
		"a part of the name": {spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders"), none, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			conn := r.as(r.reads(), c.caller, c.actor)
			defer closed(t, conn)
			require.Equal(t, c.orders, nilIfEmpty(all[int64](t, conn, "SELECT id FROM orders ORDER BY id")))
			require.Equal(t, c.tasks, ask[int](t, conn, "SELECT count(*) FROM tasks"))
			require.Equal(t, c.caller.String(), ask[string](t, conn, "SELECT custody.caller()"))
			actor := ask[*string](t, conn, "SELECT custody.actor()")
			if c.actor.IsZero() {
				require.Nil(t, actor)
			} else {
				require.Equal(t, c.actor.String(), *actor)
			}
		})
	}
}

// closed ends a session, since a role has few places.
func closed(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	require.NoError(t, conn.Close(t.Context()))
}

func nilIfEmpty(list []int64) []int64 {
	if len(list) == 0 {
		return nil
	}
	return list
}

// Whatever a session says, the database sees whom the certificate names.
func TestSQLCannotSpoof(t *testing.T) {
	r := newRig(t)
	r.setup()
	r.exec("CREATE SCHEMA loose; GRANT ALL ON SCHEMA loose TO " + r.writes()) // as a careless DBA does
	const names = "SELECT current_setting('search_path') || ' ' || coalesce(custody.caller(), 'nobody') || ' ' || coalesce(custody.actor(), 'nobody')"
	fake := `CREATE FUNCTION loose.ssl_extension_info(OUT name text, OUT value text, OUT critical boolean) RETURNS SETOF record LANGUAGE sql
			AS $$ SELECT 'subjectAltName', 'URI:spiffe://custody.local/ns/default/other', false $$;
		CREATE FUNCTION loose.regexp_match(text, text) RETURNS text[] LANGUAGE sql AS $$ SELECT ARRAY['spiffe://custody.local/ns/default/other'] $$;
		CREATE FUNCTION loose.caller() RETURNS text LANGUAGE sql AS $$ SELECT 'spiffe://custody.local/ns/default/other' $$;
		CREATE FUNCTION loose.yes(text, text) RETURNS bool LANGUAGE sql AS $$ SELECT true $$;
		CREATE FUNCTION loose.min(text) RETURNS text LANGUAGE sql AS $$ SELECT 'URI:spiffe://custody.local/ns/default/other' $$;
		CREATE OPERATOR loose.= (LEFTARG = text, RIGHTARG = text, FUNCTION = loose.yes);`
	for name, c := range map[string]struct{ sql, denied string }{
		"another role":         {"SET ROLE postgres", "42501"},
		"the writing role":     {"SET ROLE " + r.writes() + "x", "22023"},
		"role by function":     {"SELECT set_config('role', 'postgres', false)", "42501"},
		"session":              {"SET SESSION AUTHORIZATION postgres", "42501"},
		"reset":                {"RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL", ""},
		"own settings":         {"SET custody.caller = 'spiffe://custody.local/ns/default/other'; SELECT set_config('app.tenant', 'x', false)", ""},
		"search path":          {"BEGIN READ WRITE; " + fake + "COMMIT; SET search_path = loose, pg_catalog, custody", ""},
		"path by function":     {"BEGIN READ WRITE; " + fake + "COMMIT; SELECT set_config('search_path', 'loose,custody,pg_catalog', false)", ""},
		"row security off":     {"SET row_security = off", ""},
		"replace the function": {"BEGIN READ WRITE; CREATE OR REPLACE FUNCTION custody.caller() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$", "42501"},
		"alter the function":   {"BEGIN READ WRITE; ALTER FUNCTION custody.caller() RESET ALL", "42501"},
		"temporary table":      {"BEGIN READ WRITE; CREATE TEMP TABLE orders (id int)", "42501"},
		"drop the policy":      {"BEGIN READ WRITE; ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY", "42501"},
		"own policy":           {"BEGIN READ WRITE; CREATE POLICY mine ON shop.orders USING (true)", "42501"},
		"records":              {"BEGIN READ WRITE; UPDATE custody.made SET before = ''", "42501"},
		"the helper":           {"SELECT custody.names()", "42501"},
	} {
		t.Run(name, func(t *testing.T) {
			r.exec("DROP SCHEMA loose CASCADE; CREATE SCHEMA loose; GRANT ALL ON SCHEMA loose TO " + r.writes())
			conn := r.as(r.writes(), agent, none)
			defer closed(t, conn)
			_, err := conn.PgConn().Exec(t.Context(), c.sql).ReadAll()
			if c.denied == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.denied)
				_, err = conn.PgConn().Exec(t.Context(), "ROLLBACK").ReadAll()
				require.NoError(t, err)
			}
			require.True(t, strings.HasSuffix(ask[string](t, conn, names), " "+agent.String()+" nobody"))
			if name == "row security off" {
				_, err := conn.Exec(t.Context(), "SELECT * FROM shop.orders")
				require.ErrorContains(t, err, "42501")
				return
			}
			require.Equal(t, []int64{1, 2}, all[int64](t, conn, "SELECT id FROM shop.orders ORDER BY id"))
		})
	}
}

func TestOthersPoliciesDoNotWiden(t *testing.T) {
	r := newRig(t)
	r.setup()
	r.exec("CREATE POLICY open ON shop.orders USING (true)")
	require.Equal(t, []int64{1, 2}, all[int64](t, r.as(r.reads(), agent, none), "SELECT id FROM orders ORDER BY id"))
}

// An owner's view, a part of the table and a copy of it are ways around row security, so roles do not get them.
func TestWaysAroundRowSecurity(t *testing.T) {
	r := newRig(t)
	r.exec(`CREATE VIEW shop.plain AS SELECT * FROM shop.orders;
		CREATE VIEW shop.over AS SELECT * FROM shop.plain;
		CREATE VIEW shop.invoker WITH (security_invoker = on) AS SELECT * FROM shop.orders;
		CREATE VIEW shop.on_invoker AS SELECT * FROM shop.invoker;
		CREATE MATERIALIZED VIEW shop.copy AS SELECT * FROM shop.orders;
		CREATE TABLE shop.heir () INHERITS (shop.orders);
		CREATE VIEW shop.harmless AS SELECT * FROM shop."Items"`)
	r.setup()
	conn := r.as(r.reads(), agent, none)
	for _, closed := range []string{"plain", "over", "on_invoker", "copy", "heir", "sums"} {
		_, err := conn.Exec(t.Context(), "SELECT * FROM shop."+closed)
		require.ErrorContains(t, err, "42501", closed)
	}
	require.Equal(t, 2, ask[int](t, conn, "SELECT count(*) FROM shop.invoker"))
	require.Equal(t, 1, ask[int](t, conn, "SELECT count(*) FROM shop.harmless"))
	said, held := r.check()
	require.True(t, held, said)
	r.exec("GRANT SELECT ON shop.plain TO PUBLIC")
	said, held = r.check()
	require.False(t, held)
	require.Contains(t, said, "shop.plain")
}

// sign makes a certificate with the authority's own key, as Mint never would.
func (r *rig) sign(template *x509.Certificate) *tls.Certificate {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.caDir, "ca-key.pem"))
	require.NoError(r.t, err)
	certificate, rest := pem.Decode(text)
	private, _ := pem.Decode(rest)
	ca, err := x509.ParseCertificate(certificate.Bytes)
	require.NoError(r.t, err)
	caKey, err := x509.ParsePKCS8PrivateKey(private.Bytes)
	require.NoError(r.t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(r.t, err)
	template.SerialNumber, template.Subject = big.NewInt(7), pkix.Name{CommonName: r.reads()}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Minute)
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	require.NoError(r.t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// names is a subjectAltName with any bytes in it: tag 6 is a URI, 2 a DNS name.
func names(t *testing.T, values ...asn1.RawValue) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(values)
	require.NoError(t, err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der}
}

func uri(s string) asn1.RawValue { return asn1.RawValue{Class: 2, Tag: 6, Bytes: []byte(s)} }
func dns(s string) asn1.RawValue { return asn1.RawValue{Class: 2, Tag: 2, Bytes: []byte(s)} }

// sslinfo gives the names in one text and marks no comma: what is not of the one form that Mint makes is nobody, or an
// error, and nobody sees rows.
func TestOddNames(t *testing.T) {
	r := newRig(t)
	r.setup()
	const id = "spiffe://custody.local/ns/default/orders-mcp"
	long := "spiffe://custody.local/" + strings.Repeat("a", 5000)
	for name, c := range map[string]struct {
		values []asn1.RawValue
		fails  bool // may
	}{
		"no name":            {[]asn1.RawValue{}, false},
		"two IDs":            {[]asn1.RawValue{uri(id), uri("spiffe://b/y")}, false},
		"two in one":         {[]asn1.RawValue{uri("spiffe://b/y, URI:" + id)}, false},
		"two in one, mine":   {[]asn1.RawValue{uri(id + ", URI:spiffe://b/y")}, false},
		"hidden in DNS":      {[]asn1.RawValue{dns("x, URI:" + id)}, false},
		"DNS too":            {[]asn1.RawValue{uri(id), dns("x")}, false},
		"other scheme":       {[]asn1.RawValue{uri("https://custody.local/ns/default/orders-mcp")}, false},
		"domain alone":       {[]asn1.RawValue{uri("spiffe://custody.local")}, false},
		"in capitals":        {[]asn1.RawValue{uri("SPIFFE://custody.local/ns/default/orders-mcp")}, false},
		"query":              {[]asn1.RawValue{uri(id + "?x")}, false},
		"line":               {[]asn1.RawValue{uri(id + "\n")}, false},
		"line before":        {[]asn1.RawValue{uri("x\nURI:" + id)}, false},
		"space":              {[]asn1.RawValue{uri(id + " ")}, false},
		"not ASCII":          {[]asn1.RawValue{uri("spiffe://custody.local/ns/default/ördérs")}, false},
		"zero byte":          {[]asn1.RawValue{uri(id + "\x00.evil")}, true},
		"no UTF-8":           {[]asn1.RawValue{uri(id + "\xff")}, false},
		"actor first":        {[]asn1.RawValue{uri("custody-actor:" + id), uri(id)}, false},
		"two actors":         {[]asn1.RawValue{uri(id), uri("custody-actor:spiffe://a/b"), uri("custody-actor:spiffe://a/c")}, false},
		"actor of no ID":     {[]asn1.RawValue{uri(id), uri("custody-actor:alice")}, false},
		"actor without":      {[]asn1.RawValue{uri("custody-actor:" + id)}, false},
		"very long and more": {[]asn1.RawValue{uri(long), uri(id)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := r.with(r.reads(), r.sign(&x509.Certificate{ExtraExtensions: []pkix.Extension{names(t, c.values...)}}))
			require.NoError(t, err)
			defer closed(t, conn)
			seen, err := conn.Exec(t.Context(), "SELECT FROM orders")
			if c.fails && err != nil { // OpenSSL 3 does not print it, OpenSSL 1.1 does.
				return
			}
			require.NoError(t, err)
			require.Zero(t, seen.RowsAffected())
			require.Nil(t, ask[*string](t, conn, "SELECT custody.caller()"))
			require.Nil(t, ask[*string](t, conn, "SELECT custody.actor()"))
		})
	}

	t.Run("no extension at all", func(t *testing.T) {
		conn, err := r.with(r.reads(), r.sign(&x509.Certificate{}))
		require.NoError(t, err)
		require.Nil(t, ask[*string](t, conn, "SELECT custody.caller()"))
	})
	t.Run("the good form", func(t *testing.T) {
		actor, err := url.Parse("custody-actor:" + alice.String())
		require.NoError(t, err)
		conn, err := r.with(r.reads(), r.sign(&x509.Certificate{URIs: []*url.URL{agent.URL(), actor}}))
		require.NoError(t, err)
		require.Equal(t, id+" "+alice.String(), ask[string](t, conn, "SELECT custody.caller() || ' ' || custody.actor()"))
		require.Equal(t, 2, ask[int](t, conn, "SELECT count(*) FROM orders"))
	})
	t.Run("without TLS nobody", func(t *testing.T) {
		require.Nil(t, ask[*string](t, r.conn, "SELECT custody.caller()")) // the superuser, without TLS
	})
}

func TestCertificatesThatDoNotLetIn(t *testing.T) {
	r := newRig(t)
	r.setup()
	foreign, err := dbca.Create(filepath.Join(t.TempDir(), "ca"), time.Now())
	require.NoError(t, err)
	theirs, err := foreign.Mint(r.reads(), agent, none, time.Now())
	require.NoError(t, err)
	old, err := r.ca.Mint(r.reads(), agent, none, time.Now().Add(-dbca.Validity-time.Second))
	require.NoError(t, err)
	early, err := r.ca.Mint(r.reads(), agent, none, time.Now().Add(dbca.Backdating+time.Minute))
	require.NoError(t, err)
	another, err := r.ca.Mint(r.writes(), agent, none, time.Now())
	require.NoError(t, err)
	for name, c := range map[string]struct {
		cert *tls.Certificate
		want string
	}{
		"another authority": {&theirs, "unknown certificate authority"},
		"expired":           {&old, "expired certificate"},
		"not yet good":      {&early, "bad certificate"},
		"another role":      {&another, "28000"},
		"none":              {&tls.Certificate{}, "28000"},
		"for a server":      {r.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}), "unsupported certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.with(r.reads(), c.cert)
			if c.want == "28000" {
				require.ErrorContains(t, err, c.want)
				return
			}
			// The server may end the connection before its reason has been read.
			require.Regexp(t, c.want+"|connection reset|broken pipe|EOF", err)
		})
	}
	good, err := r.ca.Mint(r.reads(), agent, none, time.Now())
	require.NoError(t, err)
	_, err = r.with("postgres", &good)
	require.Error(t, err)
	_, err = r.with(r.reads(), &good)
	require.NoError(t, err)
}
