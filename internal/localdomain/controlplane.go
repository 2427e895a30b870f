// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// schedulerID is the only name which Sentry puts into a Scheduler's certificate.
const schedulerID = "dapr-scheduler-server-0"

// controlPlane holds the ports of the three services.
type controlPlane struct {
	sentry, sentryHealth                     *reservedPort
	placement, placementHealth, raft         *reservedPort
	scheduler, schedulerHealth               *reservedPort
	trustAnchors                             string // PEM
	sentryAddr, placementAddr, schedulerAddr string
}

func (d *Domain) planControlPlane() error {
	plane := &d.plane
	for _, p := range []struct {
		to      **reservedPort
		number  int
		service string
	}{
		{&plane.sentry, d.opts.SentryPort, "Sentry"},
		{&plane.placement, d.opts.PlacementPort, "Placement"},
		{&plane.scheduler, d.opts.SchedulerPort, "Scheduler"},
		{&plane.sentryHealth, 0, ""},
		{&plane.placementHealth, 0, ""},
		{&plane.schedulerHealth, 0, ""},
		{&plane.raft, 0, ""},
	} {
		var err error
		if p.number == 0 {
			*p.to, err = d.ports.free(d.ctx)
		} else {
			*p.to, err = d.ports.exact(d.ctx, p.number)
		}
		if errors.Is(err, errPortInUse) {
			return fmt.Errorf("port %d for %s: %w; stop what listens there, or choose another with --listen-%s",
				p.number, p.service, err, strings.ToLower(p.service))
		}
		if err != nil {
			return err
		}
	}
	plane.sentryAddr = address(plane.sentry.number)
	plane.placementAddr = address(plane.placement.number)
	plane.schedulerAddr = address(plane.scheduler.number)
	d.run.Sentry, d.run.Placement, d.run.Scheduler = plane.sentryAddr, plane.placementAddr, plane.schedulerAddr
	d.run.TrustBundle = d.path("trust-bundle.pem")
	return nil
}

// path names a file of the run folder.
func (d *Domain) path(elem ...string) string {
	return filepath.Join(append([]string{d.run.Dir}, elem...)...)
}

func (d *Domain) startControlPlane() error {
	config, err := sentryConfiguration(d.path("jwks", "jwks.json"), d.opts.CertTTL)
	if err != nil {
		return err
	}
	if err = writeFile(d.path("config", "sentry.yaml"), []byte(config)); err != nil {
		return err
	}
	if err = d.startService("sentry", stageSentry, d.plane.sentryHealth, "", d.sentryFlags(),
		d.plane.sentry); err != nil {
		return err
	}
	anchors, err := os.ReadFile(d.path("sentry", "ca.crt"))
	if err != nil {
		return fmt.Errorf("trust bundle: %w", err)
	}
	d.plane.trustAnchors = string(anchors)
	if err = writeFile(d.run.TrustBundle, anchors); err != nil {
		return err
	}
	if err = keepRoots(d.opts.Home, anchors, d.opts.Now()); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error {
		return d.startService("placement", stageControlPlane, d.plane.placementHealth, "dapr-placement",
			d.placementFlags(), d.plane.placement, d.plane.raft)
	})
	group.Go(func() error {
		return d.startService("scheduler", stageControlPlane, d.plane.schedulerHealth, "dapr-scheduler",
			d.schedulerFlags(), d.plane.scheduler)
	})
	return group.Wait()
}

// startService starts one service of the control plane and waits for its
// health. A service with an identity gets a token for it.
func (d *Domain) startService(
	name string, stage int, health *reservedPort, identity string, flags []string, ports ...*reservedPort,
) error {
	began := time.Now()
	env := d.base.with(map[string]string{"NAMESPACE": controlPlaneNamespace})
	if identity != "" {
		id, err := controlPlaneID(identity)
		if err != nil {
			return err
		}
		token, err := d.issuer.issue("controlplane."+name, id)
		if err != nil {
			return err
		}
		env["DAPR_SENTRY_TOKEN_FILE"] = token
	}
	for _, port := range append(ports, health) {
		if err := port.release(); err != nil {
			return err
		}
	}
	p, err := d.startPart(processSpec{
		part:    name,
		stage:   stage,
		program: d.opts.ControlPlane,
		args:    append([]string{name}, flags...),
		dir:     d.run.Dir,
		env:     env,
		logFile: d.path("logs", name+".log"),
		prefix:  d.verbosePrefix(name),
	}, nil)
	if err != nil {
		return err
	}
	err = d.await(p, "answer", httpProbe(d.client, health.number, "/healthz"))
	if errors.Is(err, errNotReady) {
		return p.failure(fmt.Sprintf("not ready within %s (%s)", d.opts.ReadyTimeout, err))
	}
	if err != nil {
		return err
	}
	d.say("%-24s ready  %s", name, since(began))
	return nil
}

func since(began time.Time) string { return fmt.Sprintf("%.1f s", time.Since(began).Seconds()) }

func (d *Domain) verbosePrefix(name string) string {
	if !d.opts.Verbose {
		return ""
	}
	return "== " + name + " == "
}

func (d *Domain) sentryFlags() []string {
	return append(d.serviceFlags(d.plane.sentry, d.plane.sentryHealth),
		"--config", d.path("config", "sentry.yaml"),
		"--issuer-credentials", d.path("sentry"),
	)
}

func (d *Domain) placementFlags() []string {
	return append(d.serviceFlags(d.plane.placement, d.plane.placementHealth),
		"--id", "dapr-placement-0",
		"--initial-cluster", "dapr-placement-0="+address(d.plane.raft.number),
		"--tls-enabled",
		"--trust-anchors-file", d.run.TrustBundle,
		"--sentry-address", d.plane.sentryAddr,
	)
}

func (d *Domain) schedulerFlags() []string {
	return append(d.serviceFlags(d.plane.scheduler, d.plane.schedulerHealth),
		"--id", schedulerID,
		"--override-broadcast-host-port", d.plane.schedulerAddr,
		"--etcd-data-dir", d.schedulerData(),
		"--tls-enabled",
		"--trust-anchors-file", d.run.TrustBundle,
		"--sentry-address", d.plane.sentryAddr,
	)
}

// serviceFlags are what the three services have in common.
func (d *Domain) serviceFlags(port, health *reservedPort) []string {
	return []string{
		"--mode", "standalone",
		"--trust-domain", ControlPlaneTrustDomain,
		"--listen-address", loopback,
		"--port", strconv.Itoa(port.number),
		"--healthz-listen-address", loopback,
		"--healthz-port", strconv.Itoa(health.number),
		"--enable-metrics=false",
	}
}
