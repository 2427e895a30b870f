// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dapr-custody/custody/internal/policy"
)

// stateModel is a rule about a state store as the reference sees it.
type stateModel struct {
	effect           string
	operations, keys []string
}

func (m stateModel) matches(operation, key string) bool {
	return key != "" && (slices.Contains(m.operations, operation) || slices.Contains(m.operations, "*")) &&
		slices.ContainsFunc(m.keys, func(p string) bool { return wild(p, `.*`, key) })
}

// What is allowed of state is what regular expressions say, and a request for many keys is
// allowed only if each key that it can reach would be.
func TestStateEqualsReference(t *testing.T) {
	operations := []string{"get", "set", "delete", "query", "transact", "keys"}
	count := map[policy.Effect]int{}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab *{]{0,4}[ab*{]`).Filter(func(s string) bool { return !strings.HasPrefix(s, " ") })
		models := make([]stateModel, rapid.IntRange(1, 5).Draw(t, "rules"))
		var text strings.Builder
		for i := range models {
			models[i] = stateModel{
				effect:     rapid.SampledFrom([]string{"allow", "allow", "deny"}).Draw(t, "effect"),
				operations: rapid.SliceOfN(rapid.SampledFrom(append(operations, "*")), 1, 3).Draw(t, "operations"),
				keys:       rapid.SliceOfN(pattern, 1, 2).Draw(t, "keys"),
			}
			to := fmt.Sprintf("state: {operations: [%s], keys: [%s]}", quoted(models[i].operations), quoted(models[i].keys))
			text.WriteString(dataRule(fmt.Sprintf("r%d", i), models[i].effect, "a", "s", to, ""))
		}
		docs, err := policy.Parse("f.yaml", []byte(doc("p", text.String())))
		require.NoError(t, err)
		set, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		reference := func(operation, key string) policy.Effect {
			effect := policy.Deny
			for _, m := range models {
				if m.matches(operation, key) {
					if m.effect == "deny" {
						return policy.Deny
					}
					effect = policy.Allow
				}
			}
			return effect
		}
		for range 10 {
			operation := rapid.SampledFrom(operations).Draw(t, "operation")
			key := rapid.StringMatching(`[ab {*]{0,5}`).Draw(t, "key")
			d := set.Decide(ask(app("a"), "state."+operation, "s", key))
			count[d.Effect]++
			if operation != "query" && operation != "keys" || !strings.Contains(key, "*") {
				require.Equal(t, reference(operation, key), d.Effect, "%s %q", operation, key)
				continue
			}
			if d.Effect == policy.Allow {
				for _, some := range []string{"", "a", "b", "ab", "{b", " a", "aab"} {
					one := strings.ReplaceAll(key, "*", some)
					require.True(t, one == "" || reference(operation, one) == policy.Allow, "%s %q reaches %q", operation, key, one)
				}
			}
		}
	})
	require.Len(t, count, 2)
}

// A statement that does less of what is allowed is allowed: it touches fewer columns, binds
// more, or has a WHERE. What is not known is never more than what is known.
func TestLessIsAllowed(t *testing.T) {
	names := []string{"id", "total", "card", "note_1", "*"}
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		columns := func(label string, from ...string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 3, rapid.ID[string]).Draw(t, label)
		}
		list := func(label string) string {
			return "[" + quoted(rapid.SliceOfN(rapid.SampledFrom([]string{"id", "total", "note_*", "*"}), 1, 3).Draw(t, label)) + "]"
		}
		var text strings.Builder
		for i := range rapid.IntRange(1, 3).Draw(t, "rules") {
			to := "sql: {operations: ['*'], tables: ['shop.*'], where: " + rapid.SampledFrom([]string{"any", "required"}).Draw(t, "where")
			switch rapid.IntRange(0, 3).Draw(t, "columns") {
			case 0:
				to += ", columns: " + list("both")
			case 1:
				to += ", columns: {read: " + list("read") + ", write: " + list("write") + "}"
			}
			if rapid.Bool().Draw(t, "filters") {
				to += ", mustFilterBy: {shop.orders: [id]}"
			}
			text.WriteString(dataRule(fmt.Sprintf("a%d", i), "allow", "a", "s", to+"}", ""))
		}
		if rapid.Bool().Draw(t, "deny") {
			text.WriteString(dataRule("d", "deny", "a", "s", "sql: {operations: ['*'], tables: [shop.orders], columns: {read: [card], write: [note_1]}}", ""))
		}
		docs, err := policy.Parse("f.yaml", []byte(doc("p", text.String())))
		require.NoError(t, err)
		set, _, err := policy.Compile(docs, local())
		require.NoError(t, err)
		decide := func(kind string, use *policy.SQLUse) policy.Effect {
			return set.Decide(policy.Request{Caller: app("a"), Action: policy.Action{Kind: "sql." + kind, Server: "s", Name: "shop.orders", Use: use}}).Effect
		}
		for range 5 {
			kind := rapid.SampledFrom([]string{"select", "insert", "update", "delete", "ddl"}).Draw(t, "kind")
			more := &policy.SQLUse{Reads: columns("reads", names...), Writes: columns("writes", names...), Bound: columns("bound", "id", "total"), HasWhere: rapid.Bool().Draw(t, "has where")}
			less := &policy.SQLUse{Bound: append([]string{"id"}, more.Bound...), HasWhere: true}
			for _, pair := range []struct{ from, to *[]string }{{&more.Reads, &less.Reads}, {&more.Writes, &less.Writes}} {
				switch {
				case slices.Contains(*pair.from, "*"):
					*pair.to = columns("fewer", names...)
				case len(*pair.from) > 0:
					*pair.to = columns("fewer", *pair.from...)
				}
			}
			if decide(kind, more) == policy.Allow {
				allowed++
				require.Equal(t, policy.Allow, decide(kind, less), "%s %v %v\n%s", kind, more, less, text.String())
			}
			if decide(kind, nil) == policy.Allow {
				require.Equal(t, policy.Allow, decide(kind, more), "%s %v\n%s", kind, more, text.String())
			}
		}
	})
	require.Positive(t, allowed)
}
