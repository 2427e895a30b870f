// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package history

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/dapr/kit/crypto/spiffe/signer"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/identity"
)

// anchors gives Dapr's verifier the bundles. It never watches, and has none for tokens.
type anchors struct{ x509bundle.Source }

var errOnlyX509 = errors.New("only X.509 bundles are there")

func (anchors) GetJWTBundleForTrustDomain(spiffeid.TrustDomain) (*jwtbundle.Bundle, error) {
	return nil, errOnlyX509
}
func (anchors) CurrentTrustAnchors(context.Context) ([]byte, error) { return nil, errOnlyX509 }
func (anchors) Watch(context.Context, chan<- []byte)                {}
func (anchors) Run(context.Context) error                           { return errOnlyX509 }

// noBundles knows no trust domain.
type noBundles struct{}

func (noBundles) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return nil, fmt.Errorf("no bundle was given for %s", td)
}

// checks verifies certificates, each once for a time and all between.
type checks struct {
	bundles x509bundle.Source
	signer  *signer.Signer
	seen    map[string]*checked
	// external are the certificates of the instance by their digest, once they were asked for.
	external map[string][]byte
}

type checked struct {
	chain    []*x509.Certificate
	id       spiffeid.ID
	err      error // of the certificate itself, whatever the time
	from, to time.Time
}

func newChecks(bundles x509bundle.Source) *checks {
	if bundles == nil {
		bundles = noBundles{}
	}
	return &checks{bundles: bundles, signer: signer.New(nil, anchors{bundles}), seen: map[string]*checked{}}
}

// identity gives the SPIFFE ID of a chain in DER. It says nothing about trust.
func (c *checks) identity(der []byte) (spiffeid.ID, error) {
	k := c.parse(der)
	return k.id, k.err
}

func (c *checks) parse(der []byte) *checked {
	if k := c.seen[string(der)]; k != nil {
		return k
	}
	k := &checked{}
	c.seen[string(der)] = k
	if k.chain, k.err = x509.ParseCertificates(der); k.err == nil && len(k.chain) == 0 {
		k.err = errors.New("it is empty")
	}
	if k.err == nil {
		k.id, k.err = x509svid.IDFromCert(k.chain[0])
	}
	if k.err == nil && k.chain[0].KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		k.err = errors.New("its key is not for signing (key usage digitalSignature)")
	}
	return k
}

// verify says whether a chain in DER was good at a time. The zero time is never good.
func (c *checks) verify(der []byte, at time.Time) *Fault {
	k := c.parse(der)
	switch {
	case k.err != nil:
		return &Fault{Kind: Certificate, Detail: k.err.Error()}
	case at.IsZero():
		return &Fault{Kind: Certificate, Detail: "the time at which it should have been valid is not known"}
	case !k.from.IsZero() && !at.Before(k.from) && !at.After(k.to):
		return nil
	}
	if _, err := c.bundles.GetX509BundleForTrustDomain(k.id.TrustDomain()); err != nil {
		return &Fault{Kind: TrustDomain, Detail: fmt.Sprintf("there is no bundle for the trust domain of %s", k.id)}
	}
	_, chains, err := x509svid.Verify(k.chain, c.bundles, x509svid.WithTime(at))
	if err != nil {
		if leaf := k.chain[0]; at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
			err = fmt.Errorf("it is valid from %s to %s", stamp(leaf.NotBefore), stamp(leaf.NotAfter))
		}
		return &Fault{Kind: Certificate, Detail: fmt.Sprintf("that of %s does not hold at %s: %s", k.id, stamp(at), err)}
	}
	k.from, k.to = validity(chains[0])
	return nil
}

// validity is when all certificates of a chain are valid. Nothing else about a chain depends on the time.
func validity(chain []*x509.Certificate) (from, to time.Time) {
	from, to = chain[0].NotBefore, chain[0].NotAfter
	for _, certificate := range chain[1:] {
		if certificate.NotBefore.After(from) {
			from = certificate.NotBefore
		}
		if certificate.NotAfter.Before(to) {
			to = certificate.NotAfter
		}
	}
	return from, to
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// names says whether an ID is that which Sentry gives an app.
func names(id spiffeid.ID, namespace, app string) bool {
	ofNamespace, ofApp, ok := identity.App(id)
	return ok && ofNamespace == namespace && ofApp == app
}
