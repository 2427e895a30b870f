// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

var (
	agents = []string{"support-agent", "fulfilment-agent", "analytics-agent"}
	tools  = []string{"list_customers", "get_order", "update_order_status", "run_report"}

	// arguments are those of the calls in the tables.
	arguments = map[string]string{
		"list_customers":      `{"country":"GB"}`,
		"get_order":           `{"order_id":1001}`,
		"update_order_status": `{"order_id":1058,"status":"paid"}`,
		"run_report":          `{"report":"orders_by_status"}`,
	}

	// mayUse is what policies/orders.yaml is meant to say, written down a
	// second time, so that the demo does not compare the policy with itself.
	mayUse = map[string][]string{
		"support-agent":    {"list_customers", "get_order"},
		"fulfilment-agent": {"get_order", "update_order_status"},
		"analytics-agent":  {"list_customers", "run_report"},
	}

	reference = regexp.MustCompile(`Reference: ([A-Za-z0-9._-]+)`)
)

// deniedCode is the JSON-RPC error code of a refusal by policy.
const deniedCode = -32013

// report is what an agent's little API answers.
type report struct {
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result"`
	Tools  []string        `json:"tools"`
	Error  string          `json:"error"`
	Code   int64           `json:"code"`
}

// refused says that the guard's policy refused, and not that something broke.
func (r report) refused() bool {
	return !r.OK && (r.Code == deniedCode || strings.Contains(r.Error, "Denied by policy"))
}

func (r report) String() string {
	if r.OK {
		return string(r.Result)
	}
	return r.Error
}

// call has an agent call a tool, with extra headers on its requests if any, and
// keeps in mind what came of it.
func (p *play) call(ctx context.Context, agent, tool, arguments string, headers map[string]string) (report, error) {
	order, err := json.Marshal(map[string]any{
		"tool": tool, "arguments": json.RawMessage(arguments), "headers": headers,
	})
	if err != nil {
		return report{}, err
	}
	r, err := p.ask(ctx, agent, http.MethodPost, "/call", order)
	if err != nil {
		return r, err
	}
	if r.OK {
		p.answered++
	}
	p.remember(r.Error, agent, tool)
	return r, nil
}

// remember keeps the reference under which the guard says it recorded a
// refusal, to look for that record later.
func (p *play) remember(text, agent, tool string) {
	if found := reference.FindStringSubmatch(text); found != nil {
		p.seen[found[1]] = refusal{agent: agent, tool: tool}
	}
}

// visible asks an agent which tools it sees.
func (p *play) visible(ctx context.Context, agent string) (report, error) {
	return p.ask(ctx, agent, http.MethodGet, "/tools", nil)
}

func (p *play) ask(ctx context.Context, agent, method, path string, body []byte) (report, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d%s", p.stage.App(agent).AppPort, path)
	answer, err := stage.Send(ctx, method, url, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return report{}, fmt.Errorf("%s: %w", agent, err)
	}
	var r report
	if err := json.Unmarshal(answer.Body, &r); err != nil {
		return report{}, fmt.Errorf("%s answered %s: %w", agent, answer, err)
	}
	return r, nil
}

// sameTools compares without regard to order.
func sameTools(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
