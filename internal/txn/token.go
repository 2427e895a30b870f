// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Limits. What goes beyond is refused, in making as in verifying.
const (
	// MaxToken is the largest compact form, in bytes.
	MaxToken = 24 << 10
	// MaxDepth is the largest number of tokens in one another.
	MaxDepth = 4
	// MaxLifetime is the longest time between iat and exp.
	MaxLifetime = 5 * time.Minute
	// MaxContext is the largest tctx, in bytes.
	MaxContext = 2 << 10

	maxTxn = 128
)

// Token is a transaction token that was verified or just made. It must not be changed.
type Token struct {
	// Txn is the ID of the transaction.
	Txn string
	// Subject is the workload that began it, and Actors are those through whose hands it came, from Subject to the
	// sender, which is the last.
	Subject spiffeid.ID
	Actors  []spiffeid.ID
	// Audience is the trust domain in which it is good.
	Audience spiffeid.TrustDomain
	// To is the workload that it was sent to.
	To spiffeid.ID
	// Scope is what may be done.
	Scope Scope
	// Context is a JSON object in RFC 8785 form that says what the transaction is about. Nil if nothing does.
	Context jsontext.Value
	Issued  time.Time
	Expires time.Time
	// Compact is the token itself.
	Compact string
}

// Sender is the workload that sent the token, and whose sidecar signed it.
func (t *Token) Sender() spiffeid.ID { return t.Actors[len(t.Actors)-1] }

// claims is the payload. Members that are not known are refused: one could narrow what the token is good for.
type claims struct {
	Txn      string         `json:"txn"`
	Subject  spiffeid.ID    `json:"sub"`
	Audience string         `json:"aud"`
	Issued   int64          `json:"iat"`
	Expires  int64          `json:"exp"`
	Workload spiffeid.ID    `json:"req_wl"`
	Scope    string         `json:"scope"`
	Context  jsontext.Value `json:"tctx,omitempty"`
	Request  request        `json:"rctx"`
	Actor    *actor         `json:"act,omitempty"`
	Replaces string         `json:"https://custody.dev/replaces,omitempty"`
}

type request struct {
	To spiffeid.ID `json:"to"`
}

type actor struct {
	Subject spiffeid.ID `json:"sub"`
	Actor   *actor      `json:"act,omitempty"`
}

// Begin says what the first token of a transaction holds.
type Begin struct {
	// Txn is the transaction's ID: 1 to 128 letters, digits, '.', '_', ':' or '-'.
	Txn string
	// To is the workload that the token is sent to. Required.
	To spiffeid.ID
	// Scope is what may be done. The zero Scope is refused: say [Everything] for everything.
	Scope Scope
	// Context is a JSON object that says what the transaction is about. It may be nil.
	Context jsontext.Value
	// Now is the time of issue, and Lifetime how long the token is good: at most MaxLifetime, which zero stands for.
	Now      time.Time
	Lifetime time.Duration
}

// Sign makes the first token of a transaction. Its subject is the workload of the SVID.
func (b Begin) Sign(svid *x509svid.SVID) (*Token, error) {
	t, err := b.sign(svid)
	if err != nil {
		return nil, fmt.Errorf("txn: begin: %w", err)
	}
	return t, nil
}

func (b Begin) sign(svid *x509svid.SVID) (*Token, error) {
	if svid == nil {
		return nil, errors.New("there is no identity to sign with")
	}
	lifetime := b.Lifetime
	if lifetime == 0 {
		lifetime = MaxLifetime
	}
	c := claims{
		Txn: b.Txn, Subject: svid.ID, Audience: svid.ID.TrustDomain().Name(), Issued: b.Now.Unix(),
		Expires: b.Now.Add(lifetime).Unix(), Workload: svid.ID, Scope: b.Scope.String(), Request: request{To: b.To},
	}
	if len(b.Context) > 0 {
		c.Context = bytes.Clone(b.Context)
		if err := c.Context.Canonicalize(); err != nil {
			return nil, fmt.Errorf("tctx: %w", err)
		}
	}
	return c.sign(svid, nil)
}

// Replace says what a token that replaces another changes. All else stays as it was.
type Replace struct {
	// To is the workload that the new token is sent to. Required.
	To spiffeid.ID
	// Scope narrows what may be done. The zero Scope leaves it as it was; a wider one is refused.
	Scope Scope
	// Now is the time of issue.
	Now time.Time
}

// Replace makes the token that goes on from the workload that t was sent to, which is that of the SVID. It is good no
// longer than t.
func (t *Token) Replace(r Replace, svid *x509svid.SVID) (*Token, error) {
	replaced, err := t.replace(r, svid)
	if err != nil {
		return nil, fmt.Errorf("txn: replace: %w", err)
	}
	return replaced, nil
}

func (t *Token) replace(r Replace, svid *x509svid.SVID) (*Token, error) {
	scope := r.Scope
	if len(scope.patterns) == 0 {
		scope = t.Scope
	}
	switch {
	case svid == nil:
		return nil, errors.New("there is no identity to sign with")
	case svid.ID != t.To:
		return nil, fmt.Errorf("the token was sent to %s, not to %s", t.To, svid.ID)
	case !scope.Within(t.Scope):
		return nil, fmt.Errorf("scope %q is wider than %q", scope, t.Scope)
	case len(t.Actors) >= MaxDepth:
		return nil, fmt.Errorf("the transaction has been through %d hands, which is the most", MaxDepth)
	case !r.Now.Before(t.Expires):
		return nil, fmt.Errorf("the token expired at %s", t.Expires.UTC().Format(time.RFC3339))
	}
	expires := r.Now.Add(MaxLifetime)
	if t.Expires.Before(expires) {
		expires = t.Expires
	}
	c := claims{
		Txn: t.Txn, Subject: t.Subject, Audience: t.Audience.Name(), Issued: r.Now.Unix(), Expires: expires.Unix(),
		Workload: svid.ID, Scope: scope.String(), Context: t.Context, Request: request{To: r.To}, Replaces: t.Compact,
	}
	for _, id := range append(slices.Clone(t.Actors[1:]), svid.ID) {
		c.Actor = &actor{Subject: id, Actor: c.Actor}
	}
	return c.sign(svid, t.Actors)
}

// sign makes the token of claims that continue those of the actors before.
func (c *claims) sign(svid *x509svid.SVID, before []spiffeid.ID) (*Token, error) {
	t, err := c.token()
	if err != nil {
		return nil, err
	}
	t.Actors = append(slices.Clone(before), c.Workload)
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if t.Compact, err = sign(payload, svid); err != nil {
		return nil, err
	}
	if len(t.Compact) > MaxToken {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(t.Compact), MaxToken)
	}
	return t, nil
}

// token checks what can be checked of the claims by themselves.
func (c *claims) token() (*Token, error) {
	t := &Token{
		Txn: c.Txn, Subject: c.Subject, To: c.Request.To, Context: c.Context,
		Issued: time.Unix(c.Issued, 0), Expires: time.Unix(c.Expires, 0),
	}
	switch {
	case !validTxn(c.Txn):
		return nil, fmt.Errorf("txn %.140q is not 1 to %d letters, digits, '.', '_', ':' or '-'", c.Txn, maxTxn)
	case c.Subject.IsZero() || c.Workload.IsZero():
		return nil, errors.New("sub or req_wl is missing")
	case c.Request.To.IsZero():
		return nil, errors.New("rctx.to is missing")
	case c.Issued <= 0 || c.Expires <= c.Issued || t.Expires.Sub(t.Issued) > MaxLifetime:
		return nil, fmt.Errorf("iat and exp are not from 1 s to %s apart", MaxLifetime)
	case len(c.Context) > MaxContext || (len(c.Context) > 0 && c.Context.Kind() != '{'):
		return nil, fmt.Errorf("tctx is not a JSON object of at most %d bytes", MaxContext)
	}
	var err error
	if t.Audience, err = spiffeid.TrustDomainFromString(c.Audience); err != nil || t.Audience.Name() != c.Audience {
		return nil, fmt.Errorf("aud %.80q is not the name of a trust domain", c.Audience)
	}
	if t.Scope, err = ParseScope(c.Scope); err != nil {
		return nil, err
	}
	return t, nil
}

func validTxn(id string) bool {
	if id == "" || len(id) > maxTxn {
		return false
	}
	for i := range len(id) {
		switch b := id[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '_', b == ':', b == '-':
		default:
			return false
		}
	}
	return true
}
