// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/rate"
)

// rated has one rule more, and counts or not.
func rated(t *testing.T, p *parts, counting bool) *gate.Gate {
	t.Helper()
	p.set = compile(t, strings.Replace(rules, "tools: [echo]}}", "tools: [echo], methods: [sampling/createMessage]}, rate: 1/minute}\n"+
		"  - {name: free, effect: allow, from: [alice], to: {server: orders, tools: [free], methods: [roots/list]}}", 1))
	options := gate.Options{
		Door: "test", Policy: p.current, SVIDs: p.svids, Journal: p.journal, Now: func() time.Time { return p.now },
	}
	if counting {
		limiter, err := rate.New(rate.Options{Now: options.Now})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, limiter.Close()) })
		options.Rates = limiter
	}
	g, err := gate.New(options)
	require.NoError(t, err)
	return g
}

func TestRateIsCharged(t *testing.T) {
	p := working(t)
	g := rated(t, p, true)
	_, err := g.Check(echo(p.alice))
	require.NoError(t, err)
	_, err = g.Check(echo(p.alice))
	var denied *gate.DeniedError
	require.ErrorAs(t, err, &denied)
	require.Equal(t, time.Minute, denied.RetryAfter)
	require.Len(t, p.read().Intents, 1, "what is denied has no intent")
	p.now = p.now.Add(time.Minute)
	_, err = g.Check(echo(p.alice))
	require.NoError(t, err)
}

// A rule counts each tool by itself, but not what a caller can name without end.
func TestWhatARateCountsTogether(t *testing.T) {
	p := working(t)
	g := rated(t, p, true)
	p.set = compile(t, strings.Replace(rules, "tools: [echo]}}", `tools: [a, b], prompts: [a, b], resources: ["*"], paths: ["*"], methods: ["*"]}, rate: 1/minute}`, 1))
	for _, kind := range []struct {
		name, first, second string
		together            bool
	}{
		{policy.KindToolCall, "a", "b", false},
		{policy.KindPromptGet, "a", "b", false},
		{policy.KindResourceRead, "file:///a", "FILE:///a", true},
		{policy.KindResourceSubscribe, "file:///a", "file:///b", true},
		{policy.KindResourceUnsubscribe, "file:///a", "file:///b", true},
		{policy.KindComplete, "ref/resource file:///a", "ref/resource file:///b", true},
		{policy.KindHTTP, "GET /a", "GET /b", true},
		{"mcp.logging/setLevel", "", "", true},
	} {
		ask := echo(p.alice)
		ask.Action.Kind, ask.Action.Name = kind.name, kind.first
		_, err := g.Check(ask)
		require.NoError(t, err, kind.name)
		ask.Action.Name = kind.second
		_, err = g.Check(ask)
		var denied *gate.DeniedError
		require.Equal(t, kind.together, errors.As(err, &denied), kind.name)
	}
}

// Where nothing counts, what has a rate is refused, and what has none is not.
func TestNothingCountsNothingPasses(t *testing.T) {
	p := working(t)
	g := rated(t, p, false)
	_, err := g.Check(echo(p.alice))
	require.ErrorIs(t, err, gate.ErrNoRates)
	require.Empty(t, p.read().Intents)
	ask := echo(p.alice)
	ask.Action.Name = "free"
	permit, err := g.Check(ask)
	require.NoError(t, err)
	require.True(t, permit.Allows("mcp.roots/list", ""))
	require.False(t, permit.Allows("mcp.sampling/createMessage", ""), "what a server asks is not counted")
}

// A limiter that is closed counts nothing.
func TestBrokenLimiterClosesTheGate(t *testing.T) {
	p := working(t)
	p.set = compile(t, strings.Replace(rules, "tools: [echo]}}", "tools: [echo]}, rate: 1/hour}", 1))
	now := func() time.Time { return p.now }
	limiter, err := rate.New(rate.Options{Now: now})
	require.NoError(t, err)
	require.NoError(t, limiter.Close())
	g, err := gate.New(gate.Options{Door: "test", Policy: p.current, SVIDs: p.svids, Journal: p.journal, Now: now, Rates: limiter})
	require.NoError(t, err)
	_, err = g.Check(echo(p.alice))
	require.ErrorIs(t, err, rate.ErrClosed)
	require.Empty(t, p.read().Intents)
}
