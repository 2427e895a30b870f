// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policyedit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/policyedit"
)

var options = policy.CompileOptions{TrustDomain: spiffeid.RequireTrustDomainFromString("custody.local"), Namespace: "default"}

// handmade is laid out as nobody's encoder would: it must come through as it is.
const handmade = `# Licence of this file.

apiVersion:   custody.dev/v1alpha1   # ours
kind: 'AccessPolicy'
metadata: {name: hand}
spec:
    rules:
    # Reads are harmless.
    - name: reads
      effect: allow     # for now
      from:
          - support-agent

          - "fulfilment-agent"
      to: {server: orders, tools: [get_order]}
      # still about reads

    # The next one is
    # for the night shift.
    - effect: allow
      name: writes
      from: [fulfilment-agent]
      to:
        server: orders
        tools:
        - update_order_status

    - {name: last, effect: deny, from: [intern], to: {server: "*", tools: ["*"]}}
# The end.
`

var ruleA = policyedit.Rule{Effect: policy.Allow, From: []string{"a"}, Server: "orders", Tools: []string{"get_order", "x*"}}

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640))
	}
	return dir
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		require.NoError(t, err)
		files[entry.Name()] = string(data)
	}
	return files
}

func without(t *testing.T, whole, part string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(whole, part), part)
	return strings.Replace(whole, part, "", 1)
}

func TestAddToAFileMadeByHand(t *testing.T) {
	dir := folder(t, map[string]string{"hand.yaml": handmade})
	change, err := policyedit.Add(dir, options, "hand.yaml", ruleA)
	require.NoError(t, err)
	require.True(t, change.Written)
	require.Equal(t, "hand", change.Policy)
	require.Equal(t, "allow-a-orders-get_order-xall", change.Rule)
	const added = `    - name: allow-a-orders-get_order-xall
      effect: allow
      from: [a]
      to:
        server: orders
        tools: [get_order, x*]
`
	got := contents(t, dir)
	require.Len(t, got, 1, "nothing is left behind")
	require.Contains(t, got["hand.yaml"], added+"# The end.\n")
	require.Equal(t, handmade, without(t, got["hand.yaml"], added))
	info, err := os.Stat(filepath.Join(dir, "hand.yaml"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	require.Len(t, change.Before, 1)
	require.Equal(t, 3, change.Before[0].Rules())
	require.Equal(t, 4, change.After[0].Rules())

	// What was added goes again, and leaves the file as it was.
	change, err = policyedit.Revoke(dir, options, "hand/"+change.Rule)
	require.NoError(t, err)
	require.True(t, change.Written)
	require.False(t, change.PolicyRemoved)
	require.Equal(t, map[string]string{"hand.yaml": handmade}, contents(t, dir))
}

func TestRevokeFromAFileMadeByHand(t *testing.T) {
	for name, gone := range map[string]string{
		"reads": `    # Reads are harmless.
    - name: reads
      effect: allow     # for now
      from:
          - support-agent

          - "fulfilment-agent"
      to: {server: orders, tools: [get_order]}
      # still about reads

`,
		"writes": `    # The next one is
    # for the night shift.
    - effect: allow
      name: writes
      from: [fulfilment-agent]
      to:
        server: orders
        tools:
        - update_order_status

`,
		"last": `    - {name: last, effect: deny, from: [intern], to: {server: "*", tools: ["*"]}}
`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"hand.yaml": handmade})
			_, err := policyedit.Revoke(dir, options, name)
			require.NoError(t, err)
			got := contents(t, dir)["hand.yaml"]
			require.Equal(t, without(t, handmade, gone), got)
		})
	}
}

func TestLayouts(t *testing.T) {
	const head = "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p}\nspec:\n"
	for name, file := range map[string]string{
		"dashes not indented": head + "  rules:\n  - name: one\n    effect: deny\n    from: [b]\n    to:\n      server: s\n      tools:\n      - t\n  - {name: two, effect: deny, from: [c], to: {server: s, tools: [t]}}\n",
		"brackets":            head + "  rules: [{name: one, effect: deny, from: [b], to: {server: s, tools: [t]}}, {name: two, effect: deny, from: [c], to: {server: s, tools: [t]}}] # both\n",
		"json":                `{"apiVersion": "custody.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "p"}, "spec": {"rules": [{"name": "one", "effect": "deny", "from": ["b"], "to": {"server": "s", "tools": ["t"]}}, {"name": "two", "effect": "deny", "from": ["c"], "to": {"server": "s", "tools": ["t"]}}]}}`,
		"no last newline":     head + "  rules:\n    - {name: one, effect: deny, from: [b], to: {server: s, tools: [t]}}\n    - {name: two, effect: deny, from: [c], to: {server: s, tools: [t]}}",
		"dash on its own":     head + "  rules:\n    -\n      name: one\n      effect: deny\n      from: [b]\n      to: {server: s, tools: [t]}\n    -   # why\n      {name: two, effect: deny, from: [c], to: {server: s, tools: [t]}}\n",
		"carriage returns":    strings.ReplaceAll(head+"  rules:\n    - {name: one, effect: deny, from: [b], to: {server: s, tools: [t]}}\n    - {name: two, effect: deny, from: [c], to: {server: s, tools: [t]}}\n", "\n", "\r\n"),
		"text at the margin":  head + "  rules:\n    - {name: one, effect: deny, from: [b], to: {server: s, tools: [\"t\nu\"]}}\n    - {name: two, effect: deny, from: [c], to: {server: s, tools: [t]}}\n",
		"rules before others": "spec:\n  rules:\n    - {name: one, effect: deny, from: [b], to: {server: s, tools: [t]}}\n    - {name: two, effect: deny, from: [c], to: {server: s, tools: [t]}}\nkind: AccessPolicy\nmetadata: {name: p}\napiVersion: custody.dev/v1alpha1\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"p.yaml": file})
			change, err := policyedit.Add(dir, options, "p.yaml", ruleA)
			require.NoError(t, err)
			require.Equal(t, []string{"one", "two", change.Rule}, rules(t, dir))
			if name == "carriage returns" {
				text := contents(t, dir)["p.yaml"]
				require.Equal(t, strings.Count(text, "\n"), strings.Count(text, "\r\n"))
			}
			for i, left := range [][]string{{"two", change.Rule}, {change.Rule}} {
				_, err = policyedit.Revoke(dir, options, []string{"one", "two"}[i])
				require.NoError(t, err)
				require.Equal(t, left, rules(t, dir))
			}
			last, err := policyedit.Revoke(dir, options, change.Rule)
			require.NoError(t, err)
			require.True(t, last.FileRemoved)
			require.Empty(t, contents(t, dir))
		})
	}
}

// rules are the names of all rules in force.
func rules(t *testing.T, dir string) []string {
	t.Helper()
	var documents []policy.Document
	for name, text := range contents(t, dir) {
		parsed, err := policy.Parse(name, []byte(text))
		require.NoError(t, err, text)
		documents = append(documents, parsed...)
	}
	set, _, err := policy.Compile(documents, options)
	require.NoError(t, err)
	var names []string
	for _, rule := range set.Rules() {
		names = append(names, rule.Rule)
	}
	return names
}

func document(name, rule string) string {
	return fmt.Sprintf("apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata:\n  name: %s\nspec:\n  rules:\n"+
		"    - {name: %s, effect: allow, from: [b], to: {server: s, tools: [t]}}\n", name, rule)
}

func TestSeveralPoliciesInAFile(t *testing.T) {
	first, second, third := document("first", "r"), document("second", "r"), document("third", "s")
	dir := folder(t, map[string]string{"p.yaml": first + "---\n# about the second\n" + second + "--- # third\n" + third})

	text, err := policyedit.Text(dir, options, "second")
	require.NoError(t, err)
	require.Equal(t, "# about the second\n"+second, string(text))
	_, err = policyedit.Text(dir, options, "fourth")
	require.EqualError(t, err, `policyedit: no policy "fourth" in `+dir+`: see custody policy list`)

	_, err = policyedit.Revoke(dir, options, "r")
	var ambiguous *policyedit.AmbiguousError
	require.ErrorAs(t, err, &ambiguous)
	require.Equal(t, []string{"first/r", "second/r"}, ambiguous.Candidates)
	require.EqualError(t, err, `policyedit: several policies have a rule "r": name one of first/r, second/r`)
	var missing *policyedit.NotFoundError
	for _, name := range []string{"x", "third/r", "/r", "r/", ""} {
		_, err = policyedit.Revoke(dir, options, name)
		require.ErrorAs(t, err, &missing, name)
	}

	change, err := policyedit.Revoke(dir, options, "first/r")
	require.NoError(t, err)
	require.True(t, change.PolicyRemoved)
	require.False(t, change.FileRemoved)
	require.Equal(t, "# about the second\n"+second+"--- # third\n"+third, contents(t, dir)["p.yaml"])
	_, err = policyedit.Revoke(dir, options, "s")
	require.NoError(t, err)
	require.Equal(t, "# about the second\n"+second, contents(t, dir)["p.yaml"])
	change, err = policyedit.Revoke(dir, options, "r")
	require.NoError(t, err)
	require.True(t, change.FileRemoved)
	require.Empty(t, change.After)
	require.Empty(t, contents(t, dir))
}

func TestAddTwiceIsOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := policyedit.Add(dir, options, "my Rules.yaml", ruleA)
	require.NoError(t, err)
	require.Equal(t, "my-rules", first.Policy)
	before := contents(t, dir)
	again := ruleA
	again.Name, again.Tools = "other-name", []string{"x*", "get_order"}
	second, err := policyedit.Add(dir, options, "other.yaml", again)
	require.NoError(t, err)
	require.False(t, second.Written)
	require.Equal(t, first.Rule, second.Rule)
	require.Equal(t, first.File, second.File)
	require.Equal(t, before, contents(t, dir))

	// A rule that differs in anything is another.
	for i, change := range []func(*policyedit.Rule){
		func(r *policyedit.Rule) { r.Effect = policy.Deny },
		func(r *policyedit.Rule) { r.From = []string{"a", "b"} },
		func(r *policyedit.Rule) { r.Server = "*" },
		func(r *policyedit.Rule) { r.Tools = []string{"x*"} },
		func(r *policyedit.Rule) { r.Methods = []string{"resources/read"} },
		func(r *policyedit.Rule) { r.Paths = []string{"GET /healthz"} },
		func(r *policyedit.Rule) { r.Prompts = []string{"summary"} },
		func(r *policyedit.Rule) { r.Resources = []string{"file:///docs/*"} },
	} {
		other := ruleA
		change(&other)
		added, err := policyedit.Add(dir, options, "more.yaml", other)
		require.NoError(t, err)
		require.True(t, added.Written, i)
		require.Len(t, rules(t, dir), i+2)
	}
}

func TestNames(t *testing.T) {
	dir := folder(t, map[string]string{"x.yaml": document("commands", "deny-all-orders-all")})
	change, err := policyedit.Add(dir, options, "commands.yaml", policyedit.Rule{
		Effect: policy.Deny, From: []string{"spiffe://custody.local/ns/*/*"}, Server: "orders", Tools: []string{"*"}, Paths: []string{"GET /a"},
	})
	require.NoError(t, err)
	require.Equal(t, "commands-2", change.Policy)
	require.Equal(t, "deny-custody.local-ns-all-all-orders-all-GET-a", change.Rule)
	long := policyedit.Rule{Effect: policy.Allow, From: []string{"a"}, Server: "s", Tools: []string{strings.Repeat("a", 200)}}
	first, err := policyedit.Add(dir, options, "commands.yaml", long)
	require.NoError(t, err)
	long.Server = "*"
	long.Tools = []string{strings.Repeat("a", 201)}
	long.From = []string{"b"}
	long.Name = first.Rule
	_, err = policyedit.Add(dir, options, "commands.yaml", long)
	require.ErrorContains(t, err, "is already used")
	long.Name, long.From, long.Server = "", []string{"a"}, "s"
	second, err := policyedit.Add(dir, options, "commands.yaml", long)
	require.NoError(t, err)
	require.Equal(t, first.Rule+"-2", second.Rule)

	for _, file := range []string{"", ".hidden.yaml", "#x.yaml", "x.txt", "../x.yaml", "a/b.yaml", "yaml"} {
		_, err := policyedit.Add(dir, options, file, ruleA)
		require.ErrorContains(t, err, "is no name for a policy file", file)
	}
}

// What would not be accepted is not written, and what is broken is not touched.
func TestRefusals(t *testing.T) {
	good := document("good", "r")
	for name, test := range map[string]struct {
		files map[string]string
		file  string
		rule  policyedit.Rule
		want  string
	}{
		"broken file":           {map[string]string{"p.yaml": good + "  x: 1\n"}, "p.yaml", ruleA, "p.yaml:8:3: spec.x: unknown field"},
		"broken file elsewhere": {map[string]string{"p.yaml": good, "q.yaml": "a: ["}, "p.yaml", ruleA, "q.yaml:1: not valid YAML"},
		"empty file":            {map[string]string{"p.yaml": "# later\n"}, "p.yaml", ruleA, "the file holds no policy"},
		"same policy twice":     {map[string]string{"p.yaml": good, "q.yaml": good}, "p.yaml", ruleA, "is already used"},
		"tool that is none":     {map[string]string{"p.yaml": good}, "p.yaml", policyedit.Rule{Effect: policy.Allow, From: []string{"a"}, Server: "s", Tools: []string{" t"}}, "begins or ends with a space"},
		"nothing named":         {map[string]string{"p.yaml": good}, "new.yaml", policyedit.Rule{Effect: policy.Allow, From: []string{"a"}, Server: "s"}, "a rule without them matches nothing"},
		"no caller":             {map[string]string{"p.yaml": good}, "new.yaml", policyedit.Rule{Effect: policy.Allow, Server: "s", Tools: []string{"t"}}, "the list is empty"},
		"rule name":             {map[string]string{"p.yaml": good}, "new.yaml", policyedit.Rule{Name: "a b", Effect: policy.Allow, From: []string{"a"}, Server: "s", Tools: []string{"t"}}, "is not a legal name"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, test.files)
			_, err := policyedit.Add(dir, options, test.file, test.rule)
			require.ErrorContains(t, err, test.want)
			var list *policy.ErrorList
			require.True(t, errors.As(err, &list))
			require.Equal(t, test.files, contents(t, dir))
			if strings.Contains(name, "broken") {
				_, err = policyedit.Revoke(dir, options, "r")
				require.ErrorContains(t, err, test.want)
				require.Equal(t, test.files, contents(t, dir))
			}
		})
	}
	_, err := policyedit.Add(filepath.Join(t.TempDir(), "none"), options, "p.yaml", ruleA)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Commands that run at the same time do not lose one another's change, and a
// reader sees a whole file at every moment.
func TestAtTheSameTime(t *testing.T) {
	dir := folder(t, map[string]string{"commands.yaml": "# kept\n" + document("commands", "first")})
	const workers, each = 8, 10
	stop, seen := make(chan struct{}), make(chan error)
	go func() {
		for {
			data, err := os.ReadFile(filepath.Join(dir, "commands.yaml"))
			if err == nil {
				_, err = policy.Parse("commands.yaml", data)
			}
			select {
			case <-stop:
				seen <- err
				return
			default:
				if err != nil {
					<-stop
					seen <- err
					return
				}
			}
		}
	}()
	var group sync.WaitGroup
	failed := make(chan error, workers*each*2)
	for w := range workers {
		group.Go(func() {
			for i := range each {
				rule := policyedit.Rule{Effect: policy.Allow, From: []string{"a"}, Server: "s", Tools: []string{fmt.Sprintf("t-%d-%d", w, i)}}
				change, err := policyedit.Add(dir, options, "commands.yaml", rule)
				if err == nil && i%2 == 1 {
					_, err = policyedit.Revoke(dir, options, change.Rule)
				}
				failed <- err
			}
		})
	}
	group.Wait()
	close(failed)
	close(stop)
	require.NoError(t, <-seen)
	for err := range failed {
		require.NoError(t, err)
	}
	require.Len(t, rules(t, dir), 1+workers*each/2)
	require.Len(t, contents(t, dir), 1)
	require.True(t, strings.HasPrefix(contents(t, dir)["commands.yaml"], "# kept\n"))
}

func TestLinkStaysALink(t *testing.T) {
	elsewhere := folder(t, map[string]string{"real.yaml": document("p", "r")})
	dir := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(elsewhere, "real.yaml"), filepath.Join(dir, "p.yaml")))
	_, err := policyedit.Add(dir, options, "p.yaml", ruleA)
	require.NoError(t, err)
	info, err := os.Lstat(filepath.Join(dir, "p.yaml"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	require.Len(t, rules(t, elsewhere), 2)
}

func TestANewFileNamesItsSchema(t *testing.T) {
	const head = "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: p}\nspec:\n  rules:\n  - {name: r, effect: deny, from: [b], to: {server: s, tools: [t]}}\n"
	for name, tt := range map[string]struct{ neighbour, want string }{
		"none says one":             {head, "accesspolicy.schema.json"},
		"a neighbour's":             {"# Ours.\n# yaml-language-server: $schema=../a/b.json\n" + head, "../a/b.json"},
		"with carriage returns":     {strings.ReplaceAll("# yaml-language-server: $schema=b.json\n"+head, "\n", "\r\n"), "b.json"},
		"behind a key":              {head + "  # yaml-language-server: $schema=c.json\n", "accesspolicy.schema.json"},
		"with more than the schema": {"# yaml-language-server: $schema=b.json more\n" + head, "accesspolicy.schema.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"p.yaml": tt.neighbour})
			_, err := policyedit.Add(dir, options, "new.yaml", ruleA)
			require.NoError(t, err)
			got := contents(t, dir)
			require.True(t, strings.HasPrefix(got["new.yaml"], "# yaml-language-server: $schema="+tt.want+"\napiVersion: "), got["new.yaml"])
			require.Equal(t, tt.neighbour, got["p.yaml"])
		})
	}
}

// A rule about a state store or a database is written, found again and named as any other.
func TestAddRulesAboutData(t *testing.T) {
	state := policyedit.Rule{
		Effect: policy.Allow, From: []string{"cart"}, Server: "cart-store",
		State: &policy.StateRule{Operations: []string{"get", "set"}, Keys: []string{"cart-*"}},
	}
	sql := policyedit.Rule{
		Effect: policy.Deny, From: []string{"a"}, Server: "orders-db",
		SQL: &policy.SQLRule{Operations: []string{"*"}, Tables: []string{"shop.*"}, Functions: []string{"shop.price"}},
	}
	dir := folder(t, nil)
	for rule, name := range map[*policyedit.Rule]string{&state: "allow-cart-cart-store-get-set-cart-all", &sql: "deny-a-orders-db-all-shop.all-shop.price"} {
		change, err := policyedit.Add(dir, options, "data.yaml", *rule)
		require.NoError(t, err)
		require.True(t, change.Written)
		require.Equal(t, name, change.Rule)
		again, err := policyedit.Add(dir, options, "other.yaml", *rule)
		require.NoError(t, err)
		require.False(t, again.Written)
		require.Equal(t, name, again.Rule)
	}
	text := contents(t, dir)["data.yaml"]
	require.Contains(t, text, "server: cart-store\n        state: {operations: [get, set], keys: [cart-*]}\n")
	require.Contains(t, text, "server: orders-db\n        sql: {operations: ['*'], tables: [shop.*], functions: [shop.price]}\n")
	for _, other := range []policyedit.Rule{
		{Effect: policy.Allow, From: []string{"cart"}, Server: "cart-store", State: &policy.StateRule{Operations: []string{"get"}, Keys: []string{"cart-*"}}},
		{Effect: policy.Allow, From: []string{"cart"}, Server: "cart-store", State: &policy.StateRule{Operations: []string{"get", "set"}, Keys: []string{"*"}}},
		{Effect: policy.Deny, From: []string{"a"}, Server: "orders-db", SQL: &policy.SQLRule{Operations: []string{"*"}, Tables: []string{"shop.*"}}},
		{Effect: policy.Deny, From: []string{"a"}, Server: "orders-db", Tools: []string{"x"}, SQL: sql.SQL},
	} {
		change, err := policyedit.Add(dir, options, "data.yaml", other)
		require.NoError(t, err)
		require.True(t, change.Written, "another rule")
	}
	// What narrows a rule further makes it another one.
	dir = folder(t, map[string]string{"data.yaml": strings.Replace(text, "tables: [shop.*]", "tables: [shop.*], columns: [card]", 1)})
	change, err := policyedit.Add(dir, options, "data.yaml", sql)
	require.NoError(t, err)
	require.True(t, change.Written)
	// What policy would not take is not written.
	_, err = policyedit.Add(dir, options, "data.yaml", policyedit.Rule{
		Effect: policy.Allow, From: []string{"a"}, Server: "db", SQL: &policy.SQLRule{Operations: []string{"select"}, Tables: []string{"orders"}},
	})
	require.ErrorContains(t, err, "names no schema")
}
