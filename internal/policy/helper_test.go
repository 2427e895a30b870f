// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

const header = "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\n"

// local is the domain of all tests: spiffe://custody.local/ns/default/...
func local() policy.CompileOptions {
	return policy.CompileOptions{TrustDomain: spiffeid.RequireTrustDomainFromString("custody.local"), Namespace: "default"}
}

func app(name string) spiffeid.ID {
	return spiffeid.RequireFromString("spiffe://custody.local/ns/default/" + name)
}

// doc writes a policy of which only the rules are given, indented by two.
func doc(name, rules string) string {
	return header + "metadata:\n  name: " + name + "\nspec:\n  rules:\n" + rules
}

// ruleText writes one rule in flow style.
func ruleText(name, effect, from, to string) string {
	return fmt.Sprintf("  - {name: %s, effect: %s, from: [%s], to: {%s}}\n", name, effect, from, to)
}

func parse(t testing.TB, texts ...string) []policy.Document {
	t.Helper()
	var all []policy.Document
	for i, text := range texts {
		docs, err := policy.Parse(fmt.Sprintf("%d.yaml", i), []byte(text))
		require.NoError(t, err)
		all = append(all, docs...)
	}
	return all
}

func compile(t testing.TB, texts ...string) *policy.Set {
	t.Helper()
	set, _, err := policy.Compile(parse(t, texts...), local())
	require.NoError(t, err)
	return set
}

func ask(caller spiffeid.ID, kind, server, name string) policy.Request {
	return policy.Request{Caller: caller, Action: policy.Action{Kind: kind, Server: server, Name: name}}
}

func tool(caller spiffeid.ID, server, name string) policy.Request {
	return ask(caller, policy.KindToolCall, server, name)
}

// problem returns the first reported problem as text, without the file name.
func problem(t testing.TB, err error) string {
	t.Helper()
	var first *policy.Error
	require.True(t, errors.As(err, &first), "want a *policy.Error, got %v", err)
	_, text, _ := strings.Cut(first.String(), ":")
	return text
}
