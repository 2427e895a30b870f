// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// daprdPart and an app's ID are how its sidecar is called in messages.
const daprdPart = "daprd of "

// socketsVariable is a setting of daprd that the user's environment may hold:
// where pluggable components have their sockets.
const socketsVariable = "DAPR_COMPONENTS_SOCKETS_FOLDER"

// startDaprd starts the sidecar of an app and waits until it can send. It is
// not ready to receive before its app listens.
func (d *Domain) startDaprd(m *member) error {
	p, err := d.launchDaprd(m, processSpec{
		part:    daprdPart + m.ID,
		logFile: d.path("logs", "daprd."+m.ID+".log"),
		prefix:  d.prefix(m.DaprdLog, "== DAPRD - "+m.ID+" == "),
	}, nil)
	if err != nil {
		return err
	}
	if err = d.register(m, p); err != nil {
		return err
	}
	d.update(func(r *Run) { r.Apps[m.index].DaprdPID = p.id.PID })
	err = d.await(p, "answer", httpProbe(d.client, m.http.number, "/v1.0/healthz/outbound"))
	if errors.Is(err, errNotReady) {
		return p.failure(fmt.Sprintf("not ready within %s (%s)", d.opts.ReadyTimeout, err))
	}
	return err
}

// launchDaprd fills in what all sidecars have in common and starts one.
func (d *Domain) launchDaprd(m *member, spec processSpec, ended func(*process) bool) (*process, error) {
	for _, port := range []*reservedPort{m.http, m.grpc, m.internal, m.metrics, m.profile} {
		if err := port.release(); err != nil {
			return nil, err
		}
	}
	spec.stage = stageDaprd
	spec.program = d.opts.Daprd
	spec.args = append(d.daprdFlags(m), m.opts.DaprdFlags...)
	spec.dir = d.file.Dir()
	spec.env = d.daprdEnv(m)
	return d.startPart(spec, ended)
}

// daprdFlags are the flags of a sidecar; all its listeners are on loopback.
func (d *Domain) daprdFlags(m *member) []string {
	flags := append(d.meshFlags(),
		"--scheduler-host-address", d.plane.schedulerAddr,
		"--app-id", m.ID,
		"--app-protocol", m.Protocol,
		"--app-channel-address", loopback,
		"--dapr-http-port", strconv.Itoa(m.http.number),
		"--dapr-grpc-port", strconv.Itoa(m.grpc.number),
		"--dapr-internal-grpc-port", strconv.Itoa(m.internal.number),
		"--metrics-port", strconv.Itoa(m.metrics.number),
		"--profile-port", strconv.Itoa(m.profile.number),
		"--config", d.path("config", "base.yaml"),
	)
	if m.ConfigFile != "" {
		flags = append(flags, "--config", m.ConfigFile)
	}
	for _, path := range m.ResourcesPaths {
		flags = append(flags, "--resources-path", path)
	}
	if m.appPortNumber != 0 {
		flags = append(flags, "--app-port", strconv.Itoa(m.appPortNumber))
	}
	return append(flags, m.DaprdFlags...)
}

// meshFlags tie a daprd to the control plane of the run, on loopback.
func (d *Domain) meshFlags() []string {
	return []string{
		"--mode", "standalone",
		"--dapr-listen-addresses", loopback,
		"--dapr-internal-grpc-listen-address", loopback,
		"--metrics-listen-address", loopback,
		"--enable-mtls",
		"--sentry-address", d.plane.sentryAddr,
		"--control-plane-trust-domain", ControlPlaneTrustDomain,
		"--control-plane-namespace", controlPlaneNamespace,
		"--placement-host-address", d.plane.placementAddr,
	}
}

// daprdBase is the environment of a sidecar as far as its files may refer to it.
func (d *Domain) daprdBase(m *member) environment {
	env := d.base.with(map[string]string{"NAMESPACE": m.Namespace, "DAPR_HOST_IP": loopback})
	delete(env, postgresVariable)
	for _, pair := range d.opts.Environ {
		if value, ok := strings.CutPrefix(pair, socketsVariable+"="); ok {
			env[socketsVariable] = value
		}
	}
	return env
}

// daprdEnv is the whole environment of a sidecar. Its files are not in the
// environment of the app.
func (d *Domain) daprdEnv(m *member) environment {
	env := d.daprdBase(m)
	env["DAPR_TRUST_ANCHORS"] = d.plane.trustAnchors
	if m.token != "" {
		env["DAPR_SENTRY_TOKEN_FILE"] = m.token
	}
	if d.components.serves(m.ID) {
		env[socketsVariable] = d.run.Sockets
	}
	env["CUSTODY_STATUS_FILE"] = d.path("guards", m.ID+".json")
	env["APP_API_TOKEN"] = m.apiToken
	if m.journalSuffix != "" {
		env[journalSuffixVariable] = m.journalSuffix
	}
	if token := m.Env["DAPR_API_TOKEN"]; token != "" {
		env["DAPR_API_TOKEN"] = token
	}
	return env.with(m.opts.DaprdEnv)
}
