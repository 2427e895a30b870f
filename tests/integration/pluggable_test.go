// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"maps"
	"net"
	"path/filepath"
	"sync"
	"testing"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/dapr-custody/custody/internal/testkit"
)

// drawer is a pluggable state store over a map, as a user would write one
// against Dapr's components/v1.
type drawer struct {
	components.UnimplementedStateStoreServer

	mu         sync.Mutex
	rows       map[string]string
	properties map[string]string
}

// openDrawer serves a drawer on the socket of the component type state.drawer
// in a new folder, until the test ends.
func openDrawer(t *testing.T) (*drawer, string) {
	t.Helper()
	folder := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(folder, "drawer.sock"))
	require.NoError(t, err)
	d := &drawer{rows: map[string]string{}}
	server := grpc.NewServer()
	components.RegisterStateStoreServer(server, d)
	reflection.Register(server) // daprd asks it what is served here
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return d, folder
}

func (d *drawer) Init(_ context.Context, in *components.InitRequest) (*components.InitResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.properties = in.GetMetadata().GetProperties()
	return &components.InitResponse{}, nil
}

func (d *drawer) Features(context.Context, *components.FeaturesRequest) (*components.FeaturesResponse, error) {
	return &components.FeaturesResponse{}, nil
}

func (d *drawer) Ping(context.Context, *components.PingRequest) (*components.PingResponse, error) {
	return &components.PingResponse{}, nil
}

func (d *drawer) Set(_ context.Context, in *components.SetRequest) (*components.SetResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows[in.GetKey()] = string(in.GetValue())
	return &components.SetResponse{}, nil
}

func (d *drawer) Get(_ context.Context, in *components.GetRequest) (*components.GetResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &components.GetResponse{Data: []byte(d.rows[in.GetKey()])}, nil
}

func (d *drawer) Delete(_ context.Context, in *components.DeleteRequest) (*components.DeleteResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.rows, in.GetKey())
	return &components.DeleteResponse{}, nil
}

// seen is what the drawer was told at its start and holds now.
func (d *drawer) seen() (properties, rows map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.properties), maps.Clone(d.rows)
}

const drawerComponent = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: drawer}
spec:
  type: state.drawer
  version: v1
  metadata:
  - {name: colour, value: oak}
`

func TestPluggableStateStoreBesideTheGuard(t *testing.T) {
	store, folder := openDrawer(t)
	m := newMesh(t, meshOptions{
		mcp:      testkit.MCPOptions{JSON: true},
		daprdEnv: map[string]string{"DAPR_COMPONENTS_SOCKETS_FOLDER": folder},
	})
	m.write("resources/drawer.yaml", drawerComponent)
	require.NoError(t, m.start())
	properties, _ := store.seen()
	require.Equal(t, "oak", properties["colour"])

	m.works([]apiCall{
		{"nothing there yet", "GET", "state/drawer/spoon", "", 204, ""},
		{"what the component cannot do", "POST", "state/drawer", `[{"key":"spoon","value":1},{"key":"fork","value":1}]`, 500, "BulkSet"},
		{"save", "POST", "state/drawer", `[{"key":"spoon","value":{"of":"wood"}}]`, 204, ""},
		{"get", "GET", "state/drawer/spoon", "", 200, `{"of":"wood"}`},
		{"get another", "GET", "state/drawer/fork", "", 204, ""},
	})
	_, rows := store.seen()
	require.Equal(t, map[string]string{"server||spoon": `{"of":"wood"}`}, rows)
	m.works([]apiCall{
		{"delete", "DELETE", "state/drawer/spoon", "", 204, ""},
		{"gone", "GET", "state/drawer/spoon", "", 204, ""},
	})
	_, rows = store.seen()
	require.Empty(t, rows)
	m.guards()
}

// That the store above came from the socket: without it daprd does not start.
func TestPluggableComponentNeedsItsSocket(t *testing.T) {
	m := newMesh(t, meshOptions{daprdEnv: map[string]string{"DAPR_COMPONENTS_SOCKETS_FOLDER": t.TempDir()}})
	m.write("resources/drawer.yaml", drawerComponent)
	require.ErrorContains(t, m.start(), "couldn't find state store state.drawer/v1")
}
