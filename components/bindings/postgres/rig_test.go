// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/metadata"
	"github.com/jackc/pgx/v5"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	door "github.com/dapr-custody/custody/components/bindings/postgres"
	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/dbca"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/rate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
)

const (
	trustDomain = "custody.local"
	shopSchema  = "../../../tests/sql/testdata/schema.sql"
)

// server is the one scratch cluster of this package's tests, with TLS and an authority for the certificates of roles. Each
// rig works in a database of its own.
var server struct {
	sync.Mutex
	database *postgres.Database
	dir      string // the CA of the roles, and the authority of the server's certificate
	made     int
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.database != nil {
		if err := errors.Join(server.database.Close(), os.RemoveAll(server.dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// start gives the cluster, whose template holds the shop.
func start(t testing.TB) *postgres.Database {
	t.Helper()
	server.Lock()
	defer server.Unlock()
	if server.database != nil {
		return server.database
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	started, err := postgres.StartScratch(ctx, postgres.Options{})
	require.NoError(t, err)
	server.database = started
	server.dir, err = os.MkdirTemp("", "custody-door-")
	require.NoError(t, err)
	ca, err := dbca.Create(filepath.Join(server.dir, "ca"), time.Now())
	require.NoError(t, err)
	cert, err := ca.Certificate()
	require.NoError(t, err)
	admin := connect(t, started.URL())
	defer func() { require.NoError(t, admin.Close(context.Background())) }()
	secure(t, admin, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	run(t, admin, "CREATE ROLE doors NOLOGIN; CREATE ROLE reader LOGIN IN ROLE doors; CREATE ROLE writer LOGIN IN ROLE doors;"+
		"CREATE ROLE narrow LOGIN IN ROLE doors CONNECTION LIMIT 1; CREATE ROLE direct LOGIN PASSWORD 'direct'; ALTER ROLE direct SET search_path = pg_catalog, shop, pg_temp; ALTER ROLE direct SET TimeZone = 'UTC'; CREATE ROLE caller LOGIN; CREATE ROLE least LOGIN;"+
		"CREATE ROLE mighty LOGIN SUPERUSER IN ROLE doors")
	run(t, admin, "CREATE DATABASE shop_template")
	shop := connect(t, inDatabase(t, started.URL(), "shop_template"))
	text, err := os.ReadFile(shopSchema)
	require.NoError(t, err)
	run(t, shop, string(text)+grants)
	require.NoError(t, shop.Close(context.Background()))
	return started
}

// grants let the roles do more than any policy of these tests, so that what is refused is the door's doing.
const grants = `;
GRANT USAGE ON SCHEMA shop, vault TO doors, direct;
GRANT SELECT ON ALL TABLES IN SCHEMA shop, vault TO reader, narrow;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop, vault TO writer, direct;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO writer, direct;
GRANT CREATE ON SCHEMA shop TO writer;
CREATE EXTENSION IF NOT EXISTS sslinfo;
CREATE SCHEMA IF NOT EXISTS custody; GRANT USAGE ON SCHEMA custody TO doors;
`

// secure turns TLS on, with certificates for the roles of the door and passwords for the rest.
func secure(t testing.TB, admin *pgx.Conn, clientCA []byte) {
	t.Helper()
	var data, hba string
	require.NoError(t, admin.QueryRow(t.Context(), "SELECT current_setting('data_directory'), current_setting('hba_file')").Scan(&data, &hba))
	before, err := os.ReadFile(hba)
	require.NoError(t, err)
	writeAs(t, filepath.Join(data, "clients.pem"), string(clientCA), data)
	writeAs(t, hba, "hostssl all +doors 127.0.0.1/32 cert\n"+string(before), data)
	run(t, admin, "ALTER SYSTEM SET ssl_ca_file = 'clients.pem'")
	run(t, admin, "ALTER SYSTEM SET autovacuum = off")
	speakTLS(t, admin, serverCA())
}

// speakTLS gives a server a certificate, and writes its authority to a file.
func speakTLS(t testing.TB, admin *pgx.Conn, rootFile string) {
	t.Helper()
	var data string
	require.NoError(t, admin.QueryRow(t.Context(), "SELECT current_setting('data_directory')").Scan(&data))
	authority := testkit.NewCA(t, "server.test")
	roots := authority.Bundle().X509Authorities()
	require.NoError(t, os.WriteFile(rootFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: roots[0].Raw}), 0o600))
	cert, key := serverCertificate(t, authority)
	writeAs(t, filepath.Join(data, "server.crt"), cert, data)
	writeAs(t, filepath.Join(data, "server.key"), key, data)
	run(t, admin, "ALTER SYSTEM SET ssl = on")
	run(t, admin, "SELECT pg_reload_conf()")
	require.Eventually(t, func() bool {
		var on string
		return admin.QueryRow(t.Context(), "SHOW ssl").Scan(&on) == nil && on == "on"
	}, 10*time.Second, 10*time.Millisecond)
}

func serverCA() string { return filepath.Join(server.dir, "server-ca.pem") }

// writeAs writes a file that belongs to the owner of another.
func writeAs(t testing.TB, name, content, like string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	owner(t, name, like)
}

func connect(t testing.TB, connString string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), connString)
	require.NoError(t, err)
	return conn
}

func run(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	require.NoError(t, err)
}

func inDatabase(t testing.TB, connString, name string) string {
	t.Helper()
	parsed, err := url.Parse(connString)
	require.NoError(t, err)
	parsed.Path = "/" + name
	return parsed.String()
}

// rig is a door to a database of its own.
type rig struct {
	t        testing.TB
	ca       *testkit.CA // of the trust domain
	clients  door.Minter
	database string
	admin    *pgx.Conn // the superuser in the database
	document *atomic.Pointer[database.Database]
	journal  string
	policies string
	now      func() time.Time
	proxy    *proxy
	door     *door.Door
	self     *x509svid.SVID
	writer   *journal.Writer
	logged   []string
	loggedMu sync.Mutex
}

const allowAll = `
  - {name: reads, effect: allow, from: [reader, writer, narrow], to: {server: orders-db, sql: {operations: [select], tables: ["shop.*"]}}}
  - {name: writes, effect: allow, from: [writer], to: {server: orders-db, sql: {operations: [insert, update, delete], tables: ["shop.*"], where: any}}}
`

// bareRig is a rig without a database and a door.
func bareRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{
		t: t, ca: testkit.NewCA(t, trustDomain), now: time.Now, journal: filepath.Join(t.TempDir(), "journal"), policies: t.TempDir(),
		document: &atomic.Pointer[database.Database]{},
	}
	r.self = r.ca.SVID("components")
	return r
}

// newRig makes a door whose database document gives the apps reader, writer and narrow the role of their name.
func newRig(t testing.TB, rules string, change ...func(*rig)) *rig {
	t.Helper()
	started := start(t)
	r := bareRig(t)
	server.Lock()
	server.made++
	r.database = fmt.Sprintf("shop_%d", server.made)
	server.Unlock()
	root := connect(t, started.URL())
	run(t, root, "CREATE DATABASE "+r.database+" TEMPLATE shop_template STRATEGY wal_log")
	require.NoError(t, root.Close(t.Context()))
	r.admin = connect(t, inDatabase(t, started.URL(), r.database))
	t.Cleanup(func() {
		require.NoError(t, r.admin.Close(context.Background()))
		root := connect(t, server.database.URL())
		run(t, root, "DROP DATABASE "+r.database+" WITH (FORCE)")
		require.NoError(t, root.Close(context.Background()))
	})
	ca, err := dbca.Open(filepath.Join(server.dir, "ca"))
	require.NoError(t, err)
	r.clients = ca
	r.setPolicy(rules)
	address, err := url.Parse(started.URL())
	require.NoError(t, err)
	r.setDocument(address.Host, "")
	for _, c := range change {
		c(r)
	}
	r.open()
	return r
}

// through puts a proxy between the door and the server.
func through(r *rig) {
	at := *r.document.Load()
	r.proxy = newProxy(r.t, net.JoinHostPort(at.Host, strconv.Itoa(at.Port)))
	r.setDocument(r.proxy.address, "")
}

func (r *rig) setDocument(address, limits string) {
	r.t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(r.t, err)
	if limits == "" {
		limits = "{statementTimeout: 20s, lockTimeout: 10s}"
	}
	documents, err := database.Parse("orders-db.yaml", fmt.Appendf(nil, `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: orders-db}
spec:
  engine: postgresql
  host: %s
  port: %s
  database: %s
  serverCA: %s
  serverName: localhost
  schemas: [shop]
  roles:
  - {from: [writer], role: writer, write: true}
  - {from: [reader], role: reader}
  - {from: [narrow], role: narrow}
  - {from: [mighty], role: mighty}
  limits: %s
  recordStatements: false
`, host, port, r.database, serverCA(), limits))
	require.NoError(r.t, err)
	r.document.Store(&documents[0])
}

// limit changes the limits of the document.
func (r *rig) limit(limits string) {
	r.t.Helper()
	at := r.document.Load()
	r.setDocument(net.JoinHostPort(at.Host, strconv.Itoa(at.Port)), limits)
}

func (r *rig) setPolicy(rules string) {
	r.t.Helper()
	file := filepath.Join(r.policies, "test.yaml")
	text := "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: test}\nspec:\n  rules:" + rules
	require.NoError(r.t, os.WriteFile(file+".new", []byte(text), 0o600))
	require.NoError(r.t, os.Rename(file+".new", file))
}

type callerKey struct{}

// as gives a context in which an app asks.
func (r *rig) as(ctx context.Context, app string) context.Context {
	caller, err := identity.NewVerifier(r.ca.Bundle(), r.now).Verify(r.ca.SVID(app).Certificates)
	require.NoError(r.t, err)
	return context.WithValue(ctx, callerKey{}, caller)
}

func callerOf(ctx context.Context) (identity.Caller, error) {
	caller, ok := ctx.Value(callerKey{}).(identity.Caller)
	if !ok {
		return identity.Caller{}, errors.New("nobody is there")
	}
	return caller, nil
}

// open makes the door.
func (r *rig) open() {
	r.t.Helper()
	watcher, err := policydir.Open(policydir.Options{
		Dir: r.policies, App: "components", Guard: "test",
		Compile: policy.CompileOptions{TrustDomain: r.ca.TrustDomain, Namespace: "default"},
	})
	require.NoError(r.t, err)
	r.writer, err = journal.Open(journal.Options{Dir: r.journal})
	require.NoError(r.t, err)
	rates, err := rate.New(rate.Options{Now: r.now})
	require.NoError(r.t, err)
	g, err := gate.New(gate.Options{Door: door.DoorName, Policy: watcher.Current, SVIDs: r.self, Journal: r.writer, Now: r.now, Rates: rates})
	require.NoError(r.t, err)
	r.door, err = door.New(door.Options{
		Databases: func(name string) (*database.Database, bool) { return r.document.Load(), name == "orders-db" },
		Gate:      g, Policy: watcher.Current, CA: r.clients, Caller: callerOf, TrustDomain: r.ca.TrustDomain, Namespace: "default",
		Tokens: txn.NewVerifier(x509bundle.NewSet(r.ca.Bundle())),
		Now:    func() time.Time { return r.now() }, Log: r.log,
	})
	require.NoError(r.t, err)
	r.t.Cleanup(func() {
		require.NoError(r.t, r.door.Close())
		if r.writer != nil {
			require.NoError(r.t, r.writer.Close())
		}
		require.NoError(r.t, watcher.Close())
		require.NoError(r.t, rates.Close())
	})
}

func (r *rig) log(format string, args ...any) {
	r.loggedMu.Lock()
	defer r.loggedMu.Unlock()
	r.logged = append(r.logged, fmt.Sprintf(format, args...))
}

// said is all that was logged.
func (r *rig) said() string {
	r.loggedMu.Lock()
	defer r.loggedMu.Unlock()
	return strings.Join(r.logged, "\n")
}

// binding is a component of an app.
func (r *rig) binding(app string) bindings.OutputBinding {
	r.t.Helper()
	b := r.door.Binding()
	meta := bindings.Metadata{Base: metadata.Base{Name: "orders", Properties: map[string]string{"database": "orders-db"}}}
	require.NoError(r.t, b.Init(r.as(context.Background(), app), meta))
	return b
}

// ask has an app ask for one statement; more is metadata, name and value by turns.
func (r *rig) ask(app string, operation bindings.OperationKind, sql string, more ...string) (*bindings.InvokeResponse, error) {
	return r.askIn(context.Background(), app, operation, sql, more...)
}

func (r *rig) askIn(ctx context.Context, app string, operation bindings.OperationKind, sql string, more ...string) (*bindings.InvokeResponse, error) {
	r.t.Helper()
	b := r.door.Binding()
	meta := bindings.Metadata{Base: metadata.Base{Name: "orders", Properties: map[string]string{"database": "orders-db"}}}
	require.NoError(r.t, b.Init(context.Background(), meta))
	request := &bindings.InvokeRequest{Operation: operation, Metadata: map[string]string{"sql": sql}}
	for i := 0; i < len(more); i += 2 {
		request.Metadata[more[i]] = more[i+1]
	}
	return b.Invoke(r.as(ctx, app), request)
}

// query asks for rows that have to come.
func (r *rig) query(app, sql string, more ...string) string {
	r.t.Helper()
	response, err := r.ask(app, "query", sql, more...)
	require.NoError(r.t, err, sql)
	return string(response.Data)
}

// refused asks for what must not be answered, and gives what the caller is told.
func (r *rig) refused(app, sql string, more ...string) string {
	r.t.Helper()
	response, err := r.ask(app, "query", sql, more...)
	require.Error(r.t, err, sql)
	require.Nil(r.t, response)
	require.Contains(r.t, err.Error(), "Reference: ")
	require.NotContains(r.t, err.Error(), "Reference: none")
	return err.Error()
}

func (r *rig) journaled() testkit.Journal {
	r.t.Helper()
	return testkit.ReadJournal(r.t, r.journal, x509bundle.NewSet(r.ca.Bundle()))
}

// last is the receipt of the last request.
func (r *rig) last() *receipt.Receipt {
	r.t.Helper()
	all := r.journaled().Receipts
	require.NotEmpty(r.t, all)
	return all[len(all)-1]
}

// scalar asks the superuser.
func (r *rig) scalar(sql string) string {
	r.t.Helper()
	var value string
	require.NoError(r.t, r.admin.QueryRow(context.Background(), sql).Scan(&value))
	return value
}

// sessions is how many the door has open at the server.
func (r *rig) sessions() string {
	return r.scalar("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'custody' AND datname = current_database()")
}

// minter mints with a clock of its own.
type minter struct {
	door.Minter
	now func() time.Time
}

func (m minter) Mint(role string, caller, actor spiffeid.ID, _ time.Time) (tls.Certificate, error) {
	return m.Minter.Mint(role, caller, actor, m.now())
}

// settled sees to it that each request that was let pass has its receipt.
func (r *rig) settled() {
	r.t.Helper()
	journal := r.journaled()
	allowed := map[string]bool{}
	for _, record := range journal.Receipts {
		if record.Decision.Effect == receipt.EffectAllow {
			allowed[record.ID] = true
		}
	}
	require.Len(r.t, allowed, len(journal.Intents))
	for _, intent := range journal.Intents {
		require.True(r.t, allowed[intent.ID], "the intent of %s has no receipt", intent.Action.Name)
	}
}

// journalText is all that a journal holds, with what is encoded in it.
func journalText(t testing.TB, dir string) string {
	t.Helper()
	var text strings.Builder
	require.NoError(t, journal.Read(dir, func(record journal.Record) error {
		text.Write(record.Payload)
		if envelope, err := receipt.DecodeEnvelope(record.Payload); err == nil {
			text.Write(envelope.Payload)
		}
		return nil
	}))
	return text.String()
}

// switching mints by one of two authorities.
type switching struct {
	one, other door.Minter
	strange    *atomic.Bool
}

func (s switching) Mint(role string, caller, actor spiffeid.ID, now time.Time) (tls.Certificate, error) {
	if s.strange.Load() {
		return s.other.Mint(role, caller, actor, now)
	}
	return s.one.Mint(role, caller, actor, now)
}
