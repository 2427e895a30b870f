// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package sentryid

import (
	"fmt"

	"github.com/dapr/kit/crypto/spiffe/trustanchors"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// For lets the roots speak for the named trust domains and for no other. Dapr's own sources give every root for every
// trust domain.
func For(roots trustanchors.Interface, domains ...spiffeid.TrustDomain) trustanchors.Interface {
	a := &anchors{Interface: roots, accepted: map[spiffeid.TrustDomain]bool{}}
	for _, domain := range domains {
		a.accepted[domain] = true
	}
	return a
}

type anchors struct {
	trustanchors.Interface

	accepted map[spiffeid.TrustDomain]bool
}

var _ trustanchors.Interface = (*anchors)(nil)

func (a *anchors) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if !a.accepted[td] {
		return nil, unnamed(td)
	}
	return a.Interface.GetX509BundleForTrustDomain(td)
}

func (a *anchors) GetJWTBundleForTrustDomain(td spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	if !a.accepted[td] {
		return nil, unnamed(td)
	}
	return a.Interface.GetJWTBundleForTrustDomain(td)
}

func unnamed(td spiffeid.TrustDomain) error {
	return fmt.Errorf("trust domain %q is not one that the Configuration names", td)
}
