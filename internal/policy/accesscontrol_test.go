// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

const configuration = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: orders
spec:
  tracing: {samplingRate: "1"}
  accessControl:
    defaultAction: allow
    trustDomain: custody.local
    policies:
    - appId: support-agent
      defaultAction: allow
      trustDomain: custody.local
      namespace: default
      operations:
      - name: /mcp
        httpVerb: [POST]
        action: allow
      - name: /mcp/tools/call/get_order
        httpVerb: ["*"]
        action: allow
      - name: mcp/tools/call/list_*
        httpVerb: [GET, POST]
        action: Allow
      - name: /MCP/Tools/Call/Send_Mail
        httpVerb: [POST]
        action: allow
      - name: /mcp/tools/call/list_secrets
        httpVerb: [POST]
        action: deny
    - appId: ops-agent
      trustDomain: custody.local
      namespace: prod
      operations:
      - {name: /mcp/tools/call/*, httpVerb: [POST], action: allow}
---
kind: nonsense
`

func fromConfiguration(t testing.TB, text string) ([]policy.Document, []string) {
	t.Helper()
	ac, err := policy.ParseConfiguration("config.yaml", []byte(text))
	require.NoError(t, err)
	docs, warnings := policy.FromAccessControl("config.yaml", ac, "/mcp", "orders")
	var texts []string
	for _, w := range warnings {
		texts = append(texts, w.String())
	}
	return docs, texts
}

func TestAccessControl(t *testing.T) {
	docs, warnings := fromConfiguration(t, configuration)
	require.Empty(t, warnings)
	set, compileWarnings, err := policy.Compile(docs, local())
	require.NoError(t, err)
	require.Empty(t, compileWarnings)

	ops := spiffeid.RequireFromString("spiffe://custody.local/ns/prod/ops-agent")
	tests := []struct {
		name string
		in   policy.Request
		want string
	}{
		{"tool", tool(app("support-agent"), "orders", "get_order"), "allow policies[0].operations[1] /mcp/tools/call/get_order"},
		{"tool in other case", tool(app("support-agent"), "orders", "Get_Order"), "deny "},
		{"pattern, action in capitals, no leading slash", tool(app("support-agent"), "orders", "list_customers"), "allow policies[0].operations[2] /mcp/tools/call/list_*"},
		{"path in capitals, tool exact", tool(app("support-agent"), "orders", "Send_Mail"), "allow policies[0].operations[3] /mcp/tools/call/Send_Mail"},
		{"tool exact where Dapr ignores case", tool(app("support-agent"), "orders", "send_mail"), "deny "},
		{"deny beats the pattern", tool(app("support-agent"), "orders", "list_secrets"), "deny policies[0].operations[4] /mcp/tools/call/list_secrets"},
		{"another server", tool(app("support-agent"), "crm", "get_order"), "deny "},
		{"another namespace", tool(spiffeid.RequireFromString("spiffe://custody.local/ns/prod/support-agent"), "orders", "get_order"), "deny "},
		{"defaults allow nothing", tool(app("support-agent"), "orders", "run_report"), "deny "},
		{"app that is not listed, global default allow", tool(app("nobody"), "orders", "get_order"), "deny "},
		{"every tool", tool(ops, "orders", "run_report"), "allow policies[1].operations[0] /mcp/tools/call/*"},
		{"every tool in the wrong namespace", tool(app("ops-agent"), "orders", "run_report"), "deny "},
		{"a tool is no method", ask(ops, "mcp.resources/read", "orders", ""), "deny "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := set.Decide(tt.in)
			require.Equal(t, tt.want, string(got.Effect)+" "+got.Rule)
			if got.Rule != "" {
				require.Equal(t, "accessControl/orders", got.Policy)
			}
		})
	}
	require.True(t, set.Reaches(ops, "orders"))
	require.Equal(t, "config.yaml:19", set.Rules()[0].Source)
}

func TestAccessControlAndPoliciesAreOneSet(t *testing.T) {
	docs, _ := fromConfiguration(t, configuration)
	docs = append(docs, parse(t, doc("deny-orders",
		ruleText("no", "deny", "support-agent", "server: orders, tools: [get_order]")))...)
	set, _, err := policy.Compile(docs, local())
	require.NoError(t, err)
	got := set.Decide(tool(app("support-agent"), "orders", "get_order"))
	require.Equal(t, "deny deny-orders", string(got.Effect)+" "+got.Policy)
}

// oneOperation is a Configuration with one operation, which stands on line 8,
// for support-agent of default, and one that allows it every tool.
func oneOperation(operation string) string {
	return fmt.Sprintf(`spec:
  accessControl:
    policies:
    - appId: support-agent
      trustDomain: custody.local
      namespace: default
      operations:
      - %s
      - {name: /mcp/tools/call/*, httpVerb: [POST], action: allow}
`, operation)
}

func TestAccessControlOperations(t *testing.T) {
	const at = "config.yaml:8:9: spec.accessControl.policies[0].operations[0]."
	verb := at + `httpVerb: left out: tool calls are POST requests: add POST or "*"`
	tests := []struct {
		name, in string
		allowed  bool // whether the tool t may be called besides the allow for all
		warning  string
	}{
		{"deny", "{name: /mcp/tools/call/t, httpVerb: [POST], action: deny}", false, ""},
		{"deny of another tool", "{name: /mcp/tools/call/u, httpVerb: [POST], action: deny}", true, ""},
		{"deny of a pattern", "{name: '/mcp/tools/call/t*', httpVerb: [post], action: DENY}", false, ""},
		{"deny of another verb", "{name: /mcp/tools/call/t, httpVerb: [GET], action: deny}", true, verb},
		{"deny without a verb", "{name: /mcp/tools/call/t, action: deny}", false, ""},
		{"allow without a verb", "{name: /mcp/tools/call/t, action: allow}", true, verb},
		{"no action counts as deny", "{name: /mcp/tools/call/t, httpVerb: [POST]}", false, at + `action: "" is no action and counts as deny: write allow or deny`},
		{"deny of any depth", "{name: '/mcp/tools/**', httpVerb: [POST], action: deny}", false, at + `name: denies every tool: "/mcp/tools/**" is not understood: write /mcp/tools/call/TOOL or /mcp/tools/call/*`},
		{"deny with a slash too many", "{name: /mcp/tools/call/u/v, httpVerb: [POST], action: deny}", false, at + `name: denies every tool: "/mcp/tools/call/u/v" is not understood: write /mcp/tools/call/TOOL or /mcp/tools/call/*`},
		{"allow not understood", "{name: /mcp/tools/list, httpVerb: [POST], action: allow}", true, at + `name: left out: "/mcp/tools/list" is not understood: write /mcp/tools/call/TOOL or /mcp/tools/call/*`},
		{"not below the MCP path", "{name: /other/tools/call/t, httpVerb: [POST], action: deny}", true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs, warnings := fromConfiguration(t, oneOperation(tt.in))
			if tt.warning == "" {
				require.Empty(t, warnings)
			} else {
				require.Equal(t, []string{tt.warning}, warnings)
			}
			set, _, err := policy.Compile(docs, local())
			require.NoError(t, err)
			got := set.Decide(tool(app("support-agent"), "orders", "t"))
			require.Equal(t, tt.allowed, got.Effect == policy.Allow, got.Rule)
		})
	}
}

func TestAccessControlCallers(t *testing.T) {
	entry := func(app, domain, namespace, action string) policy.AppPolicy {
		return policy.AppPolicy{
			AppID: app, TrustDomain: domain, Namespace: namespace,
			Operations: []policy.Operation{{Name: "/mcp/tools/call/t", HTTPVerb: []string{"POST"}, Action: action}},
		}
	}
	tests := []struct {
		name    string
		in      []policy.AppPolicy
		want    policy.Effect
		warning string
	}{
		{"whole", []policy.AppPolicy{entry("a", "custody.local", "default", "allow")}, policy.Allow, ""},
		{"no app", []policy.AppPolicy{entry("", "custody.local", "default", "allow")}, policy.Deny, "left out: appId: "},
		{"star as an app", []policy.AppPolicy{entry("*", "custody.local", "default", "allow")}, policy.Deny, "left out: appId: "},
		{"star as a namespace", []policy.AppPolicy{entry("a", "custody.local", "*", "allow")}, policy.Deny, `left out: namespace "*"`},
		{"no namespace", []policy.AppPolicy{entry("a", "custody.local", "", "allow")}, policy.Deny, `left out: namespace ""`},
		{"no trust domain", []policy.AppPolicy{entry("a", "", "default", "allow")}, policy.Deny, "left out: trustDomain: "},
		{"star as a trust domain", []policy.AppPolicy{entry("a", "*", "default", "allow")}, policy.Deny, "left out: trustDomain: "},
		{"another trust domain", []policy.AppPolicy{entry("a", "public", "default", "allow")}, policy.Deny, ""},
		{"only the last entry allows", []policy.AppPolicy{
			entry("a", "custody.local", "default", "allow"), {AppID: "a", TrustDomain: "custody.local", Namespace: "default"},
		}, policy.Deny, "listed again below"},
		{"an earlier entry denies", []policy.AppPolicy{
			entry("a", "custody.local", "default", "deny"), entry("a", "custody.local", "default", "allow"),
		}, policy.Deny, "listed again below"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs, warnings := policy.FromAccessControl("c", policy.AccessControl{DefaultAction: "allow", Policies: tt.in}, "mcp/", "s")
			if tt.warning == "" {
				require.Empty(t, warnings)
			} else {
				require.Len(t, warnings, 1)
				require.Contains(t, warnings[0].Message, tt.warning)
			}
			set, _, err := policy.Compile(docs, local())
			require.NoError(t, err)
			require.Equal(t, tt.want, set.Decide(tool(app("a"), "s", "t")).Effect)
		})
	}
}

func TestAccessControlAtTheRootPath(t *testing.T) {
	ac := policy.AccessControl{Policies: []policy.AppPolicy{{
		AppID: "a", TrustDomain: "custody.local", Namespace: "default",
		Operations: []policy.Operation{{Name: "/tools/call/t", HTTPVerb: []string{"POST"}, Action: "allow"}},
	}}}
	docs, _ := policy.FromAccessControl("c", ac, "/", "s")
	require.Len(t, docs, 1)
	docs, _ = policy.FromAccessControl("c", ac, "/mcp", "s")
	require.Empty(t, docs)
}

func TestParseConfigurationErrors(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"another kind":      {"kind: Component\n", `1:1: kind: "Component" is no Dapr Configuration: want kind: Configuration`},
		"wrong type":        {"spec:\n  accessControl:\n    policies: 7\n", "3: not valid YAML: cannot unmarshal !!int `7` into []policy.AppPolicy"},
		"wrong type inside": {oneOperation("{name: [x]}"), "8: not valid YAML: cannot unmarshal !!seq into string"},
		"tab":               {"spec:\n\taccessControl: {}\n", "2:1: a tab is used for indentation, which YAML does not allow: use spaces"},
	} {
		_, err := policy.ParseConfiguration("c.yaml", []byte(tt.in))
		require.Error(t, err, name)
		require.Equal(t, tt.want, problem(t, err), name)
	}
	for _, none := range []string{"", "kind: Configuration\n", "spec: {mtls: {enabled: true}}\n"} {
		ac, err := policy.ParseConfiguration("c.yaml", []byte(none))
		require.NoError(t, err)
		require.Zero(t, ac)
	}
	require.True(t, policy.IsConfiguration([]byte(configuration)))
	require.False(t, policy.IsConfiguration([]byte(ordersPolicy)))
}
