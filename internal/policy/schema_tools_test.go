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

func withArgument(names ...string) []byte {
	var members []string
	for _, name := range names {
		members = append(members, strconv.Quote(name)+`:{"type":"string"}`)
	}
	return []byte(`{"type":"object","properties":{` + strings.Join(members, ",") + `}}`)
}

func messages(findings []policy.Finding) []string {
	var all []string
	for _, f := range findings {
		text := f.Message
		if f.Hint {
			text += " [hint]"
		}
		all = append(all, text)
	}
	return all
}

func TestCheckOfSeveralTools(t *testing.T) {
	c := policy.Catalogue{
		"s":     {"get": withArgument("path"), "put": withArgument("path", "text"), "list": withArgument("dir"), "stat": withArgument("pat")},
		"other": {"get": withArgument("id")},
	}
	rule := func(server, tools, when string) string {
		return fmt.Sprintf("  - {name: r, effect: deny, from: [a], to: {server: %q, tools: [%s]}, when: %s}\n", server, tools, strconv.Quote(when))
	}
	tests := []struct {
		name, server, tools, when string
		want                      []string
	}{
		{"both have it", "s", "get, put", `args.path == "x"`, nil},
		{"one has not", "s", "get, list", `args.path == "x"`, []string{`"path" is no argument of tool s/list: known are "dir"`}},
		{"two have not, and may mean different names", "s", `"*"`, `args.path == "x"`, []string{`"path" is no argument of tools s/list, s/stat`}},
		{"none has", "s", `"*"`, `args.x == "x"`, []string{`"x" is no argument of tools s/get, s/list, s/put and 1 more`}},
		{"every server", "*", "get", `args.path == "x"`, []string{`"path" is no argument of tool other/get: known are "id"`}},
		{"each counts once", "s", `get, "get*", "*et"`, `args.x == "x"`, []string{`"x" is no argument of tool s/get: known are "path"`}},
		{"asked first", "s", `"*"`, `has(args.path) && args.path == "x"`, nil},
		{"asked with in", "s", `"*"`, `"path" in args && args.path == "x"`, nil},
		{"asked last", "s", `"*"`, `args.path == "x" && has(args.path)`, nil},
		{"asked for the contrary", "s", `"*"`, `!has(args.path) || args.path == "x"`, nil},
		{"asked, and none has it", "s", "get, list", `has(args.pth) && args.pth == "x"`, []string{`"pth" is no argument of tools s/get, s/list`}},
		{"asked twice", "s", "get", `has(args.pth) && has(args.pht)`, []string{`"pth" is no argument of tool s/get: did you mean "path"?`, `"pht" is no argument of tool s/get: did you mean "path"?`}},
		{"asked for one, used another", "s", "get, list", `has(args.path) && args.dir == "x"`, []string{`"dir" is no argument of tool s/get: known are "path"`}},
		{"asked for by tool", "s", "get, list", `action.tool == "list" ? args.dir == "x" : args.path == "x"`, nil},
		{"an unknown tool", "s", "gett", `args.x == 1`, nil},
		{"an unknown server", "t", "get", `args.x == 1`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := policy.Check(parse(t, doc("p", rule(tt.server, tt.tools, tt.when))), c)
			require.Equal(t, tt.want, messages(got))
		})
	}
}

func TestCheckHints(t *testing.T) {
	c := oneTool(refundSchema)
	for when, want := range map[string]string{
		`args.currency == "EURO"`:           `"EURO" is no value of args.currency in tool s/t: known are "EUR", "USD" [hint]`,
		`"GBP" != args.currency`:            `"GBP" is no value of args.currency in tool s/t: known are "EUR", "USD" [hint]`,
		`args.currency in ["EUR", "zloty"]`: `"zloty" is no value of args.currency in tool s/t: known are "EUR", "USD" [hint]`,
		`args.kind == "payment"`:            `"payment" is no value of args.kind in tool s/t: known are "refund" [hint]`,
	} {
		require.Equal(t, []string{want}, messages(findings(t, when, c)), when)
	}
	require.Empty(t, findings(t, `args.note == "EURO" && args.level == "max"`, c))
}

// A schema is the server's word. What it gets wrong never makes more of it than
// one hint, and what it leaves open is open.
func TestCheckOfOddSchemas(t *testing.T) {
	unusable := []string{
		``, `null`, `true`, `"x"`, `[]`, `{`, `{"type":"object"`, `{"type":"string"}`, `{"type":["null"]}`, `{"type":"object","type":"object"}`,
		`{"type":"object"} x`, "{\"a\":\"\xff\"}", `{"type":"object","properties":{"a":` + strings.Repeat(" ", policy.MaxSchemaBytes) + `{}}}`,
		strings.Repeat("[", policy.MaxSchemaBytes),
	}
	for _, schema := range unusable {
		got := messages(findings(t, `args.nope == 1`, oneTool(schema)))
		require.Len(t, got, 1, schema[:min(len(schema), 40)])
		require.Contains(t, got[0], "the input schema of tool s/t cannot be used, so that conditions are not checked against it: ")
		require.Contains(t, got[0], "[hint]")
	}
	open := []string{
		`{}`, `{"type":"object"}`, `{"type":["object","null"]}`, `{"$ref":"#"}`, `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}},"properties":{}}`,
		`{"properties":{},"additionalProperties":true}`, `{"properties":{},"additionalProperties":{}}`, `{"properties":{},"patternProperties":{"^n":{}}}`,
		`{"properties":{},"allOf":[{"properties":{"nope":{}}}]}`, `{"properties":{},"if":{}}`, `{"properties":[]}`, `{"properties":"x"}`, `{"properties":{"nope":7}}`,
		`{"properties":{"nope":{"type":"nonsense"}}}`, `{"properties":{"nope":{"type":[]}}}`, `{"properties":{"nope":{"type":["string",3]}}}`,
		`{"properties":{"nope":{"type":"string","enum":[1]}}}`, `{"properties":{"nope":{"enum":[]}}}`, `{"properties":{"nope":{"anyOf":[]}}}`,
		`{"properties":{"nope":{"oneOf":7}}}`, `{"properties":{"nope":{"anyOf":[{"type":"string"},{"type":"integer"}]}}}`, `{"properties":{"nope":false}}`,
		`{"properties":{},"unevaluatedProperties":true}`, `{"anyOf":[{"type":"object","properties":{"nope":{}}},{"type":"object","properties":{}}]}`,
	}
	for _, schema := range open {
		require.Empty(t, messages(findings(t, `args.nope == 1`, oneTool(schema))), schema)
	}
	closed := []string{
		`{"additionalProperties":false}`, `{"properties":{}}`, `{"properties":{},"additionalProperties":false}`, `{"properties":{},"unevaluatedProperties":false}`,
		`{"anyOf":[{"type":"object","properties":{"a":{}}},{"type":"object","properties":{}}]}`,
	}
	for _, schema := range closed {
		got := messages(findings(t, `args.nope == 1`, oneTool(schema)))
		require.Len(t, got, 1, schema)
		require.Contains(t, got[0], `"nope" is no argument of tool s/t`, schema)
	}
	deep := strings.Repeat(`{"type":"object","properties":{"a":`, 500) + `{"type":"string"}` + strings.Repeat("}}", 500)
	require.Empty(t, findings(t, "args"+strings.Repeat(".a", 50)+" == 1", oneTool(deep)))
	require.Len(t, findings(t, "args.a.a.b == 1", oneTool(deep)), 1)
	escape := []byte(`{"type":"object","properties":{"\u001b[31m":{},"` + strings.Repeat("long", 100) + `":{}}}`)
	got := messages(findings(t, `args.x == 1`, policy.Catalogue{"s": {"t": escape}}))
	require.Equal(t, []string{`"x" is no argument of tool s/t: known are "\x1b[31m"`}, got)
}

func TestCheckIsBounded(t *testing.T) {
	tools := policy.ServerTools{}
	for i := range policy.MaxServerTools {
		tools["t"+strconv.Itoa(i)] = withArgument("a")
	}
	var rules strings.Builder
	for i := range 400 {
		rules.WriteString(ruleWhen("r"+strconv.Itoa(i), "allow", fmt.Sprintf("args.x == %d", i)))
	}
	got := policy.Check(parse(t, doc("p", rules.String())), policy.Catalogue{"s": tools})
	require.Len(t, got, 101, "those of the first conditions, and that there are more")
	require.Contains(t, got[99].Message, `"x" is no argument of tools s/t0, s/t1, s/t10 and 1997 more`)
	require.Contains(t, got[100].Message, "not every condition was checked")
	rules.Reset()
	for i := range 150 {
		rules.WriteString(ruleWhen("r"+strconv.Itoa(i), "allow", "args.x == 1"))
	}
	got = policy.Check(parse(t, doc("p", rules.String())), oneTool(string(withArgument("a"))))
	require.Len(t, got, 101)
	require.Equal(t, "and 50 more findings in conditions", got[100].String())
}

func TestUnchecked(t *testing.T) {
	docs := parse(t, doc("p", ruleWhen("r", "allow", "args.a == 1")+
		"  - {name: x, effect: allow, from: [a], to: {server: other, tools: [t]}, when: args.a == 1}\n"+
		"  - {name: y, effect: allow, from: [a], to: {server: third, tools: [t]}}\n"+
		"  - {name: z, effect: allow, from: [a], to: {server: fourth, methods: [ping]}, when: 'session.id != \"\"'}\n"))
	require.Equal(t, []string{"other", "s"}, policy.Unchecked(docs, nil))
	require.Equal(t, []string{"other"}, policy.Unchecked(docs, policy.Catalogue{"s": {"x": nil}, "other": {"x": nil}}))
	require.Empty(t, policy.Unchecked(docs, policy.Catalogue{"s": {"x": nil}, "other": {"t": nil}}))
}

// A check leaves the condition as it was: what it finds wrong decides as before.
func TestCheckChangesNothing(t *testing.T) {
	docs := parse(t, doc("p", ruleWhen("r", "allow", `args.amout == "x"`)))
	require.NotEmpty(t, policy.Check(docs, oneTool(refundSchema)))
	set, _, err := policy.Compile(docs, local())
	require.NoError(t, err)
	require.Equal(t, policy.Allow, set.Decide(callWith(`{"amout":"x"}`)).Effect)
	require.Equal(t, policy.Deny, set.Decide(callWith(`{"amout":1}`)).Effect)
}
