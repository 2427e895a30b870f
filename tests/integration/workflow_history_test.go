// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapr-custody/custody/internal/localdomain"
)

// workflows is a trust domain with the apps intake and fraud, whose histories are signed, and plain, whose are not.
type workflows struct{ trustDomain }

func startWorkflows(t *testing.T) *workflows {
	t.Helper()
	w := &workflows{newTrustDomain(t)}
	files := map[string]string{
		"signed.yaml": `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: signed}
spec:
  accessControl: {trustDomain: custody.local}
  features: [{name: WorkflowHistorySigning, enabled: true}]
`,
		"unsigned.yaml": `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: unsigned}
spec:
  accessControl: {trustDomain: custody.local}
`,
		"witnessed/store.yaml": fmt.Sprintf(`apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: state.custody
  version: v1
  metadata:
  - {name: backend, value: sqlite}
  - {name: connectionString, value: %s}
  - {name: journalDir, value: %s}
  - {name: actorStateStore, value: "true"}
`, w.database(), filepath.Join(w.folder, "journal")),
		"resources/store.yaml": fmt.Sprintf(`apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: store}
spec:
  type: state.sqlite
  version: v1
  metadata:
  - {name: connectionString, value: %s}
  - {name: actorStateStore, value: "true"}
`, w.others()),
		"dapr.yaml": `version: 1
apps:
- {appID: intake, appDirPath: ., configFilePath: signed.yaml, resourcesPath: witnessed, command: [sleep, '3600']}
- {appID: fraud, appDirPath: ., configFilePath: signed.yaml, resourcesPath: resources, command: [sleep, '3600']}
- {appID: plain, appDirPath: ., configFilePath: unsigned.yaml, resourcesPath: resources, command: [sleep, '3600']}
`,
	}
	for name, text := range files {
		w.write(name, text)
	}
	require.NoError(t, w.start(localdomain.Options{}))
	return w
}

func (w *workflows) database() string { return filepath.Join(w.folder, "store.db") }

// others is the database of the apps whose store has no witness.
func (w *workflows) others() string { return filepath.Join(w.folder, "others.db") }

// worker connects an app to its sidecar.
func (w *workflows) worker(app string, add func(*workflow.Registry)) *workflow.Client {
	w.t.Helper()
	return w.workerUntil(w.t.Context(), app, add)
}

// workerUntil is a worker that leaves when the context ends.
func (w *workflows) workerUntil(ctx context.Context, app string, add func(*workflow.Registry)) *workflow.Client {
	w.t.Helper()
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", w.app(app).DaprGRPCPort), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	client := workflow.NewClient(conn)
	registry := workflow.NewRegistry()
	add(registry)
	require.NoError(w.t, client.StartWorker(ctx, registry))
	return client
}

func (w *workflows) run(client *workflow.Client, name, instance string) {
	w.t.Helper()
	_, err := client.ScheduleWorkflow(w.t.Context(), name, workflow.WithInstanceID(instance), workflow.WithInput("order 7"))
	require.NoError(w.t, err)
	done, err := client.WaitForWorkflowCompletion(w.t.Context(), instance)
	require.NoError(w.t, err)
	require.Equal(w.t, workflow.StatusCompleted, done.RuntimeStatus, "%v", done.FailureDetails)
}

func activity(name string, answer any) func(*workflow.Registry) {
	return func(r *workflow.Registry) {
		if err := r.AddActivityN(name, func(workflow.ActivityContext) (any, error) { return answer, nil }); err != nil {
			panic(err)
		}
	}
}

func TestHistoriesOfRealWorkflows(t *testing.T) {
	w := startWorkflows(t)
	refund := func(r *workflow.Registry) {
		activity("look-up", 42)(r)
		require.NoError(t, r.AddWorkflowN("refund", func(ctx *workflow.WorkflowContext) (any, error) {
			var amount int
			if err := ctx.CallActivity("look-up", workflow.WithActivityInput("order 7")).Await(&amount); err != nil {
				return nil, err
			}
			var verdict string
			if err := ctx.CallActivity("check", workflow.WithActivityInput(amount), workflow.WithActivityAppID("fraud")).Await(&verdict); err != nil {
				return nil, err
			}
			return verdict, ctx.CreateTimer(time.Millisecond).Await(nil)
		}))
	}
	w.worker("fraud", activity("check", "clean"))
	client := w.worker("intake", refund)
	w.run(client, "refund", "refund-7")
	plain := w.worker("plain", func(r *workflow.Registry) {
		require.NoError(t, r.AddWorkflowN("note", func(*workflow.WorkflowContext) (any, error) { return 1, nil }))
	})
	w.run(plain, "note", "note-1")

	t.Run("list", func(t *testing.T) {
		out, code := w.custody("workflow", "list", "-o", "json")
		require.Zero(t, code, out)
		var rows []struct {
			Instance, App, Workflow, Status string
			Events                          int
			Signed                          bool
		}
		require.NoError(t, json.Unmarshal([]byte(out), &rows), out)
		require.Len(t, rows, 2)
		require.Equal(t, "refund-7 intake refund COMPLETED true", fmt.Sprint(rows[0].Instance, " ", rows[0].App, " ", rows[0].Workflow, " ", rows[0].Status, " ", rows[0].Signed))
		require.Equal(t, "note-1 plain note COMPLETED false", fmt.Sprint(rows[1].Instance, " ", rows[1].App, " ", rows[1].Workflow, " ", rows[1].Status, " ", rows[1].Signed))
	})
	type view struct {
		OK       bool
		Verified int
		Events   []struct{ Event, Name, App, Signer, Attested, Verified string }
		Faults   []struct{ Kind, Row string }
	}
	show := func(t *testing.T, args ...string) (view, int) {
		out, code := w.custody(append([]string{"workflow", "history", "-o", "json"}, args...)...)
		var v view
		if code != 2 {
			decoder := json.NewDecoder(strings.NewReader(out))
			require.NoError(t, decoder.Decode(&v), out)
		}
		return v, code
	}
	t.Run("signed", func(t *testing.T) {
		v, code := show(t, "refund-7")
		require.Zero(t, code, "%v", v)
		require.True(t, v.OK)
		require.Equal(t, len(v.Events), v.Verified)
		attested := map[string]string{}
		for _, e := range v.Events {
			require.Equal(t, "spiffe://custody.local/ns/default/intake", e.Signer)
			if e.Event == "TaskCompleted" {
				attested[e.Name+" by "+e.App] = e.Attested
			}
		}
		require.Equal(t, map[string]string{
			"look-up by intake": "spiffe://custody.local/ns/default/intake", "check by fraud": "spiffe://custody.local/ns/default/fraud",
		}, attested)
	})
	t.Run("with flags and no run", func(t *testing.T) {
		out, code := w.custody("workflow", "history", "refund-7", "--component", filepath.Join(w.folder, "witnessed", "store.yaml"),
			"--trust-bundle", w.domain.Info().TrustBundle, "--trust-domain", "custody.local")
		require.Zero(t, code, out)
		require.Contains(t, out, "GOOD: ")
	})
	t.Run("unsigned", func(t *testing.T) {
		v, code := show(t, "note-1")
		require.Zero(t, code)
		require.Zero(t, v.Verified)
		require.Equal(t, "not signed", v.Events[0].Verified)
	})
	t.Run("no such instance", func(t *testing.T) {
		out, code := w.custody("workflow", "history", "refund-8")
		require.Equal(t, 2, code, out)
		v, code := show(t, "refund-8", "--app", "intake")
		require.Equal(t, 1, code)
		require.Equal(t, "no-rows", v.Faults[0].Kind)
	})
}
