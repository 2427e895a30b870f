// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/config"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"go.opencensus.io/stats/view"

	"github.com/dapr-custody/custody/components/state/guarded"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// daemon is what outlives a restart of the runtime by SIGHUP: the seal on the
// way to the app, and the doors with their journals.
type daemon struct {
	opts    *options.Options
	seal    *seal
	guards  *mcpguard.Factory
	callers *mcpcaller.Factory
	stores  *guarded.Sidecar
	host    atomic.Pointer[mcpguard.Host]
}

func newDaemon(opts *options.Options) *daemon {
	d := &daemon{opts: opts}
	d.guards = mcpguard.NewFactory(d.currentHost)
	d.callers = mcpcaller.NewFactory(d.currentCallerHost)
	d.stores = guarded.NewSidecar(d.currentStoreHost)
	d.seal = newSeal(sealOptions{
		App:        net.JoinHostPort(opts.AppChannelAddress, opts.AppPort),
		HealthPath: healthPath(opts),
		Token:      security.GetAppToken(),
		Lookup:     net.DefaultResolver.LookupNetIP,
	})
	return d
}

func healthPath(opts *options.Options) string {
	if !opts.EnableAppHealthCheck {
		return ""
	}
	return opts.AppHealthCheckPath
}

// close syncs the journals at the end of the process.
func (d *daemon) close() {
	if err := errors.Join(d.guards.Close(), d.callers.Close()); err != nil {
		log.Errorf("Closing the journals: %v", err)
	}
}

var errNoHost = errors.New("the runtime has no identity yet")

func (d *daemon) currentHost() (mcpguard.Host, error) {
	host := d.host.Load()
	if host == nil {
		return mcpguard.Host{}, errNoHost
	}
	return *host, nil
}

// watch has the doors watched that the Configuration names, and closes the way
// to the app to what comes past its guard.
func (d *daemon) watch(cfg *config.Configuration) (*watch, error) {
	guard, err := requiredGuard(cfg, d.opts)
	if err != nil {
		return nil, err
	}
	caller, err := requiredCaller(cfg, d.opts)
	if err != nil {
		return nil, err
	}
	d.seal.require(guard != "")
	w := newWatch(d.opts.ResourcesPath)
	w.unguarded = guard == "" && d.opts.AppPort != "" && d.opts.AppPort != "0"
	w.add(door{name: guard, kind: guardType, section: "spec.appHttpPipeline", made: d.guards, without: "every request to the app is refused"})
	w.add(door{name: caller, kind: callerType, section: "spec.httpPipeline", made: d.callers, without: "the steps of workflows go out without a question, and guards refuse them"})
	return w, nil
}

// run runs the runtime once, until ctx ends.
func (d *daemon) run(ctx context.Context) error {
	if modes.DaprMode(d.opts.Mode) != modes.StandaloneMode {
		return fmt.Errorf("mode %q is not supported by this daprd: the guard's Configuration is read from --config files; use --mode standalone", d.opts.Mode)
	}
	cfg, err := config.LoadStandaloneConfiguration(d.opts.Config...)
	if err != nil {
		return fmt.Errorf("error loading configuration: %w", err)
	}
	watch, err := d.watch(cfg)
	if err != nil {
		return err
	}

	health := healthz.New()
	domain, err := newTrust(d.opts, cfg)
	if err != nil {
		return err
	}
	provider, err := security.New(ctx, domain.securityOptions(health))
	if err != nil {
		return err
	}
	return concurrency.NewRunnerManager(
		provider.Run,
		watch.run,
		func(ctx context.Context) error {
			handler, err := provider.Handler(ctx)
			if err != nil {
				return err
			}
			sec := domain.wrap(handler)
			d.host.Store(d.newHost(sec, domain, cfg))
			rt, err := runtime.FromConfig(ctx, d.runtimeConfig(sec, health, watch.registry()))
			if err != nil {
				return err
			}
			return rt.Run(ctx)
		},
	).Run(ctx)
}

func (d *daemon) runtimeConfig(sec security.Handler, health healthz.Healthz, reg *registry.Options) *runtime.Config {
	o := d.opts
	return &runtime.Config{
		AppID:                         o.AppID,
		ActorsService:                 o.ActorsService,
		ActorsDisseminationTimeout:    o.ActorsDisseminationTimeout,
		HotReloadReconcileInterval:    o.HotReloadReconcileInterval,
		RemindersService:              o.RemindersService,
		SchedulerAddress:              o.SchedulerAddress,
		SchedulerStreams:              o.SchedulerJobStreams,
		AllowedOrigins:                o.AllowedOrigins,
		ResourcesPath:                 o.ResourcesPath,
		ControlPlaneAddress:           o.ControlPlaneAddress,
		AppProtocol:                   o.AppProtocol,
		Mode:                          o.Mode,
		DaprHTTPPort:                  o.DaprHTTPPort,
		DaprInternalGRPCPort:          o.DaprInternalGRPCPort,
		DaprInternalGRPCListenAddress: o.DaprInternalGRPCListenAddress,
		DaprAPIGRPCPort:               o.DaprAPIGRPCPort,
		DaprAPIListenAddresses:        o.DaprAPIListenAddresses,
		DaprPublicPort:                o.DaprPublicPort,
		DaprPublicListenAddress:       o.DaprPublicListenAddress,
		ApplicationPort:               o.AppPort,
		ProfilePort:                   o.ProfilePort,
		EnableProfiling:               o.EnableProfiling,
		AppMaxConcurrency:             o.AppMaxConcurrency,
		EnableMTLS:                    o.EnableMTLS,
		SentryAddress:                 o.SentryAddress,
		MaxRequestSize:                o.MaxRequestSize,
		ReadBufferSize:                o.ReadBufferSize,
		UnixDomainSocket:              o.UnixDomainSocket,
		DaprGracefulShutdownSeconds:   o.DaprGracefulShutdownSeconds,
		DaprBlockShutdownDuration:     o.DaprBlockShutdownDuration,
		DisableBuiltinK8sSecretStore:  o.DisableBuiltinK8sSecretStore,
		EnableAppHealthCheck:          o.EnableAppHealthCheck,
		AppHealthCheckPath:            o.AppHealthCheckPath,
		AppHealthProbeInterval:        o.AppHealthProbeInterval,
		AppHealthProbeTimeout:         o.AppHealthProbeTimeout,
		AppHealthThreshold:            o.AppHealthThreshold,
		AppChannelAddress:             o.AppChannelAddress,
		EnableAPILogging:              o.EnableAPILogging,
		Config:                        o.Config,
		DisableInitEndpoints:          o.DisableInitEndpoints,
		Metrics: metrics.Options{
			Enabled:       o.Metrics.Enabled(),
			Log:           log,
			Port:          o.Metrics.Port(),
			Namespace:     metrics.DefaultMetricNamespace,
			Healthz:       health,
			ListenAddress: o.Metrics.ListenAddress(),
			Meter:         view.NewMeter(),
		},
		AppSSL:         o.AppSSL,
		ComponentsPath: o.ComponentsPath,
		Registry:       reg,
		Security:       sec,
		Healthz:        health,
	}
}
