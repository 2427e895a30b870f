// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/config"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/security"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/crypto/spiffe/trustanchors"
	"github.com/dapr/kit/crypto/spiffe/trustanchors/static"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/dapr-custody/custody/internal/sentryid"
)

// stockTrustDomain is where Sentry puts a self-hosted app that asks for no
// trust domain (Dapr pkg/sentry/server/validator/internal/common.go), and what
// an absent spec.accessControl.trustDomain reads as.
const stockTrustDomain = "public"

// trust is the trust domain that this daprd lives in, as its Configuration
// states it, and which other trust domains it accepts peers from.
type trust struct {
	opts    *options.Options
	domain  spiffeid.TrustDomain
	stated  bool
	anchors trustanchors.Interface
}

func newTrust(opts *options.Options, cfg *config.Configuration) (*trust, error) {
	t := &trust{opts: opts}
	if !opts.EnableMTLS || len(opts.TrustAnchors) == 0 {
		return t, nil
	}
	roots, err := static.From(static.Options{Anchors: opts.TrustAnchors})
	if err != nil {
		return nil, fmt.Errorf("trust anchors: %w", err)
	}
	t.anchors = roots
	spec := cfg.Spec.AccessControlSpec
	if spec == nil || spec.TrustDomain == "" || spec.TrustDomain == stockTrustDomain {
		return t, nil
	}
	t.stated = true
	if t.domain, err = spiffeid.TrustDomainFromString(spec.TrustDomain); err != nil {
		return nil, fmt.Errorf("configuration: spec.accessControl.trustDomain: %w", err)
	}
	anchors, err := t.perDomain(roots, spec)
	if err != nil {
		return nil, err
	}
	t.anchors = anchors
	return t, nil
}

// perDomain lets the roots speak for the trust domains that the Configuration
// names, and for no other.
func (t *trust) perDomain(roots trustanchors.Interface, spec *config.AccessControlSpec) (trustanchors.Interface, error) {
	controlPlane, err := spiffeid.TrustDomainFromString(t.opts.ControlPlaneTrustDomain)
	if err != nil {
		return nil, fmt.Errorf("control plane trust domain: %w", err)
	}
	accepted := []spiffeid.TrustDomain{t.domain, controlPlane}
	for _, app := range spec.AppPolicies {
		if app.TrustDomain == "" {
			continue
		}
		td, err := spiffeid.TrustDomainFromString(app.TrustDomain)
		if err != nil {
			return nil, fmt.Errorf("configuration: spec.accessControl.policies of %q: trustDomain: %w", app.AppName, err)
		}
		accepted = append(accepted, td)
	}
	return sentryid.For(roots, accepted...), nil
}

// identity is what is asked of Sentry: the app ID, or what stock daprd lets the
// environment put in its place. Sentry decides whether the token bears it out.
func (t *trust) identity() *sentryid.Identity {
	return &sentryid.Identity{
		Address:                 t.opts.SentryAddress,
		ControlPlaneTrustDomain: t.opts.ControlPlaneTrustDomain,
		ControlPlaneNamespace:   t.opts.ControlPlaneNamespace,
		Anchors:                 t.anchors,
		TrustDomain:             t.domain,
		Namespace:               security.CurrentNamespace(),
		ID:                      cmp.Or(os.Getenv("SENTRY_LOCAL_IDENTITY"), t.opts.AppID),
		JWTAudiences:            t.opts.SentryRequestJwtAudiences,
	}
}

func (t *trust) securityOptions(health healthz.Healthz) security.Options {
	options := security.Options{
		SentryAddress:           t.opts.SentryAddress,
		ControlPlaneTrustDomain: t.opts.ControlPlaneTrustDomain,
		ControlPlaneNamespace:   t.opts.ControlPlaneNamespace,
		TrustAnchors:            t.opts.TrustAnchors,
		AppID:                   t.opts.AppID,
		MTLSEnabled:             t.opts.EnableMTLS,
		Mode:                    modes.DaprMode(t.opts.Mode),
		Healthz:                 health,
		JwtAudiences:            t.opts.SentryRequestJwtAudiences,
	}
	if t.stated {
		options.OverrideTrustAnchors = t.anchors
		options.OverrideCertRequestFn = t.identity().Request
	}
	return options
}

// wrap gives the runtime Dapr's security handler with connections that are
// drained before the certificate of their peer expires.
func (t *trust) wrap(handler security.Handler) security.Handler {
	svids, ok := spiffecontext.X509From(handler.WithSVIDContext(context.Background()))
	if !handler.MTLSEnabled() || !ok {
		return handler
	}
	return newDrainingHandler(handler, svids, t.anchors)
}
