// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Controlplane is Dapr's control plane for one machine in one binary:
//
//	controlplane sentry|placement|scheduler FLAGS
//
// Each service takes the flags of Dapr's own binary of that name and runs the
// same public packages. Two things differ. The health server and the metrics
// server listen on 127.0.0.1 unless a flag says otherwise, and both flags,
// --healthz-listen-address and --metrics-listen-address, are honoured (the
// stock binaries take them and listen on all interfaces). And the database that
// the Scheduler embeds is reached by a Unix socket in its own folder, not by a
// port which asks nobody who he is; --etcd-client-port and
// --etcd-client-listen-address have no effect, and it has no other members.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/dapr/dapr/pkg/buildinfo"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

const usage = `usage: controlplane sentry|placement|scheduler [flags]

Runs one service of Dapr's control plane. The flags are those of Dapr's own
binary of that name; "controlplane SERVICE --help" lists them.
`

func main() {
	services := map[string]func(context.Context, logger.Logger, []string) error{
		"sentry":    runSentry,
		"placement": runPlacement,
		"scheduler": runScheduler,
	}
	if len(os.Args) < 2 || services[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	name := os.Args[1]
	log := logger.NewLogger("dapr." + name)
	// Of a flag that is given twice the last one counts.
	args := append([]string{"--healthz-listen-address=127.0.0.1", "--metrics-listen-address=127.0.0.1"}, os.Args[2:]...)
	if err := services[name](signals.Context(), log, args); err != nil {
		log.Fatalf("Fatal error running %s: %s", name, err)
	}
	log.Infof("%s shut down gracefully", name)
}

// begin has the log written as the flags say, and writes who starts.
func begin(log logger.Logger, service string, flags *logger.Options) error {
	if err := logger.ApplyOptionsToLoggers(flags); err != nil {
		return fmt.Errorf("logger: %w", err)
	}
	log.Infof("Starting Dapr %s -- version %s", service, daprVersion())
	log.Infof("Log level set to: %s", flags.OutputLevel)
	return nil
}

// newExporter serves metrics as the flags say.
func newExporter(log logger.Logger, hz healthz.Healthz, flags *metrics.FlagOptions) metrics.Exporter {
	return metrics.New(metrics.Options{
		Log:           log,
		Enabled:       flags.Enabled(),
		Namespace:     metrics.DefaultMetricNamespace,
		Port:          flags.Port(),
		Healthz:       hz,
		ListenAddress: flags.ListenAddress(),
	})
}

// daprVersion names the version of the Dapr module that was linked in; the
// version in Dapr's own build information is only set by its release builds.
func daprVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return buildinfo.Version()
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/dapr/dapr" {
			return dep.Version[len("v"):]
		}
	}
	return buildinfo.Version()
}
