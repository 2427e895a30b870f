// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"
	"runtime/debug"
	"strings"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/dapr-custody/custody/internal/identity"
)

// instanceHeader is where daprd names the component (Dapr pkg/components/pluggable/grpc.go).
const instanceHeader = "x-component-instance"

// maxName is the longest name of a component; Kubernetes takes 253.
const maxName = 253

// place is where a call goes.
type place struct {
	caller identity.Caller
	// name is the component's.
	name string
}

type placeKey struct{}

func placeOf(ctx context.Context) place {
	p, _ := ctx.Value(placeKey{}).(place)
	return p
}

// Caller is who made the call behind ctx, within a component that the server serves. It is the zero Caller elsewhere.
func Caller(ctx context.Context) identity.Caller { return placeOf(ctx).caller }

// admit lets calls of known callers through.
func (s *Server) admit(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	name, err := nameIn(ctx)
	if err != nil {
		return nil, err
	}
	caller, err := s.options.Caller(ctx)
	if err != nil {
		return nil, s.refused(ctx, info.FullMethod, name, err)
	}
	s.known(ctx, caller)
	return next(context.WithValue(ctx, placeKey{}, place{caller: caller, name: name}), req)
}

// survive keeps what one caller sends from ending the server for all: components-go-sdk takes messages apart without
// looking whether all of it is there.
func (s *Server) survive(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if broken := recover(); broken != nil {
			s.options.Log("%s broke: %v\n%s", info.FullMethod, broken, debug.Stack())
			resp, err = nil, status.Error(codes.Internal, "the request cannot be answered")
		}
	}()
	return next(ctx, req)
}

func nameIn(ctx context.Context) (string, error) {
	names := metadata.ValueFromIncomingContext(ctx, instanceHeader)
	if len(names) != 1 || names[0] == "" || len(names[0]) > maxName ||
		strings.ContainsFunc(names[0], func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", status.Errorf(codes.InvalidArgument, "metadata %s must name one component, in at most %d bytes", instanceHeader, maxName)
	}
	return names[0], nil
}

// refused gives the one answer for all calls of a connection whose caller is not known.
func (s *Server) refused(ctx context.Context, method, name string, why error) error {
	c := connectionOf(ctx)
	c.once.Do(func() { c.reference = s.options.Refused(ctx, componentOf(method), name, why) })
	return status.Errorf(codes.PermissionDenied, "this workload is not known here (reference %s)", c.reference)
}

// componentOf is the type of component that a method belongs to.
func componentOf(method string) string {
	if strings.Contains(method, "Binding") {
		return "bindings." + BindingName
	}
	return "state." + StateName
}

// onlyDiscovery refuses every stream but that by which daprd finds out which services there are: it does so before it
// says which component it wants, and waits for the answer for ever.
func (s *Server) onlyDiscovery(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if c, ok := stream.Context().Value(callKey{}).(*call); !ok || c.over != "" {
		return status.Error(codes.ResourceExhausted, sayMuch)
	}
	if !strings.HasPrefix(info.FullMethod, "/grpc.reflection.") {
		return status.Errorf(codes.Unimplemented, "%s is not served", info.FullMethod)
	}
	return next(srv, stream)
}
