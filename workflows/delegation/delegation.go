// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package delegation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Header is the header that carries the token.
const Header = "Txn-Token"

// ErrSeveralTokens says that a call bears more than one token. It is not known whom it is for.
var ErrSeveralTokens = errors.New("delegation: header " + Header + " is given more than once")

type tokenKey struct{}

// Received gives a context that bears the token of a call's header, and none where the header has none, whatever ctx bore
// before: a session of MCP lives in the context of its first call, and a tool says with
//
//	ctx, err := delegation.Received(ctx, request.Extra.Header)
//
// which call it is serving. The error is ErrSeveralTokens; the context then bears none.
func Received(ctx context.Context, header http.Header) (context.Context, error) {
	tokens := header.Values(Header)
	switch len(tokens) {
	case 0:
		if Token(ctx) == "" {
			return ctx, nil
		}
		return context.WithValue(ctx, tokenKey{}, ""), nil
	case 1:
		return context.WithValue(ctx, tokenKey{}, tokens[0]), nil
	}
	return context.WithValue(ctx, tokenKey{}, ""), ErrSeveralTokens
}

// Token gives the token that the context bears, "" for none. It is a secret to those that it was not sent to, and no
// credential.
func Token(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}

// Handler keeps the token of each request in the context that next gets. A request with more than one is answered with
// 400 and does not reach next.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := Received(r.Context(), r.Header)
		if err != nil {
			http.Error(w, fmt.Sprintf("%s is given more than once", Header), http.StatusBadRequest)
			return
		}
		if ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}
