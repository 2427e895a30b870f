// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Command daprd is the Dapr runtime with the MCP guard and caller compiled in. It takes
// the flags of stock daprd and behaves as it does, with these differences:
//
//   - It carries fewer components (see registerComponents), unless it is built
//     with -tags stablecomponents or -tags allcomponents.
//   - Where the Configuration states spec.accessControl.trustDomain, it asks
//     Sentry for an identity in that trust domain, and trusts the roots for no
//     other trust domain than those which the Configuration names.
//   - Where the Configuration puts middleware.http.mcpguard into
//     spec.appHttpPipeline, no request reaches the app that the guard has not
//     let through, also while the middleware is not loaded. It does not start an
//     app beside a guard that is loaded and that the Configuration does not name.
//   - APP_API_TOKEN goes to the app, and not to the URLs that are named to
//     Dapr's API (but where the app speaks h2c).
//   - Where the Configuration puts middleware.http.mcpcaller into
//     spec.httpPipeline, it signs what the app's workflows ask of others, state
//     and approve. It does not start without that component.
//   - It has state.custody, before which policy decides where its component names
//     a policyDir.
//   - It looks for pluggable components in a folder of /tmp that nobody names
//     (see foreignSockets) only where nobody else can have put them there.
//   - It lets more garbage gather before it collects it, at most 16 MiB, unless
//     GOGC or GOMEMLIMIT is set.
package main

import (
	"fmt"
	"os"
	goruntime "runtime"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/buildinfo"
	"github.com/dapr/dapr/pkg/components/bindings"
	"github.com/dapr/dapr/pkg/components/configuration"
	"github.com/dapr/dapr/pkg/components/conversation"
	"github.com/dapr/dapr/pkg/components/crypto"
	"github.com/dapr/dapr/pkg/components/lock"
	httpmiddleware "github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/components/pluggable"
	"github.com/dapr/dapr/pkg/components/pubsub"
	"github.com/dapr/dapr/pkg/components/secretstores"
	"github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
	"go.uber.org/automaxprocs/maxprocs"
)

var (
	log        = logger.NewLogger("dapr.runtime")
	logContrib = logger.NewLogger("dapr.contrib")
)

func main() {
	if _, err := maxprocs.Set(); err != nil {
		log.Warnf("Failed to set GOMAXPROCS: %v", err)
	}

	opts, err := options.New(os.Args[1:])
	if err != nil {
		log.Fatalf("Failed to parse flags: %v", err)
	}
	if answered(opts) {
		return
	}
	defer goruntime.KeepAlive(headroom(os.LookupEnv))

	opts.Logger.SetAppID(opts.AppID)
	if err = logger.ApplyOptionsToLoggers(&opts.Logger); err != nil {
		log.Fatal(err)
	}
	// Dapr's pipeline says at level info for every request that it is being built
	// (pkg/middleware/http/pipeline.go), which says nothing and costs time.
	logger.NewLogger("dapr.middleware.http").SetOutputLevel(logger.WarnLevel)
	log.Infof("Starting Dapr Runtime with the Custody guard -- version %s -- commit %s", buildinfo.Version(), buildinfo.Commit())
	log.Infof("Log level set to: %s", opts.Logger.OutputLevel)

	if err = foreignSockets(pluggable.GetSocketFolderPath(), os.Geteuid()); err != nil {
		log.Fatal(err)
	}
	setRegistryLoggers()
	registerComponents()
	d := newDaemon(opts)
	httpmiddleware.DefaultRegistry.RegisterComponent(d.guardFactory, guardName)
	httpmiddleware.DefaultRegistry.RegisterComponent(d.callerFactory, callerName)
	state.DefaultRegistry.RegisterComponent(d.newGuardedStore, guardedStoreName)
	d.seal.install()

	ctx := signals.Context()
	restarts := signals.OnHUP(ctx)
	defer log.Info("Daprd shutdown gracefully")
	defer d.close()
	for {
		select {
		case <-ctx.Done():
			return
		case runCtx, ok := <-restarts:
			if !ok {
				return
			}
			if err := d.run(runCtx); err != nil {
				log.Fatalf("Fatal error from runtime: %s", err)
			}
			// Not cancelled: the runtime ended by itself (the shutdown API), so there is no restart to wait for.
			if runCtx.Err() == nil {
				return
			}
		}
	}
}

// answered serves the flags that ask a question instead of starting a runtime.
func answered(opts *options.Options) bool {
	switch {
	case opts.RuntimeVersion:
		fmt.Println(buildinfo.Version())
	case opts.BuildInfo:
		fmt.Printf("Version: %s\nGit Commit: %s\nGit Version: %s\n", buildinfo.Version(), buildinfo.Commit(), buildinfo.GitVersion())
	case opts.WaitCommand:
		runtime.WaitUntilDaprOutboundReady(opts.DaprHTTPPort)
	default:
		return false
	}
	return true
}

func setRegistryLoggers() {
	secretstores.DefaultRegistry.Logger = logContrib
	state.DefaultRegistry.Logger = logContrib
	crypto.DefaultRegistry.Logger = logContrib
	configuration.DefaultRegistry.Logger = logContrib
	lock.DefaultRegistry.Logger = logContrib
	pubsub.DefaultRegistry.Logger = logContrib
	nameresolution.DefaultRegistry.Logger = logContrib
	bindings.DefaultRegistry.Logger = logContrib
	conversation.DefaultRegistry.Logger = logContrib
	// As stock daprd does: a middleware logs as the runtime itself.
	httpmiddleware.DefaultRegistry.Logger = log
}
