// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/dapr/go-sdk/client"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/workflows/custody"
)

// workerVariable makes the test binary a worker, so that it can be killed.
const workerVariable = "INTEGRATION_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) == "" {
		os.Exit(m.Run())
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work runs the workflows of an app until it is told to stop.
func work() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	registry := workflow.NewRegistry()
	worker, err := custody.Register(registry, custody.Options{})
	if err != nil {
		return err
	}
	for name, f := range map[string]custody.Workflow{
		"linear": linear, "hasty": hasty, "wide": wide, "parent": parent, "child": child, "approved": approved, "loop": loop, "family": family, "leaf": leaf,
		"late": late, "slow": slow, "chained": chained, "waits": waits,
	} {
		if err := worker.AddWorkflow(name, f); err != nil {
			return err
		}
	}
	if err := addPlain(registry); err != nil {
		return err
	}
	c, err := client.NewWorkflowClient()
	if err != nil {
		return err
	}
	if err := c.StartWorker(ctx, registry); err != nil {
		return err
	}
	fmt.Println("working")
	<-ctx.Done()
	return nil
}

type said struct {
	Text string `json:"text"`
}

func callTool(ctx *custody.Context, tool, text string, options ...custody.CallOption) (said, error) {
	var out said
	err := custody.CallTool(ctx, "payments", tool, said{Text: text}, options...).Await(&out)
	return out, err
}

func linear(ctx *custody.Context) (any, error) {
	if err := custody.Attest(ctx, "received", map[string]int{"amount": 12}).Await(nil); err != nil {
		return nil, err
	}
	if _, err := callTool(ctx, "check", "order", custody.WithStep("fraud-check")); err != nil {
		return nil, err
	}
	if err := custody.Attest(ctx, "checked", true).Await(nil); err != nil {
		return nil, err
	}
	return callTool(ctx, "charge", "order")
}

// hasty charges without a check.
func hasty(ctx *custody.Context) (any, error) {
	_, err := callTool(ctx, "charge", "order")
	var denied *custody.DeniedError
	if !errors.As(err, &denied) {
		return nil, fmt.Errorf("not denied: %w", err)
	}
	return denied.Reference, nil
}

func wide(ctx *custody.Context) (any, error) {
	tasks := make([]workflow.Task, 20)
	for i := range tasks {
		tasks[i] = custody.CallTool(ctx, "payments", "check", said{Text: strconv.Itoa(i)}, custody.WithStep("fraud-check"))
	}
	for _, task := range tasks {
		if err := task.Await(nil); err != nil {
			return nil, err
		}
	}
	return callTool(ctx, "charge", "all")
}

func parent(ctx *custody.Context) (any, error) {
	var checked said
	if err := custody.CallChild(ctx, "child", said{Text: "order"}, custody.WithChildApp("fraud")).Await(&checked); err != nil {
		return nil, err
	}
	return callTool(ctx, "charge", checked.Text)
}

// child looks at what the parent did and checks.
func child(ctx *custody.Context) (any, error) {
	var in said
	if err := ctx.GetInput(&in); err != nil {
		return nil, err
	}
	if links := len(ctx.Links()); links != 1 {
		return nil, fmt.Errorf("%d links of the parent came through Dapr's history", links)
	}
	if err := custody.Attest(ctx, "looked at", in).Await(nil); err != nil {
		return nil, err
	}
	return callTool(ctx, "check", in.Text, custody.WithStep("fraud-check"))
}

func approved(ctx *custody.Context) (any, error) {
	if _, err := callTool(ctx, "check", "order", custody.WithStep("fraud-check")); err != nil {
		return nil, err
	}
	var by custody.Approved
	if err := custody.Approval(ctx, "manager", map[string]int{"amount": 12}, 5*time.Minute).Await(&by); err != nil {
		return nil, err
	}
	if _, err := callTool(ctx, "payout", "order"); err != nil {
		return nil, err
	}
	return by.By, nil
}

func loop(ctx *custody.Context) (any, error) {
	var n int
	if err := ctx.GetInput(&n); err != nil {
		return nil, err
	}
	if n < 2 {
		if _, err := callTool(ctx, "check", strconv.Itoa(n), custody.WithStep("fraud-check")); err != nil {
			return nil, err
		}
		if err := ctx.CreateTimer(10 * time.Millisecond).Await(nil); err != nil {
			return nil, err
		}
		ctx.ContinueAsNew(n + 1)
		return nil, nil
	}
	return callTool(ctx, "charge", "after two generations")
}

// family calls a child in each of two generations, without an instance ID.
func family(ctx *custody.Context) (any, error) {
	var n int
	if err := ctx.GetInput(&n); err != nil {
		return nil, err
	}
	var id string
	if err := custody.CallChild(ctx, "leaf", n).Await(&id); err != nil {
		return nil, err
	}
	if n < 2 {
		ctx.ContinueAsNew(n + 1)
	}
	return id, nil
}

func leaf(ctx *custody.Context) (any, error) {
	_, err := callTool(ctx, "check", ctx.ID(), custody.WithStep("fraud-check"))
	return ctx.ID(), err
}

// late calls an app that is not there, twice.
func late(ctx *custody.Context) (any, error) {
	policy := &custody.RetryPolicy{MaxAttempts: 2, InitialRetryInterval: 10 * time.Millisecond}
	err := custody.CallTool(ctx, "nobody", "check", nil, custody.WithRetry(policy)).Await(nil)
	if !errors.Is(err, custody.ErrUnreachable) {
		return nil, fmt.Errorf("reached: %w", err)
	}
	return callTool(ctx, "check", "order", custody.WithStep("fraud-check"))
}

// waits lets some time pass between its steps.
func waits(ctx *custody.Context) (any, error) {
	if _, err := callTool(ctx, "check", "order", custody.WithStep("fraud-check")); err != nil {
		return nil, err
	}
	if err := ctx.CreateTimer(5 * time.Second).Await(nil); err != nil {
		return nil, err
	}
	return callTool(ctx, "charge", "order")
}

// slow is killed while its call is running.
func slow(ctx *custody.Context) (any, error) {
	_, err := callTool(ctx, "slow", "order", custody.WithStep("fraud-check"))
	var settled *custody.SettledError
	if !errors.As(err, &settled) {
		return nil, fmt.Errorf("not settled before: %w", err)
	}
	return settled.Status, custody.Attest(ctx, "lost", settled.Status).Await(nil)
}

// process is a worker of an app.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
}

// startWorker starts the worker of an app beside the sidecar with these ports.
func startWorker(t testing.TB, httpPort, grpcPort int) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], "-test.run=^$")}
	p.cmd.Env = append(os.Environ(), workerVariable+"=1", fmt.Sprintf("DAPR_HTTP_PORT=%d", httpPort), fmt.Sprintf("DAPR_GRPC_PORT=%d", grpcPort))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(p.kill)
	first := make([]byte, 8)
	_, err = out.Read(first)
	require.NoError(t, err, "the worker did not start")
	return p
}

// kill ends the worker with SIGKILL.
func (p *process) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	require.NoError(p.t, p.cmd.Process.Kill())
	var exit *exec.ExitError
	require.ErrorAs(p.t, p.cmd.Wait(), &exit)
}
