// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const dataPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: data}
spec:
  rules:
  - {name: reads, effect: allow, from: [mcp], to: {server: orders-db, sql: {operations: [select], tables: ["shop.*"], functions: [shop.price]}}}
  - {name: status, effect: allow, from: [mcp], to: {server: orders-db, sql: {operations: [update], tables: [shop.orders], columns: {read: [id], write: [status]}, mustFilterBy: {shop.orders: [id]}}}, maxRows: 1}
  - {name: eu, effect: allow, from: [report], to: {server: orders-db, sql: {operations: [select], tables: [shop.orders]}}, when: 'params[0] == "eu" && sql.limit == 10'}
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
		{[]string{"--server", "orders-db", "--sql", "select", "--table", "shop.orders"}, []string{of + "mcp +data/reads +- ", of + `report +data/eu when params\[0\] == "eu" && sql.limit == 10 +- `}},
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
