// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"errors"
	"net/http"
	"time"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/toolcall"
	"github.com/dapr-custody/custody/internal/txn"
)

var errUnnamed = errors.New("the transaction token is named, and is not known here")

// behalf takes the transaction token that the caller sent, verified as sent by it
// to this app now. One that is not good makes whatever comes with it a refusal.
func (x *exchange) behalf() {
	values, ok := x.r.Header[HeaderTxnToken]
	if !ok {
		return
	}
	err := txn.ErrSeveral
	if len(values) == 1 {
		x.token, err = x.verified(values[0])
	}
	if err != nil {
		x.distrust = err.Error()
	}
}

// verified verifies the token, which may come by its name where it was good before.
func (x *exchange) verified(text string) (*txn.Token, error) {
	if txn.IsName(text) {
		if text = x.guard.tokens.Named(text); text == "" {
			x.unnamed = true
			return nil, errUnnamed
		}
	}
	return x.guard.tokens.Verify(text, txn.VerifyOptions{Sender: x.caller.ID(), To: x.guard.host.ID, Now: time.Now()})
}

// onBehalf makes the action one of the transaction, or a refusal. It keeps a
// refusal for another reason.
func (x *exchange) onBehalf(ask *gate.Ask, refused *reply) *reply {
	ask.Token = x.token
	if x.distrust == "" || ask.Refusal != "" {
		return refused
	}
	ask.Refusal = x.distrust
	return &reply{status: http.StatusForbidden, code: toolcall.CodeDenied, say: sayNoToken}
}

// handOn passes the verified token on to the server, which may go on in its
// transaction.
func (x *exchange) handOn(header http.Header) {
	if x.token != nil {
		header.Set(HeaderTxnToken, x.token.Compact)
	}
}
