// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// maxVerified bounds the memory of a Verifier. When it is reached everything
// is forgotten and verified anew.
const maxVerified = 4096

// Verifier turns certificate chains into callers. It remembers which leaf it
// has verified, because a chain takes two signature checks and a connection
// carries many requests: what is remembered holds only while the bundle of the
// trust domain is unchanged and the clock is within the validity of every
// certificate of the chain. It is safe for concurrent use.
type Verifier struct {
	bundles x509bundle.Source
	now     func() time.Time

	mu   sync.RWMutex
	seen map[[sha256.Size]byte]verified
	most int
}

type verified struct {
	caller    Caller
	roots     []*x509.Certificate
	notBefore time.Time
	notAfter  time.Time
}

// NewVerifier makes a Verifier. bundles must give the bundle of one trust
// domain only when asked for that trust domain: a source that gives every root
// for every domain lets each root speak for all of them. now must not be nil.
func NewVerifier(bundles x509bundle.Source, now func() time.Time) *Verifier {
	return &Verifier{bundles: bundles, now: now, seen: map[[sha256.Size]byte]verified{}, most: maxVerified}
}

// Verify checks the chain, leaf first, against the bundle of the leaf's own
// trust domain at this moment (SPIFFE X509-SVID, section 5) and returns the
// caller it proves. Every failure is an [ErrUnverified].
func (v *Verifier) Verify(chain []*x509.Certificate) (Caller, error) {
	if len(chain) == 0 {
		return Caller{}, ErrNoCertificate
	}
	now := v.now()
	key := sha256.Sum256(chain[0].Raw)
	v.mu.RLock()
	known, ok := v.seen[key]
	v.mu.RUnlock()
	if ok && !now.Before(known.notBefore) && !now.After(known.notAfter) && v.sameRoots(known) {
		return known.caller, nil
	}

	fresh, err := v.verify(chain, key, now)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		delete(v.seen, key)
		return Caller{}, err
	}
	if len(v.seen) >= v.most {
		clear(v.seen)
	}
	v.seen[key] = fresh
	return fresh.caller, nil
}

func (v *Verifier) sameRoots(known verified) bool {
	bundle, err := v.bundles.GetX509BundleForTrustDomain(known.caller.id.TrustDomain())
	return err == nil && slices.EqualFunc(bundle.X509Authorities(), known.roots, (*x509.Certificate).Equal)
}

func (v *Verifier) verify(chain []*x509.Certificate, key [sha256.Size]byte, now time.Time) (verified, error) {
	// The zero time would make x509 use the system clock behind our back.
	if now.IsZero() {
		return verified{}, fmt.Errorf("%w: the clock gives no time", ErrUnverified)
	}
	id, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return verified{}, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	bundle, err := v.bundles.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil {
		return verified{}, fmt.Errorf("%w: %s: %w", ErrUnverified, id, err)
	}
	// A copy: the chain must be checked against the very roots that are
	// remembered. Dapr's bundles bear no trust domain, so it is put in here.
	roots := bundle.X509Authorities()
	own := x509bundle.FromX509Authorities(id.TrustDomain(), roots)
	_, chains, err := x509svid.Verify(chain, own, x509svid.WithTime(now))
	if err != nil {
		return verified{}, fmt.Errorf("%w: %s: %w", ErrUnverified, id, err)
	}
	result := verified{
		caller: Caller{id: id, proof: ProofX509SVID, certDigest: hex.EncodeToString(key[:])},
		roots:  roots,
	}
	for _, cert := range chains[0] {
		if result.notBefore.Before(cert.NotBefore) {
			result.notBefore = cert.NotBefore
		}
		if result.notAfter.IsZero() || cert.NotAfter.Before(result.notAfter) {
			result.notAfter = cert.NotAfter
		}
	}
	return result, nil
}
