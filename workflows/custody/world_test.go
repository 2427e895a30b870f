// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/backend"
	"github.com/dapr/durabletask-go/backend/sqlite"
	"github.com/dapr/durabletask-go/workflow"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/workflows/custody"
)

// world is the app refunds with its worker and its sidecar, and the server payments behind the sidecar.
type world struct {
	t       *testing.T
	sidecar *sidecar
	client  *workflow.Client
	worker  *custody.Worker
	options custody.Options
}

// newWorld starts it with the workflows that add adds.
func newWorld(t *testing.T, add func(w *custody.Worker)) *world {
	t.Helper()
	w := &world{t: t, sidecar: newSidecar(t)}
	w.options = custody.Options{DaprHTTPEndpoint: w.sidecar.URL, SettleWait: 200 * time.Millisecond}
	registry := workflow.NewRegistry()
	var err error
	w.worker, err = custody.Register(registry, w.options)
	require.NoError(t, err)
	w.worker.Unpropagated(true)
	add(w.worker)
	w.client = workflow.NewClientWithLogger(taskHub(t), quiet{})
	w.sidecar.created = w.created
	require.NoError(t, w.client.StartWorker(t.Context(), registry))
	return w
}

// taskHub is what runs workflows, on a real socket.
func taskHub(t *testing.T) *grpc.ClientConn {
	t.Helper()
	store := sqlite.NewSqliteBackend(sqlite.NewSqliteOptions(""), quiet{})
	executor, register := backend.NewGrpcExecutor(store, quiet{})
	server := grpc.NewServer()
	register(server)
	workflows := backend.NewWorkflowWorker(backend.WorkflowWorkerOptions{Backend: store, Executor: executor, Logger: quiet{}, AppID: "refunds"})
	hub := backend.NewTaskHubWorker(store, workflows, backend.NewActivityTaskWorker(store, executor, quiet{}), quiet{})
	require.NoError(t, hub.Start(t.Context()))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		require.NoError(t, executor.Shutdown(ctx))
		require.NoError(t, hub.Shutdown(ctx))
		require.NoError(t, conn.Close())
		server.Stop()
		require.NoError(t, <-served)
	})
	return conn
}

// quiet is a logger that says nothing.
type quiet struct{}

func (quiet) Debug(...any)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(...any)           {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warn(...any)           {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Error(...any)          {}
func (quiet) Errorf(string, ...any) {}

// created is what Dapr says of when an instance began.
func (w *world) created(id string) (time.Time, bool) {
	meta, err := w.client.FetchWorkflowMetadata(w.t.Context(), id)
	if err != nil || meta.String() == "PENDING" {
		return time.Time{}, false
	}
	return meta.CreatedAt.AsTime(), true
}

func (w *world) start(name, id string, input any) {
	w.t.Helper()
	_, err := w.client.ScheduleWorkflow(w.t.Context(), name, workflow.WithInstanceID(id), workflow.WithInput(input))
	require.NoError(w.t, err)
}

// end waits for the end of the instance.
func (w *world) end(id string) *workflow.WorkflowMetadata {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	meta, err := w.client.WaitForWorkflowCompletion(ctx, id, workflow.WithFetchPayloads(true))
	require.NoError(w.t, err)
	return meta
}

// run runs a workflow to its end, which must be a good one, and saves its output.
func (w *world) run(name, id string, input, output any) {
	w.t.Helper()
	w.start(name, id, input)
	meta := w.end(id)
	require.Equal(w.t, "COMPLETED", meta.String(), meta.FailureDetails)
	if output != nil {
		require.NoError(w.t, json.Unmarshal([]byte(meta.Output.GetValue()), output))
	}
}

// verified verifies every link that was signed for the chain of that instance, and gives what was found.
func (w *world) verified(instance string, links []*receipt.Envelope) *chain.Found {
	w.t.Helper()
	report := chain.Verify(links, chain.Options{Bundles: w.sidecar.ca.Bundle()})
	require.Empty(w.t, report.All())
	require.Len(w.t, report.Chains, 1)
	found := report.Chains[0]
	require.Equal(w.t, instance, found.Chain.Instance)
	require.True(w.t, found.Ended)
	require.Len(w.t, found.Heads, 1)
	return found
}

// steps are the names of the steps that were found, with what came of them.
func steps(found *chain.Found) []string {
	var names []string
	for _, s := range found.Steps {
		names = append(names, s.Name+" "+s.Status)
	}
	return names
}
