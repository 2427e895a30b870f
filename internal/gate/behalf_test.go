// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/txn"
)

const behalfRules = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: alice, effect: allow, from: [alice], to: {server: orders, tools: ["*"], resources: ["*"]}}
`

// sentBy is a token of alice for the server of the gate.
func (p *parts) sentBy(app, scope string) *txn.Token {
	p.tb.Helper()
	s, err := txn.ParseScope(scope)
	require.NoError(p.tb, err)
	token, err := txn.Begin{Txn: "t-1", To: p.svids.svid.ID, Scope: s, Now: p.now}.Sign(p.ca.SVID(app))
	require.NoError(p.tb, err)
	return token
}

func TestTransactionNarrows(t *testing.T) {
	p := working(t)
	p.set = compile(t, behalfRules)
	list := policy.Action{Kind: "mcp.tools/list", Server: "orders"}
	task := policy.Action{Kind: "mcp.tasks/get", Server: "orders", Name: "task-1"}
	tool := policy.Action{Kind: "mcp.tools/call", Server: "orders", Name: "echo"}
	read := func(uri string) gate.Ask {
		return gate.Ask{Action: policy.Action{Kind: policy.KindResourceRead, Server: "orders", Name: uri}}
	}
	for name, c := range map[string]struct {
		token *txn.Token
		ask   gate.Ask
		want  string // why not; empty: it passes
	}{
		"no token":                      {nil, gate.Ask{Action: tool}, ""},
		"everything":                    {p.sentBy("alice", "*"), gate.Ask{Action: tool}, ""},
		"the tool":                      {p.sentBy("alice", "orders/echo"), gate.Ask{Action: tool}, ""},
		"another tool":                  {p.sentBy("alice", "orders/fail"), gate.Ask{Action: tool}, "does not cover"},
		"another server":                {p.sentBy("alice", "payments/echo"), gate.Ask{Action: tool}, "does not cover"},
		"a list":                        {p.sentBy("alice", "orders/fail"), gate.Ask{Action: list, Plumbing: true}, ""},
		"a list of another server":      {p.sentBy("alice", "payments/*"), gate.Ask{Action: list, Plumbing: true}, "does not cover"},
		"a task of the tool":            {p.sentBy("alice", "orders/echo"), gate.Ask{Action: task, Plumbing: true, Continues: tool}, ""},
		"a task of another tool":        {p.sentBy("alice", "orders/fail"), gate.Ask{Action: task, Plumbing: true, Continues: tool}, "does not cover"},
		"a resource":                    {p.sentBy("alice", "orders/file:///pub/*"), read("file:///pub/a"), ""},
		"a resource beside it":          {p.sentBy("alice", "orders/file:///pub/*"), read("file:///a"), "does not cover"},
		"one that dots lead to":         {p.sentBy("alice", "orders/file:///pub/*"), read("file:///pub/../a"), "does not cover"},
		"one that escapes lead to":      {p.sentBy("alice", "orders/file:///pub/*"), read("file:///pub/%2e%2e/a"), "does not cover"},
		"one so written":                {p.sentBy("alice", "orders/file:///pub/../a"), read("file:///pub/../a"), "does not cover"},
		"one of all":                    {p.sentBy("alice", "orders/*"), read("file:///pub/../a"), ""},
		"a tool with dots":              {p.sentBy("alice", "orders/e*"), gate.Ask{Action: policy.Action{Kind: "mcp.tools/call", Server: "orders", Name: "e/../a"}}, ""},
		"a token of who does not call":  {p.sentBy("bob", "*"), gate.Ask{Action: tool}, "is not the caller"},
		"what the door refuses, anyway": {p.sentBy("alice", "*"), gate.Ask{Action: tool, Refusal: "it makes no sense"}, "it makes no sense"},
	} {
		t.Run(name, func(t *testing.T) {
			c.ask.Caller, c.ask.Request, c.ask.Token = p.alice, receipt.Sum([]byte("request")), c.token
			permit, err := p.gate().Check(c.ask)
			var want struct {
				txn    string
				actors []spiffeid.ID
			}
			if c.token != nil {
				want.txn, want.actors = "t-1", c.token.Actors
			}
			if c.want != "" {
				var denied *gate.DeniedError
				require.ErrorAs(t, err, &denied)
				require.ErrorContains(t, err, c.want)
			} else {
				require.NoError(t, err)
				intents := p.read().Intents
				require.Equal(t, want.txn, intents[len(intents)-1].Txn)
				require.Equal(t, want.actors, intents[len(intents)-1].Actors)
				require.True(t, permit.Stands())
				_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
				require.NoError(t, err)
			}
			receipts := p.read().Receipts
			require.Equal(t, want.txn, receipts[len(receipts)-1].Txn)
			require.Equal(t, want.actors, receipts[len(receipts)-1].Actors)
		})
	}
}

// What a list shows and what is told later is within the scope too.
func TestTransactionNarrowsAnswers(t *testing.T) {
	p := working(t)
	p.set = compile(t, behalfRules)
	ask := gate.Ask{
		Caller: p.alice, Action: policy.Action{Kind: "mcp.tools/list", Server: "orders"}, Request: receipt.Sum([]byte("request")),
		Plumbing: true, Token: p.sentBy("alice", "orders/echo orders/file:*"),
	}
	permit, err := p.gate().Check(ask)
	require.NoError(t, err)
	require.True(t, permit.Shows(policy.KindToolCall, "echo"))
	require.False(t, permit.Shows(policy.KindToolCall, "fail"))
	require.True(t, permit.AllowsNow(policy.KindResourceRead, "file:///a"))
	require.False(t, permit.AllowsNow(policy.KindResourceRead, "https://a"))
	require.False(t, permit.AllowsNow(policy.KindResourceRead, "file:///a/../b"))
	require.True(t, permit.ShowsTemplate("file:///{path}"))
	require.True(t, permit.ShowsTemplate("{+uri}"), "that can be a file too")
	require.False(t, permit.ShowsTemplate("https://{host}/"))

	ask.Token = nil
	permit, err = p.gate().Check(ask)
	require.NoError(t, err)
	require.True(t, permit.Shows(policy.KindToolCall, "fail"))
	require.True(t, permit.AllowsNow(policy.KindResourceRead, "https://a"))
	require.True(t, permit.ShowsTemplate("https://{host}/"))
}

func TestTransactionOfAChain(t *testing.T) {
	p := working(t)
	c := &receipt.Chain{App: p.alice.ID(), Instance: "refund-1", Started: time.Date(2026, 11, 23, 9, 0, 0, 5, time.UTC)}
	id, context := gate.TransactionOf(c)
	require.Equal(t, "373daa3e6c9ba4ff31a9c259cd6ac0b56be2b4a38e28de6f7a2a5dbc4fb92cbd", id)
	require.JSONEq(t, `{"chain":{"app":"spiffe://custody.local/ns/default/alice","instance":"refund-1","started":"2026-11-23T09:00:00.000000005Z"}}`, string(context))

	later := *c
	later.Started = later.Started.Add(1)
	another, _ := gate.TransactionOf(&later)
	require.NotEqual(t, id, another)
	require.NoError(t, gate.SameChain(&txn.Token{Context: context}, c))
	require.Error(t, gate.SameChain(&txn.Token{Context: context}, &later))
	require.NoError(t, gate.SameChain(&txn.Token{}, c), "a transaction that was not begun by a workflow")
	require.NoError(t, gate.SameChain(&txn.Token{Context: []byte(`{"order":7}`)}, c))
	require.Error(t, gate.SameChain(&txn.Token{Context: []byte(`{"chain":""}`)}, c))
}
