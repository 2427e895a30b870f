// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"fmt"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// OwnSVID is this process itself as a Caller: for a component that stands beside
// one app and was given that app's identity (SPIFFE Workload API), so that whoever
// reaches it speaks as it. The SVID is asked for and verified anew each time, with
// [ProofX509SVID]: one that expired, or whose root was taken away, is nobody's.
func OwnSVID(v *Verifier, source x509svid.Source) (Caller, error) {
	svid, err := source.GetX509SVID()
	if err != nil {
		return Caller{}, fmt.Errorf("%w: the own SVID is not to be had: %w", ErrUnverified, err)
	}
	if svid == nil {
		return Caller{}, ErrNoCertificate
	}
	return v.Verify(svid.Certificates)
}
