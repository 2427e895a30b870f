// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
)

// member is an app with what was planned for it.
type member struct {
	App
	index int // in the run's apps
	opts  AppOptions
	id    spiffeid.ID
	token string // path of its token file

	appPort                                *reservedPort // nil if the app does not listen, or is external
	http, grpc, internal, metrics, profile *reservedPort
	appPortNumber                          int
	appPortMoved                           bool   // the port of the run file was in use
	journalSuffix                          string // "" unless another run writes to the journals
	apiToken                               string
}

// planApps chooses the ports and identities of all apps.
func (d *Domain) planApps() error {
	base, err := baseConfiguration(d.path("nameresolution.db"))
	if err != nil {
		return err
	}
	if err = writeFile(d.path("config", "base.yaml"), []byte(base)); err != nil {
		return err
	}
	var problems []Problem
	for i, app := range d.file.Apps {
		m := &member{App: app, index: i, opts: d.opts.Apps[app.ID]}
		if err = d.planMember(m); err != nil {
			var wrong *FileError
			if !errors.As(err, &wrong) {
				return err
			}
			problems = append(problems, wrong.Problems...)
			continue
		}
		d.members = append(d.members, m)
		d.run.Apps = append(d.run.Apps, d.runApp(m))
		if err = d.claimJournals(m); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return &FileError{Problems: problems}
	}
	return nil
}

func (d *Domain) planMember(m *member) error {
	td, err := trustDomain(m.ConfigFile, d.daprdBase(m))
	if err != nil {
		return err
	}
	if d.opts.StockDaprd {
		td = spiffeid.RequireTrustDomainFromString(stockTrustDomain)
	}
	if m.id, err = spiffeid.FromSegments(td, "ns", m.Namespace, m.ID); err != nil {
		return fmt.Errorf("identity of app %s: %w", m.ID, err)
	}
	if m.token, err = d.issuer.issue("app."+m.ID, m.id); err != nil {
		return err
	}
	if m.apiToken = m.Env["APP_API_TOKEN"]; m.apiToken == "" {
		random := make([]byte, 16)
		if _, err = rand.Read(random); err != nil {
			return fmt.Errorf("app API token: %w", err)
		}
		m.apiToken = hex.EncodeToString(random)
	}
	if d.opts.ControlPlaneOnly {
		return nil // the Dapr CLI chooses the ports
	}
	return d.planPorts(m)
}

func (d *Domain) planPorts(m *member) error {
	var problems []Problem
	for _, p := range []struct {
		to    **reservedPort
		port  Port
		field string
	}{
		{&m.http, m.HTTPPort, "daprHTTPPort"},
		{&m.grpc, m.GRPCPort, "daprGRPCPort"},
		{&m.internal, m.InternalPort, "daprInternalGRPCPort"},
		{&m.metrics, m.MetricsPort, "metricsPort"},
		{&m.profile, m.ProfilePort, "profilePort"},
	} {
		var err error
		if *p.to, err = d.reserve(p.port.Number); errors.Is(err, errPortInUse) {
			problems = append(problems, Problem{
				File: d.file.Path, Line: p.port.Line, Field: p.field,
				Message: fmt.Sprintf("port %d of app %s is in use; stop what listens there, change it, or remove the field "+
					"and a free port is chosen", p.port.Number, m.ID),
			})
		} else if err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return &FileError{Problems: problems}
	}
	return d.planAppPort(m)
}

// planAppPort reserves the port of the app. If it is in use another is taken,
// so that a second run works beside the first: the app is told its port.
func (d *Domain) planAppPort(m *member) error {
	switch {
	case m.opts.External != 0:
		m.appPortNumber = m.opts.External
		return nil
	case m.AppPort.Number == 0:
		return nil
	}
	var err error
	m.appPort, err = d.reserve(m.AppPort.Number)
	if errors.Is(err, errPortInUse) {
		m.appPortMoved = true
		if m.appPort, err = d.reserve(0); err == nil {
			d.say("note: %s:%d: appPort %d of app %s is in use; the app is told %d in APP_PORT",
				d.file.Path, m.AppPort.Line, m.AppPort.Number, m.ID, m.appPort.number)
		}
	}
	if err != nil {
		return err
	}
	m.appPortNumber = m.appPort.number
	return nil
}

func (d *Domain) reserve(number int) (*reservedPort, error) {
	if number == 0 {
		return d.ports.free(d.ctx)
	}
	return d.ports.exact(d.ctx, number)
}

func (d *Domain) runApp(m *member) RunApp {
	app := RunApp{
		AppID: m.ID, Namespace: m.Namespace,
		TrustDomain: m.id.TrustDomain().Name(), SPIFFEID: m.id.String(),
		TokenFile:       m.token,
		GuardStatusFile: d.path("guards", m.ID+".json"),
	}
	if d.opts.ControlPlaneOnly {
		return app
	}
	app.AppPort = m.appPortNumber
	app.DaprHTTPPort, app.DaprGRPCPort = m.http.number, m.grpc.number
	app.DaprInternalGRPCPort, app.DaprMetricsPort = m.internal.number, m.metrics.number
	app.AppLog = d.path("logs", "app."+m.ID+".log")
	app.DaprdLog = d.path("logs", "daprd."+m.ID+".log")
	return app
}

// startApps starts every daprd at once, each app that listens as soon as its
// daprd is there, and the apps that do not listen when all others are ready:
// those are clients, and would otherwise call what does not run yet.
func (d *Domain) startApps() error {
	d.appsToWait = 0
	for _, m := range d.members {
		if m.opts.External == 0 {
			d.appsToWait++
		}
	}
	var servers errgroup.Group
	for _, m := range d.members {
		servers.Go(func() error {
			began := time.Now()
			if err := d.startDaprd(m); err != nil {
				return err
			}
			if m.appPortNumber == 0 {
				return nil
			}
			return d.startServer(m, began)
		})
	}
	if err := servers.Wait(); err != nil {
		return err
	}
	for _, m := range d.members {
		if m.appPortNumber != 0 {
			continue
		}
		if err := d.awaitDaprd(m); err != nil {
			return err
		}
		if _, err := d.startApp(m); err != nil {
			return err
		}
		d.say("%-24s started", m.ID)
	}
	return nil
}

// startServer starts an app that listens and waits until its daprd reaches it.
func (d *Domain) startServer(m *member, began time.Time) error {
	if m.opts.External == 0 {
		app, err := d.startApp(m)
		if err != nil {
			return err
		}
		err = d.await(app, fmt.Sprintf("listen on port %d", m.appPortNumber), portProbe(m.appPortNumber))
		if errors.Is(err, errNotReady) {
			return app.failure(m.silence(d.opts.ReadyTimeout))
		}
		if err != nil {
			return err
		}
	}
	if err := d.awaitDaprd(m); err != nil {
		return err
	}
	d.say("%-24s ready  %s  %s", m.ID, since(began), m.id)
	return nil
}

// awaitDaprd waits until a sidecar has all its components, and reaches its app if that listens.
func (d *Domain) awaitDaprd(m *member) error {
	daprd := d.processOf(daprdPart + m.ID)
	err := d.await(daprd, "be ready", httpProbe(d.client, m.http.number, "/v1.0/healthz"))
	if errors.Is(err, errNotReady) {
		return daprd.failure(fmt.Sprintf("not ready within %s (%s)", d.opts.ReadyTimeout, err))
	}
	return err
}

// silence says why an app that does not listen may not do so.
func (m *member) silence(limit time.Duration) string {
	if m.appPortMoved {
		return fmt.Sprintf("nothing listens on port %d after %s; the app seems to ignore APP_PORT: have it listen there, "+
			"or free port %d, which another process uses", m.appPortNumber, limit, m.AppPort.Number)
	}
	return fmt.Sprintf("nothing listens on port %d after %s; have the app listen on APP_PORT, or correct appPort", m.appPortNumber, limit)
}

func (d *Domain) processOf(part string) *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.processes {
		if p.part == part {
			return p
		}
	}
	return nil
}

func (d *Domain) startApp(m *member) (*process, error) {
	if m.appPort != nil {
		if err := m.appPort.release(); err != nil {
			return nil, err
		}
	}
	program := m.Command[0]
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(m.Dir, program)
	}
	p, err := d.startPart(processSpec{
		part: "app " + m.ID, stage: stageApp,
		program: program, args: m.Command[1:], dir: m.Dir,
		env:     d.appEnv(m),
		logFile: d.path("logs", "app."+m.ID+".log"),
		prefix:  d.prefix(m.AppLog, "== APP - "+m.ID+" == "),
	}, func(p *process) bool { return d.completed(m, p) })
	if err != nil {
		return nil, err
	}
	d.update(func(r *Run) { r.Apps[m.index].PID = p.id.PID })
	return p, nil
}

// completed says whether an app that ended did so because its work is done.
func (d *Domain) completed(m *member, p *process) bool {
	if !p.ok() || d.ctx.Err() != nil {
		return false
	}
	ready := d.Info().Ready
	if m.appPortNumber != 0 && !ready {
		return false // a server that ends before anybody could call it
	}
	var left int
	d.update(func(r *Run) {
		r.Apps[m.index].Completed = true
		d.appsToWait--
		left = d.appsToWait
	})
	d.say("%-24s completed", m.ID)
	if left == 0 {
		d.cancel(errCompleted)
	}
	return true
}

func (d *Domain) prefix(dest LogDestination, prefix string) string {
	if !d.opts.Verbose && !dest.console() {
		return ""
	}
	return prefix
}

// appEnv is the environment of the app: as of dapr run, and a token by which it
// can tell its own sidecar from others.
func (d *Domain) appEnv(m *member) environment {
	env := d.base.with(map[string]string{
		"APP_ID":              m.ID,
		"APP_PROTOCOL":        m.Protocol,
		"APP_CHANNEL_ADDRESS": loopback,
		"DAPR_HTTP_PORT":      strconv.Itoa(m.http.number),
		"DAPR_GRPC_PORT":      strconv.Itoa(m.grpc.number),
		"DAPR_METRICS_PORT":   strconv.Itoa(m.metrics.number),
		"APP_API_TOKEN":       m.apiToken,
	})
	if m.appPortNumber != 0 {
		env["APP_PORT"] = strconv.Itoa(m.appPortNumber)
	}
	env = env.with(m.Env)
	env["APP_API_TOKEN"] = cmp.Or(env["APP_API_TOKEN"], m.apiToken)
	return env.with(m.opts.Env)
}
