// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// many makes documents with count rules together, 1,000 to a policy, each for an
// app of its own, and one policy that allows support-agent a tool.
func many(b *testing.B, count int) []policy.Document {
	b.Helper()
	texts := []string{doc("orders", ruleText("reads", "allow", "support-agent",
		`server: orders, tools: [list_customers, "get_*"]`))}
	for at := 1; at < count; at += 1000 {
		var rules strings.Builder
		for i := at; i < min(at+1000, count); i++ {
			rules.WriteString(ruleText(fmt.Sprintf("r%d", i), "allow", fmt.Sprintf("app-%d", i),
				"server: orders, tools: [list_customers, get_order]"))
		}
		texts = append(texts, doc(fmt.Sprintf("p%d", at), rules.String()))
	}
	return parse(b, texts...)
}

var sizes = []int{10, 1_000, 100_000}

func BenchmarkDecide(b *testing.B) {
	for _, size := range sizes {
		set, _, err := policy.Compile(many(b, size), local())
		require.NoError(b, err)
		in := tool(app("support-agent"), "orders", "get_order")
		b.Run(fmt.Sprintf("rules=%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if set.Decide(in).Effect != policy.Allow {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkDecideCondition is a decision by one rule with a condition among others
// without, the arguments read and all.
func BenchmarkDecideCondition(b *testing.B) {
	for name, when := range map[string]string{
		"caller":    `caller.appID == "support-agent"`,
		"arguments": `args.amount <= 500 && args.currency in ["EUR", "USD"] && args.order.startsWith("o-")`,
	} {
		docs := append(many(b, 1000), parse(b, doc("z", fmt.Sprintf(
			"  - {name: r, effect: allow, from: [support-agent], to: {server: orders, tools: [refund]}, when: %q}\n", when)))...)
		set, _, err := policy.Compile(docs, local())
		require.NoError(b, err)
		in := tool(app("support-agent"), "orders", "refund")
		in.Facts = facts(`{"order":"o-4711","amount":129.95,"currency":"EUR","reason":"` + strings.Repeat("n", 400) + `"}`)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if set.Decide(in).Effect != policy.Allow {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	documents := many(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		_, _, err := policy.Compile(documents, local())
		require.NoError(b, err)
	}
}

func BenchmarkParse(b *testing.B) {
	var rules strings.Builder
	for i := range 1000 {
		rules.WriteString(ruleText(fmt.Sprintf("r%d", i), "allow", fmt.Sprintf("app-%d", i),
			"server: orders, tools: [list_customers, get_order]"))
	}
	text := []byte(doc("orders", rules.String()))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := policy.Parse("orders.yaml", text)
		require.NoError(b, err)
	}
}

// BenchmarkDecideAll is a decision about two tables and about a key, among rules for tools.
func BenchmarkDecideAll(b *testing.B) {
	docs := append(many(b, 1000), parse(b, databasePolicy, storePolicy)...)
	set, _, err := policy.Compile(docs, local())
	require.NoError(b, err)
	table := func(kind, name string, use *policy.SQLUse) policy.Action {
		return policy.Action{Kind: kind, Server: "orders-db", Name: name, Use: use}
	}
	for _, c := range []struct {
		name, caller string
		parts        []policy.Action
	}{
		{"one-key", "cart", []policy.Action{{Kind: policy.KindStateGet, Server: "cart-store", Name: "cart-1"}}},
		{"one-table", "mcp", []policy.Action{table(policy.KindSQLSelect, "shop.orders", nil)}},
		{"two-tables", "mcp", []policy.Action{table(policy.KindSQLSelect, "shop.orders", nil), table(policy.KindSQLSelect, "shop.items", nil)}},
		{"columns", "mcp", []policy.Action{table(policy.KindSQLUpdate, "shop.orders", use(cols("id"), cols("status"), "id"))}},
	} {
		caller := app(c.caller)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if set.DecideAll(caller, c.parts, nil).Effect != policy.Allow {
					b.Fatal("refused")
				}
			}
		})
	}
}
