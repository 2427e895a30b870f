// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/serverfile"
)

// componentsID is the ID of the component server, as an app has one.
const componentsID = "custody-components"

// serverPart is how the component server is called in messages.
const serverPart = "component server"

// maxSocketPath is the longest path of a Unix socket (unix(7), sun_path with its end).
const maxSocketPath = 107

// components is the component server of a run. nil where there is none.
type components struct {
	file  *serverfile.File
	id    spiffeid.ID
	token string
	// suffix is that of the journal, "" unless another run writes to it.
	suffix string
}

// findComponents reads the file of the component server, if there is one.
func findComponents(opts Options, run *RunFile) (*components, error) {
	path := opts.ComponentsFile
	if path == "" {
		path = filepath.Join(run.Dir(), serverfile.Name)
	}
	text, err := os.ReadFile(path)
	switch {
	case opts.ComponentsFile == "" && errors.Is(err, os.ErrNotExist):
		return nil, nil //nolint:nilnil // a run needs none
	case err != nil:
		return nil, fmt.Errorf("component server: %w", err)
	}
	file, err := serverfile.Parse(path, text)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(run.Apps, func(a App) bool { return a.ID == componentsID }) {
		return nil, fmt.Errorf("%s: an app has the ID %s, which is that of the component server beside it: choose another", run.Path, componentsID)
	}
	for i, app := range file.Apps {
		if !slices.ContainsFunc(run.Apps, func(a App) bool { return a.ID == app }) {
			return nil, fmt.Errorf("%s: spec.apps[%d]: the run file has no app %q", path, i, app)
		}
	}
	return &components{file: file}, nil
}

// serves says whether the sidecar of an app is told of the server.
func (c *components) serves(app string) bool {
	return c != nil && (len(c.file.Apps) == 0 || slices.Contains(c.file.Apps, app))
}

// planComponents gives the server an identity in the trust domain of those that it serves.
func (d *Domain) planComponents() error {
	c := d.components
	if c == nil || d.opts.ControlPlaneOnly {
		return nil
	}
	var domain spiffeid.TrustDomain
	for _, m := range d.members {
		switch td := m.id.TrustDomain(); {
		case !c.serves(m.ID):
		case domain.IsZero():
			domain = td
		case domain != td:
			return fmt.Errorf("%s: its apps are in the trust domains %s and %s: serve those of one with spec.apps", c.file.Path, domain, td)
		}
	}
	if domain.IsZero() {
		return fmt.Errorf("%s: there is no app to serve", c.file.Path)
	}
	var err error
	if c.id, err = spiffeid.FromSegments(domain, "ns", defaultNamespace, componentsID); err != nil {
		return err
	}
	if d.run.Sockets, err = socketFolder(d.path("sockets")); err != nil {
		return fmt.Errorf("component server: %w", err)
	}
	if c.token, err = d.issuer.issue("components", c.id); err != nil {
		return err
	}
	d.run.Server = &RunApp{
		AppID: componentsID, Namespace: defaultNamespace, TrustDomain: domain.Name(), SPIFFEID: c.id.String(),
		TokenFile: c.token, GuardStatusFile: d.path("guards", componentsID+".json"), AppLog: d.path("logs", "components.log"),
	}
	c.suffix, err = d.claim([]Journal{{App: componentsID, Dir: c.file.JournalDir}}, "the component server")
	return err
}

// socketFolder is the wanted folder, or a new one where the paths of sockets in that would be too long.
func socketFolder(wanted string) (string, error) {
	if len(filepath.Join(wanted, "custody-postgres.sock")) <= maxSocketPath {
		return wanted, nil
	}
	return os.MkdirTemp("/tmp", "custody-sockets-") // made with mode 0700
}

// startComponents starts the server and waits until it can be reached.
func (d *Domain) startComponents() error {
	c := d.components
	if c == nil {
		return nil
	}
	began := time.Now()
	if err := os.Mkdir(d.path("registrations"), 0o700); err != nil {
		return fmt.Errorf("component server: %w", err)
	}
	env := d.base.with(map[string]string{
		"NAMESPACE": defaultNamespace, "DAPR_TRUST_ANCHORS": d.plane.trustAnchors, "DAPR_SENTRY_TOKEN_FILE": c.token,
	})
	if c.suffix != "" {
		env[journalSuffixVariable] = c.suffix
	}
	p, err := d.startPart(processSpec{
		part: serverPart, stage: stageComponents, program: d.opts.Components, dir: filepath.Dir(c.file.Path), env: env,
		args: []string{
			"serve", "--config", c.file.Path,
			"--sockets", d.run.Sockets, "--registrations", d.path("registrations"), "--instances", d.path("instances"),
			"--status-file", d.run.Server.GuardStatusFile,
			"--sentry-address", d.plane.sentryAddr, "--control-plane-trust-domain", ControlPlaneTrustDomain,
			"--control-plane-namespace", controlPlaneNamespace,
			"--trust-domain", c.id.TrustDomain().Name(), "--namespace", defaultNamespace, "--id", componentsID,
		},
		logFile: d.run.Server.AppLog, prefix: d.verbosePrefix("components"),
	}, nil)
	if err != nil {
		return err
	}
	d.update(func(r *Run) { r.Server.PID = p.id.PID })
	err = d.await(p, "answer", socketProbe(filepath.Join(d.run.Sockets, "custody.sock")))
	if errors.Is(err, errNotReady) {
		return p.failure(fmt.Sprintf("not ready within %s (%s)", d.opts.ReadyTimeout, err))
	}
	if err == nil {
		d.say("%-24s ready  %s  %s", serverPart, since(began), c.id)
	}
	return err
}

// heard adds to the failure of a sidecar what the component server warned of: a sidecar that gets no component is told
// to look there, and the log goes with the run.
func (d *Domain) heard(err error) error {
	var part *PartError
	server := d.processOf(serverPart)
	if server == nil || !errors.As(err, &part) || !strings.HasPrefix(part.Part, daprdPart) {
		return err
	}
	for _, line := range server.out.warnings() {
		part.Log = append(part.Log, serverPart+": "+line)
	}
	return err
}

// socketProbe wants somebody to listen on a Unix socket.
func socketProbe(path string) probe {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// register tells the component server which process the sidecar of an app is. It looks for the registration of a process
// that it does not know for a while, and daprd does not come to it at once.
func (d *Domain) register(m *member, p *process) error {
	if !d.components.serves(m.ID) {
		return nil
	}
	// Not by its ID: that may be no legal name, and a part of it that is one may be another's.
	name := fmt.Sprintf("app-%d", m.index)
	text, err := identity.FormatRegistration(name, m.id, map[string]string{
		identity.SelectorPID:       fmt.Sprintf("%d@%d", p.id.PID, p.id.StartTime),
		identity.SelectorAppID:     m.ID,
		identity.SelectorNamespace: m.Namespace,
	})
	if err != nil {
		return fmt.Errorf("registration of app %s: %w", m.ID, err)
	}
	return writeFile(d.path("registrations", name+".yaml"), text)
}
