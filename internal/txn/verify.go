// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// skew is how far the clocks of two hosts may be apart.
const skew = time.Minute

// VerifyOptions say who takes the token from whom. To and Now are required.
type VerifyOptions struct {
	// Sender is the workload that the token came from, as it was proven otherwise (mTLS). The zero ID is for a sidecar
	// that reads what its own app passes on, of which it does not know who sent it.
	Sender spiffeid.ID
	// To is the workload that takes it.
	To spiffeid.ID
	// Now is the present.
	Now time.Time
}

// ErrInvalid is every reason for which a token is not good.
var ErrInvalid = errors.New("the transaction token is not good")

// Verify checks a token and all that it replaces: form; signatures and certificates; audience, sender and receiver; that
// each hop went on from whom the one before was sent to, and widened nothing. Every error wraps [ErrInvalid].
func Verify(compact string, bundles x509bundle.Source, o VerifyOptions) (*Token, error) {
	t, err := verify(compact, bundles, o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return t, nil
}

func verify(compact string, bundles x509bundle.Source, o VerifyOptions) (*Token, error) {
	if bundles == nil || o.To.IsZero() || o.Now.IsZero() {
		return nil, errors.New("bundle, receiver or time is not known")
	}
	if len(compact) > MaxToken {
		return nil, fmt.Errorf("it has more than %d bytes", MaxToken)
	}
	t, _, err := verifyLayer(compact, bundles, o.Now, MaxDepth)
	if err != nil {
		return nil, err
	}
	return t, t.fits(o)
}

// fits checks what depends on who takes the token from whom.
func (t *Token) fits(o VerifyOptions) error {
	switch {
	case t.Audience != o.To.TrustDomain():
		return fmt.Errorf("it is for trust domain %s, not for %s", t.Audience.Name(), o.To.TrustDomain().Name())
	case t.To != o.To:
		return fmt.Errorf("it was sent to %s, not to %s", t.To, o.To)
	case !o.Sender.IsZero() && t.Sender() != o.Sender:
		return fmt.Errorf("it is from %s, and came from %s", t.Sender(), o.Sender)
	}
	return nil
}

// verifyLayer verifies one token at a moment, and what it replaces at the moment when it did. depth is how many layers
// may still be. It says when the certificates of the outermost are valid.
func verifyLayer(compact string, bundles x509bundle.Source, at time.Time, depth int) (*Token, span, error) {
	if depth == 0 {
		return nil, span{}, fmt.Errorf("more than %d tokens are in one another", MaxDepth)
	}
	payload, chain, err := open(compact)
	if err != nil {
		return nil, span{}, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c, json.RejectUnknownMembers(true)); err != nil {
		return nil, span{}, fmt.Errorf("claims: %w", err)
	}
	t, err := c.token()
	if err != nil {
		return nil, span{}, err
	}
	t.Compact = compact
	if err := t.current(at); err != nil {
		return nil, span{}, err
	}
	certified, err := checkChain(chain, bundles, at, c.Workload)
	if err != nil {
		return nil, span{}, err
	}
	if c.Replaces == "" {
		return t, certified, c.first(t)
	}
	before, _, err := verifyLayer(c.Replaces, bundles, t.Issued, depth-1)
	if err != nil {
		return nil, span{}, fmt.Errorf("in the token that it replaces: %w", err)
	}
	t.Actors = append(slices.Clone(before.Actors), c.Workload)
	return t, certified, c.follows(t, before)
}

// current checks the times of the token itself.
func (t *Token) current(at time.Time) error {
	if t.Issued.After(at.Add(skew)) || !at.Before(t.Expires) {
		return fmt.Errorf("it is good from %s to %s, not at %s", stamp(t.Issued), stamp(t.Expires), stamp(at))
	}
	return nil
}

// span is when certificates are valid, both ends among it.
type span struct{ from, to time.Time }

func (s span) holds(at time.Time) bool { return !at.Before(s.from) && !at.After(s.to) }

// checkChain gives when the chain that it verified is valid.
func checkChain(chain []*x509.Certificate, bundles x509bundle.Source, at time.Time, workload spiffeid.ID) (span, error) {
	id, verified, err := x509svid.Verify(chain, bundles, x509svid.WithTime(at))
	if err != nil {
		return span{}, fmt.Errorf("the certificate of the signer: %w", err)
	}
	if id != workload {
		return span{}, fmt.Errorf("req_wl is %s, and %s signed", workload, id)
	}
	valid := span{from: chain[0].NotBefore, to: chain[0].NotAfter}
	for _, c := range verified[0] {
		if c.NotBefore.After(valid.from) {
			valid.from = c.NotBefore
		}
		if c.NotAfter.Before(valid.to) {
			valid.to = c.NotAfter
		}
	}
	return valid, nil
}

func (c *claims) first(t *Token) error {
	t.Actors = []spiffeid.ID{c.Workload}
	switch {
	case c.Actor != nil:
		return errors.New("the first token has act")
	case c.Subject != c.Workload:
		return fmt.Errorf("sub is %s, and %s began it", c.Subject, c.Workload)
	case t.Audience != c.Subject.TrustDomain():
		return fmt.Errorf("aud is %s, and %s began it", t.Audience.Name(), c.Subject)
	}
	return nil
}

// follows checks that t goes on from before, and is no wider.
func (c *claims) follows(t, before *Token) error {
	switch {
	case c.Workload != before.To:
		return fmt.Errorf("%s replaces a token that was sent to %s", c.Workload, before.To)
	case t.Txn != before.Txn, t.Subject != before.Subject, t.Audience != before.Audience:
		return errors.New("txn, sub or aud is another than in the token that it replaces")
	case !bytes.Equal(t.Context, before.Context):
		return errors.New("tctx is another than in the token that it replaces")
	case !t.Scope.Within(before.Scope):
		return fmt.Errorf("scope %q is wider than %q of the token that it replaces", t.Scope, before.Scope)
	case t.Expires.After(before.Expires):
		return errors.New("exp is later than in the token that it replaces")
	case !slices.Equal(c.Actor.list(), t.Actors[1:]):
		return errors.New("act does not name who sent the tokens that it replaces")
	}
	return nil
}

// list gives the actors from the innermost, who sent first, to the outermost.
func (a *actor) list() []spiffeid.ID {
	var ids []spiffeid.ID
	for ; a != nil && len(ids) <= MaxDepth; a = a.Actor {
		ids = append(ids, a.Subject)
	}
	slices.Reverse(ids)
	return ids
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
