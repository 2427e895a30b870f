// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/security"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/crypto/spiffe/trustanchors/static"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/sync/errgroup"

	"github.com/dapr-custody/custody/internal/sentryid"
)

const (
	anchorsEnv     = "DAPR_TRUST_ANCHORS"
	anchorsFileEnv = "DAPR_TRUST_ANCHORS_FILE"
	// identityTimeout is how long the first SVID may take.
	identityTimeout = 30 * time.Second
)

// self is this process as a workload.
type self struct {
	id      spiffeid.ID
	svids   x509svid.Source
	bundles x509bundle.Source
	// beside says that this process has the identity of the one app that it serves.
	beside bool
	// run keeps the identity fresh; nil where nothing is to do. close ends what it took.
	run   func(context.Context) error
	close func() error
}

type sentryFlags struct {
	address, controlPlaneTrustDomain, controlPlaneNamespace string
	trustDomain, namespace, id                              string
}

func (s *sentryFlags) register(flags *flag.FlagSet) {
	flags.StringVar(&s.address, "sentry-address", "", "where Dapr's Sentry listens")
	flags.StringVar(&s.controlPlaneTrustDomain, "control-plane-trust-domain", "localhost", "trust domain of the control plane")
	flags.StringVar(&s.controlPlaneNamespace, "control-plane-namespace", "default", "namespace of the control plane")
	flags.StringVar(&s.trustDomain, "trust-domain", "", "trust domain of this server and of its callers")
	flags.StringVar(&s.namespace, "namespace", "default", "namespace of this server")
	flags.StringVar(&s.id, "id", "custody-components", "ID of this server, as an app has one")
}

func (f *serveFlags) identity(ctx context.Context) (*self, error) {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	if os.Getenv(workloadAPIEnv) != "" {
		return fromWorkloadAPI(ctx)
	}
	return f.sentry.identity(ctx)
}

// fromWorkloadAPI takes the identity of whom this process stands beside.
func fromWorkloadAPI(ctx context.Context) (*self, error) {
	source, err := watchWorkload(ctx)
	if err != nil {
		return nil, fmt.Errorf("identity from the Workload API at %s: %w", os.Getenv(workloadAPIEnv), err)
	}
	svid, err := source.GetX509SVID()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("identity from the Workload API: %w", err), source.close())
	}
	return &self{id: svid.ID, svids: source, bundles: source, beside: true, close: source.close}, nil
}

// identity has Sentry sign, for the bearer of the token in DAPR_SENTRY_TOKEN_FILE.
func (s *sentryFlags) identity(ctx context.Context) (*self, error) {
	domain, err := spiffeid.TrustDomainFromString(s.trustDomain)
	if err != nil {
		return nil, fmt.Errorf("--trust-domain: %w", err)
	}
	controlPlane, err := spiffeid.TrustDomainFromString(s.controlPlaneTrustDomain)
	if err != nil {
		return nil, fmt.Errorf("--control-plane-trust-domain: %w", err)
	}
	pem, err := trustAnchors()
	if err != nil {
		return nil, err
	}
	roots, err := static.From(static.Options{Anchors: pem})
	if err != nil {
		return nil, fmt.Errorf("trust anchors: %w", err)
	}
	anchors := sentryid.For(roots, domain, controlPlane)
	wanted := &sentryid.Identity{
		Address: s.address, ControlPlaneTrustDomain: s.controlPlaneTrustDomain, ControlPlaneNamespace: s.controlPlaneNamespace,
		Anchors: anchors, TrustDomain: domain, Namespace: s.namespace, ID: s.id,
	}
	id, err := wanted.SPIFFEID()
	if err != nil {
		return nil, fmt.Errorf("--namespace and --id: %w", err)
	}
	provider, err := security.New(ctx, security.Options{
		SentryAddress: s.address, ControlPlaneTrustDomain: s.controlPlaneTrustDomain, ControlPlaneNamespace: s.controlPlaneNamespace,
		TrustAnchors: pem, AppID: s.id, MTLSEnabled: true, Mode: modes.StandaloneMode, Healthz: healthz.New(),
		OverrideTrustAnchors: anchors, OverrideCertRequestFn: wanted.Request,
	})
	if err != nil {
		return nil, fmt.Errorf("identity from Sentry: %w", err)
	}
	return s.provided(ctx, provider, &self{id: id, bundles: anchors})
}

// provided waits for the first SVID, while the provider runs for as long as the process does.
func (*sentryFlags) provided(ctx context.Context, provider security.Provider, me *self) (*self, error) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- provider.Run(running) }()
	handler, err := provider.Handler(ctx)
	if err != nil {
		stop()
		return nil, fmt.Errorf("identity from Sentry: %w", errors.Join(err, <-done))
	}
	svids, ok := spiffecontext.X509From(handler.WithSVIDContext(running))
	if !ok {
		stop()
		return nil, errors.Join(errors.New("identity from Sentry: there is none"), <-done)
	}
	me.svids = svids
	me.run = func(ctx context.Context) error {
		select {
		case err := <-done:
			done <- err
			return fmt.Errorf("the identity is not renewed any more: %w", cmp.Or(err, errors.New("it ended")))
		case <-ctx.Done():
			return nil
		}
	}
	me.close = func() error {
		stop()
		return <-done
	}
	return me, nil
}

// while does something as long as the identity is kept fresh.
func (s *self) while(ctx context.Context, do func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	defer done()
	if s.run != nil {
		group.Go(func() error { return s.run(ctx) })
	}
	group.Go(func() error {
		defer done()
		return do(ctx)
	})
	return group.Wait()
}

func trustAnchors() ([]byte, error) {
	if text := os.Getenv(anchorsEnv); text != "" {
		return []byte(text), nil
	}
	file := os.Getenv(anchorsFileEnv)
	if file == "" {
		return nil, fmt.Errorf("nothing verifies Sentry: set %s or %s", anchorsEnv, anchorsFileEnv)
	}
	return os.ReadFile(file)
}
