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
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/stretchr/testify/require"

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

// BenchmarkWorkflowStep runs a workflow of ten calls with and without custody in
// turn, and reports the time of a step of each, medians of all rounds, and the
// median of their ratio. The chained one has a timer and an end beside its steps.
func BenchmarkWorkflowStep(b *testing.B) {
	w := startWorks(b)
	w.worker("refunds")
	client := w.refunds()
	run := func(name, id string) time.Duration {
		from := time.Now()
		_, err := client.ScheduleWorkflow(b.Context(), name, workflow.WithInstanceID(id))
		require.NoError(b, err)
		completed(b, client, id)
		return time.Since(from)
	}
	run("plain", "warm-plain")
	run("chained", "warm-chained")
	var plain, with, ratio []float64
	n := 0
	for b.Loop() {
		n++
		p := run("plain", fmt.Sprintf("plain-%d", n)).Seconds() * 1000 / benchSteps
		c := run("chained", fmt.Sprintf("chained-%d", n)).Seconds() * 1000 / benchSteps
		plain, with, ratio = append(plain, p), append(with, c), append(ratio, c/p)
	}
	b.ReportMetric(median(plain), "plain-ms/step")
	b.ReportMetric(median(with), "custody-ms/step")
	b.ReportMetric(median(ratio), "ratio")
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
