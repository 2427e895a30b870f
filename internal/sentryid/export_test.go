// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sentryid

import (
	sentryv1pb "github.com/dapr/dapr/pkg/proto/sentry/v1"
	"github.com/dapr/kit/crypto/spiffe"
)

// Read takes Sentry's answer as Request does.
func (i *Identity) Read(response *sentryv1pb.SignCertificateResponse) (*spiffe.SVIDResponse, error) {
	return i.read(response)
}
