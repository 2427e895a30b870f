// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"regexp"
	"slices"

	"github.com/dapr-custody/custody/examples/orders/callers"
)

var reference = regexp.MustCompile(`Reference: ([A-Za-z0-9._-]+)`)

// call has an agent call a tool, with extra headers on its requests if any, and
// keeps in mind what came of it.
func (p *play) call(ctx context.Context, agent, tool, arguments string, headers map[string]string) (callers.Report, error) {
	r, err := callers.Call(ctx, p.stage.Stage, agent, tool, arguments, headers)
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

// sameTools compares without regard to order.
func sameTools(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
