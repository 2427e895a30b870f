// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"

	sentryv1pb "github.com/dapr/dapr/pkg/proto/sentry/v1"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/dapr/pkg/security/token"
	cryptopem "github.com/dapr/kit/crypto/pem"
	"github.com/dapr/kit/crypto/spiffe"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
)

type svidResponse = spiffe.SVIDResponse

// sentryRetries is the policy of stock daprd (five tries, Dapr
// pkg/security/sentry.go), in the terms of gRPC's service config.
const sentryRetries = `{"methodConfig": [{"name": [{}], "timeout": "15s", "retryPolicy": {
  "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
  "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]}`

// requestIdentity asks Sentry to sign the key behind csrDER, as stock daprd
// does, but in the trust domain that the Configuration states: stock daprd
// sends none for an app, and self-hosted Sentry then says "public".
func (t *trust) requestIdentity(ctx context.Context, csrDER []byte) (*svidResponse, error) {
	controlPlane, err := spiffeid.TrustDomainFromString(t.opts.ControlPlaneTrustDomain)
	if err != nil {
		return nil, fmt.Errorf("control plane trust domain: %w", err)
	}
	sentryID, err := security.SentryID(controlPlane, t.opts.ControlPlaneNamespace)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(t.opts.SentryAddress,
		grpc.WithTransportCredentials(grpccredentials.TLSClientCredentials(t.anchors, tlsconfig.AuthorizeID(sentryID))),
		grpc.WithDefaultServiceConfig(sentryRetries))
	if err != nil {
		return nil, fmt.Errorf("error establishing connection to sentry: %w", err)
	}
	defer conn.Close()

	proof, validator, err := token.GetSentryToken(false)
	if err != nil {
		return nil, fmt.Errorf("error obtaining token: %w", err)
	}
	response, err := sentryv1pb.NewCAClient(conn).SignCertificate(ctx, &sentryv1pb.SignCertificateRequest{
		CertificateSigningRequest: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csrDER}),
		Id:                        t.requestedID(),
		Namespace:                 security.CurrentNamespace(),
		TrustDomain:               t.domain.Name(),
		Token:                     proof,
		TokenValidator:            validator,
		JwtAudiences:              t.opts.SentryRequestJwtAudiences,
	})
	if err != nil {
		return nil, fmt.Errorf("error from sentry SignCertificate: %w", err)
	}
	return t.readIdentity(response)
}

// requestedID is the app ID, or what stock daprd lets the environment put in
// its place. Sentry decides whether the token bears it out.
func (t *trust) requestedID() string {
	if id := os.Getenv("SENTRY_LOCAL_IDENTITY"); id != "" {
		return id
	}
	return t.opts.AppID
}

func (t *trust) readIdentity(response *sentryv1pb.SignCertificateResponse) (*svidResponse, error) {
	chain, err := cryptopem.DecodePEMCertificates(response.GetWorkloadCertificate())
	if err != nil {
		return nil, fmt.Errorf("error parsing newly signed certificate: %w", err)
	}
	want, err := spiffeid.FromSegments(t.domain, "ns", security.CurrentNamespace(), t.requestedID())
	if err != nil {
		return nil, err
	}
	got, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return nil, fmt.Errorf("newly signed certificate: %w", err)
	}
	if got != want {
		return nil, fmt.Errorf("sentry signed the identity %q, asked was %q", got, want)
	}
	result := &svidResponse{X509Certificates: chain}
	if value := response.GetJwt().GetValue(); value != "" {
		result.JWT = &value
	}
	for audience, value := range response.GetPerAudienceJwts() {
		if result.PerAudienceJWT == nil {
			result.PerAudienceJWT = map[string]string{}
		}
		result.PerAudienceJWT[audience] = value.GetValue()
	}
	return result, nil
}
