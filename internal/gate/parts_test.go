// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/rate"
	"github.com/dapr-custody/custody/internal/receipt"
)

const dataRules = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: carts, effect: allow, from: [alice], to: {server: store, state: {operations: ["*"], keys: ["cart-*"]}}, rate: 2/minute}
  - {name: queries, effect: allow, from: [alice], to: {server: store, state: {operations: [query], keys: ["*"]}}}
  - {name: notes, effect: allow, from: [alice], to: {server: store, state: {operations: [get], keys: ["note-*"]}}}
  - {name: orders, effect: allow, from: [alice], to: {server: db, sql: {operations: [select], tables: ["shop.*"]}}, maxRows: 5}
`

func (p *parts) counting() *gate.Gate {
	p.tb.Helper()
	p.set = compile(p.tb, dataRules)
	options := gate.Options{Door: "test", Policy: p.current, SVIDs: p.svids, Journal: p.journal, Now: func() time.Time { return p.now }}
	limiter, err := rate.New(rate.Options{Now: options.Now})
	require.NoError(p.tb, err)
	p.tb.Cleanup(func() { require.NoError(p.tb, limiter.Close()) })
	options.Rates = limiter
	g, err := gate.New(options)
	require.NoError(p.tb, err)
	return g
}

// request asks for parts, written as "kind name".
func (p *parts) request(server string, texts ...string) gate.Ask {
	ask := gate.Ask{Caller: p.alice, Request: receipt.Sum([]byte("request"))}
	for _, text := range texts {
		kind, name, _ := strings.Cut(text, " ")
		ask.Parts = append(ask.Parts, policy.Action{Kind: kind, Server: server, Name: name})
	}
	ask.Action = policy.Headline(ask.Parts)
	return ask
}

func TestPartsAreAllowedTogether(t *testing.T) {
	p := working(t)
	g := p.counting()
	foreign := p.request("store", "state.query *")
	foreign.Parts[0].Server = "db"
	nobody := p.request("store", "state.query *")
	nobody.Caller = p.bob
	for name, c := range map[string]struct {
		ask  gate.Ask
		want string // the rule, or why not
	}{
		"one":                {p.request("store", "state.query *"), "queries"},
		"all":                {p.request("db", "sql.select shop.orders", "sql.select shop.items"), "orders"},
		"one of two":         {p.request("db", "sql.select shop.orders", "sql.select audit.log"), policy.ReasonNoRule},
		"the other":          {p.request("db", "sql.select audit.log", "sql.select shop.orders"), policy.ReasonNoRule},
		"of another server":  {foreign, "a part of the request is for another server"},
		"of another caller":  {nobody, policy.ReasonNoRule},
		"without its parts":  {gate.Ask{Caller: p.alice, Action: policy.Action{Kind: "sql.select", Server: "db"}, Request: receipt.Sum(nil)}, policy.ReasonReaches},
		"a transaction half": {p.request("store", "state.set order-1", "state.transact cart-1"), policy.ReasonNoRule},
	} {
		t.Run(name, func(t *testing.T) {
			permit, err := g.Check(c.ask)
			var denied *gate.DeniedError
			if !errors.As(err, &denied) {
				require.NoError(t, err)
				_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK, Rows: 2})
				require.NoError(t, err)
			}
			r := p.read().Receipts
			last := r[len(r)-1]
			require.Equal(t, denied == nil, last.Decision.Effect == receipt.EffectAllow)
			require.Contains(t, []string{last.Decision.Rule, last.Decision.Reason}, c.want)
			require.Len(t, last.Touched, len(c.ask.Parts), "denied or not")
			for i, part := range c.ask.Parts {
				require.Equal(t, receipt.Touched{Kind: part.Kind, Name: part.Name}, last.Touched[i])
			}
		})
	}
}

// The caller does not get more calls by naming another key first, or by doing something else beside.
func TestPartsAreCountedByRule(t *testing.T) {
	p := working(t)
	g := p.counting()
	pass := func(keys ...string) error {
		_, err := g.Check(p.request("store", keys...))
		return err
	}
	require.NoError(t, pass("state.set cart-1", "state.set cart-2", "state.delete cart-3"), "one request, however many keys")
	require.NoError(t, pass("state.set cart-2"))
	var denied *gate.DeniedError
	for _, keys := range [][]string{
		{"state.set cart-3"},
		{"state.get cart-1"},
		{"state.transact cart-1", "state.delete cart-1"},
		{"state.get note-1", "state.get cart-1"},
		{"state.get cart-1", "state.get note-1"},
	} {
		require.ErrorAs(t, pass(keys...), &denied, "%v", keys)
		require.Equal(t, 30*time.Second, denied.RetryAfter)
		require.Equal(t, "carts", denied.Decision.Rule)
	}
	require.NoError(t, pass("state.query *"), "no rate")
	require.NoError(t, pass("state.get note-1"), "no rate")
}

// Every rule that allows a part is charged, whichever part the request is called by, and none where one has no room.
func TestEachRuleOfAPartIsCharged(t *testing.T) {
	p := working(t)
	g := p.counting()
	p.set = compile(t, `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: reads, effect: allow, from: [alice], to: {server: db, sql: {operations: [select], tables: ["shop.*"]}}, rate: 3/minute}
  - {name: updates, effect: allow, from: [alice], to: {server: db, sql: {operations: [update], tables: ["shop.*"], where: any}}, rate: 2/minute}
  - {name: deletes, effect: allow, from: [alice], to: {server: db, sql: {operations: [delete], tables: ["shop.*"], where: any}}}
`)
	// who is the rule that had no room, empty where the request passed.
	who := func(parts ...string) string {
		_, err := g.Check(p.request("db", parts...))
		var denied *gate.DeniedError
		if !errors.As(err, &denied) {
			require.NoError(t, err)
			return ""
		}
		require.Positive(t, denied.RetryAfter, denied.Decision.Reason)
		return denied.Decision.Rule
	}
	require.Empty(t, who("sql.delete shop.a", "sql.update shop.a", "sql.select shop.b"), "the headline has no rate")
	require.Empty(t, who("sql.select shop.b", "sql.update shop.a"))
	require.Equal(t, "updates", who("sql.update shop.a"))
	require.Equal(t, "updates", who("sql.delete shop.a", "sql.update shop.b"))
	require.Equal(t, "updates", who("sql.select shop.b", "sql.update shop.a"), "which charges the other not either")
	require.Empty(t, who("sql.select shop.b"))
	require.Equal(t, "reads", who("sql.select shop.c"))
	require.Equal(t, "reads", who("sql.delete shop.a", "sql.select shop.b"))
	require.Empty(t, who("sql.delete shop.a"), "no rate")
}

func TestObligationsOfParts(t *testing.T) {
	p := working(t)
	permit, err := p.counting().Check(p.request("db", "sql.select shop.orders"))
	require.NoError(t, err)
	require.Equal(t, 5, permit.Obligations().MaxRows)
	require.True(t, permit.Stands())
	p.set = compile(t, rules)
	require.False(t, permit.Stands())
}

// What a query brings back is decided key by key.
func TestKeysOfAQuery(t *testing.T) {
	p := working(t)
	permit, err := p.counting().Check(p.request("store", "state.query *"))
	require.NoError(t, err)
	require.True(t, permit.Allows(policy.KindStateGet, "note-1"))
	require.False(t, permit.Allows(policy.KindStateGet, "order-1"))
	require.False(t, permit.Allows(policy.KindStateGet, ""))
}

func TestTransactionNarrowsParts(t *testing.T) {
	p := working(t)
	g := p.counting()
	for name, c := range map[string]struct {
		scope string
		ask   gate.Ask
		want  bool
	}{
		"everything":          {"*", p.request("db", "sql.select shop.orders", "sql.select shop.items"), true},
		"both":                {"db/shop.*", p.request("db", "sql.select shop.orders", "sql.select shop.items"), true},
		"one":                 {"db/shop.orders", p.request("db", "sql.select shop.orders", "sql.select shop.items"), false},
		"the other":           {"db/shop.items", p.request("db", "sql.select shop.orders", "sql.select shop.items"), false},
		"no table":            {"db/shop.orders", p.request("db", "sql.select"), true},
		"no table, elsewhere": {"store/*", p.request("db", "sql.select"), false},
		"another server":      {"store/*", p.request("db", "sql.select shop.orders"), false},
		"many keys":           {"store/cart-*", p.request("store", "state.query *"), false},
		"all keys":            {"store/*", p.request("store", "state.query *"), true},
	} {
		t.Run(name, func(t *testing.T) {
			c.ask.Token = p.sentBy("alice", c.scope)
			_, err := g.Check(c.ask)
			if c.want {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "does not cover")
		})
	}
}

// A receipt names what fits, and counts the rest.
func TestTouchedIsBounded(t *testing.T) {
	p := working(t)
	g := p.counting()
	settled := func(ask gate.Ask) *receipt.Receipt {
		_, err := g.Check(ask)
		require.Error(t, err)
		r := p.read().Receipts
		return r[len(r)-1]
	}
	var keys []string
	for i := range 150 {
		keys = append(keys, fmt.Sprintf("state.get k-%d", i))
	}
	r := settled(p.request("store", append(keys[:1:1], keys...)...))
	require.Len(t, r.Touched, 100)
	require.Equal(t, 50, r.TouchedMore, "the one that was named twice counts once")
	long := strings.Repeat("k", 40<<10)
	r = settled(p.request("store", "state.get "+long, "state.get 2"+long, "state.get short"))
	require.Equal(t, []string{long, "short"}, []string{r.Touched[0].Name, r.Touched[1].Name})
	require.Equal(t, 1, r.TouchedMore)

	ask := p.request("db", "sql.select audit.log")
	ask.Touched = []receipt.Touched{{Kind: "sql.select", Name: "audit.log"}, {Kind: "sql.call", Name: "pg_catalog.now"}}
	ask.Statement = &receipt.Statement{Fingerprint: "f", Digest: receipt.Sum([]byte("SELECT"))}
	r = settled(ask)
	require.Equal(t, ask.Touched, r.Touched)
	require.Equal(t, ask.Statement, r.Statement)
	require.Equal(t, receipt.StatusDenied, r.Outcome.Status)
}
