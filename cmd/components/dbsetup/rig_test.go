// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbsetup_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/cmd/components/dbsetup"
	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/dbca"
)

var (
	agent = spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders-mcp")
	other = spiffeid.RequireFromString("spiffe://custody.local/ns/default/other")
	alice = spiffeid.RequireFromString("spiffe://custody.local/ns/default/alice")
	none  = spiffeid.ID{}
)

// cluster is the one server of this package's tests, which speaks TLS. Each test has a database of its own there.
var cluster struct {
	sync.Mutex
	database *postgres.Database
	made     int
	serverCA string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if cluster.database != nil {
		if err := cluster.database.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// rig is a database with a document, an authority and a superuser's connection.
type rig struct {
	t     *testing.T
	d     *database.Database
	caDir string
	ca    *dbca.CA
	admin *pgx.ConnConfig
	conn  *pgx.Conn // of the superuser, in the database
	text  string    // of the document
}

const shop = `CREATE SCHEMA shop;
CREATE TABLE shop.orders (id bigint PRIMARY KEY, owner text, buyer varchar(200), amount int);
CREATE TABLE shop."Items" (id bigint GENERATED ALWAYS AS IDENTITY, name text);
CREATE SEQUENCE shop.numbers;
CREATE VIEW shop.sums AS SELECT sum(amount) FROM shop.orders;
INSERT INTO shop.orders VALUES (1, 'spiffe://custody.local/ns/default/orders-mcp', 'spiffe://custody.local/ns/default/alice', 10),
	(2, 'spiffe://custody.local/ns/default/orders-mcp', 'spiffe://custody.local/ns/default/bob', 20),
	(3, 'spiffe://custody.local/ns/default/other', 'spiffe://custody.local/ns/default/alice', 30), (4, NULL, NULL, 40);
INSERT INTO shop."Items" (name) VALUES ('bolt');`

const document = `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: %[1]s}
spec:
  engine: postgresql
  host: 127.0.0.1
  port: %[2]d
  database: %[1]s
  serverCA: %[3]s
  schemas: [shop]
  roles:
  - {from: [orders-mcp], role: %[1]s_reads}
  - {from: [clerk], role: %[1]s_writes, write: true}
  rowSecurity:
  - {table: shop.orders, caller: owner}
`

// serve starts the cluster once.
func serve(t *testing.T) string {
	t.Helper()
	cluster.Lock()
	defer cluster.Unlock()
	cluster.made++
	if cluster.database == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		started, err := postgres.StartScratch(ctx, postgres.Options{})
		require.NoError(t, err)
		cluster.database = started
		_, err = started.SpeakTLS(ctx)
		require.NoError(t, err)
		admin, err := pgx.ParseConfig(started.URL())
		require.NoError(t, err)
		// It is its own authority.
		cluster.serverCA = filepath.Join(ask[string](t, connect(t, admin), "SHOW data_directory"), "server.crt")
	}
	return fmt.Sprintf("shop%d", cluster.made)
}

// writeAs writes a file of the server, owned by who owns its folder.
func writeAs(t *testing.T, path string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, text, 0o600))
	info, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	require.NoError(t, os.Chown(path, int(owner.Uid), int(owner.Gid)))
}

// newRig makes a database of the test's own.
func newRig(t *testing.T) *rig {
	t.Helper()
	name := serve(t)
	admin, err := pgx.ParseConfig(cluster.database.URL())
	require.NoError(t, err)
	root := connect(t, admin)
	_, err = root.Exec(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	r := &rig{t: t, admin: admin, caDir: filepath.Join(t.TempDir(), "ca")}
	r.text = fmt.Sprintf(document, name, admin.Port, cluster.serverCA)
	r.read()
	in := admin.Copy()
	in.Database = name
	r.conn = connect(t, in)
	r.exec(shop)
	r.ca, err = dbca.Create(r.caDir, time.Now())
	require.NoError(t, err)
	t.Cleanup(func() {
		if _, err := dbsetup.Undo(context.Background(), r.options(new(bytes.Buffer))); err != nil {
			t.Log("undo at the end:", err)
		}
	})
	return r
}

// read parses the document anew.
func (r *rig) read() {
	r.t.Helper()
	all, err := database.Parse("orders.yaml", []byte(r.text))
	require.NoError(r.t, err)
	r.d = &all[0]
}

func (r *rig) options(out *bytes.Buffer) dbsetup.Options {
	return dbsetup.Options{Database: r.d, CA: r.ca, Admin: r.admin, Out: out, Now: time.Now}
}

// setup sets up and gives what was said.
func (r *rig) setup() (string, dbsetup.Result) {
	r.t.Helper()
	var out bytes.Buffer
	result, err := dbsetup.Setup(r.t.Context(), r.options(&out))
	require.NoError(r.t, err)
	return out.String(), result
}

func (r *rig) check() (string, bool) {
	r.t.Helper()
	var out bytes.Buffer
	held, err := dbsetup.Check(r.t.Context(), r.options(&out))
	require.NoError(r.t, err)
	require.Equal(r.t, held, !strings.Contains(out.String(), "FAIL"))
	return out.String(), held
}

func (r *rig) undo() (string, dbsetup.Result) {
	r.t.Helper()
	var out bytes.Buffer
	result, err := dbsetup.Undo(r.t.Context(), r.options(&out))
	require.NoError(r.t, err)
	return out.String(), result
}

func (r *rig) exec(sql string) {
	r.t.Helper()
	_, err := r.conn.PgConn().Exec(r.t.Context(), sql).ReadAll()
	require.NoError(r.t, err, sql)
}

func (r *rig) reads() string  { return r.d.Name + "_reads" }
func (r *rig) writes() string { return r.d.Name + "_writes" }

func (r *rig) file(setting string) string {
	r.t.Helper()
	return ask[string](r.t, r.conn, "SHOW "+setting)
}

func (r *rig) content(path string) string {
	r.t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(r.t, err)
	return string(text)
}

// as connects with a certificate that the authority mints.
func (r *rig) as(role string, caller, actor spiffeid.ID) *pgx.Conn {
	r.t.Helper()
	cert, err := r.ca.Mint(role, caller, actor, time.Now())
	require.NoError(r.t, err)
	conn, err := r.with(role, &cert)
	require.NoError(r.t, err)
	return conn
}

// with connects with any certificate.
func (r *rig) with(role string, cert *tls.Certificate) (*pgx.Conn, error) {
	r.t.Helper()
	config, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=%s user=%s sslmode=disable", r.d.Port, r.d.DBName, role))
	require.NoError(r.t, err)
	roots := x509.NewCertPool()
	require.True(r.t, roots.AppendCertsFromPEM([]byte(r.content(r.d.ServerCA))))
	config.TLSConfig = &tls.Config{
		RootCAs: roots, ServerName: r.d.ServerName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
	}
	conn, err := pgx.ConnectConfig(r.t.Context(), config)
	if err == nil {
		r.t.Cleanup(func() { _ = conn.Close(context.Background()) }) // undo may have ended it
	}
	return conn, err
}

func connect(t *testing.T, config *pgx.ConnConfig) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	return conn
}

func ask[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	answer, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return answer
}

func all[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	require.NoError(t, err)
	answer, err := pgx.CollectRows(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return answer
}
