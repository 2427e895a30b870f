// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

//go:build opa

package main

import "github.com/dapr/components-contrib/middleware/http/opa"

// Dapr's Open Policy Agent middleware, for the comparison in the benchmark.
func init() { registerMiddleware("opa", opa.NewMiddleware) }
