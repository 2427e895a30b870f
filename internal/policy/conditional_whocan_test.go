// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

const conditional = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p}
spec:
  rules:
  - {name: small, effect: allow, from: [a, "spiffe://custody.local/ns/*/b"], to: {server: s, tools: [get]}, when: args.n < 10}
  - {name: never-13, effect: deny, from: [a], to: {server: s, tools: ["*"]}, when: args.n == 13}
  - {name: no-b, effect: deny, from: ["spiffe://custody.local/ns/other/b"], to: {server: s, tools: [get]}}
`

func TestWhoCanUnderConditions(t *testing.T) {
	documents, err := policy.Parse("p.yaml", []byte(conditional))
	require.NoError(t, err)
	set, _, err := policy.Compile(documents, policy.CompileOptions{
		TrustDomain: spiffeid.RequireTrustDomainFromString("custody.local"), Namespace: "default",
	})
	require.NoError(t, err)
	get := policy.Action{Kind: policy.KindToolCall, Server: "s", Name: "get"}
	grants := set.WhoCan(get)
	require.Len(t, grants, 2)
	require.Equal(t, "args.n < 10", grants[0].When)
	require.Equal(t, "args.n == 13", grants[0].Except[0].When)
	require.False(t, grants[0].Denied(), "a denial under a condition takes nobody out whole")
	require.Len(t, grants[1].Except, 1)
	require.Empty(t, grants[1].Except[0].When)

	rules := func(caller, tool string) []string {
		var names []string
		action := get
		action.Name = tool
		for _, rule := range set.Concerning(spiffeid.RequireFromString("spiffe://custody.local/ns/"+caller), action).Rules() {
			names = append(names, rule.Rule)
		}
		return names
	}
	require.Equal(t, []string{"small", "never-13"}, rules("default/a", "get"))
	require.Equal(t, []string{"never-13"}, rules("default/a", "put"))
	require.Empty(t, rules("default/c", "get"))
	require.Equal(t, []string{"small", "no-b"}, rules("other/b", "get"), "also those without a condition")
	require.Empty(t, (*policy.Set)(nil).Concerning(spiffeid.ID{}, get).Rules())
}
