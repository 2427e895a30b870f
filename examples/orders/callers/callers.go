// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package callers is what the demos of the orders server share: its three agents, what each of them calls and may call,
// and how an agent is asked to call.
package callers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

// Agents are the app IDs of the callers.
func Agents() []string { return []string{"support-agent", "fulfilment-agent", "analytics-agent"} }

// Tools are those of the server.
func Tools() []string {
	return []string{"list_customers", "get_order", "update_order_status", "run_report"}
}

// Arguments are those with which the tables of the demos show a tool, as JSON.
func Arguments(tool string) string {
	return map[string]string{
		"list_customers":      `{"country":"GB"}`,
		"get_order":           `{"order_id":1001}`,
		"update_order_status": `{"order_id":1058,"status":"paid"}`,
		"run_report":          `{"report":"orders_by_status"}`,
	}[tool]
}

// MayUse is what policies/orders.yaml is meant to say, written down a second time, so that a demo does not compare the
// policy with itself.
func MayUse() map[string][]string {
	return map[string][]string{
		"support-agent":    {"list_customers", "get_order"},
		"fulfilment-agent": {"get_order", "update_order_status"},
		"analytics-agent":  {"list_customers", "run_report"},
	}
}

// DeniedCode is the JSON-RPC error code of a refusal by policy.
const DeniedCode = -32013

// Report is what an agent's little API answers.
type Report struct {
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result"`
	Tools  []string        `json:"tools"`
	Error  string          `json:"error"`
	Code   int64           `json:"code"`
}

// Refused says that the guard's policy refused, and not that something broke.
func (r Report) Refused() bool {
	return !r.OK && (r.Code == DeniedCode || strings.Contains(r.Error, "Denied by policy"))
}

// String is the result, or the error.
func (r Report) String() string {
	if r.OK {
		return string(r.Result)
	}
	return r.Error
}

// Outcome is how a table shows a call: allow, deny, or error with its code.
func (r Report) Outcome() string {
	switch {
	case r.OK:
		return "allow"
	case r.Refused():
		return "deny"
	default:
		return fmt.Sprintf("error %d", r.Code)
	}
}

// Call has an agent call a tool, with extra headers on its requests if any.
func Call(ctx context.Context, s *stage.Stage, agent, tool, arguments string, headers map[string]string) (Report, error) {
	order, err := json.Marshal(map[string]any{
		"tool": tool, "arguments": json.RawMessage(arguments), "headers": headers,
	})
	if err != nil {
		return Report{}, err
	}
	return ask(ctx, s, agent, http.MethodPost, "/call", order)
}

// Visible asks an agent which tools it sees.
func Visible(ctx context.Context, s *stage.Stage, agent string) (Report, error) {
	return ask(ctx, s, agent, http.MethodGet, "/tools", nil)
}

func ask(ctx context.Context, s *stage.Stage, agent, method, path string, body []byte) (Report, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d%s", s.App(agent).AppPort, path)
	answer, err := stage.Send(ctx, method, url, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return Report{}, fmt.Errorf("%s: %w", agent, err)
	}
	var r Report
	if err := json.Unmarshal(answer.Body, &r); err != nil {
		return Report{}, fmt.Errorf("%s answered %s: %w", agent, answer, err)
	}
	return r, nil
}

// Expected is what MayUse says of a call, as Outcome shows it.
func Expected(mayUse map[string][]string, agent, tool string) string {
	if slices.Contains(mayUse[agent], tool) {
		return "allow"
	}
	return "deny"
}
