// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-custody/custody/workflows/custody"
)

// benchSteps is how many steps a workflow of the benchmark has.
const benchSteps = 20

// addPlain adds the same workflow without custody: an activity that posts to
// the same tool through the same sidecars.
func addPlain(r *workflow.Registry) error {
	endpoint := "http://127.0.0.1:" + os.Getenv("DAPR_HTTP_PORT") + "/v1.0/invoke/payments/method/mcp"
	err := r.AddActivityN("plain", func(ctx workflow.ActivityContext) (any, error) {
		var text string
		if err := ctx.GetInput(&text); err != nil {
			return nil, err
		}
		return plainCall(ctx.Context(), endpoint, text)
	})
	if err != nil {
		return err
	}
	return r.AddWorkflowN("plain", func(ctx *workflow.WorkflowContext) (any, error) {
		for i := range benchSteps {
			if err := ctx.CallActivity("plain", workflow.WithActivityInput(fmt.Sprint(i))).Await(nil); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

func plainCall(ctx context.Context, endpoint, text string) (string, error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"plain","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},"name":"check","arguments":{"text":%q}}}`, text)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader([]byte(body)))
	if err != nil {
		return "", err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "check",
	} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, answer)
	}
	return string(answer), err
}

func chained(ctx *custody.Context) (any, error) {
	for i := range benchSteps {
		if _, err := callTool(ctx, "check", fmt.Sprint(i)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// BenchmarkWorkflowStep runs a workflow of calls with and without custody in
// turn. It reports the time of a step of each, medians of all rounds, and the
// median of their ratio; the processor time of a step in the worker, its
// sidecar and the server's; and the bytes of a step in the history. The chained
// one has a timer and an end beside its steps.
func BenchmarkWorkflowStep(b *testing.B) {
	w := startWorks(b, sqlite)
	worker := w.worker("refunds")
	client := w.refunds()
	processes := map[string]int{
		"worker": worker.cmd.Process.Pid, "sidecar": w.app("refunds").DaprdPID, "guard": w.app("payments").DaprdPID,
	}
	cpu := map[string]float64{}
	run := func(name, id string) float64 {
		before := map[string]float64{}
		for process, pid := range processes {
			before[process] = cpuOf(b, pid)
		}
		from := time.Now()
		_, err := client.ScheduleWorkflow(b.Context(), name, workflow.WithInstanceID(id))
		require.NoError(b, err)
		completed(b, client, id)
		took := time.Since(from)
		for process, pid := range processes {
			cpu[name+"-"+process] += cpuOf(b, pid) - before[process]
		}
		return took.Seconds() * 1000 / benchSteps
	}
	run("plain", "warm-plain")
	run("chained", "warm-chained")
	clear(cpu)
	var plain, with, ratio []float64
	for b.Loop() {
		p := run("plain", fmt.Sprintf("plain-%d", len(plain)))
		c := run("chained", fmt.Sprintf("chained-%d", len(plain)))
		plain, with, ratio = append(plain, p), append(with, c), append(ratio, c/p)
	}
	b.ReportMetric(median(plain), "plain-ms/step")
	b.ReportMetric(median(with), "chained-ms/step")
	b.ReportMetric(median(ratio), "ratio")
	for of, spent := range cpu {
		b.ReportMetric(spent/float64(len(plain)*benchSteps), of+"-cpu-ms/step")
	}
	for _, name := range []string{"plain", "chained"} {
		b.ReportMetric(float64(historySize(b, client, name+"-0"))/benchSteps, name+"-history-B/step")
	}
}

// historySize is how many bytes the events of an instance have.
func historySize(b *testing.B, client *workflow.Client, id string) int {
	history, err := client.GetInstanceHistory(b.Context(), id)
	require.NoError(b, err)
	size := 0
	for _, e := range history.Events {
		size += proto.Size(e)
	}
	return size
}

// cpuOf is the processor time of a process, user and system, in ms.
func cpuOf(b *testing.B, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	// proc_pid_stat(5), behind the name: utime and stime in ticks of 10 ms.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks uint64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseUint(string(field), 10, 64)
		require.NoError(b, err)
		ticks += n
	}
	return float64(ticks) * 10
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
