// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/config"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/security"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/crypto/spiffe/trustanchors"
	"github.com/dapr/kit/crypto/spiffe/trustanchors/static"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
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
// names, and for no other. Dapr's own source gives every root for every domain.
func (t *trust) perDomain(roots trustanchors.Interface, spec *config.AccessControlSpec) (trustanchors.Interface, error) {
	controlPlane, err := spiffeid.TrustDomainFromString(t.opts.ControlPlaneTrustDomain)
	if err != nil {
		return nil, fmt.Errorf("control plane trust domain: %w", err)
	}
	domains := &domainAnchors{Interface: roots, accepted: map[spiffeid.TrustDomain]bool{t.domain: true, controlPlane: true}}
	for _, app := range spec.AppPolicies {
		if app.TrustDomain == "" {
			continue
		}
		td, err := spiffeid.TrustDomainFromString(app.TrustDomain)
		if err != nil {
			return nil, fmt.Errorf("configuration: spec.accessControl.policies of %q: trustDomain: %w", app.AppName, err)
		}
		domains.accepted[td] = true
	}
	return domains, nil
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
		options.OverrideCertRequestFn = t.requestIdentity
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

// domainAnchors gives the roots for the accepted trust domains only.
type domainAnchors struct {
	trustanchors.Interface

	accepted map[spiffeid.TrustDomain]bool
}

func (d *domainAnchors) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if !d.accepted[td] {
		return nil, fmt.Errorf("trust domain %q is not one that the Configuration names", td)
	}
	return d.Interface.GetX509BundleForTrustDomain(td)
}

func (d *domainAnchors) GetJWTBundleForTrustDomain(td spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	if !d.accepted[td] {
		return nil, fmt.Errorf("trust domain %q is not one that the Configuration names", td)
	}
	return d.Interface.GetJWTBundleForTrustDomain(td)
}

var _ trustanchors.Interface = (*domainAnchors)(nil)
