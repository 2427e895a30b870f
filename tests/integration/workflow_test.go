// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/workflows/custody"
)

// The steps of workflows on the real mesh, with Dapr's signed history, form
// chains that verify offline, whatever crashes.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	w := startWorks(t, sqlite)
	refunds := w.worker("refunds")
	w.worker("fraud")

	t.Run("one step after the other", func(t *testing.T) {
		require.JSONEq(t, `{"text":"charge order"}`, w.run(t, "linear", "linear-1"))
		found, steps := w.verified(t, "linear-1")
		require.Equal(t, []string{"received stated", "fraud-check ok", "checked stated", "charge ok"}, steps)
		require.Equal(t, "spiffe://custody.local/ns/default/refunds", found.Chain.App.String())
		w.requireHistory(t, "linear-1", found.Chain.Started, 5)
	})
	t.Run("what the chain does not hold is denied", func(t *testing.T) {
		charged := w.server.calls["charge"].Load()
		require.NotEqual(t, `""`, w.run(t, "hasty", "hasty-1"))
		require.Equal(t, charged, w.server.calls["charge"].Load())
		_, steps := w.verified(t, "hasty-1")
		require.Equal(t, []string{"charge denied"}, steps)
	})
	t.Run("parallel steps join", func(t *testing.T) {
		w.run(t, "wide", "wide-1")
		_, steps := w.verified(t, "wide-1")
		require.Len(t, steps, 21)
	})
	t.Run("a child in another app", func(t *testing.T) {
		require.JSONEq(t, `{"text":"charge check order"}`, w.run(t, "parent", "parent-1"))
		found, steps := w.verified(t, "parent-1")
		require.Equal(t, []string{"custody.child stated", "looked at stated", "fraud-check ok", "charge ok"}, steps)
		require.Equal(t, "spiffe://custody.local/ns/default/fraud", found.Steps[2].By.String())
		require.NotEqual(t, "parent-1", found.Steps[2].Instance)
	})
	t.Run("generations and timers", func(t *testing.T) {
		w.run(t, "loop", "loop-1")
		_, steps := w.verified(t, "loop-1")
		require.Equal(t, []string{"fraud-check ok", "fraud-check ok", "charge ok"}, steps)
	})
	t.Run("children of generations", func(t *testing.T) {
		require.JSONEq(t, `"family-1:g2:0000"`, w.run(t, "family", "family-1"))
		_, steps := w.verified(t, "family-1")
		require.Equal(t, []string{"custody.child stated", "fraud-check ok", "fraud-check ok", "fraud-check ok"}, steps)
	})
	t.Run("retries", func(t *testing.T) {
		w.run(t, "late", "late-1")
		_, steps := w.verified(t, "late-1")
		require.Equal(t, "fraud-check ok", steps[len(steps)-1])
	})
	t.Run("approvals", w.testApprovals)
	t.Run("the worker is killed", func(t *testing.T) {
		before := w.server.calls["slow"].Load()
		w.schedule(w.refunds(), "slow", "slow-1")
		<-w.server.entered
		refunds.kill()
		w.server.release <- struct{}{}
		w.worker("refunds")
		w.requireOnce(t, w.refunds(), "slow-1", before)
	})
	t.Run("the sidecar is killed", w.testSidecarKilled)
}

// requireHistory holds the chain to Dapr's own history: it starts when Dapr took
// the workflow on, and each activity of ours has its link.
func (w *works) requireHistory(t *testing.T, id string, started time.Time, activities int) {
	t.Helper()
	history, err := w.refunds().GetInstanceHistory(t.Context(), id)
	require.NoError(t, err)
	require.NotNil(t, history.Events[1].GetExecutionStarted())
	require.Equal(t, history.Events[1].GetTimestamp().AsTime(), started.UTC())
	tasks := map[uint32]bool{}
	for _, link := range w.links(t, id) {
		r, err := link.UnsafeReceipt()
		require.NoError(t, err)
		tasks[r.Workflow.Task] = true
	}
	require.Len(t, tasks, activities)
	for _, e := range history.Events {
		if e.GetTaskScheduled() != nil {
			require.True(t, tasks[uint32(e.GetEventId())+1], "activity %d has no link", e.GetEventId())
		}
	}
}

// requireOnce waits for the end of a workflow whose call was interrupted.
func (w *works) requireOnce(t *testing.T, c *workflow.Client, id string, before int64) {
	t.Helper()
	status := completed(t, c, id)
	require.Contains(t, []string{`"ok"`, `"incomplete"`}, status)
	require.Equal(t, before+1, w.server.calls["slow"].Load())
	_, steps := w.verified(t, id)
	require.Equal(t, []string{"fraud-check " + strings.Trim(status, `"`), "lost stated"}, steps)
}

func (w *works) testApprovals(t *testing.T) {
	endpoint := func(app string) custody.Options {
		return custody.Options{DaprHTTPEndpoint: fmt.Sprintf("http://127.0.0.1:%d", w.app(app).DaprHTTPPort)}
	}
	for _, id := range []string{"approved-1", "approved-2"} {
		w.schedule(w.refunds(), "approved", id)
	}
	ask := w.asks(t, "approved-1", 0)
	good, err := custody.Approve(t.Context(), endpoint("manager"), ask)
	require.NoError(t, err)
	own, err := custody.Approve(t.Context(), endpoint("refunds"), ask)
	require.NoError(t, err)
	w.raise(t, "approved-2", good) // of another instance
	w.asks(t, "approved-2", 1)
	w.raise(t, "approved-1", own)
	w.asks(t, "approved-1", 1)
	w.raise(t, "approved-1", good)
	require.JSONEq(t, `"spiffe://custody.local/ns/default/manager"`, completed(t, w.refunds(), "approved-1"))
	other, err := custody.Approve(t.Context(), endpoint("manager"), w.asks(t, "approved-2", 1))
	require.NoError(t, err)
	w.raise(t, "approved-2", other)
	completed(t, w.refunds(), "approved-2")
	_, steps := w.verified(t, "approved-2")
	require.Equal(t, []string{"fraud-check ok", "custody.ask.manager stated", "manager approved", "payout ok"}, steps)
}

// asks waits until the instance asks for an approval and has passed over so many events.
func (w *works) asks(t *testing.T, id string, refused int) custody.Ask {
	t.Helper()
	var found custody.Ask
	require.Eventually(t, func() bool {
		meta, err := w.refunds().FetchWorkflowMetadata(t.Context(), id, workflow.WithFetchPayloads(true))
		if err != nil {
			return false
		}
		asks := custody.PendingApprovals(meta.CustomStatus.GetValue())
		if len(asks) == 1 && asks[0].Refused == refused {
			found = asks[0]
		}
		return found.Event != ""
	}, time.Minute, 20*time.Millisecond)
	return found
}

func (w *works) raise(t *testing.T, id string, payload json.RawMessage) {
	t.Helper()
	require.NoError(t, w.refunds().RaiseEvent(t.Context(), id, "custody.approval.manager", workflow.WithEventPayload(payload)))
}

// testSidecarKilled kills the sidecar of a worker whose call is running. The next
// one goes on with the journal and the state of the first.
func (w *works) testSidecarKilled(t *testing.T) {
	launch := func() (*localdomain.Launched, *process) {
		sidecar, err := w.domain.Launch(localdomain.Sidecar{
			AppID: "loner", TokenFile: w.app("loner").TokenFile, ConfigFile: w.folder + "/worker.yaml",
			ResourcesPaths: []string{w.folder + "/loner-extra"},
		})
		require.NoError(t, err)
		require.NoError(t, sidecar.Ready(t.Context()))
		return sidecar, startWorker(t, sidecar.HTTPPort, sidecar.GRPCPort)
	}
	w.furnish("loner-extra", sqlite)
	before := w.server.calls["slow"].Load()
	sidecar, worker := launch()
	w.schedule(w.client(sidecar.GRPCPort), "slow", "slow-2")
	<-w.server.entered
	require.NoError(t, sidecar.Kill())
	w.server.release <- struct{}{}
	worker.kill()
	sidecar, _ = launch()
	w.requireOnce(t, w.client(sidecar.GRPCPort), "slow-2", before)
}
