// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

// ruleWhen writes a rule about every tool of server s for the app a.
func ruleWhen(name, effect, when string) string {
	return fmt.Sprintf("  - {name: %s, effect: %s, from: [a], to: {server: s, tools: ['*']}, when: %s}\n", name, effect, strconv.Quote(when))
}

// facts are those of a call with the arguments.
func facts(arguments string) *policy.Facts {
	return &policy.Facts{
		Arguments: []byte(arguments), Now: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC), Proof: "x509-svid",
		IP: netip.MustParseAddr("10.1.2.3"), TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Session: "s-1",
	}
}

func callWith(arguments string) policy.Request {
	r := tool(app("a"), "s", "t")
	r.Facts = facts(arguments)
	return r
}

func TestConditions(t *testing.T) {
	tests := []struct {
		when, yes, no string // arguments with which it is true, and false or an error
	}{
		{`args.amount <= 100`, `{"amount":100}`, `{"amount":101}`},
		{`args.amount <= 100`, `{"amount":100.0}`, `{"amount":100.5}`},
		{`args.amount <= 100`, `{"amount":-1}`, `{"amount":"1"}`},
		{`args.amount <= 100`, `{"amount":0}`, `{}`},
		{`args.to == "a@example.com"`, `{"to":"a@example.com"}`, `{"to":"A@example.com"}`},
		{`args.to == "é"`, `{"to":"\u00e9"}`, `{"to":"e\u0301"}`},
		{`args.to == "😀" && args.to.size() == 1`, `{"to":"\ud83d\ude00"}`, `{"to":"?"}`},
		{`args.to.endsWith("@example.com")`, `{"to":"x@example.com"}`, `{"to":"x@example.com.evil"}`},
		{`args.to.matches("^[a-z]+@example[.]com$")`, `{"to":"x@example.com"}`, `{"to":"x@exampleXcom"}`},
		{`args.path.startsWith("/data/") && !args.path.contains("..")`, `{"path":"/data/x"}`, `{"path":"/data/../x"}`},
		{`args.kind in ["read", "list"]`, `{"kind":"list"}`, `{"kind":"List"}`},
		{`args.ids.all(i, i > 10)`, `{"ids":[11,12]}`, `{"ids":[11,10]}`},
		{`args.tags == ["x", "y"]`, `{"tags":["x","y"]}`, `{"tags":["y","x"]}`},
		{`args.o == {"a": 1, "b": null}`, `{"o":{"b":null,"a":1}}`, `{"o":{"a":1}}`},
		{`has(args.x)`, `{"x":null}`, `{}`},
		{`!has(args.x)`, `{}`, `{"x":null}`},
		{`args.x == null`, `{"x":null}`, `{"x":false}`},
		{`args.x == null`, `{"x":null}`, `{}`},
		{`!has(args.o.force)`, `{"o":{}}`, `{"o":"force"}`},
		{`args.force == false`, `{"force":false}`, `{"force":0}`},
		{`args[action.tool] == 1`, `{"t":1}`, `{"u":1}`},
		{`args == {}`, ``, `{"x":1}`},
		{`size(args) == 0`, `{}`, `{"x":1}`},
		{`caller.spiffeID == "spiffe://custody.local/ns/default/a" && args.x`, `{"x":true}`, `{"x":false}`},
		{`caller.trustDomain + "/" + caller.namespace + "/" + caller.appID == args.x`, `{"x":"custody.local/default/a"}`, `{"x":"custody.local/default/b"}`},
		{`caller.proof == args.x`, `{"x":"x509-svid"}`, `{"x":"jwt-svid"}`},
		{`action.kind + action.server + action.tool == args.x`, `{"x":"mcp.tools/callst"}`, `{"x":""}`},
		{`now < timestamp(args.x)`, `{"x":"2026-11-23T09:30:00.001Z"}`, `{"x":"2026-11-23T09:30:00Z"}`},
		{`now.getHours("+02:00") == args.x`, `{"x":11}`, `{"x":9}`},
		{`now - timestamp("2026-11-23T09:00:00Z") == duration(args.x)`, `{"x":"30m"}`, `{"x":"x"}`},
		{`request.ip == args.x`, `{"x":"10.1.2.3"}`, `{"x":"10.1.2.30"}`},
		{`request.traceID == args.x`, `{"x":"4bf92f3577b34da6a3ce929d0e0e4736"}`, `{"x":""}`},
		{`session.id == args.x`, `{"x":"s-1"}`, `{"x":"s-2"}`},
		{`args.l.exists(caller, caller == "x")`, `{"l":["x"]}`, `{"l":["y"]}`},
		// What cannot be evaluated on one side does not matter where the other side settles it.
		{`args.x > 1 || args.y > 1`, `{"y":2}`, `{"y":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.when+" "+tt.no, func(t *testing.T) {
			set := compile(t, doc("p", ruleWhen("r", "allow", tt.when)))
			require.Equal(t, policy.Decision{Effect: policy.Allow, Policy: "p", Rule: "r", Reason: policy.ReasonAllowed, Set: set.Digest()}, set.Decide(callWith(tt.yes)))
			require.Equal(t, policy.Deny, set.Decide(callWith(tt.no)).Effect)

			deny := compile(t, doc("p", ruleWhen("no", "deny", tt.when)+ruleText("r", "allow", "a", "server: s, tools: ['*']")))
			require.Equal(t, "no", deny.Decide(callWith(tt.yes)).Rule)
			got := deny.Decide(callWith(tt.no))
			require.Equal(t, strings.Contains(got.Reason, "could not be evaluated"), got.Effect == policy.Deny, "it denies if it is an error, and only then")
		})
	}
}

func TestConditionFacts(t *testing.T) {
	without := func(change func(*policy.Facts)) *policy.Facts {
		f := facts(`{}`)
		change(f)
		return f
	}
	tests := []struct {
		name, when string
		facts      *policy.Facts
		why        string // why it could not be evaluated, "" if it is false
	}{
		{"no facts: the time", `now > timestamp("1970-01-01T00:00:00Z")`, nil, "the time is not known"},
		{"no facts: the address", `request.ip != "10.0.0.1"`, nil, "the caller's address is not known"},
		{"no facts: the proof", `caller.proof != "jwt-svid"`, nil, "the caller's proof is not known"},
		{"no facts: the rest is empty", `session.id != "" || request.traceID != "" || args != {}`, nil, ""},
		{"arguments that are cut off", `args.x != 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":2`) }), "the arguments are not a JSON object"},
		{"arguments that go on", `args.x != 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":2}{"x":1}`) }), "the arguments are not a JSON object"},
		{"a member twice", `args.x != 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":2,"x":1}`) }), "the arguments are not a JSON object"},
		{"an array", `args.x != 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`[2]`) }), "the arguments are not a JSON object"},
		{"null", `args.x != 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`null`) }), "the arguments are not a JSON object"},
		{"not UTF-8", `args.x != ""`, without(func(f *policy.Facts) { f.Arguments = []byte("{\"x\":\"\xff\"}") }), "the arguments are not a JSON object"},
		{"a missing argument", `args.x != 1`, without(func(*policy.Facts) {}), "no such key: x"},
		{"a key that is the caller's", `args[args.x] == 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":"secret"}`) }), "no such key"},
		{"a text that is no number", `int(args.x) == 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":"secret"}`) }), "a value cannot be used as the condition wants"},
		{"a text that is no time", `timestamp(args.x) < now`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":"secret"}`) }), "a value cannot be used as the condition wants"},
		{"a pattern of the caller's", `"x".matches(args.x)`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":"secret("}`) }), "a value cannot be used as the condition wants"},
		{"another type", `args.x > 1`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":"secret"}`) }), "a value is not of the type that the condition wants"},
		{"a type that is no bool", `true && args.x`, without(func(f *policy.Facts) { f.Arguments = []byte(`{"x":"secret"}`) }), "a value is not of the type that the condition wants"},
		{"a mapped address", `request.ip != "10.0.0.1"`, without(func(f *policy.Facts) { f.IP = netip.MustParseAddr("::ffff:10.0.0.1") }), ""},
		{"another kind has no tool", `action.tool != ""`, nil, ""},
		{"a call has no prompt and no resource", `action.prompt + action.resource != ""`, without(func(*policy.Facts) {}), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, doc("p", fmt.Sprintf("  - {name: r, effect: allow, from: [a], to: {server: s, tools: ['*'], methods: ['*']}, when: %q}\n", tt.when)))
			r := ask(app("a"), "mcp.resources/read", "s", "")
			if tt.facts != nil {
				r = tool(app("a"), "s", "t")
			}
			r.Facts = tt.facts
			got := set.Decide(r)
			want := policy.Decision{Effect: policy.Deny, Reason: policy.ReasonNoRule, Set: set.Digest()}
			if tt.why != "" {
				want.Policy, want.Rule = "p", "r"
				want.Reason = "the condition of rule r could not be evaluated: " + tt.why
			}
			require.Equal(t, want, got)
			require.NotContains(t, got.Reason, "secret")
		})
	}
}

// What an action names is asked for by its kind, and is empty for the others.
func TestConditionsOnPromptsAndResources(t *testing.T) {
	const noPlain, template = "the URI of the resource is not in plain form", "a URI template stands for many resources"
	const docs = `action.resource.startsWith("file:///docs/")`
	tests := []struct {
		name, when string
		kind, of   string
		want       string // allow, deny, or why it could not be evaluated
	}{
		{"a prompt", `action.prompt == "summary"`, policy.KindPromptGet, "summary", "allow"},
		{"another", `action.prompt == "summary"`, policy.KindPromptGet, "summary2", "deny"},
		{"a prompt is no tool and no resource", `action.tool + action.resource != ""`, policy.KindPromptGet, "summary", "deny"},
		{"completing for a prompt", `action.prompt == "summary"`, policy.KindComplete, policy.RefPrompt + "summary", "allow"},
		{"for another", `action.prompt != "summary"`, policy.KindComplete, policy.RefPrompt + "summary", "deny"},
		{"for a resource names no prompt", `action.prompt != ""`, policy.KindComplete, policy.RefResource + "file:///docs/a", "deny"},
		{"a resource", docs, policy.KindResourceRead, "file:///docs/a", "allow"},
		{"another one", docs, policy.KindResourceRead, "file:///etc/a", "deny"},
		{"subscribing", docs, policy.KindResourceSubscribe, "file:///docs/a", "allow"},
		{"unsubscribing", docs, policy.KindResourceUnsubscribe, "file:///etc/a", "deny"},
		{"a resource is no tool and no prompt", `action.tool + action.prompt != ""`, policy.KindResourceRead, "file:///docs/a", "deny"},
		{"one that a server may take for another", docs, policy.KindResourceRead, "file:///docs/../etc/a", noPlain},
		{"in a condition that rules it out", `action.resource != "file:///etc/a"`, policy.KindResourceRead, "file:///etc/%61", noPlain},
		{"completing for one", docs, policy.KindComplete, policy.RefResource + "file:///docs/a", "allow"},
		{"for another one", docs, policy.KindComplete, policy.RefResource + "file:///etc/a", "deny"},
		{"for a template", docs, policy.KindComplete, policy.RefResource + "file:///docs/{name}", template},
		{"a list", `action.tool + action.prompt + action.resource == ""`, "mcp.resources/list", "", "allow"},
		{"a list names nothing", docs, "mcp.resources/list", "", "deny"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rule := func(effect string) *policy.Set {
				text := fmt.Sprintf("  - {name: r, effect: %s, from: [a], to: {server: s, tools: ['*'], prompts: ['*'], resources: ['*'], methods: ['*']}, when: %q}\n", effect, tt.when)
				return compile(t, doc("p", text+ruleText("z", "allow", "a", "server: s, methods: ['"+map[string]string{"deny": "*", "allow": "x"}[effect]+"']")))
			}
			allowed, denied := rule("allow").Decide(ask(app("a"), tt.kind, "s", tt.of)), rule("deny").Decide(ask(app("a"), tt.kind, "s", tt.of))
			require.Equal(t, tt.want == "allow", allowed.Effect == policy.Allow)
			require.Equal(t, tt.want == "deny", denied.Effect == policy.Allow, "a deny denies also what it cannot be evaluated for")
			if tt.want != "allow" && tt.want != "deny" {
				require.Equal(t, "the condition of rule r could not be evaluated: "+tt.want, allowed.Reason)
				require.Equal(t, allowed.Reason, denied.Reason)
			}
		})
	}
	_, err := policy.Parse("f.yaml", []byte(doc("p", "  - {name: r, effect: allow, from: [a], to: {server: s, prompts: [x]}, when: 'action.prompt > 1'}\n")))
	require.Contains(t, problem(t, err), "no matching overload")
	_, err = policy.Parse("f.yaml", []byte(doc("p", "  - {name: r, effect: allow, from: [a], to: {server: s, prompts: [x]}, when: 'action.prompts == \"\"'}\n")))
	require.Error(t, err)
}

// A number is what its text says: never rounded, or an error.
func TestConditionNumbers(t *testing.T) {
	tests := []struct {
		when, x string
		want    string // true, false or error
	}{
		{`args.x == 9007199254740993`, `9007199254740993`, "true"},
		{`args.x == 9007199254740992`, `9007199254740993`, "false"},
		{`args.x > 9007199254740992`, `9007199254740993`, "true"},
		{`args.x == 9223372036854775807`, `9223372036854775807`, "true"},
		{`args.x == 9223372036854775807`, `9223372036854775806`, "false"},
		{`args.x == 9223372036854775807`, `9223372036854775808`, "false"},
		{`args.x > 9223372036854775807`, `9223372036854775808`, "true"},
		{`args.x == 9223372036854775808u`, `9223372036854775808`, "true"},
		{`args.x < 9223372036854775808u`, `9223372036854775807`, "true"},
		{`args.x < 9223372036854775808u`, `9223372036854775808`, "false"},
		{`args.x < 0u`, `-1`, "true"},
		{`args.x == -9223372036854775808`, `-9223372036854775808`, "true"},
		{`args.x == 18446744073709551615u`, `18446744073709551615`, "true"},
		{`args.x == 18446744073709551615u`, `18446744073709551614`, "false"},
		{`args.x != 1`, `18446744073709551616`, "error"},
		{`args.x != 1`, `-9223372036854775809`, "error"},
		{`args.x > 0`, `100000000000000000000000000000000000000`, "error"},
		{`args.x == 5`, `5`, "true"},
		{`args.x == 5u`, `5`, "true"},
		{`args.x == 5.0`, `5`, "true"},
		{`args.x == 5`, `5.0`, "true"},
		{`args.x == 5`, `50e-1`, "true"},
		{`args.x == 5`, `0.5E+1`, "true"},
		{`args.x == 5`, `5.000000000000001`, "false"},
		{`args.x != 5`, `5.0000000000000000000001`, "error"},
		{`args.x == 0.1`, `0.1`, "true"},
		{`args.x == 0.1`, `0.10`, "true"},
		{`args.x == 0.1`, `0.1000000000000000055511151231257827`, "error"},
		{`args.x < 0.3`, `0.30000000000000004`, "false"},
		{`args.x == 9007199254740991`, `9007199254740991.0`, "true"},
		{`args.x == 9007199254740992`, `9007199254740992.0`, "error"},
		{`args.x == 9007199254740993`, `9007199254740993.0`, "error"},
		{`args.x > 0`, `1e300`, "error"},
		{`args.x > 0`, `1e400`, "error"},
		{`args.x == 0`, `1e-400`, "error"},
		{`args.x == 0`, `0e-999999999999999999999`, "true"},
		{`args.x == 0`, `-0`, "true"},
		{`args.x == 0`, `-0.0`, "true"},
		{`args.x == -1.5`, `-1.5`, "true"},
		{`args.x > 9007199254740992`, `9007199254740991.5`, "error"},
		{`args.x in [9007199254740992, 1.5]`, `9007199254740993`, "false"},
		{`args == {"x": 9007199254740992}`, `9007199254740993`, "false"},
		{`args == {"x": [1]}`, `[1.00000000000000000001]`, "error"},
		{`args.x == [1]`, `[1.00000000000000000001]`, "error"},
		// A calculation stays exact or fails: CEL compares integers with decimals as float64.
		{`double(args.x) == dyn(9007199254740992)`, `9007199254740993`, "error"},
		{`double(args.x) == dyn(5)`, `5`, "true"},
		{`args.x * 4503599627370496.0 == dyn(9007199254740993)`, `2.0`, "error"},
		{`args.x / 0.0 > 1`, `1.0`, "error"},
		{`args.x + 1 > 0`, `9223372036854775807`, "error"},
	}
	for _, tt := range tests {
		t.Run(tt.when+" "+tt.x, func(t *testing.T) {
			got := compile(t, doc("p", ruleWhen("r", "allow", tt.when))).Decide(callWith(`{"x":` + tt.x + `}`))
			result := "false"
			if got.Effect == policy.Allow {
				result = "true"
			} else if got.Reason != policy.ReasonNoRule {
				result = "error"
			}
			require.Equal(t, tt.want, result, got.Reason)
		})
	}
}

func TestConditionsAreBounded(t *testing.T) {
	list := "[" + strings.Repeat("1,", 4999) + "1]"
	deep := `{"a":` + list + `,"b":[[` + list + `]],"c":[[` + list + `]]}`
	for name, tt := range map[string]struct{ when, args string }{
		"nested loops":              {`args.x.all(i, args.x.all(j, i == j))`, `{"x":` + list + `}`},
		"deep comparison in a loop": {`args.a.all(i, args.b == args.c)`, deep},
		"membership in a loop":      {`args.a.all(i, args.b[0] in args.c)`, deep},
		"growing text":              {`args.x.map(i, args.s + args.s).all(s, s.contains("ab"))`, `{"x":` + list + `,"s":"` + strings.Repeat("a", 10000) + `"}`},
		"size of a text":            {`args.x.all(i, args.s.size() != i)`, `{"x":` + list + `,"s":"` + strings.Repeat("a", 10000) + `"}`},
		"order of texts":            {`args.x.all(i, args.s <= args.s)`, `{"x":` + list + `,"s":"` + strings.Repeat("a", 10000) + `"}`},
		"texts in lists":            {`args.x.all(i, [args.b] == [args.c])`, `{"x":` + list + `,"b":[` + list + `],"c":[` + list + `]}`},
		"patterns":                  {`args.x.all(i, args.s.matches("^(a|b|aa)*$"))`, `{"x":` + list + `,"s":"` + strings.Repeat("a", 10000) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			allow := compile(t, doc("p", ruleWhen("r", "allow", tt.when))).Decide(callWith(tt.args))
			require.Equal(t, "deny the condition of rule r could not be evaluated: it costs too much", string(allow.Effect)+" "+allow.Reason)
			deny := compile(t, doc("p", ruleWhen("r", "deny", tt.when)+ruleText("all", "allow", "a", "server: s, tools: ['*']"))).Decide(callWith(tt.args))
			require.Equal(t, "deny r", string(deny.Effect)+" "+deny.Rule)
		})
	}
	t.Run("all conditions of a request together", func(t *testing.T) {
		var rules strings.Builder
		for i := range 40 {
			rules.WriteString(ruleWhen(fmt.Sprintf("r%d", i), "allow", fmt.Sprintf("args.x.all(i, i == 1) && args.y == %d", i)))
		}
		set := compile(t, doc("p", rules.String()))
		require.Equal(t, "r0", set.Decide(callWith(`{"x":`+list+`,"y":0}`)).Rule)
		require.Equal(t, "deny", string(set.Decide(callWith(`{"x":`+list+`,"y":39}`)).Effect))
	})
	t.Run("a request that was given up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := callWith(`{"x":` + list + `}`)
		set := compile(t, doc("p", ruleWhen("r", "allow", `args.x.all(i, i == 1)`)))
		require.Equal(t, policy.Allow, set.Decide(r).Effect)
		r.Facts.Context = ctx
		require.Equal(t, "the condition of rule r could not be evaluated: the request was given up", set.Decide(r).Reason)
	})
	t.Run("a long name in the reason", func(t *testing.T) {
		name, key := strings.Repeat("n", 128), strings.Repeat("k", 200)
		got := compile(t, doc("p", ruleWhen(name, "allow", "args."+key+" == 1"))).Decide(callWith("{}"))
		require.Len(t, got.Reason, 200)
		require.True(t, strings.HasSuffix(got.Reason, "kkk..."))
	})
}

func TestConditionOrder(t *testing.T) {
	const plain = "server: s, tools: ['*']"
	tests := []struct {
		name, rules string
		want        string // effect and rule
	}{
		{"false, then an allow", ruleWhen("a", "allow", "false") + ruleText("b", "allow", "a", plain), "allow b"},
		{"true, then an allow", ruleWhen("a", "allow", "true") + ruleText("b", "allow", "a", plain), "allow a"},
		{"an allow, then true", ruleText("b", "allow", "a", plain) + ruleWhen("a", "allow", "true"), "allow b"},
		{"error, then an allow", ruleWhen("a", "allow", "args.x == 1") + ruleText("b", "allow", "a", plain), "allow b"},
		{"error, then true", ruleWhen("a", "allow", "args.x == 1") + ruleWhen("b", "allow", "true"), "allow b"},
		{"error, then false", ruleWhen("a", "allow", "args.x == 1") + ruleWhen("b", "allow", "false"), "deny a"},
		{"two errors", ruleWhen("a", "allow", "args.x == 1") + ruleWhen("b", "allow", "args.y == 1"), "deny a"},
		{"nothing but false", ruleWhen("a", "allow", "false") + ruleWhen("b", "allow", "false"), "deny "},
		{"a false deny", ruleWhen("a", "deny", "false") + ruleText("b", "allow", "a", plain), "allow b"},
		{"a true deny behind", ruleText("b", "allow", "a", plain) + ruleWhen("a", "deny", "true"), "deny a"},
		{"an error in a deny behind", ruleText("b", "allow", "a", plain) + ruleWhen("a", "deny", "args.x == 1"), "deny a"},
		{"the first deny is named", ruleWhen("a", "deny", "args.x == 1") + ruleText("b", "deny", "a", plain), "deny a"},
		{"a deny before is named", ruleText("b", "deny", "a", plain) + ruleWhen("a", "deny", "true"), "deny b"},
		{"a deny behind what is false", ruleWhen("a", "deny", "false") + ruleText("b", "deny", "a", plain) + ruleWhen("c", "allow", "true"), "deny b"},
		{"for another caller", "  - {name: a, effect: deny, from: [other], to: {server: s, tools: ['*']}, when: args.x == 1}\n" + ruleText("b", "allow", "a", plain), "allow b"},
		{"for another tool", "  - {name: a, effect: deny, from: [a], to: {server: s, tools: ['u*', u]}, when: args.x == 1}\n" + ruleText("b", "allow", "a", plain), "allow b"},
		{"named twice", "  - {name: a, effect: deny, from: [a, 'spiffe://custody.local/ns/*/*'], to: {server: '*', tools: [t, 't*', '*']}, when: false == true}\n" + ruleText("b", "allow", "a", plain), "allow b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := compile(t, doc("p", tt.rules)).Decide(callWith("{}"))
			require.Equal(t, tt.want, string(got.Effect)+" "+got.Rule)
		})
	}
}

func TestMayAllowAndReaches(t *testing.T) {
	const plain = "server: s, tools: ['*']"
	tests := []struct {
		name, rules   string
		may, reaches  bool
		withoutRights bool
	}{
		{"a conditional allow", ruleWhen("a", "allow", "args.x == 1"), true, true, false},
		{"a conditional allow of another tool", strings.Replace(ruleWhen("a", "allow", "args.x == 1"), "'*'", "u", 1), false, true, false},
		{"a conditional deny hides nothing", ruleText("b", "allow", "a", plain) + ruleWhen("a", "deny", "true"), true, true, false},
		{"a conditional deny alone", ruleWhen("a", "deny", "false"), false, false, false},
		{"a deny hides", ruleWhen("a", "allow", "true") + ruleText("b", "deny", "a", plain), false, false, false},
		{"a deny of this tool hides it", ruleWhen("a", "allow", "true") + ruleText("b", "deny", "a", "server: s, tools: [t]"), false, true, false},
		{"an allow", ruleText("b", "allow", "a", plain), true, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, doc("p", tt.rules))
			require.Equal(t, tt.may, set.MayAllow(tool(app("a"), "s", "t")))
			require.Equal(t, tt.reaches, set.Reaches(app("a"), "s"))
			require.False(t, set.MayAllow(tool(app("b"), "s", "t")))
			require.False(t, set.MayAllow(tool(app("a"), "", "t")))
		})
	}
	var none *policy.Set
	require.False(t, none.MayAllow(tool(app("a"), "s", "t")))
}

func TestDigestCoversConditions(t *testing.T) {
	plain := doc("p", ruleText("r", "allow", "a", "server: s, tools: ['*']"))
	digests := map[string]bool{}
	for _, text := range []string{
		plain, doc("p", ruleWhen("r", "allow", "true")), doc("p", ruleWhen("r", "allow", "false")), doc("p", ruleWhen("r", "deny", "true")),
	} {
		digests[compile(t, text).Digest()] = true
	}
	require.Len(t, digests, 4)
	block := "  - name: r\n    effect: allow\n    from: [a]\n    to: {server: s, tools: ['*']}\n    when: |\n\n      false\n"
	require.True(t, digests[compile(t, doc("p", block)).Digest()], "space around a condition says nothing")
	require.Equal(t, "false", compile(t, doc("p", block)).Rules()[0].When)
	require.Empty(t, compile(t, plain).Rules()[0].When)
}

// One Set answers many at once, each by its own facts.
func TestConditionsSideBySide(t *testing.T) {
	set := compile(t, doc("p", ruleWhen("r", "allow", `args.l.exists(i, i == args.x) && args.s.matches("^[a-z]+$")`)))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 200 {
				want := policy.Deny
				if (i+n)%2 == 0 {
					want = policy.Allow
				}
				got := set.Decide(callWith(fmt.Sprintf(`{"l":[%d,%d],"x":%d,"s":"abc"}`, i, n, i+(i+n)%2*1000)))
				if got.Effect != want {
					t.Errorf("%d, %d: %v", i, n, got)
				}
			}
		})
	}
	group.Wait()
}
