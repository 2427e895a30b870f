// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/txn"
)

// Transaction is what Custody-Txn says.
type Transaction struct {
	// Begin is to begin a transaction.
	Begin bool
	// Narrows is whether it says Scope, which is what may be done from here on.
	Narrows bool
	Scope   txn.Scope
}

// ParseTransaction reads the values of Custody-Txn: none, or one of begin, begin; scope="..." and scope="...".
func ParseTransaction(values []string) (Transaction, error) {
	switch len(values) {
	case 0:
		return Transaction{}, nil
	case 1:
		t, err := parseTransaction(values[0])
		if err != nil {
			return Transaction{}, fmt.Errorf("header %s: %w", HeaderTxn, err)
		}
		return t, nil
	}
	return Transaction{}, fmt.Errorf("header %s is given %d times: give it once", HeaderTxn, len(values))
}

func parseTransaction(text string) (t Transaction, err error) {
	rest := text
	if after, ok := strings.CutPrefix(text, "begin"); ok {
		t.Begin = true
		if after == "" {
			return t, nil
		}
		if after, ok = strings.CutPrefix(after, ";"); !ok {
			return t, errNoTransaction
		}
		rest = strings.TrimLeft(after, " ")
	}
	scope, opened := strings.CutPrefix(rest, `scope="`)
	scope, closed := strings.CutSuffix(scope, `"`)
	if !opened || !closed {
		return t, errNoTransaction
	}
	t.Narrows = true
	t.Scope, err = txn.ParseScope(scope)
	return t, err
}

var (
	errNoTransaction = errors.New(`write begin, begin; scope="server/tool ...", or scope="server/tool ..." to narrow what ` + HeaderTxnToken + ` lets`)
	errTokenTwice    = errors.New("header " + HeaderTxnToken + " is given more than once: pass on the one token that came with the call that is being served")
	errNothingToDo   = errors.New("header " + HeaderTxn + ` narrows a transaction, and there is none: pass on ` + HeaderTxnToken + `, or say begin`)
	errBeginAgain    = errors.New("header " + HeaderTxn + " says begin, and " + HeaderTxnToken + " goes on in a transaction: send one of them")
)

// transaction is what the app says of the transaction of a call, for the token that goes out.
type transaction struct {
	tokens []string // that the app passes on; one or none
	said   Transaction
	chain  *receipt.Chain // of which the call is a step; nil for none
}

// transact gives the token of the call's transaction, zero if it is in none. The reply is for the app where there is none
// that may go out.
func (c *Caller) transact(r *http.Request, own *owned, chain *receipt.Chain) (made, *reply) {
	if len(own.tokens) == 0 && len(own.txn) == 0 && chain == nil {
		return made{}, nil
	}
	said, err := ParseTransaction(own.txn)
	t := transaction{tokens: own.tokens, said: said, chain: chain}
	switch {
	case err != nil:
	case len(own.tokens) > 1:
		err = errTokenTwice
	case len(own.tokens) == 1 && said.Begin:
		err = errBeginAgain
	case len(own.tokens) == 0 && chain == nil && !said.Begin:
		err = errNothingToDo
	}
	var app string
	if err == nil {
		app, err = invoked(r)
	}
	switch {
	case errors.Is(err, errNoInvocation) && len(own.txn) == 0:
		return made{}, nil // nothing that could take a token
	case err != nil:
		return made{}, with(refused(http.StatusBadRequest, err))
	}
	token, err := c.token(t, app)
	if err != nil {
		return made{}, with(c.replyTo(err))
	}
	return token, nil
}

func with(r reply) *reply { return &r }

// token makes the token of the call to an app: the first of a transaction, or one that replaces that of the app.
func (c *Caller) token(t transaction, app string) (made, error) {
	svid, err := c.host.SVIDs.GetX509SVID()
	if err == nil && (svid == nil || len(svid.Certificates) == 0) {
		err = gate.ErrNoIdentity
	}
	if err != nil {
		return made{}, unsigned(err)
	}
	to, err := appOf(svid.ID, app)
	if err != nil {
		return made{}, &tokenError{err}
	}
	now := time.Now()
	if len(t.tokens) == 1 {
		return c.replace(t, to, svid, now)
	}
	return c.begin(t, to, svid, now)
}

func (c *Caller) replace(t transaction, to spiffeid.ID, svid *x509svid.SVID, now time.Time) (made, error) {
	token, err := c.tokens.Verify(t.tokens[0], txn.VerifyOptions{To: svid.ID, Now: now})
	if err != nil {
		return made{}, &tokenError{err}
	}
	if t.chain != nil {
		if err := gate.SameChain(token, t.chain); err != nil {
			return made{}, &tokenError{err}
		}
	}
	next, err := c.minted.get(mint{of: t.tokens[0], to: to, scope: t.said.Scope.String()}, svid, now, func() (*txn.Token, error) {
		return token.Replace(txn.Replace{To: to, Scope: t.said.Scope, Now: now}, svid)
	})
	if err != nil {
		return made{}, &tokenError{err}
	}
	return next, nil
}

// begin makes the first token. All steps of a chain are one transaction.
func (c *Caller) begin(t transaction, to spiffeid.ID, svid *x509svid.SVID, now time.Time) (made, error) {
	var err error
	b := txn.Begin{To: to, Scope: t.said.Scope, Now: now}
	if !t.said.Narrows {
		b.Scope, err = txn.ParseScope(txn.Everything)
	}
	var first made
	switch {
	case err != nil:
	case t.chain != nil:
		b.Txn, b.Context = gate.TransactionOf(t.chain)
		first, err = c.minted.get(mint{of: b.Txn, to: to, scope: b.Scope.String()}, svid, now, func() (*txn.Token, error) { return b.Sign(svid) })
	default:
		first, err = another(b, svid)
	}
	if err != nil {
		return made{}, unsigned(err)
	}
	return first, nil
}

// another begins a transaction that is like no other.
func another(b txn.Begin, svid *x509svid.SVID) (made, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return made{}, err
	}
	b.Txn = id.String()
	token, err := b.Sign(svid)
	if err != nil {
		return made{}, err
	}
	return made{compact: token.Compact}, nil
}

// unsigned says under a reference that no token can be made now.
func unsigned(cause error) error {
	closed := &gate.ClosedError{Reference: "none", Cause: fmt.Errorf("sign a transaction token: %w", cause)}
	if id, err := uuid.NewV7(); err == nil {
		closed.Reference = id.String()
	}
	return closed
}

// tokenError says why the token of the app does not let the call go out.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return e.err.Error() }

func (e *tokenError) Unwrap() error { return e.err }
