// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"net/url"

	"google.golang.org/grpc/resolver"
)

var errGRPCToApp = errors.New("the app is guarded: gRPC to it does not pass the guard and is refused")

// sealGRPC closes the other way to the app: gRPC proxying, which passes no HTTP
// pipeline (Dapr pkg/messaging/grpc_proxy.go), opens a gRPC connection to the
// app's port whatever protocol the app is said to speak
// (pkg/api/grpc/manager/manager.go). A server that takes HTTP/2 without TLS
// would answer it. Every gRPC connection begins with a resolver, so the seal
// stands before those that gRPC knows.
func (s *seal) sealGRPC() {
	for _, scheme := range []string{"dns", "passthrough"} {
		resolver.Register(&sealedResolver{Builder: resolver.Get(scheme), seal: s})
	}
}

type sealedResolver struct {
	resolver.Builder

	seal *seal
}

// Build refuses to resolve the app while it is guarded.
func (r *sealedResolver) Build(target resolver.Target, conn resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	if r.seal.required.Load() && r.seal.toApp(&url.URL{Scheme: "http", Host: target.Endpoint()}) {
		return nil, errGRPCToApp
	}
	return r.Builder.Build(target, conn, opts)
}
