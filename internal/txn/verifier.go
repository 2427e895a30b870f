// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn

import (
	"container/list"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// What a Verifier remembers at most. What was unused for the longest time is forgotten first.
const (
	maxRemembered      = 4096
	maxRememberedBytes = 16 << 20 // of compact forms
)

// Verifier verifies tokens like [Verify], and remembers those whose signatures and certificates were good, because each
// layer takes three signature checks and one token may come with many calls. What is remembered holds only while the
// roots by which it was verified are the same, and the present is within the times of the token and of the certificates
// of its sender; who took it from whom is checked each time. It is safe for concurrent use.
type Verifier struct {
	bundles x509bundle.Source

	mu              sync.Mutex
	seen            map[string]*list.Element // by compact form
	named           map[string]*list.Element // by Name
	recent          *list.List
	bytes           int
	most, mostBytes int
}

// remembered is a token by the roots that it was verified with, and when the certificates of its sender are valid.
type remembered struct {
	token     *Token
	name      string
	roots     roots
	certified span
}

// NewVerifier makes a Verifier. bundles must give the bundle of one trust domain only when asked for that trust domain.
func NewVerifier(bundles x509bundle.Source) *Verifier {
	return &Verifier{
		bundles: bundles, seen: map[string]*list.Element{}, named: map[string]*list.Element{}, recent: list.New(),
		most: maxRemembered, mostBytes: maxRememberedBytes,
	}
}

// Verify checks a token as the function [Verify] does.
func (v *Verifier) Verify(compact string, o VerifyOptions) (*Token, error) {
	t, err := v.verify(compact, o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return t, nil
}

// ErrSeveral says that more than one token came with a request. None of them is verified: whose hands the record names
// would be chance.
var ErrSeveral = errors.New("there is more than one transaction token")

// VerifyHeld checks the token that its holder was sent and acts with at a door which knows the holder without a signature,
// as that of a database. The last of the token's Actors is then the holder. Where no token came it is nil; an empty one
// did come, and is not good; several are [ErrSeveral]. A nil Verifier finds none good.
func (v *Verifier) VerifyHeld(tokens []string, holder spiffeid.ID, now time.Time) (*Token, error) {
	switch {
	case len(tokens) == 0:
		return nil, nil
	case len(tokens) > 1:
		return nil, ErrSeveral
	case v == nil:
		return nil, fmt.Errorf("%w: transaction tokens cannot be verified here", ErrInvalid)
	}
	t, err := v.Verify(tokens[0], VerifyOptions{To: holder, Now: now})
	if err != nil {
		return nil, err
	}
	if len(t.Actors) == MaxDepth {
		return nil, fmt.Errorf("%w: it came through %d hands already, the limit", ErrInvalid, MaxDepth)
	}
	held := *t
	held.Actors = append(slices.Clone(t.Actors), holder)
	return &held, nil
}

func (v *Verifier) verify(compact string, o VerifyOptions) (*Token, error) {
	switch {
	case v.bundles == nil || o.To.IsZero() || o.Now.IsZero():
		return nil, errors.New("bundle, receiver or time is not known")
	case len(compact) > MaxToken:
		return nil, fmt.Errorf("it has more than %d bytes", MaxToken)
	}
	if known := v.recall(compact); known != nil && known.certified.holds(o.Now) && known.roots.stand(v.bundles) {
		if err := known.token.current(o.Now); err != nil {
			return nil, err
		}
		return known.token, known.token.fits(o)
	}
	used := roots{}
	t, certified, err := verifyLayer(compact, pinned{v.bundles, used}, o.Now, MaxDepth)
	if err != nil {
		return nil, err
	}
	v.remember(remembered{token: t, name: Name(compact), roots: used, certified: certified})
	return t, t.fits(o)
}

func (v *Verifier) recall(compact string) *remembered {
	v.mu.Lock()
	defer v.mu.Unlock()
	element, ok := v.seen[compact]
	if !ok {
		return nil
	}
	v.recent.MoveToFront(element)
	known := element.Value.(remembered)
	return &known
}

const namePrefix = "sha256:"

// Name is how a token is named to who has it already: "sha256:" and the hexadecimal SHA-256 of its compact form. No
// compact form looks like that.
func Name(compact string) string {
	sum := sha256.Sum256([]byte(compact))
	return namePrefix + hex.EncodeToString(sum[:])
}

// IsName reports whether the text names a token in place of being one.
func IsName(text string) bool { return strings.HasPrefix(text, namePrefix) }

// Named gives the token that is remembered under a name; "" if there is none. It was good once, and is to be verified
// like any other.
func (v *Verifier) Named(name string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	element, ok := v.named[name]
	if !ok {
		return ""
	}
	return element.Value.(remembered).token.Compact
}

func (v *Verifier) remember(r remembered) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if element, ok := v.seen[r.token.Compact]; ok {
		v.forget(element)
	}
	element := v.recent.PushFront(r)
	v.seen[r.token.Compact], v.named[r.name] = element, element
	v.bytes += len(r.token.Compact)
	for v.recent.Len() > v.most || v.bytes > v.mostBytes {
		v.forget(v.recent.Back())
	}
}

func (v *Verifier) forget(element *list.Element) {
	r := v.recent.Remove(element).(remembered)
	delete(v.seen, r.token.Compact)
	delete(v.named, r.name)
	v.bytes -= len(r.token.Compact)
}

// roots are those that a token was verified with, by trust domain.
type roots map[spiffeid.TrustDomain][]*x509.Certificate

// stand reports whether the trust domains still have the very same.
func (r roots) stand(bundles x509bundle.Source) bool {
	for domain, certificates := range r {
		bundle, err := bundles.GetX509BundleForTrustDomain(domain)
		if err != nil || !slices.EqualFunc(bundle.X509Authorities(), certificates, (*x509.Certificate).Equal) {
			return false
		}
	}
	return true
}

// pinned gives the same roots as long as it lives, and notes them.
type pinned struct {
	source x509bundle.Source
	used   roots
}

// GetX509BundleForTrustDomain takes a copy of the roots, which the source may change later.
func (p pinned) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	certificates, ok := p.used[domain]
	if !ok {
		bundle, err := p.source.GetX509BundleForTrustDomain(domain)
		if err != nil {
			return nil, err
		}
		certificates = bundle.X509Authorities()
		p.used[domain] = certificates
	}
	return x509bundle.FromX509Authorities(domain, certificates), nil
}
