// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"errors"
	"fmt"
)

// Sidecar describes a daprd that is started on the mesh besides those of the
// run file. Nothing is minted for it: it can only use a token file that it is
// given, such as that of an app (Run.Apps), rightly or not.
type Sidecar struct {
	AppID string
	// Namespace defaults to "default".
	Namespace string
	// TokenFile is what it proves its identity with; "" means nothing.
	TokenFile string
	// AppPort is where its app listens; 0 means it has none.
	AppPort int
	// ConfigFile and ResourcesPaths are as in the run file, but as they are.
	ConfigFile     string
	ResourcesPaths []string
	// Env and Flags are added after everything else.
	Env   map[string]string
	Flags []string
}

// Launched is a daprd started by Launch. Its end does not end the run; the end
// of the run ends it.
type Launched struct {
	HTTPPort, GRPCPort, InternalPort int
	LogFile                          string

	domain  *Domain
	process *process
}

// Launch starts a daprd and returns at once.
func (d *Domain) Launch(s Sidecar) (*Launched, error) {
	if d.file == nil || d.opts.ControlPlaneOnly {
		return nil, errors.New("localdomain: launch: the domain was started without apps")
	}
	if s.Namespace == "" {
		s.Namespace = defaultNamespace
	}
	m := &member{
		App: App{
			ID: s.AppID, Namespace: s.Namespace, Protocol: "http",
			ConfigFile: s.ConfigFile, ResourcesPaths: s.ResourcesPaths,
		},
		opts:          AppOptions{DaprdEnv: s.Env, DaprdFlags: s.Flags},
		token:         s.TokenFile,
		appPortNumber: s.AppPort,
	}
	p, err := d.launch(m)
	if err != nil {
		return nil, fmt.Errorf("localdomain: launch: %w", err)
	}
	return &Launched{
		HTTPPort: m.http.number, GRPCPort: m.grpc.number, InternalPort: m.internal.number,
		LogFile: p.log, domain: d, process: p,
	}, nil
}

func (d *Domain) launch(m *member) (*process, error) {
	name, err := d.planLaunch(m)
	if err != nil {
		return nil, err
	}
	return d.launchDaprd(m, processSpec{
		part:    "extra daprd " + m.ID,
		logFile: d.path("logs", name+".log"),
		prefix:  d.verbosePrefix(name),
	}, func(*process) bool { return true })
}

// planLaunch reserves the ports and gives the name of the log.
func (d *Domain) planLaunch(m *member) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping {
		return "", errStopped
	}
	d.launched++
	for _, port := range []**reservedPort{&m.http, &m.grpc, &m.internal, &m.metrics, &m.profile} {
		var err error
		if *port, err = d.ports.free(d.ctx); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("extra%d.%s", d.launched, plainName(m.ID)), nil
}

// Ready returns when the daprd can send. If it ends before, the error is a
// *PartError with the last lines of its log.
func (l *Launched) Ready(ctx context.Context) error {
	limit := l.domain.opts.ReadyTimeout
	err := await(ctx, l.process, limit, httpProbe(l.domain.client, l.HTTPPort, "/v1.0/healthz/outbound"))
	if errors.Is(err, errNotReady) {
		err = l.process.failure(fmt.Sprintf("not ready within %s (%s)", limit, err))
	}
	if err != nil {
		return fmt.Errorf("localdomain: launch: %w", err)
	}
	return nil
}

// PID is the process ID.
func (l *Launched) PID() int { return l.process.id.PID }

// Done is closed when the daprd has ended.
func (l *Launched) Done() <-chan struct{} { return l.process.done }

// Kill ends it at once, with all that it started, and waits for the end.
func (l *Launched) Kill() error {
	if err := l.process.signal(sigKill); err != nil {
		return fmt.Errorf("localdomain: kill: %w", err)
	}
	<-l.process.done
	return nil
}
