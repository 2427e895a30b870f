// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sentryid

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"

	sentryv1pb "github.com/dapr/dapr/pkg/proto/sentry/v1"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/dapr/pkg/security/token"
	cryptopem "github.com/dapr/kit/crypto/pem"
	"github.com/dapr/kit/crypto/spiffe"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffegrpc/grpccredentials"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
)

// retries is the policy of stock daprd (five tries, Dapr pkg/security/sentry.go), in the terms of gRPC's service config.
const retries = `{"methodConfig": [{"name": [{}], "timeout": "15s", "retryPolicy": {
  "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
  "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]}`

// Identity is what is asked of Sentry. All fields but JWTAudiences are required.
type Identity struct {
	// Address is where Sentry listens, and ControlPlaneTrustDomain and ControlPlaneNamespace say who it is.
	Address                 string
	ControlPlaneTrustDomain string
	ControlPlaneNamespace   string
	// Anchors verify Sentry.
	Anchors x509bundle.Source
	// TrustDomain, Namespace and ID make the SPIFFE ID: spiffe://<TrustDomain>/ns/<Namespace>/<ID>.
	TrustDomain   spiffeid.TrustDomain
	Namespace, ID string
	// JWTAudiences are those of further JWT-SVIDs.
	JWTAudiences []string
}

// Request has Sentry sign the key behind csrDER. What proves the identity is the token that Dapr's own code finds
// (DAPR_SENTRY_TOKEN_FILE, or that of Kubernetes). It fails where Sentry signed another identity than was asked for. It
// has the form of security.Options.OverrideCertRequestFn.
func (i *Identity) Request(ctx context.Context, csrDER []byte) (*spiffe.SVIDResponse, error) {
	conn, err := i.dial()
	if err != nil {
		return nil, err
	}
	response, err := i.sign(ctx, conn, csrDER)
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, err
	}
	return i.read(response)
}

func (i *Identity) dial() (*grpc.ClientConn, error) {
	controlPlane, err := spiffeid.TrustDomainFromString(i.ControlPlaneTrustDomain)
	if err != nil {
		return nil, fmt.Errorf("control plane trust domain: %w", err)
	}
	sentry, err := security.SentryID(controlPlane, i.ControlPlaneNamespace)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(i.Address,
		grpc.WithTransportCredentials(grpccredentials.TLSClientCredentials(i.Anchors, tlsconfig.AuthorizeID(sentry))),
		grpc.WithDefaultServiceConfig(retries))
	if err != nil {
		return nil, fmt.Errorf("error establishing connection to sentry: %w", err)
	}
	return conn, nil
}

func (i *Identity) sign(ctx context.Context, conn *grpc.ClientConn, csrDER []byte) (*sentryv1pb.SignCertificateResponse, error) {
	proof, validator, err := token.GetSentryToken(false)
	if err != nil {
		return nil, fmt.Errorf("error obtaining token: %w", err)
	}
	response, err := sentryv1pb.NewCAClient(conn).SignCertificate(ctx, &sentryv1pb.SignCertificateRequest{
		CertificateSigningRequest: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csrDER}),
		Id:                        i.ID,
		Namespace:                 i.Namespace,
		TrustDomain:               i.TrustDomain.Name(),
		Token:                     proof,
		TokenValidator:            validator,
		JwtAudiences:              i.JWTAudiences,
	})
	if err != nil {
		return nil, fmt.Errorf("error from sentry SignCertificate: %w", err)
	}
	return response, nil
}

func (i *Identity) read(response *sentryv1pb.SignCertificateResponse) (*spiffe.SVIDResponse, error) {
	chain, err := cryptopem.DecodePEMCertificates(response.GetWorkloadCertificate())
	if err != nil {
		return nil, fmt.Errorf("error parsing newly signed certificate: %w", err)
	}
	want, err := i.SPIFFEID()
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
	result := &spiffe.SVIDResponse{X509Certificates: chain}
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

// SPIFFEID is the identity that is asked for.
func (i *Identity) SPIFFEID() (spiffeid.ID, error) {
	return spiffeid.FromSegments(i.TrustDomain, "ns", i.Namespace, i.ID)
}
