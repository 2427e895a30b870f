// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// works is a trust domain with the guarded server payments, the apps refunds,
// fraud and loner, which run workflows, and the app manager, which approves.
type works struct {
	trustDomain

	server *till
	port   int // of the server
	conns  map[int]*grpc.ClientConn
}

const (
	worksPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: payments}
spec:
  rules:
  - {name: check, effect: allow, from: [refunds, fraud, loner], to: {server: payments, tools: [check, slow]}}
  - name: charge
    effect: allow
    from: [refunds]
    to: {server: payments, tools: [charge]}
    when: chain.complete && chain.has("fraud-check")
  - name: payout
    effect: allow
    from: [refunds]
    to: {server: payments, tools: [payout]}
    when: chain.complete && chain.has("fraud-check") && chain.approvedBy("spiffe://custody.local/ns/default/manager")
`
	workerConfig = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: worker}
spec:
  accessControl: {trustDomain: custody.local}
  features: [{name: WorkflowHistorySigning, enabled: true}]
  httpPipeline:
    handlers: [{name: caller, type: middleware.http.mcpcaller}]
`
	paymentsConfig = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: payments}
spec:
` + guardedSpec
	paymentsGuard = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: guard}
spec:
  type: middleware.http.mcpguard
  version: v1
  initTimeout: 60s
  metadata:
  - {name: server, value: payments}
  - {name: policyDir, value: %[1]s/policies}
  - {name: journalDir, value: %[1]s/links/payments}
`
	workerComponents = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: caller}
spec:
  type: middleware.http.mcpcaller
  version: v1
  metadata:
  - {name: journalDir, value: %[1]s/links/%[2]s}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: %[3]s
  version: v1
  metadata:
  - {name: actorStateStore, value: "true"}
%[4]s`
)

// store is the state store of an app: its type, and its metadata as YAML.
type store func(folder, app string) (kind, metadata string)

// sqlite is Dapr's own store in a file.
func sqlite(folder, app string) (kind, metadata string) {
	return "state.sqlite", fmt.Sprintf("  - {name: connectionString, value: %s/state/%s.db}\n", folder, app)
}

// till is an MCP server that counts the calls of its tools. The tool slow says
// that it was entered, and waits to be released.
type till struct {
	*httptest.Server
	calls            map[string]*atomic.Int64
	entered, release chan struct{}
}

func newTill(t testing.TB) *till {
	t.Helper()
	s := &till{calls: map[string]*atomic.Int64{}, entered: make(chan struct{}, 16), release: make(chan struct{}, 16)}
	server := mcp.NewServer(&mcp.Implementation{Name: "till", Version: "1"}, nil)
	for _, name := range []string{"check", "charge", "payout", "slow"} {
		count := new(atomic.Int64)
		s.calls[name] = count
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(_ context.Context, _ *mcp.CallToolRequest, in said) (*mcp.CallToolResult, said, error) {
			count.Add(1)
			if name == "slow" {
				s.entered <- struct{}{}
				<-s.release
			}
			return nil, said{Text: name + " " + in.Text}, nil
		})
	}
	s.Server = httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true}))
	t.Cleanup(s.Close)
	return s
}

func startWorks(t testing.TB, in store) *works {
	t.Helper()
	w := newWorks(t, in)
	w.start("")
	return w
}

// newWorks writes the files of a trust domain.
func newWorks(t testing.TB, in store) *works {
	t.Helper()
	w := &works{trustDomain: newTrustDomain(t), server: newTill(t), conns: map[int]*grpc.ClientConn{}}
	address, err := url.Parse(w.server.URL)
	require.NoError(t, err)
	port, err := strconv.Atoi(address.Port())
	require.NoError(t, err)
	w.write("policies/payments.yaml", worksPolicy)
	w.write("payments.yaml", paymentsConfig)
	w.write("worker.yaml", workerConfig)
	w.write("payments/guard.yaml", fmt.Sprintf(paymentsGuard, w.folder))
	var run strings.Builder
	fmt.Fprintf(&run, "version: 1\napps:\n- {appID: payments, appDirPath: ., appPort: %d, configFilePath: payments.yaml, resourcesPath: payments, command: [sleep, '3600']}\n", port)
	for _, app := range []string{"refunds", "fraud", "loner", "manager"} {
		w.furnish(app, in)
		fmt.Fprintf(&run, "- {appID: %[1]s, appDirPath: ., configFilePath: worker.yaml, resourcesPath: %[1]s, command: [sleep, '3600']}\n", app)
	}
	w.write("dapr.yaml", run.String())
	require.NoError(t, os.MkdirAll(filepath.Join(w.folder, "state"), 0o700))
	w.port = port
	return w
}

// start starts a run, whose authority and jobs are kept in a folder that outlives it, unless that is "".
func (w *works) start(persist string) {
	w.t.Helper()
	w.t.Cleanup(func() { // after what start does then
		if w.domain != nil {
			require.NoError(w.t, w.domain.Stop())
		}
	})
	require.NoError(w.t, w.trustDomain.start(localdomain.Options{
		Apps: map[string]localdomain.AppOptions{"payments": {External: w.port}}, Persist: persist,
	}))
}

// furnish writes the components of an app.
func (w *works) furnish(app string, in store) {
	w.t.Helper()
	kind, metadata := in(w.folder, app)
	w.write(app+"/components.yaml", fmt.Sprintf(workerComponents, w.folder, app, kind, metadata))
}

// worker starts the worker of an app.
func (w *works) worker(id string) *process {
	w.t.Helper()
	app := w.app(id)
	return startWorker(w.t, app.DaprHTTPPort, app.DaprGRPCPort)
}

// client is a client of the workflows of the sidecar with that port.
func (w *works) client(grpcPort int) *workflow.Client {
	w.t.Helper()
	if w.conns[grpcPort] == nil {
		conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", grpcPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(w.t, err)
		w.t.Cleanup(func() { require.NoError(w.t, conn.Close()) })
		w.conns[grpcPort] = conn
	}
	return workflow.NewClient(w.conns[grpcPort])
}

func (w *works) refunds() *workflow.Client { return w.client(w.app("refunds").DaprGRPCPort) }

func (w *works) schedule(c *workflow.Client, name, id string) {
	w.t.Helper()
	_, err := c.ScheduleWorkflow(w.t.Context(), name, workflow.WithInstanceID(id))
	require.NoError(w.t, err)
}

// completed waits for a good end and gives the output.
func completed(t testing.TB, c *workflow.Client, id string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	meta, err := c.WaitForWorkflowCompletion(ctx, id, workflow.WithFetchPayloads(true))
	require.NoError(t, err)
	require.Equal(t, "COMPLETED", meta.String(), meta.FailureDetails)
	return meta.Output.GetValue()
}

func (w *works) run(t testing.TB, name, id string) string {
	t.Helper()
	w.schedule(w.refunds(), name, id)
	return completed(t, w.refunds(), id)
}

// links are those of a chain in the journals of all sidecars, with certificates.
func (w *works) links(t testing.TB, instance string) []*receipt.Envelope {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(w.folder, "links", "*"))
	require.NoError(t, err)
	var links []*receipt.Envelope
	for _, folder := range folders {
		envelopes, _ := testkit.ReadEnvelopes(t, folder)
		for _, link := range envelopes {
			r, err := link.UnsafeReceipt()
			require.NoError(t, err)
			if r.Workflow != nil && r.Workflow.Chain != nil && r.Workflow.Chain.Instance == instance {
				links = append(links, link)
			}
		}
	}
	return links
}

// verified verifies the chain of an instance offline, and gives its steps as
// name and status.
func (w *works) verified(t testing.TB, instance string) (*chain.Found, []string) {
	t.Helper()
	report := chain.Verify(w.links(t, instance), chain.Options{Bundles: w.bundle()})
	require.Empty(t, report.All())
	require.Len(t, report.Chains, 1)
	require.True(t, report.Chains[0].Ended)
	var steps []string
	for _, s := range report.Chains[0].Steps {
		steps = append(steps, s.Name+" "+s.Status)
	}
	return report.Chains[0], steps
}
