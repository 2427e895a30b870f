// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/localdomain"
)

const patience = 60 * time.Second

// databases is a trust domain in which the app orders-mcp reaches a PostgreSQL, by the binding orders and the store cart,
// only through a component server. That is a process of its own, so that it can be killed, and is started as an operator
// does it, without custody up.
//
// The sidecar is the daprd of this repository. Dapr's own finds the same sockets and speaks the same protocol. It would
// need a registration with its path (or unix:pid, as custody up writes one) in place of that of ours, and, since it cannot
// be told of a trust domain, its apps would be in "public": --trust-domain of the server and the SPIFFE ID in the
// registration would have to say so.
type databases struct {
	trustDomain

	sockets string
	scratch *postgres.Database
	// arguments and environment are those of the server.
	arguments, environment []string
	server                 *serverProcess
	sidecar                *localdomain.Launched
	client                 *http.Client
}

const (
	databasesRun = `version: 1
apps:
- {appID: orders-mcp, appDirPath: ., configFilePath: config.yaml, resourcesPath: none, command: [sleep, '3600']}
- {appID: custody-components, appDirPath: ., configFilePath: config.yaml, resourcesPath: none, command: [sleep, '3600']}
`
	databasesConfig = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: apps}
spec:
  accessControl: {trustDomain: custody.local}
`
	databasesServer = `apiVersion: custody.dev/v1alpha1
kind: ComponentServer
metadata: {name: databases}
spec: {policyDir: policies, journalDir: journal, stores: stores, databases: databases, ca: ca}
`
	databasesPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: databases}
spec:
  rules:
  - {name: orders, effect: allow, from: [orders-mcp], to: {server: orders-db, sql: {operations: [select, insert, update], tables: ["shop.*"], where: any}}}
  - {name: cart, effect: allow, from: [orders-mcp], to: {server: cart, state: {operations: [get, set], keys: ["*"]}}}
`
	databasesDocument = `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: orders-db}
spec:
  engine: postgresql
  host: 127.0.0.1
  port: %s
  database: postgres
  serverCA: %s
  schemas: [shop]
  roles:
  - {from: [orders-mcp], role: custody_orders_mcp, write: true}
  limits: {statementTimeout: 30s, lockTimeout: 10s, maxConnections: 8}
`
	databasesBinding = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: orders}
spec:
  type: bindings.custody-postgres
  version: v1
  metadata:
  - {name: database, value: orders-db}
`
	databasesStore = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: cart}
spec:
  type: state.custody
  version: v1
  metadata:
  - {name: backend, value: postgresql}
  - {name: connectionString, value: %q}
  - {name: maxConns, value: '8'}
`
	databasesShop = `CREATE SCHEMA shop;
CREATE TABLE shop.ledger (request text, part int, PRIMARY KEY (request, part));
CREATE TABLE shop.accounts (id int PRIMARY KEY, balance int NOT NULL DEFAULT 0, moves int NOT NULL DEFAULT 0);
INSERT INTO shop.accounts (id) SELECT generate_series(1, 200);
CREATE TABLE shop.numbers (n int);
INSERT INTO shop.numbers SELECT generate_series(1, 3000);`
)

func startDatabases(t *testing.T) *databases {
	t.Helper()
	d := &databases{trustDomain: newTrustDomain(t), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d.startPostgreSQL(ctx)
	d.write("config.yaml", databasesConfig)
	d.write("server.yaml", databasesServer)
	d.write("policies/databases.yaml", databasesPolicy)
	d.write("resources/orders.yaml", databasesBinding)
	for _, folder := range []string{"resources", "stores"} {
		d.write(folder+"/cart.yaml", fmt.Sprintf(databasesStore, d.scratch.URL()))
	}
	d.db("setup")
	d.startDomain()
	d.useSentry()
	d.startServer()
	d.launch(map[string]string{"DAPR_COMPONENTS_SOCKETS_FOLDER": d.sockets})
	return d
}

func (d *databases) startPostgreSQL(ctx context.Context) {
	d.t.Helper()
	var err error
	d.scratch, err = postgres.StartScratch(ctx, postgres.Options{})
	require.NoError(d.t, err)
	d.t.Cleanup(func() {
		if err := d.scratch.Close(); err != nil {
			d.t.Logf("stopping PostgreSQL: %v", err)
		}
	})
	authority, err := d.scratch.SpeakTLS(ctx)
	require.NoError(d.t, err)
	admin := d.admin()
	_, err = admin.PgConn().Exec(ctx, databasesShop).ReadAll()
	require.NoError(d.t, err)
	require.NoError(d.t, admin.Close(ctx))
	address, err := url.Parse(d.scratch.URL())
	require.NoError(d.t, err)
	d.write("databases/orders.yaml", fmt.Sprintf(databasesDocument, address.Port(), filepath.Join(d.folder, "server-ca.pem")))
	d.write("server-ca.pem", string(authority))
}

// startDomain starts a control plane and the tokens for both identities.
func (d *databases) startDomain() {
	d.t.Helper()
	d.write("dapr.yaml", databasesRun)
	require.NoError(d.t, os.MkdirAll(filepath.Join(d.folder, "none"), 0o700))
	require.NoError(d.t, d.start(localdomain.Options{}))
	var err error
	d.sockets, err = os.MkdirTemp("", "sockets") // the folder of a test has too long a name
	require.NoError(d.t, err)
	d.t.Cleanup(func() { require.NoError(d.t, os.RemoveAll(d.sockets)) })
}

// useSentry gives the server an identity by Sentry, and its callers one by a registration of daprd.
func (d *databases) useSentry() {
	d.t.Helper()
	d.write("registrations/orders.yaml", fmt.Sprintf(`apiVersion: custody.dev/v1alpha1
kind: WorkloadRegistration
metadata: {name: orders-mcp}
spec:
  spiffeID: spiffe://custody.local/ns/default/orders-mcp
  selectors: {"unix:path": %q, "dapr:app-id": orders-mcp, "dapr:namespace": default}
`, binary(d.t, "daprd")))
	run := d.domain.Info()
	d.arguments = []string{
		"serve", "--config", filepath.Join(d.folder, "server.yaml"), "--sockets", d.sockets,
		"--registrations", filepath.Join(d.folder, "registrations"), "--sentry-address", run.Sentry,
		"--control-plane-trust-domain", run.ControlPlaneTrustDomain, "--trust-domain", "custody.local",
	}
	d.environment = []string{
		"DAPR_TRUST_ANCHORS_FILE=" + run.TrustBundle, "DAPR_SENTRY_TOKEN_FILE=" + d.app("custody-components").TokenFile, "NAMESPACE=default",
	}
}

func (d *databases) launch(env map[string]string) {
	d.t.Helper()
	var err error
	d.sidecar, err = d.domain.Launch(localdomain.Sidecar{
		AppID: "orders-mcp", TokenFile: d.app("orders-mcp").TokenFile, ConfigFile: filepath.Join(d.folder, "config.yaml"),
		ResourcesPaths: []string{filepath.Join(d.folder, "resources")}, Env: env,
	})
	require.NoError(d.t, err)
	require.NoError(d.t, d.sidecar.Ready(d.t.Context()))
}

// serverProcess is one life of the component server.
type serverProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // once done is closed
	log  bytes.Buffer
}

func (d *databases) startServer() {
	d.t.Helper()
	p := &serverProcess{cmd: exec.Command(binary(d.t, "custody-components"), d.arguments...), done: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, d.environment...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	require.NoError(d.t, p.cmd.Start())
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	d.server = p
	d.t.Cleanup(func() { p.kill(d.t) })
	for _, socket := range []string{"custody.sock", "custody-postgres.sock"} {
		if _, err := os.Stat(filepath.Join(d.folder, "databases")); err != nil && socket != "custody.sock" {
			continue
		}
		require.Eventually(d.t, func() bool {
			conn, err := net.Dial("unix", filepath.Join(d.sockets, socket))
			return p.ended() || err == nil && conn.Close() == nil
		}, patience, 10*time.Millisecond)
		require.False(d.t, p.ended(), "the component server ended: %v", p)
	}
}

func (p *serverProcess) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *serverProcess) String() string {
	<-p.done
	return fmt.Sprintf("%v: %s", p.err, &p.log)
}

func (p *serverProcess) kill(t testing.TB) {
	if !p.ended() {
		require.NoError(t, p.cmd.Process.Kill())
		<-p.done
	}
}

// end ends the server as an operator does, and wants it to go without a fault.
func (p *serverProcess) end(t testing.TB) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.done
	require.NoError(t, p.err, "%s", &p.log)
}

// peak is the most memory that the process had, in MiB.
func (p *serverProcess) peak(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	require.True(t, found)
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kib / 1024
}

// db runs a command of custody db.
func (d *databases) db(command string) {
	d.t.Helper()
	output, err := exec.CommandContext(d.t.Context(), binary(d.t, "custody-components"), "db", command,
		"--databases", filepath.Join(d.folder, "databases"), "--ca", filepath.Join(d.folder, "ca"), "--admin-url", d.scratch.URL()).CombinedOutput()
	require.NoError(d.t, err, "%s", output)
}

func (d *databases) admin() *pgx.Conn {
	d.t.Helper()
	admin, err := pgx.Connect(d.t.Context(), d.scratch.URL())
	require.NoError(d.t, err)
	return admin
}

// scalar asks the superuser.
func scalar[T any](d *databases, sql string) T {
	d.t.Helper()
	admin := d.admin()
	var value T
	require.NoError(d.t, admin.QueryRow(d.t.Context(), sql).Scan(&value))
	require.NoError(d.t, admin.Close(d.t.Context()))
	return value
}

func (d *databases) exec(sql string) {
	d.t.Helper()
	admin := d.admin()
	_, err := admin.PgConn().Exec(d.t.Context(), sql).ReadAll()
	require.NoError(d.t, err)
	require.NoError(d.t, admin.Close(d.t.Context()))
}

func (d *databases) call(ctx context.Context, method, path string, body any) (answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d/v1.0/%s", d.sidecar.HTTPPort, path), bytes.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(got)}, err
}

// ask sends a statement through the binding.
func (d *databases) ask(ctx context.Context, operation, sql, params string) (answer, error) {
	return d.call(ctx, http.MethodPost, "bindings/orders", map[string]any{
		"operation": operation, "metadata": map[string]string{"sql": sql, "params": params},
	})
}

// report counts what callers were told.
type report struct {
	mu   sync.Mutex
	said map[string]int
}

// add leaves out what is another one each time.
func (r *report) add(text string) {
	if i := strings.Index(text, "Reference: "); i >= 0 {
		text = text[:i]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil {
		r.said = map[string]int{}
	}
	r.said[text]++
}
