// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/dapr-custody/custody/workflows/custody"
)

const (
	// workerArgument makes this program the worker of an app.
	workerArgument = "workflow-worker"

	flowName     = "steps"
	flowActivity = "call"
)

// work runs the workflow of an app beside its sidecar, until alive ends: the
// arguments are its name and the ports of the sidecar.
func work(alive io.Reader, ready io.Writer, args []string) (err error) {
	if len(args) != 3 {
		return errors.New("name, HTTP port and gRPC port are wanted")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conn, err := sidecarConn(args[2])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	registry, sidecar := workflow.NewRegistry(), "http://127.0.0.1:"+args[1]
	if args[0] == flowPlain {
		err = addPlain(registry, sidecar)
	} else {
		err = addChained(registry, sidecar)
	}
	if err != nil {
		return err
	}
	if err = workflow.NewClient(conn).StartWorker(ctx, registry); err != nil {
		return err
	}
	if _, err = fmt.Fprintln(ready, "working"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, alive)
	return err
}

func flowInput(i int) echoInput {
	return echoInput{Text: fmt.Sprintf("%06d", i) + strings.Repeat("n", 400)}
}

// addChained adds the workflow with a chain.
func addChained(registry *workflow.Registry, sidecar string) error {
	worker, err := custody.Register(registry, custody.Options{DaprHTTPEndpoint: sidecar})
	if err != nil {
		return err
	}
	return worker.AddWorkflow(flowName, func(ctx *custody.Context) (any, error) {
		var steps int
		if err := ctx.GetInput(&steps); err != nil {
			return nil, err
		}
		for i := range steps {
			in, got := flowInput(i), ""
			if err := custody.CallTool(ctx, flowServer, allowedTool, in).Await(&got); err != nil {
				return nil, err
			}
			if got != in.Text {
				return nil, fmt.Errorf("step %d: another answer than was asked for", i)
			}
		}
		return nil, nil
	})
}

// addPlain adds the same workflow with an activity that knows nothing of chains.
func addPlain(registry *workflow.Registry, sidecar string) error {
	s := &plainServer{endpoint: sidecar + "/v1.0/invoke/" + flowServer + "/method/mcp"}
	if err := registry.AddActivityN(flowActivity, s.call); err != nil {
		return err
	}
	return registry.AddWorkflowN(flowName, func(ctx *workflow.WorkflowContext) (any, error) {
		var steps int
		if err := ctx.GetInput(&steps); err != nil {
			return nil, err
		}
		for i := range steps {
			in, got := flowInput(i), ""
			if err := ctx.CallActivity(flowActivity, workflow.WithActivityInput(in)).Await(&got); err != nil {
				return nil, err
			}
			if got != in.Text {
				return nil, fmt.Errorf("step %d: another answer than was asked for", i)
			}
		}
		return nil, nil
	})
}

// plainServer is the server as a client of the official SDK sees it. It is
// greeted once, as workflows/custody does.
type plainServer struct {
	endpoint string

	mu      sync.Mutex
	session *mcp.ClientSession
}

func (s *plainServer) connected() (*mcp.ClientSession, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		return s.session, nil
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	// The session outlives the activity that is the first to need it.
	session, err := client.Connect(context.Background(),
		&mcp.StreamableClientTransport{Endpoint: s.endpoint, MaxRetries: -1, DisableStandaloneSSE: true}, nil)
	s.session = session
	return session, err
}

func (s *plainServer) call(ctx workflow.ActivityContext) (any, error) {
	var in echoInput
	if err := ctx.GetInput(&in); err != nil {
		return nil, err
	}
	session, err := s.connected()
	if err != nil {
		return nil, err
	}
	result, err := session.CallTool(ctx.Context(), &mcp.CallToolParams{Name: allowedTool, Arguments: in})
	if err != nil {
		return nil, err
	}
	if len(result.Content) == 1 {
		if text, ok := result.Content[0].(*mcp.TextContent); ok && !result.IsError {
			return text.Text, nil
		}
	}
	return nil, errors.New("the tool gave no text")
}
