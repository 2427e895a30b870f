// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dapr-custody/custody/examples/stage"
)

var (
	agents = []string{"support-agent", "fulfilment-agent", "analytics-agent"}
	tools  = []string{"list_customers", "get_order", "update_order_status", "run_report"}

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
)

// deniedCode is the JSON-RPC error code of a refusal by policy.
const deniedCode = -32013

// report is what an agent's little API answers.
type report struct {
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
	Code   int64           `json:"code"`
}

// setUp has the database know the roles, certificates and rows of the document.
func (p *play) setUp(ctx context.Context) error {
	p.out.Title("1. PostgreSQL lets in who brings a certificate of minutes, and nobody by a password")
	if err := p.place.serve(ctx); err != nil {
		return err
	}
	text, err := p.place.db(ctx, "setup")
	p.Check(err == nil, "custody db setup: %v: %s", err, stage.OneLine(text))
	p.out.Result(err == nil, "custody db setup", "done", fmt.Sprintf("%d changes and notes; the last: %s", strings.Count(text, "\n"), lastLine(text)))
	text, err = p.place.db(ctx, "check")
	p.Check(err == nil, "custody db check: %v: %s", err, stage.OneLine(text))
	p.out.Result(err == nil, "custody db check, which tries each way in", "holds", fmt.Sprintf("%d lines ok, %d FAIL", strings.Count(text, "ok "), strings.Count(text, "FAIL")))
	return nil
}

func (p *play) start(ctx context.Context) error {
	if err := p.place.Start(ctx); err != nil {
		return err
	}
	p.out.Note("custody up: three agents, one MCP server without a credential, and a component server")
	return nil
}

// chain has every agent call every tool: what is allowed has passed the guard before the server, the one before the
// database, and PostgreSQL.
func (p *play) chain(ctx context.Context) error {
	p.out.Title("2. Agent -> guard -> MCP server -> binding -> guard -> PostgreSQL")
	rows := make([][]stage.Cell, len(agents))
	for i, agent := range agents {
		for _, tool := range tools {
			r, err := p.call(ctx, agent, tool)
			if err != nil {
				return err
			}
			want, got := "deny", "error"
			if slices.Contains(mayUse[agent], tool) {
				want = "allow"
			}
			switch {
			case r.OK:
				got = "allow"
				p.answered++
			case r.Code == deniedCode:
				got = "deny"
			}
			p.Check(got == want, "%s %s: want %s, got %s %s", agent, tool, want, r.Error, r.Result)
			rows[i] = append(rows[i], stage.Cell{Text: got, Met: got == want})
		}
	}
	p.out.Table(append([]string{"agent"}, tools...), agents, rows)
	return nil
}

func (p *play) call(ctx context.Context, agent, tool string) (report, error) {
	order := fmt.Sprintf(`{"tool":%q,"arguments":%s}`, tool, arguments[tool])
	url := fmt.Sprintf("http://127.0.0.1:%d/call", p.place.App(agent).AppPort)
	answer, err := stage.Send(ctx, http.MethodPost, url, http.Header{"Content-Type": {"application/json"}}, []byte(order))
	if err != nil {
		return report{}, fmt.Errorf("%s: %w", agent, err)
	}
	var r report
	if err := json.Unmarshal(answer.Body, &r); err != nil {
		return report{}, fmt.Errorf("%s answered %s: %w", agent, answer, err)
	}
	return r, nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
