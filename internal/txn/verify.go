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
	t, err := verifyLayer(compact, bundles, o.Now, MaxDepth)
	if err != nil {
		return nil, err
	}
	switch {
	case t.Audience != o.To.TrustDomain():
		return nil, fmt.Errorf("it is for trust domain %s, not for %s", t.Audience.Name(), o.To.TrustDomain().Name())
	case t.To != o.To:
		return nil, fmt.Errorf("it was sent to %s, not to %s", t.To, o.To)
	case !o.Sender.IsZero() && t.Sender() != o.Sender:
		return nil, fmt.Errorf("it is from %s, and came from %s", t.Sender(), o.Sender)
	}
	return t, nil
}

// verifyLayer verifies one token at a moment, and what it replaces at the moment when it did. depth is how many layers
// there may still be.
func verifyLayer(compact string, bundles x509bundle.Source, at time.Time, depth int) (*Token, error) {
	if depth == 0 {
		return nil, fmt.Errorf("more than %d tokens are in one another", MaxDepth)
	}
	payload, chain, err := open(compact)
	if err != nil {
		return nil, err
	}
	var c claims
	if err := json.Unmarshal(payload, &c, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	t, err := c.token()
	if err != nil {
		return nil, err
	}
	t.Compact = compact
	if t.Issued.After(at.Add(skew)) || !at.Before(t.Expires) {
		return nil, fmt.Errorf("it is good from %s to %s, not at %s", stamp(t.Issued), stamp(t.Expires), stamp(at))
	}
	if err := checkChain(chain, bundles, at, c.Workload); err != nil {
		return nil, err
	}
	if c.Replaces == "" {
		return t, c.first(t)
	}
	before, err := verifyLayer(c.Replaces, bundles, t.Issued, depth-1)
	if err != nil {
		return nil, fmt.Errorf("in the token that it replaces: %w", err)
	}
	t.Actors = append(slices.Clone(before.Actors), c.Workload)
	return t, c.follows(t, before)
}

func checkChain(chain []*x509.Certificate, bundles x509bundle.Source, at time.Time, workload spiffeid.ID) error {
	id, _, err := x509svid.Verify(chain, bundles, x509svid.WithTime(at))
	if err != nil {
		return fmt.Errorf("the certificate of the signer: %w", err)
	}
	if id != workload {
		return fmt.Errorf("req_wl is %s, and %s signed", workload, id)
	}
	return nil
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
