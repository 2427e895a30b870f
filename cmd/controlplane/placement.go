// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dapr/dapr/cmd/placement/options"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/placement"
	"github.com/dapr/dapr/pkg/placement/monitoring"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
)

// runPlacement runs the service that tells which daprd hosts which actor.
func runPlacement(ctx context.Context, log logger.Logger, args []string) error {
	opts, err := options.New(args)
	if err != nil {
		return fmt.Errorf("options: %w", err)
	}
	if err = begin(log, "Placement service", &opts.Logger); err != nil {
		return err
	}
	if err = monitoring.InitMetrics(); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}

	hz := healthz.New()
	exporter := newExporter(log, hz, opts.Metrics)
	provider, err := security.New(ctx, security.Options{
		SentryAddress:           opts.SentryAddress,
		ControlPlaneTrustDomain: opts.TrustDomain,
		ControlPlaneNamespace:   security.CurrentNamespace(),
		TrustAnchorsFile:        &opts.TrustAnchorsFile,
		AppID:                   "dapr-placement",
		MTLSEnabled:             opts.TLSEnabled,
		Mode:                    modes.DaprMode(opts.Mode),
		Healthz:                 hz,
	})
	if err != nil {
		return fmt.Errorf("security: %w", err)
	}
	health := newHealthServer(log, hz, opts.HealthzListenAddress, opts.HealthzPort)
	ready := make(chan *placement.Placement, 1)
	if opts.MetadataEnabled {
		health.mux.HandleFunc("GET /placement/state", placementState(ready))
	}

	return concurrency.NewRunnerManager(
		exporter.Start,
		health.run,
		provider.Run,
		func(ctx context.Context) error {
			handler, err := provider.Handler(ctx)
			if err != nil {
				return fmt.Errorf("identity: %w", err)
			}
			place, err := placement.New(placementOptions(opts, handler, hz))
			if err != nil {
				return fmt.Errorf("create placement: %w", err)
			}
			ready <- place
			return place.Run(ctx)
		},
	).Run(ctx)
}

func placementOptions(opts *options.Options, handler security.Handler, hz healthz.Healthz) placement.Options {
	return placement.Options{
		NodeID:                    opts.RaftID,
		Port:                      opts.PlacementPort,
		ListenAddress:             opts.PlacementListenAddress,
		Security:                  handler,
		Healthz:                   hz,
		KeepAliveTime:             opts.KeepAliveTime,
		KeepAliveTimeout:          opts.KeepAliveTimeout,
		ReplicationFactor:         int64(opts.ReplicationFactor),
		Peers:                     opts.RaftPeers,
		DisseminateTimeout:        opts.DisseminateTimeout,
		DisseminateCoalesceWindow: opts.DisseminateCoalesceWindow,
	}
}

// placementState answers with the placement tables once the service runs.
func placementState(ready chan *placement.Placement) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var place *placement.Placement
		select {
		case <-r.Context().Done():
			return
		case place = <-ready:
			ready <- place
		}
		tables, err := place.StatePlacementTables(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		body, err := json.Marshal(tables)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err = w.Write(body); err != nil {
			return // the client went away
		}
	}
}
