// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package server_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dapr/components-contrib/bindings"
	proto "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/dapr-custody/custody/cmd/components/server"
)

func TestSocketsAreTheOwnersAlone(t *testing.T) {
	r := newRig(t)
	r.start()
	dir, err := os.Stat(r.options.Sockets)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), dir.Mode().Perm())
	socket, err := os.Stat(filepath.Join(r.options.Sockets, "custody.sock"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), socket.Mode().Perm())
	require.NoFileExists(t, filepath.Join(r.options.Sockets, "custody-postgres.sock"), "what is not served has no socket")

	second, err := server.New(r.options)
	require.NoError(t, err)
	require.ErrorContains(t, second.Serve(t.Context(), func() {}), "is served by another process")
}

func TestFolderThatOthersReach(t *testing.T) {
	r := newRig(t)
	require.NoError(t, os.Mkdir(r.options.Sockets, 0o750)) //nolint:gosec // what is to be refused
	_, err := server.New(r.options)
	require.ErrorContains(t, err, "make it 0700")
}

// A socket that a killed server left is no obstacle.
func TestStaleSocket(t *testing.T) {
	r := newRig(t)
	require.NoError(t, os.Mkdir(r.options.Sockets, 0o700))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(r.options.Sockets, "custody.sock"))
	require.NoError(t, err)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, listener.Close())
	r.start()
	_, err = proto.NewStateStoreClient(r.dial("custody")).Init(as(t, "alice", "store"), r.sqlite("a"))
	require.NoError(t, err)
}

// Who is not known gets nothing but the list of services, and one record for the connection.
func TestUnknownCaller(t *testing.T) {
	r := newRig(t)
	r.start()
	client := proto.NewStateStoreClient(r.dial("custody"))
	for range 3 {
		_, err := client.Init(as(t, "nobody", "store"), r.sqlite("a"))
		require.Equal(t, codes.PermissionDenied, status.Code(err))
		require.ErrorContains(t, err, "reference ref-1")
		require.NotContains(t, err.Error(), "registration")
	}
	_, err := proto.NewStateStoreClient(r.dial("custody")).Get(as(t, "nobody", "store"), &proto.GetRequest{Key: "k"})
	require.ErrorContains(t, err, "reference ref-2")
	require.Equal(t, []string{
		"state.custody store: no registration matches", "state.custody store: no registration matches",
	}, r.refused)
	_, err = client.Init(as(t, "alice", "store"), r.sqlite("a"))
	require.NoError(t, err, "the same call by somebody")
}

func TestComponentThatIsNotNamed(t *testing.T) {
	r := newRig(t)
	r.start()
	client := proto.NewStateStoreClient(r.dial("custody"))
	for _, names := range [][]string{{}, {""}, {"a", "b"}, {strings.Repeat("a", 254)}, {"a\x7f"}} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), callerHeader, "alice")
		for _, name := range names {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-component-instance", name)
		}
		_, err := client.Init(ctx, r.sqlite("a"))
		require.Error(t, err, "%q", names)
	}
}

// Two apps that call their component the same have nothing in common.
func TestEqualNamesDoNotMeet(t *testing.T) {
	r := newRig(t)
	r.start()
	client := proto.NewStateStoreClient(r.dial("custody"))
	for _, app := range []string{"alice", "bob"} {
		_, err := client.Init(as(t, app, "store"), r.sqlite(app))
		require.NoError(t, err)
		_, err = client.Set(as(t, app, "store"), &proto.SetRequest{Key: "key", Value: []byte(`"` + app + `'s"`)})
		require.NoError(t, err)
	}
	for _, app := range []string{"alice", "bob"} {
		got, err := client.Get(as(t, app, "store"), &proto.GetRequest{Key: "key"})
		require.NoError(t, err)
		require.Equal(t, `"`+app+`'s"`, string(got.GetData()))
	}
	_, err := client.Get(as(t, "carol", "store"), &proto.GetRequest{Key: "key"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "carol has none")
	_, err = client.Get(as(t, "alice", "other"), &proto.GetRequest{Key: "key"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "alice has no other")
}

// daprd initialises a component once. After a restart of the server it is there nevertheless.
func TestComponentsComeBack(t *testing.T) {
	r := newRig(t)
	r.start()
	client := proto.NewStateStoreClient(r.dial("custody"))
	_, err := client.Init(as(t, "alice", "store"), r.sqlite("a"))
	require.NoError(t, err)
	_, err = client.Set(as(t, "alice", "store"), &proto.SetRequest{Key: "key", Value: []byte(`1`)})
	require.NoError(t, err)
	r.stop()
	r.start()

	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			got, err := client.Get(as(t, "alice", "store"), &proto.GetRequest{Key: "key"}, grpc.WaitForReady(true))
			if err != nil || string(got.GetData()) != "1" {
				t.Errorf("got %q, %v", got.GetData(), err)
			}
		})
	}
	group.Wait()
	_, err = client.Get(as(t, "bob", "store"), &proto.GetRequest{Key: "key"})
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "bob never had one")

	files, err := os.ReadDir(r.options.Instances)
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := files[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	path := filepath.Join(r.options.Instances, files[0].Name())
	for _, text := range []string{"{", `{"type":"state.custody","caller":"spiffe://custody.test/ns/default/bob","name":"store"}`} {
		r.stop()
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		r.start()
		_, err = client.Get(as(t, "alice", "store"), &proto.GetRequest{Key: "key"}, grpc.WaitForReady(true))
		require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	}
}

// A component that its caller initialises anew with the same metadata stays as it is; with other metadata it becomes
// another; with metadata that is no good the call fails and the old one stays.
func TestInitialisedAnew(t *testing.T) {
	r := newRig(t)
	var made []string
	r.options.State, r.options.Binding = nil, func() bindings.OutputBinding { return &echo{made: &made} }
	r.start()
	client := proto.NewOutputBindingClient(r.dial("custody-postgres"))
	initialise := func(properties map[string]string) error {
		_, err := client.Init(as(t, "alice", "orders"), &proto.OutputBindingInitRequest{Metadata: &proto.MetadataRequest{Properties: properties}})
		return err
	}
	said := func() string {
		got, err := client.Invoke(as(t, "alice", "orders"), &proto.InvokeRequest{Operation: "echo", Data: []byte("x")})
		require.NoError(t, err)
		require.Equal(t, "spiffe://custody.test/ns/default/alice", got.GetMetadata()["caller"])
		return got.GetMetadata()["said"]
	}
	require.NoError(t, initialise(map[string]string{"say": "one"}))
	require.NoError(t, initialise(map[string]string{"say": "one"}))
	require.Equal(t, []string{"orders"}, made)
	require.Equal(t, "one", said())
	require.NoError(t, initialise(map[string]string{"say": "two"}))
	require.Equal(t, []string{"orders", "orders"}, made)
	require.Equal(t, "two", said())
	require.ErrorContains(t, initialise(map[string]string{"fail": "yes"}), "no good")
	require.Equal(t, "two", said())

	// One that was asked to end is another when the sidecar was started again.
	_, err := client.Invoke(as(t, "alice", "orders"), &proto.InvokeRequest{Operation: "close"})
	require.NoError(t, err)
	require.NoError(t, initialise(map[string]string{"say": "two"}))
	require.Equal(t, []string{"orders", "orders", "orders"}, made)
	require.Equal(t, "two", said())

	operations, err := client.ListOperations(as(t, "alice", "orders"), &proto.ListOperationsRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{"echo"}, operations.GetOperations())
}

func TestComponentsOfOneCallerAreBounded(t *testing.T) {
	r := newRig(t)
	var made []string
	r.options.State, r.options.Binding = nil, func() bindings.OutputBinding { return &echo{made: &made} }
	r.start()
	client := proto.NewOutputBindingClient(r.dial("custody-postgres"))
	initialise := func(app string, n int) error {
		_, err := client.Init(as(t, app, fmt.Sprint("component", n)), &proto.OutputBindingInitRequest{Metadata: &proto.MetadataRequest{}})
		return err
	}
	for n := range 64 {
		require.NoError(t, initialise("alice", n))
	}
	require.Equal(t, codes.ResourceExhausted, status.Code(initialise("alice", 64)))
	require.NoError(t, initialise("bob", 64))
	require.Len(t, made, 65)
}

// What components-go-sdk would change arrives as it was sent.
func TestValuesArriveAsTheyWereSent(t *testing.T) {
	r := newRig(t)
	r.start()
	conn := r.dial("custody")
	client, ctx := proto.NewStateStoreClient(conn), as(t, "alice", "store")
	_, err := client.Init(ctx, r.sqlite("a"))
	require.NoError(t, err)
	values := map[string]*proto.SetRequest{
		"digits":   {Value: []byte(`{"amount":12345678901234567890123}`), ContentType: "application/json"},
		"order":    {Value: []byte(`{"b":1,"a":2}`), Metadata: map[string]string{"contentType": "application/json"}},
		"noJSON":   {Value: []byte(`"broken`), ContentType: "application/json"},
		"empty":    {Value: []byte{}},
		"plain":    {Value: []byte("text"), ContentType: "text/plain"},
		"metadata": {Value: []byte("1"), Metadata: map[string]string{"ttlInSeconds": "600", "contentType": "text/plain"}},
	}
	check := func() {
		t.Helper()
		for key, set := range values {
			got, err := client.Get(ctx, &proto.GetRequest{Key: key})
			require.NoError(t, err)
			require.Equal(t, string(set.GetValue()), string(got.GetData()), key)
		}
	}
	bulk, transaction := &proto.BulkSetRequest{}, &proto.TransactionalStateRequest{}
	for key, set := range values {
		set.Key = key
		_, err := client.Set(ctx, set)
		require.NoError(t, err)
		bulk.Items = append(bulk.Items, set)
		transaction.Operations = append(transaction.Operations,
			&proto.TransactionalStateOperation{Request: &proto.TransactionalStateOperation_Delete{Delete: &proto.DeleteRequest{Key: key}}},
			&proto.TransactionalStateOperation{Request: &proto.TransactionalStateOperation_Set{Set: set}})
	}
	check()
	_, err = client.BulkSet(ctx, bulk)
	require.NoError(t, err)
	check()
	_, err = proto.NewTransactionalStateStoreClient(conn).Transact(ctx, transaction)
	require.NoError(t, err)
	check()
}
