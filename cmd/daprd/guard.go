// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	contribmiddleware "github.com/dapr/components-contrib/middleware"
	"github.com/dapr/dapr/cmd/daprd/options"
	httpmiddleware "github.com/dapr/dapr/pkg/components/middleware/http"
	"github.com/dapr/dapr/pkg/config"
	"github.com/dapr/dapr/pkg/config/protocol"
	"github.com/dapr/dapr/pkg/middleware"
	"github.com/dapr/dapr/pkg/security"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/logger"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

const (
	typePrefix = "middleware.http."
	guardName  = "mcpguard"
	guardType  = typePrefix + guardName

	// statusFileEnv names a second file in which the guard says how it is, for
	// who runs several sidecars and wants to see them together.
	statusFileEnv = "CUSTODY_STATUS_FILE"

	// journalSuffixEnv is added to the journal folder that the component names,
	// because a journal has one writer and two runs may use one component file.
	journalSuffixEnv = "CUSTODY_JOURNAL_SUFFIX"
)

// requiredGuard is the name of the guard component that the Configuration puts
// before the app; empty where it names none. Settings under which the guard
// could be gone round are refused here, before anything is served.
func requiredGuard(cfg *config.Configuration, opts *options.Options) (string, error) {
	if names(cfg.Spec.HTTPPipelineSpec, guardType) {
		return "", fmt.Errorf("configuration: spec.httpPipeline names %s, which guards the way to the app: move it to spec.appHttpPipeline", guardType)
	}
	name, err := lastHandler(cfg.Spec.AppHTTPPipelineSpec, "spec.appHttpPipeline", guardType)
	if name == "" || err != nil {
		return "", err
	}
	return name, guardable(opts)
}

// lastHandler is the name of the one handler of the type; empty where there is none.
func lastHandler(spec *config.PipelineSpec, section, kind string) (string, error) {
	all := handlers(spec)
	var name string
	for i, handler := range all {
		switch {
		case !strings.EqualFold(handler.Type, kind) && strings.Contains(strings.ToLower(handler.Type), strings.TrimPrefix(kind, typePrefix)):
			return "", fmt.Errorf("configuration: %s: %q has type %q, which is not known and would be passed over: write %s", section, handler.Name, handler.Type, kind)
		case !strings.EqualFold(handler.Type, kind):
			continue
		case name != "":
			return "", fmt.Errorf("configuration: %s names %s twice (%q and %q): keep one", section, kind, name, handler.Name)
		case i != len(all)-1:
			return "", fmt.Errorf("configuration: %s: %q must be the last handler: one that comes after it could change what was decided", section, handler.Name)
		case handler.Version != "" && handler.Version != "v1":
			return "", fmt.Errorf("configuration: %s: %q has version %q: %s has only v1", section, handler.Name, handler.Version, kind)
		}
		name = handler.Name
	}
	return name, nil
}

func names(spec *config.PipelineSpec, kind string) bool {
	return slices.ContainsFunc(handlers(spec), func(h config.HandlerSpec) bool { return strings.EqualFold(h.Type, kind) })
}

func handlers(spec *config.PipelineSpec) []config.HandlerSpec {
	if spec == nil {
		return nil
	}
	return spec.Handlers
}

// guardable refuses flags under which requests reach the app by a way that the
// pipeline does not cover, or without a proven caller.
func guardable(opts *options.Options) error {
	if !opts.EnableMTLS {
		return fmt.Errorf("the Configuration names %s, but mTLS is off, so that no caller can be known: start with --enable-mtls", guardType)
	}
	switch protocol.Protocol(opts.AppProtocol) {
	case protocol.HTTPProtocol, protocol.HTTPSProtocol, "":
		return nil
	default:
		return fmt.Errorf("the Configuration names %s, but --app-protocol %s does not pass the HTTP pipeline: use http or https", guardType, opts.AppProtocol)
	}
}

// guardFactory makes the guard where Dapr loads its component.
func (d *daemon) guardFactory(log logger.Logger) httpmiddleware.FactoryMethod {
	return func(meta contribmiddleware.Metadata) (middleware.HTTP, error) {
		guard, err := d.guards.Make(meta.Name, meta.Properties)
		if err != nil {
			return nil, err
		}
		log.Infof("%s %q guards server %q: %s", guardType, meta.Name, guard.Server(), guard.State())
		return func(next http.Handler) http.Handler { return guard.Handler(next) }, nil
	}
}

func (d *daemon) newHost(sec security.Handler, domain *trust, cfg *config.Configuration) *mcpguard.Host {
	host := &mcpguard.Host{
		AppID:         d.opts.AppID,
		Namespace:     security.CurrentNamespace(),
		AppAddress:    net.JoinHostPort(d.opts.AppChannelAddress, d.opts.AppPort),
		AccessControl: accessControl(cfg.Spec.AccessControlSpec),
		StatusFile:    os.Getenv(statusFileEnv),
		JournalSuffix: os.Getenv(journalSuffixEnv),
		Log:           log.Warnf,
	}
	if !sec.MTLSEnabled() {
		return host
	}
	host.ID = sec.ID()
	host.Bundles = domain.anchors
	svids, ok := spiffecontext.X509From(sec.WithSVIDContext(context.Background()))
	if ok {
		host.SVIDs = svids
	}
	return host
}

// accessControl is the part of Dapr's access control that policy reads.
func accessControl(spec *config.AccessControlSpec) policy.AccessControl {
	if spec == nil {
		return policy.AccessControl{}
	}
	result := policy.AccessControl{DefaultAction: spec.DefaultAction, TrustDomain: spec.TrustDomain}
	for _, app := range spec.AppPolicies {
		to := policy.AppPolicy{AppID: app.AppName, DefaultAction: app.DefaultAction, TrustDomain: app.TrustDomain, Namespace: app.Namespace}
		for _, operation := range app.AppOperationActions {
			to.Operations = append(to.Operations, policy.Operation{
				Name: operation.Operation, HTTPVerb: operation.HTTPVerb, Action: operation.Action,
			})
		}
		result.Policies = append(result.Policies, to)
	}
	return result
}
