// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

const ordersPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata:
  name: orders
spec:
  rules:
  - name: support-reads
    effect: allow
    from:
    - support-agent
    - spiffe://custody.local/ns/*/auditor
    to:
      server: orders
      tools: [list_customers, "get_*"]
  - name: resources
    effect: allow
    from: [support-agent]
    to:
      server: orders
      methods: [resources/read, "prompts/*"]
      paths: ["GET /healthz"]
  - name: anywhere
    effect: allow
    from: [analytics-agent]
    to: {server: "*", tools: ["*"], paths: ["*"], methods: ["*"]}
  - name: never-reports
    effect: deny
    from: [spiffe://custody.local/ns/*/*]
    to: {server: "*", tools: [run_report, "drop_*"]}
`

func TestDecide(t *testing.T) {
	set := compile(t, ordersPolicy)
	other := func(id string) spiffeid.ID { return spiffeid.RequireFromString(id) }
	tests := []struct {
		name string
		in   policy.Request
		want string // effect and rule
	}{
		{"app ID, exact tool", tool(app("support-agent"), "orders", "list_customers"), "allow support-reads"},
		{"app ID, tool pattern", tool(app("support-agent"), "orders", "get_order"), "allow support-reads"},
		{"pattern with an empty run", tool(app("support-agent"), "orders", "get_"), "allow support-reads"},
		{"tool pattern is anchored", tool(app("support-agent"), "orders", "forget_order"), "deny "},
		{"tool in other case", tool(app("support-agent"), "orders", "List_customers"), "deny "},
		{"tool with a suffix", tool(app("support-agent"), "orders", "list_customers2"), "deny "},
		{"another server", tool(app("support-agent"), "orders2", "list_customers"), "deny "},
		{"no server", tool(app("support-agent"), "", "list_customers"), "deny "},
		{"the star as a server", tool(app("support-agent"), "*", "list_customers"), "deny "},
		{"no server, rule for every server", tool(app("analytics-agent"), "", "x"), "deny "},
		{"no tool, rule for every tool", tool(app("analytics-agent"), "orders", ""), "deny "},
		{"another app", tool(app("support-agent2"), "orders", "list_customers"), "deny "},
		{"the app in another namespace", tool(other("spiffe://custody.local/ns/prod/support-agent"), "orders", "get_order"), "deny "},
		{"the app in another domain", tool(other("spiffe://evil.local/ns/default/support-agent"), "orders", "get_order"), "deny "},
		{"star segment", tool(other("spiffe://custody.local/ns/prod/auditor"), "orders", "get_order"), "allow support-reads"},
		{"star is one segment, not two", tool(other("spiffe://custody.local/ns/a/b/auditor"), "orders", "get_order"), "deny "},
		{"star is one segment, not none", tool(other("spiffe://custody.local/ns/auditor"), "orders", "get_order"), "deny "},
		{"longer than the pattern", tool(other("spiffe://custody.local/ns/prod/auditor/x"), "orders", "get_order"), "deny "},
		{"the trust domain itself", tool(other("spiffe://custody.local"), "orders", "get_order"), "deny "},
		{"no caller", tool(spiffeid.ID{}, "orders", "list_customers"), "deny "},
		{"method", ask(app("support-agent"), "mcp.resources/read", "orders", "file:///x"), "allow resources"},
		{"method pattern", ask(app("support-agent"), "mcp.prompts/get", "orders", ""), "allow resources"},
		{"another method", ask(app("support-agent"), "mcp.resources/list", "orders", ""), "deny "},
		{"method in a kind that is not MCP's", ask(app("support-agent"), "resources/read", "orders", ""), "deny "},
		{"tool name as a method", ask(app("support-agent"), "mcp.list_customers", "orders", ""), "deny "},
		{"path", ask(app("support-agent"), policy.KindHTTP, "orders", "GET /healthz"), "allow resources"},
		{"path with another method", ask(app("support-agent"), policy.KindHTTP, "orders", "POST /healthz"), "deny "},
		{"path below", ask(app("support-agent"), policy.KindHTTP, "orders", "GET /healthz/x"), "deny "},
		{"path as a tool", tool(app("support-agent"), "orders", "GET /healthz"), "deny "},
		{"every server and tool", tool(app("analytics-agent"), "crm", "anything"), "allow anywhere"},
		{"every path", ask(app("analytics-agent"), policy.KindHTTP, "crm", "GET /x"), "allow anywhere"},
		{"every method", ask(app("analytics-agent"), "mcp.sampling/create", "crm", ""), "allow anywhere"},
		{"unknown kind", ask(app("analytics-agent"), "sql.select", "crm", "x"), "deny "},
		{"no kind", ask(app("analytics-agent"), "", "crm", "x"), "deny "},
		{"MCP without a method", ask(app("analytics-agent"), "mcp.", "crm", "x"), "deny "},
		{"deny beats allow", tool(app("analytics-agent"), "orders", "run_report"), "deny never-reports"},
		{"deny pattern beats allow", tool(app("analytics-agent"), "orders", "drop_table"), "deny never-reports"},
		{"deny names the rule where nothing allows", tool(app("nobody"), "orders", "run_report"), "deny never-reports"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := set.Decide(tt.in)
			require.Equal(t, tt.want, string(got.Effect)+" "+got.Rule)
			require.Equal(t, set.Digest(), got.Set)
			switch {
			case got.Rule == "":
				require.Equal(t, policy.Decision{Effect: policy.Deny, Reason: "no rule allows it", Set: got.Set}, got)
			case got.Effect == policy.Allow:
				require.Equal(t, "rule allows it", got.Reason)
				require.Equal(t, "orders", got.Policy)
			default:
				require.Equal(t, "rule denies it", got.Reason)
				require.Equal(t, "orders", got.Policy)
			}
		})
	}
}

func TestNilAndEmptySetsRefuse(t *testing.T) {
	in := tool(app("support-agent"), "orders", "get_order")

	var none *policy.Set
	require.Equal(t, policy.Decision{Effect: policy.Deny, Reason: "no policy is in force"}, none.Decide(in))
	require.False(t, none.Reaches(in.Caller, "orders"))
	require.Empty(t, none.Digest())
	require.Empty(t, none.Rules())

	require.Equal(t, policy.Deny, (&policy.Set{}).Decide(in).Effect)
	require.False(t, (&policy.Set{}).Reaches(in.Caller, "orders"))

	empty := compile(t)
	require.Equal(t, "no rule allows it", empty.Decide(in).Reason)
	require.Len(t, empty.Digest(), 64)
}

func TestDecisionNamesTheFirstRule(t *testing.T) {
	all := `server: s, tools: ["*"]`
	set := compile(t,
		doc("b", ruleText("b1", "deny", "x", all)+ruleText("b2", "deny", "x", "server: s, tools: [t]")),
		doc("c", ruleText("c1", "allow", "y", "server: s, tools: [t]")+ruleText("c2", "allow", "y", all)),
		doc("a", ruleText("a1", "allow", "x, y", `server: "*", tools: ["t*"]`)+
			ruleText("a2", "deny", "x", `server: "*", tools: ["t*"]`)))

	got := set.Decide(tool(app("x"), "s", "t"))
	require.Equal(t, []string{"a", "a2"}, []string{got.Policy, got.Rule}, "policies are in order of their names")
	got = set.Decide(tool(app("x"), "s", "u"))
	require.Equal(t, []string{"b", "b1"}, []string{got.Policy, got.Rule})
	got = set.Decide(tool(app("y"), "s", "t"))
	require.Equal(t, []string{"a", "a1"}, []string{got.Policy, got.Rule})
	got = set.Decide(tool(app("y"), "s", "u"))
	require.Equal(t, []string{"c", "c2"}, []string{got.Policy, got.Rule})
}

func TestReaches(t *testing.T) {
	set := compile(t, ordersPolicy, doc("closed",
		ruleText("reads", "allow", "closed-agent", "server: orders, tools: [get_order]")+
			ruleText("all", "deny", "closed-agent", `server: orders, tools: ["**"]`)+
			ruleText("other", "allow", "closed-agent", "server: crm, methods: [resources/read]")+
			ruleText("probe", "allow", "prober", `server: orders, paths: ["GET /healthz"]`)))
	tests := []struct {
		name   string
		caller spiffeid.ID
		server string
		want   bool
	}{
		{"some tool is allowed", app("support-agent"), "orders", true},
		{"another server", app("support-agent"), "crm", false},
		{"rule for every server", app("analytics-agent"), "crm", true},
		{"no server", app("analytics-agent"), "", false},
		{"no rule", app("nobody"), "orders", false},
		{"all tools denied", app("closed-agent"), "orders", false},
		{"all tools of another server denied", app("closed-agent"), "crm", true},
		{"only a path is allowed", app("prober"), "orders", false},
		{"no caller", spiffeid.ID{}, "orders", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, set.Reaches(tt.caller, tt.server))
		})
	}

	closed := compile(t, ordersPolicy, doc("deny-all",
		ruleText("everything", "deny", "spiffe://custody.local/ns/*/*", `server: "*", tools: ["*"]`)))
	require.False(t, closed.Reaches(app("support-agent"), "orders"))
	require.False(t, closed.Reaches(app("analytics-agent"), "crm"))
}

func TestDigest(t *testing.T) {
	a := doc("a", ruleText("r", "allow", "x, y", "server: s, tools: [t, u]"))
	b := doc("b", ruleText("r", "deny", "x", "server: s, paths: [GET /]"))
	base := compile(t, a, b).Digest()
	require.Regexp(t, "^[0-9a-f]{64}$", base)

	same := map[string][]string{
		"order of files":      {b, a},
		"one file":            {a + "---\n" + b},
		"comments and style":  {"# note\n" + a, "---\n" + b + "\n# end\n"},
		"order within a list": {doc("a", ruleText("r", "allow", "y, x, y", "server: s, tools: [u, t]")), b},
		"app ID written out": {doc("a", ruleText("r", "allow",
			"spiffe://custody.local/ns/default/x, y", "server: s, tools: [t, u]")), b},
	}
	for name, texts := range same {
		require.Equal(t, base, compile(t, texts...).Digest(), name)
	}
	different := map[string][]string{
		"policy missing": {a},
		"effect":         {doc("a", ruleText("r", "deny", "x, y", "server: s, tools: [t, u]")), b},
		"policy name":    {doc("a2", ruleText("r", "allow", "x, y", "server: s, tools: [t, u]")), b},
		"rule name":      {doc("a", ruleText("r2", "allow", "x, y", "server: s, tools: [t, u]")), b},
		"caller":         {doc("a", ruleText("r", "allow", "x", "server: s, tools: [t, u]")), b},
		"server":         {doc("a", ruleText("r", "allow", "x, y", "server: s2, tools: [t, u]")), b},
		"tool":           {doc("a", ruleText("r", "allow", "x, y", "server: s, tools: [tu]")), b},
		"method":         {doc("a", ruleText("r", "allow", "x, y", "server: s, methods: [t, u]")), b},
	}
	for name, texts := range different {
		require.NotEqual(t, base, compile(t, texts...).Digest(), name)
	}

	opts := local()
	opts.Namespace = "prod"
	elsewhere, _, err := policy.Compile(parse(t, a, b), opts)
	require.NoError(t, err)
	require.NotEqual(t, base, elsewhere.Digest(), "namespace")
}

func TestRules(t *testing.T) {
	set := compile(t, ordersPolicy)
	rules := set.Rules()
	require.Len(t, rules, 4)
	require.Equal(t, policy.RuleInfo{
		Policy: "orders", Rule: "support-reads", Effect: policy.Allow,
		From:   []string{"spiffe://custody.local/ns/default/support-agent", "spiffe://custody.local/ns/*/auditor"},
		Server: "orders", Tools: []string{"list_customers", "get_*"}, Mode: policy.Enforce, Source: "0.yaml:7",
	}, rules[0])
	require.Equal(t, []string{"resources/read", "prompts/*"}, rules[1].Methods)
	require.Equal(t, []string{"GET /healthz"}, rules[1].Paths)

	rules[0].Tools[0] = "drop_table"
	require.Equal(t, "list_customers", set.Rules()[0].Tools[0], "a Set is immutable")

	policies, count := set.Size()
	require.Equal(t, []int{1, 4}, []int{policies, count})
}

func TestDecideAllocatesNothing(t *testing.T) {
	set := compile(t, ordersPolicy)
	in := tool(app("support-agent"), "orders", "get_order")
	require.Zero(t, testing.AllocsPerRun(100, func() { set.Decide(in) }))
	require.Zero(t, testing.AllocsPerRun(100, func() { set.Reaches(in.Caller, "orders") }))
	for _, in := range []policy.Request{
		ask(app("support-agent"), "mcp.prompts/get", "orders", "summary"),
		ask(app("support-agent"), "mcp.resources/read", "orders", "file:///docs/%20x"),
		ask(app("support-agent"), "mcp.completion/complete", "orders", "ref/prompt summary"),
		ask(app("support-agent"), "mcp.ping", "orders", ""),
	} {
		require.Zero(t, testing.AllocsPerRun(100, func() { set.Decide(in) }), in.Action.Kind)
		require.Zero(t, testing.AllocsPerRun(100, func() { set.DecideDefault(in) }), in.Action.Kind)
	}
}
