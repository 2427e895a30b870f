// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

const whoCanPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec:
  rules:
  - {name: reads, effect: allow, from: [a, "spiffe://t.test/ns/*/b"], to: {server: orders, tools: ["get_*"]}}
  - {name: all, effect: allow, from: [c], to: {server: "*", tools: ["*"]}}
  - {name: elsewhere, effect: allow, from: [d], to: {server: billing, tools: ["*"]}}
  - {name: methods, effect: allow, from: [e], to: {server: orders, methods: ["*"]}}
  - {name: not-prod, effect: deny, from: ["spiffe://t.test/ns/prod/*"], to: {server: orders, tools: [get_order]}}
  - {name: not-c, effect: deny, from: ["spiffe://t.test/*/*/c"], to: {server: "*", tools: ["*"]}}
  - {name: no-updates, effect: deny, from: [a], to: {server: orders, tools: [update]}}
  - {name: other-shape, effect: deny, from: ["spiffe://t.test/a"], to: {server: orders, tools: ["*"]}}
`

func TestWhoCan(t *testing.T) {
	documents, err := policy.Parse("p.yaml", []byte(whoCanPolicy))
	require.NoError(t, err)
	set, _, err := policy.Compile(documents, policy.CompileOptions{
		TrustDomain: spiffeid.RequireTrustDomainFromString("t.test"), Namespace: "default",
	})
	require.NoError(t, err)
	grants := set.WhoCan(policy.Action{Kind: policy.KindToolCall, Server: "orders", Name: "get_order"})
	require.Equal(t, []policy.Grant{
		{Caller: "spiffe://t.test/ns/default/a", Policy: "p", Rule: "reads", Source: "p.yaml:6"},
		{
			Caller: "spiffe://t.test/ns/*/b", Policy: "p", Rule: "reads", Source: "p.yaml:6",
			Except: []policy.Exception{{Caller: "spiffe://t.test/ns/prod/*", Policy: "p", Rule: "not-prod", Source: "p.yaml:10"}},
		},
		{
			Caller: "spiffe://t.test/ns/default/c", Policy: "p", Rule: "all", Source: "p.yaml:7",
			Except: []policy.Exception{{Caller: "spiffe://t.test/*/*/c", Policy: "p", Rule: "not-c", Source: "p.yaml:11", All: true}},
		},
	}, grants)
	require.False(t, grants[1].Denied())
	require.True(t, grants[2].Denied())

	require.Empty(t, (*policy.Set)(nil).WhoCan(policy.Action{Kind: policy.KindToolCall, Server: "orders", Name: "x"}))
	require.Empty(t, set.WhoCan(policy.Action{Kind: policy.KindToolCall, Server: "", Name: "x"}))
	require.Empty(t, set.WhoCan(policy.Action{Kind: "other", Server: "orders", Name: "x"}))
	require.Len(t, set.WhoCan(policy.Action{Kind: "mcp.prompts/list", Server: "orders"}), 1)
}
