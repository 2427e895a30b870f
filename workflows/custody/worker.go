// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dapr-custody/custody/workflows/internal/endpoint"
)

// The names of the activities that Register adds.
const (
	activityCall   = "custody.call"
	activityState  = "custody.state"
	activityVerify = "custody.verify"
)

// settleWait is the default of Options.SettleWait.
const settleWait = 10 * time.Second

// Options say how the worker reaches its own sidecar. The zero value is right beside a sidecar.
type Options struct {
	// DaprHTTPEndpoint is the sidecar's HTTP API, as http://127.0.0.1:3500. Empty takes DAPR_HTTP_ENDPOINT, or else
	// 127.0.0.1 with the port DAPR_HTTP_PORT, or else 3500.
	DaprHTTPEndpoint string
	// APIToken goes to the sidecar as dapr-api-token. Empty takes DAPR_API_TOKEN, and there may be none.
	APIToken string
	// Client sends to the sidecar. Nil is a client of its own, without proxy and without a timeout: the guard of a server
	// ends what takes too long.
	Client *http.Client
	// SettleWait is how long an activity waits for a call that was passed on and has no receipt yet, before the step is
	// unknown. 0 is ten seconds.
	SettleWait time.Duration
}

func (o Options) sidecar() (*sidecar, error) {
	base, err := endpoint.Of(o.DaprHTTPEndpoint)
	if err != nil {
		return nil, fmt.Errorf("custody: %w", err)
	}
	s := &sidecar{base: strings.TrimSuffix(base.String(), "/"), token: o.APIToken, client: o.Client}
	if s.token == "" {
		s.token = os.Getenv("DAPR_API_TOKEN")
	}
	if s.client == nil {
		const connections = 64
		s.client = &http.Client{Transport: &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute}}
	}
	return s, nil
}

// Worker runs workflows whose steps form chains. Register makes it.
type Worker struct {
	registry   *workflow.Registry
	sidecar    *sidecar
	servers    *servers
	past       *past
	settleWait time.Duration
	// unpropagated lets a child start without the history of its parent, which Dapr always gives and the backends of
	// durabletask-go that tests use never do.
	unpropagated bool
}

// Register adds the activities that steps are done in, and gives the worker to add workflows to. It is called once for a
// registry; a second time is an error.
func Register(r *workflow.Registry, o Options) (*Worker, error) {
	s, err := o.sidecar()
	if err != nil {
		return nil, err
	}
	if o.SettleWait < 0 {
		return nil, fmt.Errorf("custody: SettleWait is %s, below 0", o.SettleWait)
	}
	w := &Worker{registry: r, sidecar: s, servers: newServers(), past: newPast(), settleWait: o.SettleWait}
	if w.settleWait == 0 {
		w.settleWait = settleWait
	}
	activities := map[string]workflow.Activity{
		activityCall: w.call, activityState: w.state, activityVerify: w.verify,
	}
	for name, activity := range activities {
		if err := r.AddActivityN(name, activity); err != nil {
			return nil, fmt.Errorf("custody: adding activity %s: %w", name, err)
		}
	}
	return w, nil
}

// Workflow is a workflow function whose steps form a chain.
type Workflow func(ctx *Context) (any, error)

// AddWorkflow adds a workflow by its name. Its input and output are as in any workflow; only where a chain goes on in
// another instance do they travel in a wrapper.
func (w *Worker) AddWorkflow(name string, f Workflow) error {
	err := w.registry.AddWorkflowN(name, func(wc *workflow.WorkflowContext) (any, error) {
		ctx, err := w.begin(wc)
		if err != nil {
			return nil, err
		}
		output, err := f(ctx)
		return ctx.finish(output, err)
	})
	if err != nil {
		return fmt.Errorf("custody: adding workflow %s: %w", name, err)
	}
	return nil
}
