// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
)

const dataPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: data}
spec:
  rules:
  - {name: reads, effect: allow, from: [mcp], to: {server: orders-db, sql: {operations: [select], tables: ["shop.*"], functions: [shop.price]}}}
  - {name: status, effect: allow, from: [mcp], to: {server: orders-db, sql: {operations: [update], tables: [shop.orders], columns: {read: [id], write: [status]}, mustFilterBy: {shop.orders: [id]}}}, maxRows: 1}
  - {name: eu, effect: allow, from: [report], to: {server: orders-db, sql: {operations: [select], tables: [shop.orders]}}, when: 'params[0] == "eu" && sql.limit == 10 && caller.proof == "unix-peer"'}
  - {name: no-cards, effect: deny, from: [mcp], to: {server: orders-db, sql: {operations: ["*"], tables: [shop.customers], columns: [card]}}}
  - {name: carts, effect: allow, from: [cart], to: {server: cart-store, state: {operations: [get, set], keys: ["cart-*"]}}}
  - {name: not-this, effect: deny, from: [cart], to: {server: cart-store, state: {operations: ["*"], keys: [cart-0]}}}
`

func TestPolicyTestOfData(t *testing.T) {
	dir := policyFiles(t, map[string]string{"data.yaml": dataPolicy})
	allowed := func(rule string) string { return "allow: rule allows it (policy data, rule " + rule + ")\n" }
	const none = "deny: no rule allows it\n"
	for _, tt := range []struct {
		name, caller, server string
		args                 []string
		out                  string
		code                 int
	}{
		{"a table", "mcp", "orders-db", []string{"--sql", "select", "--table", "shop.orders"}, allowed("reads"), 0},
		{"another", "mcp", "orders-db", []string{"--sql", "select", "--table", "audit.log"}, none, 1},
		{"another operation", "mcp", "orders-db", []string{"--sql", "insert", "--table", "shop.orders"}, none, 1},
		{"no table", "mcp", "orders-db", []string{"--sql", "select"}, "allow: the caller may reach the server\n", 0},
		{"a column", "mcp", "orders-db", []string{"--sql", "select", "--table", "shop.customers", "--columns", "name"}, allowed("reads"), 0},
		{"the column", "mcp", "orders-db", []string{"--sql", "select", "--table", "shop.customers", "--columns", "name,card"}, "deny: rule denies it (policy data, rule no-cards)\n", 1},
		{"every column", "mcp", "orders-db", []string{"--sql", "select", "--table", "shop.customers"}, "deny: rule denies it (policy data, rule no-cards)\n", 1},
		{"an update", "mcp", "orders-db", []string{"--sql", "update", "--table", "shop.orders", "--columns", "id", "--writes", "status", "--bound", "id"}, allowed("status"), 0},
		{"without binding", "mcp", "orders-db", []string{"--sql", "update", "--table", "shop.orders", "--columns", "id", "--writes", "status", "--where"}, none, 1},
		{"a function", "mcp", "orders-db", []string{"--function", "shop.price"}, allowed("reads"), 0},
		{"another function", "mcp", "orders-db", []string{"--function", "shop.prices"}, none, 1},
		{"parameters", "report", "orders-db", []string{"--sql", "select", "--table", "shop.orders", "--params", `["eu"]`, "--limit", "10"}, allowed("eu"), 0},
		{"other parameters", "report", "orders-db", []string{"--sql", "select", "--table", "shop.orders", "--params", `["us"]`, "--limit", "10"}, none, 1},
		{"a key", "cart", "cart-store", []string{"--state", "get", "--key", "cart-1"}, allowed("carts"), 0},
		{"a key that is denied", "cart", "cart-store", []string{"--state", "set", "--key", "cart-0"}, "deny: rule denies it (policy data, rule not-this)\n", 1},
		{"a query", "cart", "cart-store", []string{"--state", "query", "--key", "*"}, "deny: rule denies it (policy data, rule not-this)\n", 1},
		{"no operation", "mcp", "orders-db", []string{"--table", "shop.orders"}, "", 2},
		{"no key", "cart", "cart-store", []string{"--state", "get"}, "", 2},
		{"a wrong operation", "mcp", "orders-db", []string{"--sql", "drop", "--table", "shop.orders"}, "", 2},
		{"two ways", "mcp", "orders-db", []string{"--sql", "select", "--table", "shop.orders", "--function", "shop.price"}, "", 2},
		{"a tool too", "mcp", "orders-db", []string{"--sql", "select", "--table", "shop.orders", "--tool", "x"}, "", 2},
		{"columns of a key", "cart", "cart-store", []string{"--state", "get", "--key", "cart-1", "--columns", "a"}, "", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, code := runPolicy(t, append([]string{"test", "--caller", tt.caller, "--server", tt.server, dir}, tt.args...)...)
			require.Equal(t, tt.code, code, errOut)
			require.Equal(t, tt.out, out)
		})
	}
	out, _, code := runPolicy(t, "test", "--caller", "mcp", "--server", "orders-db", "--sql", "update", "--table", "shop.orders", "--writes", "total", "--explain", dir)
	require.Equal(t, 1, code)
	require.Regexp(t, `data/status +allow +no +it has no WHERE that chooses the rows`, out)
}

func TestPolicyWhoCanOfData(t *testing.T) {
	dir := policyFiles(t, map[string]string{"data.yaml": dataPolicy})
	const of = "spiffe://custody.local/ns/default/"
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"--server", "orders-db", "--sql", "select", "--table", "shop.orders"}, []string{of + "mcp +data/reads +- ", of + `report +data/eu when params\[0\] == "eu" && sql.limit == 10 && caller.proof == "unix-peer" +- `}},
		{[]string{"--server", "orders-db", "--sql", "select", "--table", "shop.customers"}, []string{of + `mcp +data/reads +` + of + `mcp \(data/no-cards \[columns read: card; written: card\]\) `}},
		{[]string{"--server", "orders-db", "--sql", "update", "--table", "shop.orders"}, []string{`data/status \[columns read: id; written: status; shop.orders filtered by id; where required\] +- `}},
		{[]string{"--server", "orders-db", "--function", "shop.price"}, []string{of + "mcp +data/reads +- "}},
		{[]string{"--server", "cart-store", "--state", "get", "--key", "cart-1"}, []string{of + "cart +data/carts +- "}},
		{[]string{"--server", "cart-store", "--state", "get", "--key", "cart-0"}, []string{"nobody may get key cart-0 of cart-store", of + "cart +data/carts +data/not-this"}},
		{[]string{"--server", "orders-db", "--sql", "ddl", "--table", "shop.x"}, []string{"nobody may ddl shop.x of orders-db"}},
		{[]string{"--server", "orders-db", "--function", "shop.x"}, []string{"nobody may call shop.x of orders-db"}},
	} {
		out, errOut, code := runPolicy(t, append([]string{"who-can", "--dir", dir}, tt.args...)...)
		require.Zero(t, code, errOut)
		for _, want := range tt.want {
			require.Regexp(t, want, out, tt.args)
		}
	}
	out, _, code := runPolicy(t, "who-can", "--dir", dir, "--server", "orders-db", "--sql", "update", "--table", "shop.orders", "-o", "json")
	require.Zero(t, code)
	require.Contains(t, out, `"sql": "update"`)
	require.Contains(t, out, `"where required"`)
	for _, wrong := range [][]string{{"--sql", "select", "--table", "a.b"}, {"--server", "x", "--sql", "x", "--table", "a.b"}, {"--server", "x", "--tool", "t", "--key", "k"}} {
		_, _, code := runPolicy(t, append([]string{"who-can", "--dir", dir}, wrong...)...)
		require.Equal(t, 2, code, wrong)
	}
}

func TestPolicyListAndAllowOfData(t *testing.T) {
	dir := policyFiles(t, map[string]string{"data.yaml": dataPolicy})
	for _, args := range [][]string{
		{"--caller", "agent", "--server", "orders-db", "--sql", "select,insert", "--tables", "shop.*"},
		{"--caller", "agent", "--server", "cart-store", "--state", "get", "--keys", "cart-*"},
	} {
		out, errOut, code := runPolicy(t, append([]string{"allow", "--dir", dir}, args...)...)
		require.Zero(t, code, errOut)
		require.Contains(t, out, "added rule")
		out, errOut, code = runPolicy(t, append([]string{"allow", "--dir", dir}, args...)...)
		require.Zero(t, code, errOut)
		require.Contains(t, out, "nothing to do")
	}
	for _, wrong := range [][]string{{"--sql", "select"}, {"--tables", "a.b"}, {"--state", "get"}, {"--keys", "k"}, nil} {
		_, _, code := runPolicy(t, append([]string{"allow", "--dir", dir, "--caller", "a", "--server", "s"}, wrong...)...)
		require.Equal(t, 2, code, wrong)
	}
	_, errOut, code := runPolicy(t, "allow", "--dir", dir, "--caller", "a", "--server", "s", "--sql", "drop", "--tables", "a.b")
	require.Equal(t, 2, code)
	require.Contains(t, errOut, `"drop" is no operation`)
	out, _, _ := runPolicy(t, "list", "--dir", dir)
	require.Contains(t, out, "sql select shop.*; functions shop.price ")
	require.Contains(t, out, "sql update shop.orders [columns read: id; written: status; shop.orders filtered by id; where required] with maxRows: 1")
	require.Contains(t, out, "state get,set cart-* ")
	require.Contains(t, out, "sql select,insert shop.* ")

	_, errOut, code = runPolicy(t, "deny-all", "--dir", dir)
	require.Zero(t, code, errOut)
	for _, args := range [][]string{
		{"--server", "orders-db", "--sql", "select", "--table", "shop.orders"},
		{"--server", "orders-db", "--sql", "select"},
		{"--server", "orders-db", "--function", "shop.price"},
		{"--server", "cart-store", "--state", "get", "--key", "cart-1"},
	} {
		for _, caller := range []string{"mcp", "cart"} {
			out, _, code := runPolicy(t, append([]string{"test", "--caller", caller, dir}, args...)...)
			require.Equal(t, 1, code)
			require.Contains(t, out, "(policy deny-all, rule deny-all)")
		}
	}
}

const liveData = `
  - {name: reads, effect: allow, from: [support], to: {server: orders, sql: {operations: [select], tables: ["shop.*"]}}}
  - {name: writes, effect: allow, from: [support], to: {server: orders, sql: {operations: [update], tables: [shop.orders]}}}
  - {name: keys, effect: allow, from: [support], to: {server: orders, state: {operations: [get, query], keys: ["*"]}}}
`

// request has the gate decide parts, written as "kind name"; what is allowed is settled.
func (r *replayed) request(texts ...string) {
	r.t.Helper()
	permit := r.call("support", "", "", func(ask *gate.Ask) {
		for _, text := range texts {
			kind, name, _ := strings.Cut(text, " ")
			ask.Parts = append(ask.Parts, policy.Action{Kind: kind, Server: "orders", Name: name, Use: &policy.SQLUse{HasWhere: true}})
		}
		ask.Action = policy.Headline(ask.Parts)
		ask.Statement = &receipt.Statement{Fingerprint: "f", Digest: receipt.Sum([]byte("x"))}
	})
	if permit != nil {
		_, err := permit.Settle(receipt.Outcome{Status: receipt.StatusOK, Rows: 4})
		require.NoError(r.t, err)
	}
}

func TestReplayOfData(t *testing.T) {
	r := newReplayedBy(t, liveData)
	r.request("sql.select shop.orders", "sql.select shop.items")
	r.request("sql.update shop.orders")
	r.request("sql.select audit.log", "sql.select shop.orders")
	r.request("sql.select ")
	r.request("state.get a", "state.get b")
	var many []string
	for i := range 120 {
		many = append(many, fmt.Sprintf("state.get k-%d", i))
	}
	r.request(many...)

	const rest = `
  - {name: reads, effect: allow, from: [support], to: {server: orders, sql: {operations: [select], tables: ["shop.*"]}}}
  - {name: writes, effect: allow, from: [support], to: {server: orders, sql: {operations: [update], tables: [shop.orders], where: any}}}
  - {name: keys, effect: allow, from: [support], to: {server: orders, state: {operations: ["*"], keys: ["*"]}}}
`
	answer, lines := r.replay(liveData, 0)
	require.Equal(t, 6, answer.Decisions, "by the very rules all is as it was")
	require.Empty(t, lines)
	for _, tt := range []struct {
		name, rules string
		want        [][]any
	}{
		{"equal in what was done, save that many keys are not recorded", rest, [][]any{
			{"may close", "support", "k-0", "allow (orders/keys)", "depends on 20 parts of the request that the receipt does not name", 1},
		}},
		{"one of two tables is closed", strings.Replace(rest, "shop.*", "shop.o*", 1) + "  - {name: log, effect: allow, from: [support], to: {server: orders, sql: {operations: [select], tables: [audit.log]}}}\n", [][]any{
			{"opens", "support", "audit.log", "deny", "allow (orders/log)", 1},
			{"closes", "support", "shop.orders", "allow (orders/reads)", "deny", 1},
			{"may close", "support", "k-0", "allow (orders/keys)", "depends on 20 parts of the request that the receipt does not name", 1},
		}},
		{"columns are not recorded", strings.Replace(rest, "tables: [\"shop.*\"]", "tables: [\"shop.*\"], columns: [id]", 1), [][]any{
			{"may close", "support", "k-0", "allow (orders/keys)", "depends on 20 parts of the request that the receipt does not name", 1},
			{"may close", "support", "shop.orders", "allow (orders/reads)", "depends on the demands of rule orders/reads (allow [columns read: id; written: id])", 1},
		}},
		{"nor are parameters", strings.Replace(rest, "tables: [\"shop.*\"]}}", "tables: [\"shop.*\"]}}, when: 'params[0] == 1'", 1), [][]any{
			{"may close", "support", "k-0", "allow (orders/keys)", "depends on 20 parts of the request that the receipt does not name", 1},
			{"may close", "support", "shop.orders", "allow (orders/reads)", "depends on the condition of rule orders/reads (allow when params[0] == 1)", 1},
		}},
		{"nothing is left", "  - {name: keys, effect: allow, from: [support], to: {server: orders, state: {operations: [get], keys: [a]}}}\n", [][]any{
			{"closes", "support", "", "allow", "deny", 1},
			{"closes", "support", "a", "allow (orders/keys)", "deny", 1},
			{"closes", "support", "k-0", "allow (orders/keys)", "deny", 1},
			{"closes", "support", "shop.orders", "allow (orders/reads)", "deny", 1},
			{"closes", "support", "shop.orders", "allow (orders/writes)", "deny", 1},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, lines := r.replay(tt.rules, 1)
			require.ElementsMatch(t, tt.want, lines)
		})
	}
}

// An intent names one part alone.
func TestReplayOfDataWithoutReceipt(t *testing.T) {
	r := newReplayedBy(t, liveData)
	r.call("support", "", "", func(ask *gate.Ask) {
		ask.Parts = []policy.Action{{Kind: "state.get", Server: "orders", Name: "a"}, {Kind: "state.get", Server: "orders", Name: "b"}}
		ask.Action = policy.Headline(ask.Parts)
	})
	_, lines := r.replay("  - {name: keys, effect: allow, from: [support], to: {server: orders, state: {operations: [get], keys: [a]}}}\n", 1)
	require.Equal(t, [][]any{{"may close", "support", "a", "allow", "depends on what else it touched, which is not recorded", 1}}, lines)
	_, lines = r.replay("  - {name: keys, effect: allow, from: [support], to: {server: orders, state: {operations: [get], keys: [b]}}}\n", 1)
	require.Equal(t, [][]any{{"closes", "support", "a", "allow", "deny", 1}}, lines)
}

func TestReceiptsOfData(t *testing.T) {
	r := newReplayedBy(t, liveData)
	r.request("sql.update shop.orders", "sql.select shop.items")
	r.request("state.get a")
	list := func(args ...string) string {
		cmd := newReceiptsCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append(args, "--journal", r.dir))
		require.NoError(t, cmd.Execute(), out.String())
		return out.String()
	}
	require.Regexp(t, `sql.update orders/shop.orders and 1 more +allow +ok +orders/writes`, list("list"))
	require.Regexp(t, `state.get orders/a +allow +ok +orders/keys`, list("list"))
	require.NotContains(t, list("list", "--tool", "shop.items"), "state.get")
	require.Contains(t, list("list", "--tool", "orders/shop.items"), "sql.update")
	require.NotContains(t, list("list", "--tool", "shop.others"), "sql.update")
	var rows []listRow
	require.NoError(t, json.Unmarshal([]byte(list("list", "--tool", "shop.items", "-o", "json")), &rows))
	require.Equal(t, []receipt.Touched{{Kind: "sql.update", Name: "shop.orders"}, {Kind: "sql.select", Name: "shop.items"}}, rows[0].Touched)
	require.Equal(t, int64(4), rows[0].Rows)
	require.Equal(t, "f", rows[0].Statement.Fingerprint)
	shown := list("show", rows[0].ID)
	require.Regexp(t, `(?m)^  touches +sql.select shop.items$`, shown)
	require.Regexp(t, `(?m)^  fingerprint +f$`, shown)
	require.Regexp(t, `(?m)^  rows +4$`, shown)
}

func TestPolicyDiffOfData(t *testing.T) {
	t.Setenv("CUSTODY_HOME", t.TempDir())
	const agent = " spiffe://custody.local/ns/default/agent orders-db "
	rule := func(name, effect, to, more string) string {
		return "  - {name: " + name + ", effect: " + effect + ", from: [agent], to: {server: orders-db, " + to + "}" + more + "}\n"
	}
	const reads = "sql: {operations: [select], tables: ['shop.*']}"
	for _, tt := range []struct {
		name, older, newer string
		want               []string
	}{
		{"nothing", rule("a", "allow", reads, ""), rule("b", "allow", reads, ""), nil},
		{"an operation more", rule("a", "allow", reads, ""), rule("a", "allow", "sql: {operations: [select, insert], tables: ['shop.*']}", ""), []string{
			"+ allow" + agent + "sql.insert shop.* (orders/a)",
		}},
		{"a table less", rule("a", "allow", reads, ""), rule("a", "allow", reads, "") + rule("no", "deny", "sql: {operations: ['*'], tables: [shop.cards]}", ""), []string{
			"- allow" + agent + "sql.select shop.cards (orders/a), denied by orders/no",
		}},
		{"columns", rule("a", "allow", reads, ""), rule("a", "allow", "sql: {operations: [select], tables: ['shop.*'], columns: [id]}", ""), []string{
			"~ depends" + agent + "sql.select shop.*: allow (orders/a) [columns read: id; written: id]",
		}},
		{"a function", rule("a", "allow", reads, ""), rule("a", "allow", "sql: {operations: [select], tables: ['shop.*'], functions: [shop.f]}", ""), []string{
			"+ allow" + agent + "sql.call shop.f (orders/a)",
		}},
		{"keys", rule("a", "allow", "state: {operations: [get], keys: ['a-*']}", ""), rule("a", "allow", "state: {operations: [get], keys: ['*']}", ""), []string{
			"+ allow" + agent + "state.get * (orders/a)",
		}},
		{"a key under a condition", rule("a", "allow", "state: {operations: [get], keys: ['a-*', b]}", ""), rule("a", "allow", "state: {operations: [get], keys: ['a-*', b]}", `, when: 'state.key == "b"'`), []string{
			"~ depends" + agent + `state.get a-*: allow (orders/a) when state.key == "b"`,
		}},
		{"rows", rule("a", "allow", reads, ", maxRows: 5"), rule("a", "allow", reads, ", maxRows: 6"), []string{
			"= obliges" + agent + "sql.select shop.*: maxRows: 5 -> maxRows: 6",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errOut, code := runPolicy(t, "diff", candidateFile(t, tt.older), candidateFile(t, tt.newer))
			require.Equal(t, len(tt.want) > 0, code == 1, errOut)
			require.Equal(t, strings.Join(append(tt.want, ""), "\n"), out)
		})
	}
}
