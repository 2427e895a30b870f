// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/components-contrib/bindings"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/dapr-custody/custody/internal/budget"
)

// gated is a binding whose requests wait until they are let go.
type gated struct {
	bindings.OutputBinding

	house *gatedHouse
}

func (g *gated) Init(context.Context, bindings.Metadata) error { return nil }

func (g *gated) Close() error { return nil }

func (g *gated) Invoke(ctx context.Context, req *bindings.InvokeRequest) (*bindings.InvokeResponse, error) {
	g.house.invoked.Add(1)
	switch req.Operation {
	case "wait":
		g.house.arrived <- struct{}{}
		select {
		case <-g.house.proceed:
		case <-ctx.Done():
		}
	case "break":
		panic("broken")
	}
	return &bindings.InvokeResponse{Data: req.Data}, nil
}

type gatedHouse struct {
	*rig

	invoked          atomic.Int32
	arrived, proceed chan struct{}
}

func newGated(t *testing.T, limits budget.Limits) *gatedHouse {
	t.Helper()
	h := &gatedHouse{rig: newRig(t), arrived: make(chan struct{}), proceed: make(chan struct{})}
	h.options.State, h.options.Binding = nil, func() bindings.OutputBinding { return &gated{house: h} }
	h.options.PerCaller = limits
	h.start()
	return h
}

// appOf is an app with a connection of its own and an initialised component, as its sidecar would have.
type appOf struct {
	h    *gatedHouse
	name string
	conn *grpc.ClientConn
}

func (h *gatedHouse) app(name string) *appOf {
	h.t.Helper()
	a := &appOf{h: h, name: name, conn: h.dial("custody-postgres")}
	a.settled(func() error {
		_, err := proto.NewOutputBindingClient(a.conn).Init(as(h.t, name, "orders"), &proto.OutputBindingInitRequest{Metadata: &proto.MetadataRequest{}})
		return err
	})
	return a
}

// settled repeats what has to pass until the calls before it, whose answers are here already, count no more.
func (a *appOf) settled(call func() error) {
	a.h.t.Helper()
	err := call()
	for status.Code(err) == codes.ResourceExhausted && a.h.t.Context().Err() == nil {
		err = call()
	}
	require.NoError(a.h.t, err)
}

func (a *appOf) invoke(operation string, bytes int) error {
	_, err := proto.NewOutputBindingClient(a.conn).Invoke(as(a.h.t, a.name, "orders"), &proto.InvokeRequest{
		Operation: operation, Data: make([]byte, bytes),
	}, grpc.MaxCallRecvMsgSize(1<<30))
	return err
}

// hold has calls wait in the component, and gives what lets them go.
func (a *appOf) hold(count, bytes int) (release func()) {
	a.h.t.Helper()
	done := make(chan error, count)
	for range count {
		go func() {
			err := a.invoke("wait", bytes)
			for status.Code(err) == codes.ResourceExhausted {
				err = a.invoke("wait", bytes)
			}
			done <- err
		}()
		<-a.h.arrived
	}
	return func() {
		for range count {
			a.h.proceed <- struct{}{}
			require.NoError(a.h.t, <-done)
		}
	}
}

// refusedFor is the error of a call for which there is no room, and which the component did not see.
func (h *gatedHouse) refusedFor(say string, call func() error) {
	h.t.Helper()
	before := h.invoked.Load()
	err := call()
	require.Equal(h.t, codes.ResourceExhausted, status.Code(err), "%v", err)
	require.Regexp(h.t, "^"+say+` \(reference over-\d+\)$`, status.Convert(err).Message())
	require.Equal(h.t, before, h.invoked.Load(), "nothing reached the component")
}

const sayMuch = "too much is in flight from this workload"

func TestRequestsInFlightAreBounded(t *testing.T) {
	h := newGated(t, budget.Limits{Requests: 3, Bytes: 64 << 20})
	alice, second, bob := h.app("alice"), h.app("alice"), h.app("bob")
	release := alice.hold(3, 10)
	fresh := &appOf{h: h, name: "alice", conn: h.dial("custody-postgres")}
	for _, connection := range []*appOf{fresh, alice, second, fresh} {
		h.refusedFor(sayMuch, func() error { return connection.invoke("echo", 0) })
	}
	bob.settled(func() error { return bob.invoke("echo", 0) })
	release()
	alice.settled(func() error { return alice.invoke("echo", 0) })
	second.settled(func() error { return second.invoke("echo", 0) })
	h.stop()
	require.NotEmpty(t, h.exceeded)
	for _, told := range h.exceeded {
		require.Regexp(t, `^alice bindings.custody-postgres orders: the caller has as many requests in flight as it may \(\d+ refused\)$`, told)
	}
}

func TestBytesInFlightAreBounded(t *testing.T) {
	h := newGated(t, budget.Limits{Requests: 100, Bytes: 1 << 20})
	alice, second, bob := h.app("alice"), h.app("alice"), h.app("bob")
	release := alice.hold(1, 400<<10)
	h.refusedFor(sayMuch, func() error { return second.invoke("echo", 700<<10) })
	second.settled(func() error { return second.invoke("echo", 100<<10) })
	bob.settled(func() error { return bob.invoke("echo", 500<<10) })

	// The answer counts beside its request and the others'. What was done is not said to be undone.
	before := h.invoked.Load()
	err := second.invoke("echo", 400<<10)
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "%v", err)
	require.Contains(t, err.Error(), "for the answer, and what was asked may have been done (reference over-1)")
	require.Equal(t, before+1, h.invoked.Load())
	release()
	second.settled(func() error { return second.invoke("echo", 400<<10) })
	before = h.invoked.Load()
	require.Equal(t, codes.ResourceExhausted, status.Code(second.invoke("echo", 2<<20)), "what has no room at all is not read")
	require.Equal(t, before, h.invoked.Load())
	h.stop()
	require.Equal(t, []string{
		"alice bindings.custody-postgres orders: the caller has as many bytes in flight as it may (1 refused)",
		"alice bindings.custody-postgres orders: the answer was withheld, since the caller has as many bytes in flight as it may (1 refused)",
	}, h.exceeded)
}

// stall opens calls that never send their message.
func stall(t *testing.T, conn *grpc.ClientConn, app, method string, count int) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(as(t, app, "orders"))
	for range count {
		_, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, method)
		require.NoError(t, err)
	}
	return cancel
}

// Who says nothing more in a call has it counted, discovery too, and what it keeps others from is its own. Those that are
// nobody have room for as much together as one caller.
func TestStalledCalls(t *testing.T) {
	for what, method := range map[string]string{"call": proto.OutputBinding_Invoke_FullMethodName, "discovery": reflectionpb.ServerReflection_ServerReflectionInfo_FullMethodName} {
		for _, name := range []string{"alice", "nobody"} {
			t.Run(name+" "+what, func(t *testing.T) {
				h := newGated(t, budget.Limits{Requests: 3, Bytes: 64 << 20})
				bob, conn := h.app("bob"), h.dial("custody-postgres")
				end := stall(t, conn, name, method, 3)
				again := func() error {
					ctx, cancel := context.WithTimeout(as(t, name, "orders"), 50*time.Millisecond)
					defer cancel()
					_, err := proto.NewOutputBindingClient(conn).Invoke(ctx, &proto.InvokeRequest{Operation: "echo"})
					return err
				}
				// One after the other they begin. Until all of them have, a call passes, or waits.
				err := again()
				for status.Code(err) != codes.ResourceExhausted {
					require.NoError(t, t.Context().Err())
					err = again()
				}
				require.Zero(t, h.invoked.Load())
				require.Contains(t, h.exceeded[0], "as many requests in flight as it may")
				bob.settled(func() error { return bob.invoke("echo", 1<<20) })
				end()
				err = again()
				for status.Code(err) == codes.ResourceExhausted {
					err = again()
				}
				require.Contains(t, []codes.Code{codes.PermissionDenied, codes.FailedPrecondition}, status.Code(err), "as it was before: %v", err)
			})
		}
	}
}

// Whatever becomes of a call, it gives back what it used.
func TestEveryCallGivesBack(t *testing.T) {
	h := newGated(t, budget.Limits{Requests: 1, Bytes: 64 << 20})
	alice := h.app("alice")
	for range 20 {
		for _, call := range []func(ctx context.Context) error{
			func(ctx context.Context) error { // breaks in the component
				_, err := proto.NewOutputBindingClient(alice.conn).Invoke(ctx, &proto.InvokeRequest{Operation: "break"})
				return err
			},
			func(ctx context.Context) error { // is not served
				_, err := proto.NewStateStoreClient(alice.conn).Get(ctx, &proto.GetRequest{Key: "k"})
				return err
			},
			func(ctx context.Context) error { // is no method
				return alice.conn.Invoke(ctx, "/nothing", &proto.PingRequest{}, &proto.PingResponse{})
			},
			func(context.Context) error { // names no component
				_, err := proto.NewOutputBindingClient(alice.conn).Invoke(metadata.AppendToOutgoingContext(t.Context(), callerHeader, "alice"), &proto.InvokeRequest{})
				return err
			},
			func(ctx context.Context) error { // is given up
				ctx, cancel := context.WithCancel(ctx)
				go func() {
					select {
					case <-h.arrived:
					case <-ctx.Done():
					}
					cancel()
				}()
				_, err := proto.NewOutputBindingClient(alice.conn).Invoke(ctx, &proto.InvokeRequest{Operation: "wait"})
				cancel()
				return err
			},
			func(ctx context.Context) error { // never sends its message
				stall(t, alice.conn, "alice", proto.OutputBinding_Invoke_FullMethodName, 1)()
				return ctx.Err()
			},
			func(ctx context.Context) error { // asks which services there are
				stream, err := reflectionpb.NewServerReflectionClient(alice.conn).ServerReflectionInfo(ctx)
				if err == nil {
					err = stream.CloseSend()
				}
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
		} {
			if err := call(as(t, "alice", "orders")); err != nil {
				t.Log(err)
			}
		}
	}
	alice.settled(func() error { return alice.invoke("echo", 1<<20) })
}
