// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	dapr "github.com/dapr/go-sdk/client"

	"github.com/dapr-custody/custody/workflows/custody"
)

// startWorker runs the workflows of an app until ctx ends.
func startWorker(ctx context.Context, workflows map[string]custody.Workflow) (*workflow.Client, error) {
	registry := workflow.NewRegistry()
	worker, err := custody.Register(registry, custody.Options{})
	if err != nil {
		return nil, err
	}
	for name, f := range workflows {
		if err := worker.AddWorkflow(name, f); err != nil {
			return nil, err
		}
	}
	client, err := dapr.NewWorkflowClient()
	if err != nil {
		return nil, fmt.Errorf("reach the sidecar: %w", err)
	}
	if err := client.StartWorker(ctx, registry); err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	return client, nil
}

// fraud has no other interface than its workflow.
func fraud(ctx context.Context, _ *slog.Logger) (http.Handler, error) {
	if _, err := startWorker(ctx, map[string]custody.Workflow{fraudWorkflow: check}); err != nil {
		return nil, err
	}
	return mux(), nil
}

// intake starts refunds for who can reach its port, and lets the approver see
// what waits and hand in what it signed:
//
//	POST /refunds/{id}      {"order": 7, "amount": 1999, "reason": "broken"}
//	GET  /refunds/{id}
//	GET  /approvals/{id}
//	POST /approvals/{id}    {"event": "...", "approval": {...}}
func intake(ctx context.Context, log *slog.Logger) (http.Handler, error) {
	client, err := startWorker(ctx, map[string]custody.Workflow{refundWorkflow: refund})
	if err != nil {
		return nil, err
	}
	d := &desk{client: client}
	m := mux()
	m.HandleFunc("POST /refunds/{id}", answer(log, d.start))
	m.HandleFunc("GET /refunds/{id}", answer(log, d.status))
	m.HandleFunc("GET /approvals/{id}", answer(log, d.pending))
	m.HandleFunc("POST /approvals/{id}", answer(log, d.approve))
	return m, nil
}

type desk struct {
	client *workflow.Client
}

func (d *desk) start(r *http.Request) (any, error) {
	var in request
	if err := decode(r.Body, &in); err != nil {
		return nil, err
	}
	id, err := d.client.ScheduleWorkflow(r.Context(), refundWorkflow,
		workflow.WithInstanceID(r.PathValue("id")), workflow.WithInput(in))
	return map[string]string{"id": id}, err
}

// state is how a refund stands.
type state struct {
	Status string          `json:"status"`
	Output json.RawMessage `json:"output,omitempty"`
	Error  string          `json:"error,omitempty"`
}

const (
	fetchTries = 5
	fetchPause = 50 * time.Millisecond
)

// fetch asks Dapr how a workflow stands. Dapr reads the rows of a workflow one
// after the other, and fails if one of them is written meanwhile.
func (d *desk) fetch(ctx context.Context, id string) (*workflow.WorkflowMetadata, error) {
	for n := 1; ; n++ {
		meta, err := d.client.FetchWorkflowMetadata(ctx, id, workflow.WithFetchPayloads(true))
		if err == nil || n == fetchTries {
			return meta, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(fetchPause):
		}
	}
}

func (d *desk) status(r *http.Request) (any, error) {
	meta, err := d.fetch(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	s := state{Status: meta.String(), Error: meta.FailureDetails.GetErrorMessage()}
	if output := meta.Output.GetValue(); output != "" {
		s.Output = json.RawMessage(output)
	}
	return s, nil
}

func (d *desk) pending(r *http.Request) (any, error) {
	meta, err := d.fetch(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return custody.PendingApprovals(meta.CustomStatus.GetValue()), nil
}

// handIn is an approval on its way to the workflow.
type handIn struct {
	Event    string          `json:"event"`
	Approval json.RawMessage `json:"approval"`
}

func (d *desk) approve(r *http.Request) (any, error) {
	var in handIn
	if err := decode(r.Body, &in); err != nil {
		return nil, err
	}
	err := d.client.RaiseEvent(r.Context(), r.PathValue("id"), in.Event, workflow.WithEventPayload(in.Approval))
	return map[string]string{"raised": in.Event}, err
}
