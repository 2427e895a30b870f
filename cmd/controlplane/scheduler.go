// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dapr/dapr/cmd/scheduler/options"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/scheduler/monitoring"
	"github.com/dapr/dapr/pkg/scheduler/server"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
)

// runScheduler runs the service that keeps jobs and workflow reminders. It
// starts anew in the same process when its set of hosts changes, as Dapr's own
// binary does.
func runScheduler(ctx context.Context, log logger.Logger, args []string) error {
	opts, err := options.New(args)
	if err != nil {
		return fmt.Errorf("options: %w", err)
	}
	if err = begin(log, "Scheduler service", &opts.Logger); err != nil {
		return err
	}
	if err = monitoring.InitMetrics(); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}

	hz := healthz.New()
	exporter := newExporter(log, hz, opts.Metrics)
	kubernetes := modes.DaprMode(opts.Mode) == modes.KubernetesMode
	var identityDir *string // for the members of a database, where it has some
	if kubernetes {
		identityDir = &opts.IdentityDirectoryWrite
	}
	provider, err := security.New(ctx, security.Options{
		SentryAddress:           opts.SentryAddress,
		ControlPlaneTrustDomain: opts.TrustDomain,
		ControlPlaneNamespace:   security.CurrentNamespace(),
		TrustAnchorsFile:        opts.TrustAnchorsFile,
		AppID:                   "dapr-scheduler",
		MTLSEnabled:             opts.TLSEnabled || kubernetes,
		Mode:                    modes.DaprMode(opts.Mode),
		Healthz:                 hz,
		WriteIdentityToFile:     identityDir,
	})
	if err != nil {
		return fmt.Errorf("security: %w", err)
	}

	return concurrency.NewRunnerManager(
		newHealthServer(log, hz, opts.HealthzListenAddress, opts.HealthzPort).run,
		exporter.Start,
		provider.Run,
		func(ctx context.Context) error {
			handler, err := provider.Handler(ctx)
			if err != nil {
				return fmt.Errorf("identity: %w", err)
			}
			srvOpts := schedulerOptions(opts, handler, hz)
			if kubernetes || !opts.EtcdEmbed {
				return serveScheduler(ctx, srvOpts)
			}
			return serveWithJobs(ctx, opts, srvOpts)
		},
	).Run(ctx)
}

// serveWithJobs has the database of the jobs in this process, reached by a socket of its user's alone.
func serveWithJobs(ctx context.Context, opts *options.Options, srvOpts server.Options) (err error) {
	db, err := openJobs(ctx, opts)
	if err != nil {
		return fmt.Errorf("database of the jobs: %w", err)
	}
	defer func() { err = errors.Join(err, db.close()) }()
	srvOpts.EtcdEmbed, srvOpts.EtcdClientEndpoints = false, []string{db.endpoint()}
	return concurrency.NewRunnerManager(
		db.run,
		func(ctx context.Context) error { return serveScheduler(ctx, srvOpts) },
	).Run(ctx)
}

func serveScheduler(ctx context.Context, srvOpts server.Options) error {
	if srvOpts.Mode == modes.KubernetesMode {
		controller, err := server.NewController(server.ControllerOptions{KubeConfig: srvOpts.KubeConfig, Healthz: srvOpts.Healthz})
		if err != nil {
			return fmt.Errorf("create controller: %w", err)
		}
		srvOpts.Controller = controller
	}
	for {
		srv, err := server.New(ctx, srvOpts)
		if err != nil {
			return fmt.Errorf("create scheduler: %w", err)
		}
		if err = srv.Run(ctx); err != nil {
			return fmt.Errorf("run scheduler: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func schedulerOptions(opts *options.Options, handler security.Handler, hz healthz.Healthz) server.Options {
	return server.Options{
		Port:                      opts.Port,
		ListenAddress:             opts.ListenAddress,
		OverrideBroadcastHostPort: opts.OverrideBroadcastHostPort,

		Mode:     modes.DaprMode(opts.Mode),
		Security: handler,
		Healthz:  hz,

		KubeConfig:                     opts.KubeConfig,
		EtcdEmbed:                      opts.EtcdEmbed,
		EtcdDataDir:                    opts.EtcdDataDir,
		EtcdName:                       opts.ID,
		EtcdInitialCluster:             opts.EtcdInitialCluster,
		EtcdClientPort:                 opts.EtcdClientPort,
		EtcdClientListenAddress:        opts.EtcdClientListenAddress,
		EtcdSpaceQuota:                 opts.EtcdSpaceQuota,
		EtcdCompactionMode:             opts.EtcdCompactionMode,
		EtcdCompactionRetention:        opts.EtcdCompactionRetention,
		EtcdSnapshotCount:              opts.EtcdSnapshotCount,
		EtcdMaxSnapshots:               opts.EtcdMaxSnapshots,
		EtcdMaxWALs:                    opts.EtcdMaxWALs,
		EtcdBackendBatchLimit:          opts.EtcdBackendBatchLimit,
		EtcdBackendBatchInterval:       opts.EtcdBackendBatchInterval,
		EtcdMaxTxnOps:                  opts.EtcdMaxTxnOps,
		EtcdDefragThresholdMB:          opts.EtcdDefragThresholdMB,
		EtcdInitialElectionTickAdvance: opts.EtcdInitialElectionTickAdvance,
		EtcdMetrics:                    opts.EtcdMetrics,

		EtcdClientEndpoints: opts.EtcdClientEndpoints,
		EtcdClientUsername:  opts.EtcdClientUsername,
		EtcdClientPassword:  opts.EtcdClientPassword,

		Workers: opts.Workers,
	}
}
