// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard

import (
	"context"
	"net/http"
)

type passedKey struct{}

// Passed reports whether the guard let through the request that bears this
// context. The host of the guard closes the way to the app to all others.
func Passed(ctx context.Context) bool {
	passed, ok := ctx.Value(passedKey{}).(bool)
	return ok && passed
}

func markPassed(r *http.Request) *http.Request {
	return r.WithContext(passedContext(r.Context()))
}

func passedContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, passedKey{}, true)
}
