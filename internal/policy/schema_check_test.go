// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// refundSchema is that of the tool t of server s, in the forms that generators give.
const refundSchema = `{"type":"object","required":["amount"],"properties":{
	"amount":{"type":"number"},"count":{"type":"integer"},"note":{"type":"string"},"dryRun":{"type":"boolean"},
	"currency":{"type":"string","enum":["EUR","USD"]},"level":{"enum":[1,2,"max"]},"kind":{"const":"refund"},
	"reason":{"type":["string","null"]},"until":{"anyOf":[{"type":"string","format":"date-time"},{"type":"null"}]},
	"to":{"type":"array","items":{"type":"string"}},
	"customer":{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}}},
	"lines":{"type":"array","items":{"type":"object","additionalProperties":false,"properties":{"sku":{"type":"string"},"n":{"type":"integer"}}}},
	"free":{"type":"object"},"labels":{"type":"object","additionalProperties":{"type":"string"}},
	"open":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":true},
	"mixed":{"type":"object","properties":{"a":{"type":"string"}},"anyOf":[{"required":["a"]},{"properties":{"b":{"type":"string"}}}]},
	"node":{"$ref":"#/$defs/node"},"any":{},"yes":true,"in":{"type":"string"},"odd-name":{"type":"string"}},
	"$defs":{"node":{"type":"object","properties":{"next":{"$ref":"#/$defs/node"}}}}}`

func oneTool(schema string) policy.Catalogue {
	return policy.Catalogue{"s": {"t": []byte(schema)}}
}

// findings checks one rule with the condition, for every tool of server s.
func findings(t testing.TB, when string, c policy.Catalogue) []policy.Finding {
	t.Helper()
	return policy.Check(parse(t, doc("p", ruleWhen("r", "allow", when))), c)
}

func TestCheckFindsNothing(t *testing.T) {
	for _, when := range []string{
		`args.amount <= 100`, `args.amount <= 100.5`, `args.count == 3`, `args.count < 2.5`, `args.amount == 7u`, `100 >= args.amount`,
		`args.amount in [1, 2.5, 3u]`, `args.amount * 2 + 1 > args.count`, `args.amount * 1.5 > 2.0`, `-args.amount < 0`, `int(args.note) > 3`,
		`args["amount"] > 1 && args['odd-name'] != ""`, `"note" in args`, `has(args.note) && args.note.startsWith("x")`,
		`args.note in ["a", "b"]`, `args.note.size() < 9 && size(args.to) == 1`, `args.dryRun && true`, `!args.dryRun`, `args.dryRun == true`,
		`!has(args.dryRun) || args.dryRun == true`, `args.currency == "EUR"`, `args.currency in ["EUR", "USD"]`, `args.currency == args.note`,
		`args.level == 2 || args.level == "max"`, `args.kind == "refund"`, `args.reason == null || args.reason.contains("x")`,
		`args.note == null`, `args.until != null && timestamp(args.until) > now`, `now < timestamp(args.note)`, `duration(args.note) < duration("1h")`,
		`args.to.all(a, a.endsWith("@example.com"))`, `args.to[0] == "a"`, `"a" in args.to`, `args.to == ["a"]`, `args.to.exists_one(a, a == "x")`,
		`args.to + ["x"] == args.to`, `args.to.map(a, a.size()).exists(n, n > 3)`, `args.to.filter(a, a != "x").all(b, b.startsWith("y"))`,
		`args.customer.name == "x" && args.customer.age >= 18`, `has(args.customer.name)`, `args.customer == {"name": "x"}`, `args.customer["age"] > 1`,
		`args.lines.all(l, l.sku.startsWith("A") && l.n < 10)`, `args.lines[0].sku == "A"`, `args.lines.filter(l, l.n > 1).all(l, l.sku == "x")`,
		`args.lines.map(l, l.sku) == args.to`, `args.free.what.ever == 1`, `args.labels.x == "y" && has(args.labels.z)`, `args.labels.all(k, k.startsWith("x"))`,
		`args.open.b == 1 && args.open.a == "x"`, `args.mixed.b == "x"`, `args.node.next.next.x == 1`, `args.any > 1 && args.yes.x == 1`, `args["in"] == "x"`,
		`dyn(args.amount) == "x"`, `dyn(args).amout == 1`, `args == {}`, `size(args) == 0`, `args[caller.appID] == 1`, `args.all(k, k != "x")`,
		`args.to.exists(args, args == "x")`, `args.customer.exists(k, k == "x")`, `type(args.amount) == int`, `string(args.amount) == "1"`,
		`caller.appID == "a" && now.getHours() < 8`, `action.tool != "t" && args.amout > 1`, `action.tool == "other" ? args.amout > 1 : args.amount > 1`,
		`action.tool in ["a", "b"] && args.amout == 1`, `action.prompt == "p" && args.amout == 1`, `action.resource == "" ? args.amount > 1 : args.amout > 1`, `args.amount > (args.dryRun ? 10 : 100)`, `args.dryRun ? true : args.amount < 3`,
		`args.note.matches("^[a-z]+$") == args.dryRun`, `[args.amount, args.count].all(n, n > 1)`, `3u in [1, 2.5] || size(args.to) in [1u, 2.5]`, `{"a": args.amount}.a > 1`,
	} {
		require.Empty(t, findings(t, when, oneTool(refundSchema)), when)
	}
}

func TestCheckFinds(t *testing.T) {
	tests := []struct {
		when   string
		column int // within the condition, from 1
		want   string
	}{
		{`args.amout <= 100`, 6, `"amout" is no argument of tool s/t: did you mean "amount"?`},
		{`args.Amount <= 100`, 6, `"Amount" is no argument of tool s/t: did you mean "amount"?`},
		{`args . amout <= 100`, 8, `"amout" is no argument of`},
		{`1 < 2 && args.xyzzyx == "é"`, 15, `"xyzzyx" is no argument of tool s/t`},
		{`"é😀" == args.nope`, 14, `"nope" is no argument of tool s/t: did you mean "node"?`},
		{`has(args.amout)`, 10, `"amout" is no argument of`},
		{`!has(args.amout) || args.amout == 1`, 11, `"amout" is no argument of`},
		{`args["amout"] > 1`, 6, `"amout" is no argument of`},
		{`"amout" in args`, 1, `"amout" is no argument of`},
		{`args.customer.nam == "x"`, 15, `"nam" is no member of args.customer in tool s/t: did you mean "name"?`},
		{`args.customer.id == "x"`, 15, `"id" is no member of args.customer in tool s/t: known are "age", "name"`},
		{`args.customer["nam"] == "x"`, 15, `"nam" is no member of args.customer`},
		{`has(args.customer.nam)`, 19, `"nam" is no member of args.customer`},
		{`args.lines.all(l, l.skuu == "x")`, 21, `"skuu" is no member of l in tool s/t: did you mean "sku"?`},
		{`args.lines[0].skuu == "x"`, 15, `"skuu" is no member of args.lines[...] in`},
		{`args.lines.filter(l, l.n > 1).exists(l, l.m == 1)`, 43, `"m" is no member of l in tool s/t: did you mean "n"?`},
		{`args.amount == "100"`, 1, `args.amount is a number in tool s/t, and is compared with a text`},
		{`"100" != args.amount`, 1, `args.amount is a number in tool s/t, and is compared with a text`},
		{`args.amount <= "100"`, 1, `args.amount is a number in tool s/t, and is compared with a text`},
		{`args.note > 5`, 1, `args.note is a text in tool s/t, and is compared with a number`},
		{`args.count == true`, 1, `args.count is a number in tool s/t, and is compared with true or false`},
		{`args.amount == args.note`, 1, `args.amount is a number in tool s/t, and is compared with args.note, a text`},
		{`args.amount < args.note`, 1, `args.amount is a number in tool s/t, and is compared with args.note, a text`},
		{`args.reason == 1`, 1, `args.reason is a text or null in tool s/t, and is compared with a number`},
		{`args.until == 1`, 1, `args.until is a text or null in`},
		{`args.level == true`, 1, `args.level is a number or a text in`},
		{`args.amount in ["1", "2"]`, 1, `args.amount is a number in tool s/t, and is looked for in a list of a text`},
		{`1 in args.to`, 1, `this is a number in tool s/t, and args.to holds a text`},
		{`"x" in args.note`, 8, `args.note is a text in tool s/t, and cannot be used with in`},
		{`args.amount.startsWith("1")`, 1, `args.amount is a number in tool s/t, and cannot be used with startsWith`},
		{`"abc".contains(args.amount)`, 16, `args.amount is a number in tool s/t, and cannot be used with contains`},
		{`size(args.amount) == 1`, 6, `args.amount is a number in tool s/t, and cannot be used with size`},
		{`timestamp(args.to) < now`, 11, `args.to is a list in tool s/t, and cannot be used with timestamp`},
		{`args.amount.all(a, a == 1)`, 1, `args.amount is a number in tool s/t, and has no elements`},
		{`args.to.all(a, a > 1)`, 16, `a is a text in tool s/t, and is compared with a number`},
		{`args.lines.exists(l, l.n == "x")`, 22, `l.n is a number in tool s/t, and is compared with a text`},
		{`args.lines.map(a, a.n).exists(n, n == "x")`, 35, `n is a number in tool s/t, and is compared with a text`},
		{`args.labels.x == 1`, 1, `args.labels.x is a text in`},
		{`args.note.x == 1`, 1, `args.note is a text in tool s/t, and has no members`},
		{`has(args.note.x)`, 5, `args.note is a text in tool s/t, and has no members`},
		{`args.note && args.dryRun`, 1, `args.note is a text in tool s/t, and cannot be used with &&`},
		{`!args.note`, 2, `args.note is a text in tool s/t, and cannot be used with !`},
		{`args.note - 1 == 0`, 1, `args.note is a text in tool s/t, and cannot be used with - and a number`},
		{`args.amount + args.note == "x"`, 1, `args.amount is a number in tool s/t, and cannot be used with + and args.note, a text`},
		{`args.amount["x"] == 1`, 1, `args.amount is a number in tool s/t, and cannot be used with [] and a text`},
		{`action.tool == "t" ? args.amout > 1 : true`, 27, `"amout" is no argument of`},
		{`action.tool == "t" && args.amout > 1`, 28, `"amout" is no argument of`},
		{`action.resource == "" && args.amout > 1`, 30, `"amout" is no argument of`},
		{`args.dryRun || args.amout > 1`, 21, `"amout" is no argument of`},
		{`args.mixed.a == 1`, 1, `args.mixed.a is a text in`},
	}
	for _, tt := range tests {
		t.Run(tt.when, func(t *testing.T) {
			got := findings(t, tt.when, oneTool(refundSchema))
			require.NotEmpty(t, got)
			require.Contains(t, got[0].Message, tt.want)
			require.False(t, got[0].Hint)
			require.Len(t, got, 1, "%v", got)
			require.Equal(t, []any{"0.yaml", 7, "spec.rules[0].when"}, []any{got[0].File, got[0].Line, got[0].Field})
			if !strings.ContainsAny(tt.when, `"`) {
				prefix := strings.Index(ruleWhen("r", "allow", tt.when), strconv.Quote(tt.when)) + 1
				require.Equal(t, prefix+tt.column, got[0].Column)
			}
		})
	}
}

// The rest of the places: they count in the text as it stands in the file.
func TestCheckFindsThePlace(t *testing.T) {
	tests := []struct{ name, when, want string }{
		{"plain", " args.amount == 1 && args.amout == 1", "13:36"},
		{"quotes", " '\"é\" != args.note && args.amout == \"x\"'", "13:37"},
		{"block", " |\n      args.amount == 1 &&\n      \"é\" == args.nope", "15:19"},
		{"folded", " >\n      args.amount == 1 &&\n      args.to.all(a,\n        a == 1)", "16:9"},
		{"several lines", " args.amount == 1\n      && args[\"nope\"]\n      == 1", "14:15"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := conditioned(tt.when)
			for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
				docs, err := policy.Parse("f.yaml", []byte(text))
				require.NoError(t, err)
				got := policy.Check(docs, oneTool(refundSchema))
				require.NotEmpty(t, got)
				require.Equal(t, "f.yaml:"+tt.want, fmt.Sprintf("%s:%d:%d", got[0].File, got[0].Line, got[0].Column), got[0].String())
			}
		})
	}
}
