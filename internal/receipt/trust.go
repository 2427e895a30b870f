// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// trusted is a chain of certificates as it was parsed and, where id is set, found good: by a path to roots on which every
// certificate is valid from notBefore to notAfter, and without any that lead to none. It is never changed.
type trusted struct {
	chain     []*x509.Certificate
	id        spiffeid.ID
	roots     []*x509.Certificate
	notBefore time.Time
	notAfter  time.Time
}

// carries says whether the signature has these very certificates beside it.
func (s *Signature) carries(chain []*x509.Certificate) bool {
	if !bytes.Equal(s.Certificate, chain[0].Raw) || len(s.Intermediates) != len(chain)-1 {
		return false
	}
	for i, der := range s.Intermediates {
		if !bytes.Equal(der, chain[i+1].Raw) {
			return false
		}
	}
	return true
}

// checkChain verifies the chain for a moment, or knows that it is good.
func (v *Verifier) checkChain(known *trusted, at time.Time) (spiffeid.ID, error) {
	leaf := known.chain[0]
	id := known.id
	if id.IsZero() {
		var err error
		if id, err = x509svid.IDFromCert(leaf); err != nil {
			return spiffeid.ID{}, certificateError("%w", err)
		}
	}
	bundle, err := v.bundles.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil {
		return spiffeid.ID{}, fmt.Errorf("receipt: %w: %s (signer %s): %w", ErrTrustDomain, id.TrustDomain().Name(), id, err)
	}
	roots := bundle.X509Authorities()
	if !known.id.IsZero() && !at.Before(known.notBefore) && !at.After(known.notAfter) &&
		slices.EqualFunc(roots, known.roots, (*x509.Certificate).Equal) {
		return id, nil
	}
	fresh, err := trust(id, known.chain, roots, at)
	if err != nil {
		return spiffeid.ID{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.seen) >= maxTrusted {
		clear(v.seen)
	}
	v.seen[KeyID(leaf)] = fresh
	return id, nil
}

// trust verifies the chain against the roots of the trust domain of its leaf.
func trust(id spiffeid.ID, chain, roots []*x509.Certificate, at time.Time) (*trusted, error) {
	if err := checkLeaf(id, chain[0]); err != nil {
		return nil, err
	}
	for _, c := range chain {
		if weak(c.SignatureAlgorithm) {
			return nil, certificateError("%q of the chain of %s is signed by %s, which is not accepted",
				c.Subject, id, c.SignatureAlgorithm)
		}
	}
	own := x509bundle.FromX509Authorities(id.TrustDomain(), roots)
	_, paths, err := x509svid.Verify(chain, own, x509svid.WithTime(at))
	if err != nil {
		if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return nil, certificateError("that of %s was not valid at %s (it is from %s to %s): %w", id,
				at.UTC().Format(time.RFC3339), chain[0].NotBefore.UTC().Format(time.RFC3339),
				chain[0].NotAfter.UTC().Format(time.RFC3339), err)
		}
		return nil, certificateError("that of %s does not chain to the bundle of %s: %w", id, id.TrustDomain().Name(), err)
	}
	t := &trusted{chain: onPath(chain, paths), id: id, roots: roots, notBefore: chain[0].NotBefore, notAfter: chain[0].NotAfter}
	for _, c := range paths[0] {
		if c.NotBefore.After(t.notBefore) {
			t.notBefore = c.NotBefore
		}
		if c.NotAfter.Before(t.notAfter) {
			t.notAfter = c.NotAfter
		}
	}
	return t, nil
}

// onPath gives the certificates of the chain that lead to a root, each once. Whoever has an envelope can put others beside
// its signature, which must not come back with what the same key signs later.
func onPath(chain []*x509.Certificate, paths [][]*x509.Certificate) []*x509.Certificate {
	kept := chain[:1:1]
	for _, c := range chain[1:] {
		leads := slices.ContainsFunc(paths, func(path []*x509.Certificate) bool { return slices.ContainsFunc(path, c.Equal) })
		if leads && !slices.ContainsFunc(kept, c.Equal) {
			kept = append(kept, c)
		}
	}
	return kept
}

// checkLeaf holds the leaf to sections 4.1 and 5.2 of the X.509-SVID specification, of which go-spiffe leaves some to the
// TLS that comes before it.
func checkLeaf(id spiffeid.ID, leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return certificateError("that of %s is that of an authority, not of a workload", id)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return certificateError("that of %s does not have the key usage digitalSignature", id)
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return certificateError("that of %s has the key usage keyCertSign or cRLSign, which a workload must not have", id)
	case id.Path() == "":
		return certificateError("%s is a trust domain, not a workload", id)
	}
	return nil
}

// weak says whether the algorithm is not one of those that are known to be good.
func weak(algorithm x509.SignatureAlgorithm) bool {
	switch algorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return false
	}
	return true
}
