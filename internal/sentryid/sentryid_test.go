// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sentryid_test

import (
	"encoding/pem"
	"testing"

	sentryv1pb "github.com/dapr/dapr/pkg/proto/sentry/v1"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/sentryid"
	"github.com/dapr-custody/custody/internal/testkit"
)

// What Sentry signs must be what was asked for. That it signs for the bearer of the token alone is tested with the real
// one (tests/integration).
func TestIdentityThatWasNotAskedFor(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	identity := sentryid.Identity{TrustDomain: testkit.TrustDomain("custody.local"), Namespace: "default", ID: "alice"}
	answer := func(app string) *sentryv1pb.SignCertificateResponse {
		var chain []byte
		for _, cert := range ca.SVID(app).Certificates {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		return &sentryv1pb.SignCertificateResponse{WorkloadCertificate: chain}
	}
	got, err := identity.Read(answer("alice"))
	require.NoError(t, err)
	require.Len(t, got.X509Certificates, 2)
	_, err = identity.Read(answer("bob"))
	require.ErrorContains(t, err, "asked was")
	_, err = identity.Read(&sentryv1pb.SignCertificateResponse{})
	require.Error(t, err)
}
