// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/pem"
	"testing"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/healthz"
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
