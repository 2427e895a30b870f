// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policyedit

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

var (
	local = policy.CompileOptions{TrustDomain: spiffeid.RequireTrustDomainFromString("custody.local"), Namespace: "default"}
	added = Rule{Name: "added-by-the-test", Effect: policy.Allow, From: []string{"a"}, Server: "*", Tools: []string{"*", "#x", "true"}}
)

const small = "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p}\nspec:\n  rules:\n" +
	"  # one\n  - {name: one, effect: deny, from: [b], to: {server: s, tools: [t]}}\n"

// What somebody else does between reading and writing is not overwritten.
func TestChangedMeanwhile(t *testing.T) {
	change := func(path string) { require.NoError(t, os.WriteFile(path, []byte(small+"# by hand\n"), 0o600)) }
	for name, meanwhile := range map[string]func(path string){
		"changed":  change,
		"replaced": func(path string) { require.NoError(t, os.Remove(path)); change(path) },
		"removed":  func(path string) { require.NoError(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "p.yaml")
			require.NoError(t, os.WriteFile(path, []byte(small), 0o600))
			f, err := open(dir, local)
			require.NoError(t, err)
			defer f.close()
			meanwhile(path)
			want, _ := os.ReadFile(path)
			text, err := appendRule(f.files[0], added.node())
			require.NoError(t, err)
			made := &Change{}
			require.Error(t, f.replace(made, f.files[0], "p.yaml", text))
			require.False(t, made.Written)
			require.Error(t, f.remove(made, f.files[0]))
			require.False(t, made.Written)
			got, _ := os.ReadFile(path)
			require.Equal(t, want, got)
		})
	}

	// A new file does not take the place of one that was made in between.
	dir := t.TempDir()
	f, err := open(dir, local)
	require.NoError(t, err)
	defer f.close()
	change(filepath.Join(dir, "p.yaml"))
	require.ErrorIs(t, f.replace(&Change{}, nil, "p.yaml", []byte(small)), ErrChangedMeanwhile)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left behind")
}

// A second command waits for the first one.
func TestTheFolderIsLocked(t *testing.T) {
	dir := t.TempDir()
	f, err := open(dir, local)
	require.NoError(t, err)
	second, err := os.Open(dir)
	require.NoError(t, err)
	defer second.Close()
	require.ErrorIs(t, syscall.Flock(int(second.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
	f.close()
	require.NoError(t, syscall.Flock(int(second.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
}

// The rule is written as a rule whatever is in it; policy.Parse judges it.
func TestConditionIsWritten(t *testing.T) {
	rule := added
	rule.When = "args.amount < 10 # not a comment\n && caller.appID == \"a: b\""
	text, err := newFile("p", rule.node())
	require.NoError(t, err)
	documents, err := roots(text)
	require.NoError(t, err)
	node := ruleList(documents[0]).Content[0]
	require.Equal(t, rule.When, member(node, "when").Value)
	require.True(t, rule.saidBy(node))
	rule.When += " "
	require.False(t, rule.saidBy(node))
}

// Whatever layout a file has that policy.Parse takes: with a rule more it says the
// same and the rule, and when that is taken out again, the same.
func FuzzAddAndRevoke(f *testing.F) {
	for _, seed := range []string{
		small,
		small + "---\n" + small,
		small + "...\n# end",
		"# head\n%YAML 1.1\n---\n" + small,
		"--- # x\n" + small + "\n\n  # two\n  - name: two\n    effect: allow\n\n    # inside\n    from:\n    - c\n    to:\n      server: >-\n        s\n      tools: [\"t\n u\"]\n    # end\n",
		`{"apiVersion": "custody.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "p"}, "spec": {"rules": [{"name": "one", "effect": "deny", "from": ["b"], "to": {"server": "s", "tools": ["t"]}}]}}`,
		"spec:\n  rules:\n  -\n    name: one\n    to: {server: s,\ntools: [t]}\n    from: [b]\n    effect: deny\n? kind\n: AccessPolicy\napiVersion: custody.dev/v1alpha1\nmetadata:\n  name: |-\n    p\n",
	} {
		f.Add([]byte(seed), uint(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, pick uint) {
		before := &file{path: "p.yaml", data: data}
		if before.parse() != nil {
			return
		}
		text, err := appendRule(before, added.node())
		require.NoError(t, err)
		with := &file{path: "p.yaml", data: text}
		err = with.parse()
		if err != nil {
			require.ErrorContains(t, err, "is already used")
			return
		}
		rules := ruleList(with.roots[0]).Content
		require.True(t, added.saidBy(rules[len(rules)-1]))

		text, err = removeRule(with, with.roots[0], len(rules)-1)
		require.NoError(t, err)
		again, err := roots(text)
		require.NoError(t, err)
		original, err := roots(data)
		require.NoError(t, err)
		require.True(t, slices.EqualFunc(original, again, equal), "%s", text)

		if len(original) > 1 {
			victim := &file{path: "p.yaml", data: data}
			require.NoError(t, victim.parse())
			at := int(pick % uint(len(original))) //nolint:gosec // small
			text, err = removeDocument(victim, victim.roots[at])
			require.NoError(t, err)
			left, err := roots(text)
			require.NoError(t, err)
			require.True(t, slices.EqualFunc(slices.Delete(original, at, at+1), left, equal), "%s", text)
		}
		require.NotPanics(t, func() { documentText(data, before.roots[0]) })
	})
}
