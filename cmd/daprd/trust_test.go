// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/pem"
	"testing"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/healthz"
	sentryv1pb "github.com/dapr/dapr/pkg/proto/sentry/v1"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
)

func anchored(t *testing.T) options.Options {
	t.Helper()
	roots := testkit.NewCA(t, "root.example").Bundle().X509Authorities()
	return options.Options{
		AppID: "alice", EnableMTLS: true, ControlPlaneTrustDomain: "control.local", ControlPlaneNamespace: "default",
		TrustAnchors: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: roots[0].Raw}),
	}
}

func TestRootsSpeakForNamedTrustDomainsOnly(t *testing.T) {
	opts := anchored(t)
	named := configured(t, "  accessControl: {trustDomain: custody.local, policies: [{appId: bob, namespace: default, trustDomain: partner.example}]}\n")
	trust, err := newTrust(&opts, named)
	require.NoError(t, err)
	for domain, want := range map[string]bool{
		"custody.local": true, "control.local": true, "partner.example": true, "public": false, "stranger.example": false,
	} {
		_, err := trust.anchors.GetX509BundleForTrustDomain(testkit.TrustDomain(domain))
		require.Equal(t, want, err == nil, domain)
		_, err = trust.anchors.GetJWTBundleForTrustDomain(testkit.TrustDomain(domain))
		require.Equal(t, want, err == nil, domain)
	}
	require.NotNil(t, trust.securityOptions(healthz.New()).OverrideCertRequestFn)
}

// Where the Configuration states no trust domain, everything is as in stock daprd.
func TestStockWithoutATrustDomain(t *testing.T) {
	for _, spec := range []string{"  mtls: {enabled: true}\n", "  accessControl: {trustDomain: public}\n", "  accessControl: {defaultAction: deny}\n"} {
		opts := anchored(t)
		trust, err := newTrust(&opts, configured(t, spec))
		require.NoError(t, err)
		security := trust.securityOptions(healthz.New())
		require.Nil(t, security.OverrideCertRequestFn)
		require.Nil(t, security.OverrideTrustAnchors)
	}
	opts := anchored(t)
	opts.EnableMTLS = false
	trust, err := newTrust(&opts, configured(t, "  accessControl: {trustDomain: custody.local}\n"))
	require.NoError(t, err)
	require.Nil(t, trust.securityOptions(healthz.New()).OverrideCertRequestFn)
}

func TestTrustDomainsThatAreNone(t *testing.T) {
	for spec, want := range map[string]string{
		"  accessControl: {trustDomain: 'Not A Domain'}\n":                                                                    "spec.accessControl.trustDomain",
		"  accessControl: {trustDomain: custody.local, policies: [{appId: bob, namespace: default, trustDomain: 'a/b c'}]}\n": `policies of "bob"`,
	} {
		opts := anchored(t)
		_, err := newTrust(&opts, configured(t, spec))
		require.ErrorContains(t, err, want)
	}
}

// What Sentry signs must be what was asked for.
func TestIdentityThatWasNotAskedFor(t *testing.T) {
	opts := anchored(t)
	trust, err := newTrust(&opts, configured(t, "  accessControl: {trustDomain: custody.local}\n"))
	require.NoError(t, err)
	ca := testkit.NewCA(t, "custody.local")
	answer := func(app string) *sentryv1pb.SignCertificateResponse {
		var chain []byte
		for _, cert := range ca.SVID(app).Certificates {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		return &sentryv1pb.SignCertificateResponse{WorkloadCertificate: chain}
	}
	got, err := trust.readIdentity(answer("alice"))
	require.NoError(t, err)
	require.Len(t, got.X509Certificates, 2)
	_, err = trust.readIdentity(answer("bob"))
	require.ErrorContains(t, err, "asked was")
	_, err = trust.readIdentity(&sentryv1pb.SignCertificateResponse{})
	require.Error(t, err)
}
