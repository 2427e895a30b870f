// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/localdomain"
)

const (
	databaseApp = "orders"
	// besideApp is the app of the sidecar that decides itself.
	besideApp    = "orders-beside"
	databaseShop = `CREATE SCHEMA shop;
CREATE TABLE shop.items (id int PRIMARY KEY, name text, price int);
INSERT INTO shop.items SELECT n, 'item ' || n, n * 7 FROM generate_series(1, 1000) n;
CREATE TABLE shop.secrets (id int);
ANALYZE`
	databaseComponents = `apiVersion: custody.dev/v1alpha1
kind: ComponentServer
metadata: {name: bench}
spec: {policyDir: policies, journalDir: journal, stores: stores, databases: databases, ca: ca, apps: [orders]}
`
	databasePolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: bench}
spec:
  rules:
  - {name: items, effect: allow, from: [orders], to: {server: bench-db, sql: {operations: [select], tables: [shop.items]}}}
  - {name: mine, effect: allow, from: [orders], to: {server: state-custody, state: {operations: [get, set], keys: [mine]}}}
  - {name: beside, effect: allow, from: [orders-beside], to: {server: state-sidecar, state: {operations: [get, set], keys: [mine]}}}
`
	databaseDocument = `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: bench-db}
spec:
  engine: postgresql
  host: 127.0.0.1
  port: %s
  database: postgres
  serverCA: %s
  schemas: [shop]
  roles:
  - {from: [orders], role: bench_orders}
  limits: {maxConnections: 5}
`
)

// databaseBench is everything that runs for the databases.
type databaseBench struct {
	folder  string
	scratch *postgres.Database
	domain  *localdomain.Domain
	sidecar map[string]daprdOf // by app
	server  int
	want    map[string][]byte   // by operation
	count   map[string]*counted // by guarded way
}

// daprdOf is the sidecar of an app.
type daprdOf struct {
	address string
	pid     int
}

// counted are the requests by a way, the refused ones among them.
type counted struct{ calls, refused int }

// at is the sidecar that has the components of a way.
func (b *databaseBench) at(way string) daprdOf {
	if way == waySidecar {
		return b.sidecar[besideApp]
	}
	return b.sidecar[databaseApp]
}

// startDatabases starts everything. What it gives has to be stopped, also if it fails.
func startDatabases(ctx context.Context, s settings) (b *databaseBench, err error) {
	b = &databaseBench{want: map[string][]byte{}, sidecar: map[string]daprdOf{}, count: map[string]*counted{}}
	for _, way := range guardedWays() {
		b.count[way] = &counted{}
	}
	if b.folder, err = s.makeFolder(); err != nil {
		return b, err
	}
	if b.scratch, err = postgres.StartScratch(ctx, postgres.Options{}); err != nil {
		return b, err
	}
	certificate, err := b.scratch.SpeakTLS(ctx)
	if err != nil {
		return b, err
	}
	authority := filepath.Join(b.folder, "server-ca.pem")
	if err = os.WriteFile(authority, certificate, 0o600); err != nil {
		return b, err
	}
	if err = b.fill(ctx); err != nil {
		return b, err
	}
	at, err := url.Parse(b.scratch.URL())
	if err != nil {
		return b, err
	}
	if err = databaseFolder(b.folder, at, authority).write(); err != nil {
		return b, err
	}
	components := filepath.Join(s.bin, "custody-components")
	if err = b.setUp(ctx, components); err != nil {
		return b, err
	}
	b.domain, err = localdomain.Start(ctx, localdomain.Options{
		File: filepath.Join(b.folder, "dapr.yaml"), Home: filepath.Join(b.folder, "home"), Environ: os.Environ(),
		Daprd: filepath.Join(s.bin, "daprd"), ControlPlane: filepath.Join(s.bin, "controlplane"), Components: components,
	})
	if err != nil {
		return b, err
	}
	return b, b.find(components)
}

func (b *databaseBench) fill(ctx context.Context) error {
	admin, err := pgx.Connect(ctx, b.scratch.URL())
	if err != nil {
		return err
	}
	_, err = admin.PgConn().Exec(ctx, databaseShop).ReadAll()
	return errors.Join(err, admin.Close(ctx))
}

// setUp makes the authority and the role of the component server.
func (b *databaseBench) setUp(ctx context.Context, components string) error {
	output, err := exec.CommandContext(ctx, components, "db", "setup", "--databases", filepath.Join(b.folder, "databases"),
		"--ca", filepath.Join(b.folder, "ca"), "--admin-url", b.scratch.URL()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("db setup: %w: %s", err, output)
	}
	return nil
}

// databaseFolder is what the sidecar, the component server and custody db read, for a server at that URL.
func databaseFolder(folder string, at *url.URL, authority string) *daprdFolder {
	to := func(query string) string {
		with := *at
		with.RawQuery = query + "&pool_max_conns=5"
		return "  - {name: connectionString, value: \"" + with.String() + "\"}\n"
	}
	secure := to("sslmode=verify-full&sslrootcert=" + url.QueryEscape(authority))
	d := &daprdFolder{path: folder, files: map[string]string{
		"dapr.yaml":           "version: 1\nname: bench-databases\napps:\n",
		databaseApp + ".yaml": configuration(databaseApp, ""),
		besideApp + ".yaml":   configuration(besideApp, ""),
		"components.yaml":     databaseComponents, "policies/bench.yaml": databasePolicy,
		"databases/bench.yaml": fmt.Sprintf(databaseDocument, at.Port(), authority),
	}}
	d.addApp(databaseApp, "resources")
	d.addApp(besideApp, "resources-beside")
	d.files["resources-beside/state.yaml"] = component("state-"+waySidecar, "state.custody", secure+fmt.Sprintf(
		"  - {name: tablePrefix, value: d_}\n  - {name: backend, value: postgresql}\n  - {name: policyDir, value: %[1]s/policies}\n"+
			"  - {name: journalDir, value: %[1]s/journal-beside}\n", folder))
	for name, text := range map[string]string{
		"sql-" + wayPlain:     component("sql-"+wayPlain, "bindings.postgres", to("sslmode=disable")),
		"sql-" + wayDapr:      component("sql-"+wayDapr, "bindings.postgres", secure),
		"sql-" + wayCustody:   component("sql-"+wayCustody, "bindings.custody-postgres", "  - {name: database, value: bench-db}\n"),
		"state-" + wayPlain:   component("state-"+wayPlain, "state.postgresql", to("sslmode=disable")+"  - {name: tablePrefix, value: a_}\n"),
		"state-" + wayDapr:    component("state-"+wayDapr, "state.postgresql", secure+"  - {name: tablePrefix, value: b_}\n"),
		"state-" + wayCustody: component("state-"+wayCustody, "state.custody", secure+"  - {name: tablePrefix, value: c_}\n  - {name: backend, value: postgresql}\n"),
	} {
		// Of Dapr's store the second version, which state.custody has, too.
		if strings.Contains(text, "type: state.postgresql") {
			text = strings.Replace(text, "version: v1", "version: v2", 1)
		}
		d.files["resources/"+name+".yaml"] = text
		if strings.Contains(text, "type: state.custody") {
			d.files["stores/"+name+".yaml"] = text
		}
	}
	return d
}

// find notes the processes whose time is measured.
func (b *databaseBench) find(components string) error {
	run := b.domain.Info()
	for _, app := range run.Apps {
		b.sidecar[app.AppID] = daprdOf{address: net.JoinHostPort("127.0.0.1", strconv.Itoa(app.DaprHTTPPort)), pid: app.DaprdPID}
	}
	wanted, err := filepath.EvalSymlinks(components)
	if err != nil {
		return err
	}
	for _, group := range run.Groups {
		if path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", group.PID)); err == nil && path == wanted {
			b.server = group.PID
		}
	}
	if b.server == 0 {
		return errors.New("the component server was not found")
	}
	return nil
}

// check makes sure that all ways give the same answer, and that the rules are in force.
func (b *databaseBench) check(ctx context.Context, o operation) error {
	for _, way := range o.ways {
		address := b.at(way).address
		status, body, err := once(ctx, address, wire(address, o.request, way))
		switch {
		case err != nil:
			return err
		case status != o.status:
			return fmt.Errorf("%s %s: status %d: %.300s", o.name, way, status, body)
		case b.want[o.name] == nil:
			b.want[o.name] = append([]byte{}, body...)
		case !bytes.Equal(b.want[o.name], body):
			return fmt.Errorf("%s %s: answers %.300s in place of %.300s", o.name, way, body, b.want[o.name])
		}
		status, body, err = once(ctx, address, wire(address, o.refused, way))
		if err != nil {
			return err
		}
		count, guarded := b.count[way]
		if refused := status >= 400; refused != guarded {
			return fmt.Errorf("%s %s: what the rules do not name: status %d: %.300s", o.name, way, status, body)
		}
		if guarded {
			count.calls += 2
			count.refused++
		}
	}
	return nil
}

func (b *databaseBench) cell(ctx context.Context, o operation, way string, connections int, duration time.Duration) (Cell, error) {
	sidecar := b.at(way)
	t := &target{variant: variant{name: o.name + " " + way}, address: sidecar.address, caller: sidecar.pid, callee: b.server}
	cell, err := t.cell(ctx, load{
		address: sidecar.address, request: wire(sidecar.address, o.request, way), status: o.status, want: b.want[o.name], connections: connections,
	}, duration)
	if count := b.count[way]; count != nil {
		count.calls += t.calls
	}
	return cell, err
}

// readJournals counts what was recorded: every request that was decided has its records.
func (b *databaseBench) readJournals() (string, error) {
	var notes []string
	for way, folder := range map[string]string{wayCustody: "journal", waySidecar: "journal-beside"} {
		note, err := b.count[way].readJournal(filepath.Join(b.folder, folder))
		if err != nil {
			return "", fmt.Errorf("databases: %s: %w", way, err)
		}
		notes = append(notes, "The journal of "+way+note)
	}
	slices.Sort(notes)
	return strings.Join(notes, "\n"), nil
}

func (c *counted) readJournal(folder string) (string, error) {
	intents, receipts, err := countRecords(folder)
	if err != nil {
		return "", err
	}
	if intents != c.calls-c.refused || receipts != c.calls {
		return "", fmt.Errorf("%d intents and %d receipts for %d requests, %d of them refused", intents, receipts, c.calls, c.refused)
	}
	return fmt.Sprintf(" holds %d intents and %d signed receipts for %d requests, %d of them refused.", intents, receipts, c.calls, c.refused), nil
}

// stop ends every process and removes the folder.
func (b *databaseBench) stop() error {
	var errs []error
	if b.domain != nil {
		errs = append(errs, b.domain.Stop())
	}
	if b.scratch != nil {
		errs = append(errs, b.scratch.Close())
	}
	if b.folder != "" {
		errs = append(errs, os.RemoveAll(b.folder))
	}
	return errors.Join(errs...)
}
