// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dapr/components-contrib/bindings"
	"github.com/dapr/components-contrib/state"
	statesqlite "github.com/dapr/components-contrib/state/sqlite"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/dapr/kit/logger"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/dapr-custody/custody/cmd/components/server"
	"github.com/dapr-custody/custody/internal/budget"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/testkit"
)

var quiet = func() logger.Logger {
	log := logger.NewLogger("server-test")
	log.SetOutputLevel(logger.FatalLevel)
	return log
}()

// rig is a server whose callers say themselves who they are; what attests them is tested where it stands
// (internal/peer) and with real sidecars (tests/integration).
type rig struct {
	t       *testing.T
	options server.Options
	stop    func()

	mu       sync.Mutex
	refused  []string
	exceeded []string
}

const callerHeader = "test-caller"

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	dir := t.TempDir()
	ca := testkit.NewCA(t, "custody.test")
	verifier := identity.NewVerifier(ca.Bundle(), time.Now)
	r.options = server.Options{
		Sockets: filepath.Join(dir, "sockets"), Instances: filepath.Join(dir, "instances"),
		Credentials: insecure.NewCredentials(),
		Caller: func(ctx context.Context) (identity.Caller, error) {
			app := metadata.ValueFromIncomingContext(ctx, callerHeader)
			if len(app) == 1 && app[0] == "nobody" {
				return identity.Caller{}, errors.New("no registration matches")
			}
			if len(app) == 0 {
				app = []string{"alice"} // Dapr's own client, which says nothing
			}
			return verifier.Verify(ca.SVID(app[0]).Certificates)
		},
		Refused: func(_ context.Context, component, name string, why error) string {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.refused = append(r.refused, fmt.Sprintf("%s %s: %v", component, name, why))
			return fmt.Sprintf("ref-%d", len(r.refused))
		},
		PerCaller: budget.Limits{Requests: 1000, Bytes: 128 << 20},
		Exceeded: func(caller identity.Caller, component, name, why string) string {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.exceeded = append(r.exceeded, fmt.Sprintf("%s %s %s: %s", caller.AppID(), component, name, why))
			return fmt.Sprintf("over-%d", len(r.exceeded))
		},
		Context: func(ctx context.Context) context.Context { return ctx },
		State:   func() state.Store { return statesqlite.NewSQLiteStateStore(quiet) },
		Log:     t.Logf,
	}
	return r
}

// start serves until the test or stop ends it.
func (r *rig) start() {
	r.t.Helper()
	s, err := server.New(r.options)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Serve(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		require.NoError(r.t, err)
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(r.t, <-done)
	})
	r.t.Cleanup(r.stop)
}

func (r *rig) dial(name string) *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient("unix://"+filepath.Join(r.options.Sockets, name+".sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, conn.Close()) })
	return conn
}

// as is the context of a call by an app to its component of that name.
func as(t *testing.T, app, component string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), callerHeader, app, "x-component-instance", component)
}

func (r *rig) sqlite(name string) *proto.InitRequest {
	return &proto.InitRequest{Metadata: &proto.MetadataRequest{Properties: map[string]string{
		"connectionString": filepath.Join(filepath.Dir(r.options.Sockets), name+".db"),
	}}}
}

// echo is a binding that says what it was initialised and called with.
type echo struct {
	bindings.OutputBinding

	made       *[]string
	properties map[string]string
	closed     bool
}

func (e *echo) Closed() bool { return e.closed }

func (e *echo) Init(_ context.Context, meta bindings.Metadata) error {
	if meta.Properties["fail"] != "" {
		return errors.New("this metadata is no good")
	}
	e.properties = meta.Properties
	*e.made = append(*e.made, meta.Name)
	return nil
}

func (e *echo) Operations() []bindings.OperationKind { return []bindings.OperationKind{"echo"} }

func (e *echo) Invoke(ctx context.Context, req *bindings.InvokeRequest) (*bindings.InvokeResponse, error) {
	if e.closed = req.Operation == "close"; e.closed {
		return &bindings.InvokeResponse{}, nil
	}
	return &bindings.InvokeResponse{
		Data:     req.Data,
		Metadata: map[string]string{"caller": server.Caller(ctx).String(), "said": e.properties["say"]},
	}, nil
}

func (e *echo) Close() error { return nil }
