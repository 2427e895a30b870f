// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-custody/custody/internal/budget"
	"github.com/dapr-custody/custody/internal/identity"
)

// What a caller is told, and what is recorded, of a request for which it has no room.
const (
	sayMuch   = "too much is in flight from this workload"
	sayAnswer = "too much is in flight from this workload for the answer, and what was asked may have been done"

	manyRequests = "the caller has as many requests in flight as it may"
	manyBytes    = "the caller has as many bytes in flight as it may"
	largeAnswer  = "the answer was withheld, since the caller has as many bytes in flight as it may"
)

// connection is what is known of one connection.
type connection struct {
	once      sync.Once
	reference string
	// peer is whom the connection counts against, nil until a call was looked at. Who may do what is not decided by it.
	peer atomic.Pointer[counted]
}

// counted is a caller with its account.
type counted struct {
	caller  identity.Caller
	account *budget.Account
}

type connectionKey struct{}

func connectionOf(ctx context.Context) *connection {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		return c
	}
	return &connection{}
}

// call is what one call has in flight. It belongs to the goroutine of the call.
type call struct {
	peer *counted
	use  budget.Use
	over string // why there is no room for it
	// stream says that nobody can tell how much will come: it is on its way in until the call ends.
	stream bool
}

type callKey struct{}

// early refuses a call before anything of its message is read, where its connection's caller has no room. What comes
// through here because the calls before it are not counted yet, bound refuses.
func (s *Server) early(ctx context.Context, info *tap.Info) (context.Context, error) {
	peer := connectionOf(ctx).peer.Load()
	if peer == nil || !peer.account.Full() {
		return ctx, nil
	}
	return ctx, s.exceeded(ctx, peer, info.FullMethodName, sayMuch, manyRequests)
}

// known has a connection count against a caller.
func (s *Server) known(ctx context.Context, caller identity.Caller) *counted {
	c := connectionOf(ctx)
	if peer := c.peer.Load(); peer != nil && peer.caller == caller {
		return peer
	}
	peer := &counted{caller: caller, account: s.accounts.Of(caller.ID())}
	c.peer.Store(peer)
	return peer
}

// counting counts what calls have in flight, in the order in which gRPC tells of them.
type counting struct{ server *Server }

var _ stats.Handler = counting{}

// TagConn gives each connection a place for what belongs to it.
func (counting) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{})
}

func (counting) HandleConn(context.Context, stats.ConnStats) {}

func (c counting) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	peer := connectionOf(ctx).peer.Load()
	if peer == nil || peer.caller.IsZero() {
		caller, err := c.server.options.Caller(ctx)
		if err != nil {
			caller = identity.Caller{} // Those that are nobody count together.
		}
		peer = c.server.known(ctx, caller)
	}
	return context.WithValue(ctx, callKey{}, &call{peer: peer})
}

func (counting) HandleRPC(ctx context.Context, event stats.RPCStats) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	switch e := event.(type) {
	case *stats.Begin:
		var fits bool
		if c.use, fits = c.peer.account.Begin(); !fits {
			c.over = manyRequests
		}
		c.stream = e.IsClientStream
		c.use.Read(ctx.Done())
	case *stats.InPayload:
		if c.stream {
			return
		}
		c.use.Arrived()
		if !c.use.Hold(e.Length) && c.over == "" {
			c.over = manyBytes
		}
	case *stats.End:
		c.use.End()
	}
}

// bound refuses calls for which their caller has no room, and answers for which it has none.
func (s *Server) bound(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	c, ok := ctx.Value(callKey{}).(*call)
	switch {
	case !ok:
		return nil, status.Error(codes.Internal, "the call is not counted")
	case c.over != "":
		return nil, s.exceeded(ctx, c.peer, info.FullMethod, sayMuch, c.over)
	}
	resp, err := next(ctx, req)
	if err != nil {
		return nil, err
	}
	if message, ok := resp.(proto.Message); !ok || !c.use.Hold(proto.Size(message)) {
		return nil, s.exceeded(ctx, c.peer, info.FullMethod, sayAnswer, largeAnswer)
	}
	return resp, nil
}

// exceeded is the answer to a call for which there is no room. There is a record for it, or it is counted by one.
func (s *Server) exceeded(ctx context.Context, peer *counted, method, say, why string) error {
	name, err := nameIn(ctx)
	if err != nil {
		name = ""
	}
	reference := peer.account.Refused(func(count int) string {
		return s.options.Exceeded(peer.caller, componentOf(method), name, fmt.Sprintf("%s (%d refused)", why, count))
	})
	return status.Errorf(codes.ResourceExhausted, "%s (reference %s)", say, reference)
}
