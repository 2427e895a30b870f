// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Between two times that Dapr is asked when it took a workflow on, and for how long. It answers once it has saved the
// first execution, which is mostly before an activity of it begins.
const (
	createdFirst = 2 * time.Millisecond
	createdMost  = 250 * time.Millisecond
	createdTries = 120
	// maxWorkflow bounds what is read of Dapr's answer, which bears the input of the workflow.
	maxWorkflow = 32 << 20
)

// created is when Dapr took the workflow of an instance on: the time of the event ExecutionStarted, which it saves before
// the workflow is first executed. A workflow cannot know it by itself, and must not take the time of its own first event:
// Dapr starts activities before it saves that (pkg/actors/targets/workflow/orchestrator/run.go), so after a crash another
// execution, with another time, would ask for the same steps in another chain.
func (s *sidecar) created(ctx context.Context, instance string) (time.Time, error) {
	var last error
	for n, wait := 0, createdFirst; n < createdTries; n, wait = n+1, min(2*wait, createdMost) {
		at, again, err := s.createdOnce(ctx, instance)
		if !again {
			return at, err
		}
		if last = err; !pause(ctx, wait) {
			break
		}
	}
	return time.Time{}, fmt.Errorf("%w: when instance %q began: %w", ErrUnreachable, instance, last)
}

func (s *sidecar) createdOnce(ctx context.Context, instance string) (at time.Time, again bool, err error) {
	r, err := s.request(ctx, http.MethodGet, s.base+"/v1.0/workflows/dapr/"+url.PathEscape(instance), nil)
	if err != nil {
		return time.Time{}, false, err
	}
	got, err := s.do(r, maxWorkflow)
	switch {
	case err != nil:
		return time.Time{}, true, err
	case got.status >= http.StatusInternalServerError:
		return time.Time{}, true, fmt.Errorf("status %d: %s", got.status, got.text())
	case got.status != http.StatusOK:
		return time.Time{}, false, fmt.Errorf("%w: when instance %q began: status %d: %s", ErrRefused, instance, got.status, got.text())
	}
	var in struct {
		CreatedAt time.Time `json:"createdAt"`
	}
	if err := json.Unmarshal(got.body, &in); err != nil {
		return time.Time{}, false, fmt.Errorf("%w: when instance %q began: %w", ErrRefused, instance, err)
	}
	// What has no history yet was created at the beginning of time, which Dapr writes in two ways.
	if in.CreatedAt.Unix() <= 0 {
		return time.Time{}, true, errors.New("its first execution is not saved")
	}
	return in.CreatedAt, false, nil
}
