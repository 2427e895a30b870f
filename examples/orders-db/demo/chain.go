// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/dapr-custody/custody/examples/orders/callers"
	"github.com/dapr-custody/custody/examples/stage"
)

// setUp has the database know the roles, certificates and rows of the document.
func (p *play) setUp(ctx context.Context) error {
	p.out.Title("1. PostgreSQL lets in who brings a certificate of minutes, and nobody by a password")
	if err := p.place.serve(ctx); err != nil {
		return err
	}
	text, err := p.place.db(ctx, "setup")
	p.Check(err == nil, "custody db setup: %v: %s", err, stage.OneLine(text))
	p.out.Result(err == nil, "custody db setup", "done", fmt.Sprintf("%d changes and notes; the last: %s", strings.Count(text, "\n"), stage.LastLine(text)))
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
	agents, tools := callers.Agents(), callers.Tools()
	rows := make([][]stage.Cell, len(agents))
	for i, agent := range agents {
		for _, tool := range tools {
			r, err := callers.Call(ctx, p.place.Stage, agent, tool, callers.Arguments(tool), nil)
			if err != nil {
				return err
			}
			if r.OK {
				p.answered++
			}
			want, got := callers.Expected(callers.MayUse(), agent, tool), r.Outcome()
			p.Check(got == want, "%s %s: want %s, got %s (%s)", agent, tool, want, got, stage.OneLine(r.String()))
			rows[i] = append(rows[i], stage.Cell{Text: got, Met: got == want})
		}
	}
	p.out.Table(append([]string{"agent"}, tools...), agents, rows)
	return nil
}
