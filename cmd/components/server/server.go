// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	bindingssdk "github.com/dapr-sandbox/components-go-sdk/bindings/v1"
	statesdk "github.com/dapr-sandbox/components-go-sdk/state/v1"
	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/state"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/reflection"

	"github.com/dapr-custody/custody/internal/budget"
	"github.com/dapr-custody/custody/internal/identity"
)

// The names of sockets without their ending, which are the types of components without "state." and "bindings.".
const (
	StateName   = "custody"
	BindingName = "custody-postgres"
)

const (
	// maxMessage is the largest request: daprd's own default for its API is 4 MiB, and a bulk holds several values.
	maxMessage = 64 << 20
	// closeGrace is how long calls that are under way may take when the server ends.
	closeGrace = 5 * time.Second
	// streamWindow and connWindow are how much of a message may come in before it is its turn to be read, of one and of all
	// calls of a connection.
	streamWindow = 64 << 10
	connWindow   = 1 << 20
	// streamWorkers is how many calls at once run on goroutines that are used again; those above it get new ones.
	streamWorkers = 32
	// maxStreams is more calls of one connection than anyone has use for.
	maxStreams = 1 << 20
)

// Options are the parts of a server. All are required, but for State and Binding, of which there must be one.
type Options struct {
	// Sockets is the folder of the sockets. It is made, for its owner only, if it is not there, and refused if others
	// can get at it.
	Sockets string
	// Instances is the folder in which the metadata of components is kept that callers have initialised. It is made
	// as Sockets is.
	Instances string
	// Credentials know who is at the other end of a connection, and Caller tells it within a call.
	Credentials credentials.TransportCredentials
	Caller      func(context.Context) (identity.Caller, error)
	// Refused records a call whose caller is not known, once for each connection, and gives the reference.
	Refused func(ctx context.Context, component, name string, why error) (reference string)
	// PerCaller bounds what one caller may have in flight. Messages that are not whole are as many at once as have room
	// beside one another. Zero allows nothing.
	PerCaller budget.Limits
	// Exceeded records that calls were refused because their caller has no room for them, at most once a second for each
	// caller, and gives the reference. name is empty where the call named no component.
	Exceeded func(caller identity.Caller, component, name, why string) (reference string)
	// Context gives the context in which components are initialised.
	Context func(context.Context) context.Context
	// State and Binding make a component that Init has to make ready. nil is a type that is not served.
	State   func() state.Store
	Binding func() bindings.OutputBinding
	// Log tells what goes wrong beside a call.
	Log func(format string, args ...any)
}

// Server serves components. It is made by New.
type Server struct {
	options  Options
	accounts *budget.Accounts
	states   *instances[state.Store]
	bindings *instances[bindings.OutputBinding]
}

// New makes a server.
func New(options Options) (*Server, error) {
	if options.Sockets == "" || options.Instances == "" || options.Credentials == nil || options.Caller == nil ||
		options.Refused == nil || options.Exceeded == nil || options.Context == nil || options.Log == nil || options.State == nil && options.Binding == nil {
		return nil, errors.New("component server: every part is required")
	}
	for _, dir := range []string{options.Sockets, options.Instances} {
		if err := ownFolder(dir); err != nil {
			return nil, fmt.Errorf("component server: %w", err)
		}
	}
	options.PerCaller.Readers = int(options.PerCaller.Bytes / maxMessage)
	s := &Server{options: options, accounts: budget.New(options.PerCaller)}
	s.states = newInstances("state."+StateName, options, stateCodec(options.State))
	s.bindings = newInstances("bindings."+BindingName, options, bindingCodec(options.Binding))
	return s, nil
}

// Serve listens and serves until the context ends, and closes all components then. ready is called once every socket
// takes connections.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, each := range []struct {
		name     string
		register func(*grpc.Server)
		served   bool
	}{
		{StateName, s.registerState, s.options.State != nil},
		{BindingName, s.registerBinding, s.options.Binding != nil},
	} {
		if !each.served {
			continue
		}
		listener, err := listen(ctx, filepath.Join(s.options.Sockets, each.name+".sock"))
		if err != nil {
			return fmt.Errorf("component server: %w", err)
		}
		server := s.newServer()
		each.register(server)
		reflection.Register(server)
		group.Go(func() error { return server.Serve(listener) })
		group.Go(func() error { return stop(ctx, server) })
	}
	ready()
	err := group.Wait()
	s.accounts.Close()
	return errors.Join(err, s.states.close(), s.bindings.close())
}

func (s *Server) newServer() *grpc.Server {
	return grpc.NewServer(
		grpc.Creds(s.options.Credentials),
		grpc.MaxRecvMsgSize(int(min(maxMessage, s.options.PerCaller.Bytes))),
		// Twice what may be in flight, so that those above it are told so instead of waiting, and a client that opens calls
		// and resets them does not get more of them handled.
		grpc.MaxConcurrentStreams(uint32(min(2*s.options.PerCaller.Requests+1, maxStreams))), //nolint:gosec // it fits
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.InTapHandle(s.early),
		// A new goroutine for each call would have its stack grown several times, for as long as a signature takes.
		grpc.NumStreamWorkers(streamWorkers),
		grpc.StatsHandler(counting{s}),
		grpc.ChainUnaryInterceptor(s.survive, s.bound, s.admit, inStatus, repair),
		grpc.ChainStreamInterceptor(s.onlyDiscovery),
	)
}

func (s *Server) registerState(server *grpc.Server) {
	statesdk.Register(server, func(ctx context.Context) statesdk.Store { return &stateDoor{s.states.of(ctx)} })
	proto.RegisterTransactionalStoreMultiMaxSizeServer(server, &multiMaxSize{of: s.states.of})
}

func (s *Server) registerBinding(server *grpc.Server) {
	bindingssdk.RegisterOutput(server, func(ctx context.Context) bindingssdk.OutputBinding { return &bindingDoor{s.bindings.of(ctx)} })
}

// stop ends a server with its context. Calls that take too long are cut off.
func stop(ctx context.Context, server *grpc.Server) error {
	<-ctx.Done()
	late := time.AfterFunc(closeGrace, server.Stop)
	defer late.Stop()
	server.GracefulStop()
	return nil
}

// listen makes the socket, in place of one that nobody serves any more.
func listen(ctx context.Context, path string) (net.Listener, error) {
	var config net.ListenConfig
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("%s is served by another process: end that, or name another folder with --sockets", path), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// Until here the folder keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// ownFolder makes a folder that nobody but its owner gets at, or finds one.
func ownFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s can be reached by others (mode %04o): make it 0700, or name another folder", dir, info.Mode().Perm())
	}
	return nil
}
