// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package serverfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/manifest"
	"github.com/dapr-custody/custody/internal/serverfile"
)

const good = `apiVersion: custody.dev/v1alpha1
kind: ComponentServer
metadata: {name: orders}
spec:
  policyDir: policies
  journalDir: /var/lib/custody/components
  stores: ../stores
  databases: databases
  ca: ../ca
  apps: [orders-mcp]
`

func TestParse(t *testing.T) {
	f, err := serverfile.Parse("/etc/custody/components.yaml", []byte(good))
	require.NoError(t, err)
	require.Equal(t, &serverfile.File{
		Path: "/etc/custody/components.yaml", Name: "orders",
		PolicyDir: "/etc/custody/policies", JournalDir: "/var/lib/custody/components",
		Stores:    "/etc/stores",
		Databases: "/etc/custody/databases", CA: "/etc/ca", Apps: []string{"orders-mcp"},
		Requests: serverfile.DefaultRequests, Bytes: serverfile.DefaultBytes,
	}, f)
}

func TestPerCaller(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		requests int
		bytes    int64
	}{
		"both":     {"{requests: 1, bytes: 1048576}", 1, 1 << 20},
		"requests": {"{requests: 100000}", 100_000, serverfile.DefaultBytes},
		"bytes":    {"{bytes: 1073741824}", serverfile.DefaultRequests, 1 << 30},
	} {
		f, err := serverfile.Parse("components.yaml", []byte(good+"  perCaller: "+c.text+"\n"))
		require.NoError(t, err, name)
		require.Equal(t, c.requests, f.Requests, name)
		require.Equal(t, c.bytes, f.Bytes, name)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown field":      {"policyDir: policies", "policyDir: policies\n  polices: x", "6:3: spec.polices: unknown field: want one of policyDir, "},
		"misspelt field":     {"journalDir:", "jornalDir:", `6:3: spec.jornalDir: unknown field: did you mean "journalDir"?`},
		"doubled field":      {"policyDir: policies", "policyDir: policies\n  policyDir: x", `6:3: spec.policyDir: is given twice, the first one near line 5: remove one`},
		"other type":         {"[orders-mcp]", "orders-mcp", "10:9: spec.apps: want a list: write [orders-mcp]"},
		"another type":       {"../ca", "[../ca]", "9:7: spec.ca: want one text, not a list or mapping"},
		"an anchor":          {"../ca", "&a ../ca", "9:7: spec.ca: anchors (&a) are not supported: remove it"},
		"no YAML":            {"[orders-mcp]", "[orders-mcp", "not valid YAML: "},
		"another version":    {"v1alpha1", "v2", `1:13: apiVersion: "custody.dev/v2" is not supported: write custody.dev/v1alpha1`},
		"another kind":       {"ComponentServer", "AccessPolicy", `2:7: kind: "AccessPolicy" is not supported: write ComponentServer`},
		"no name":            {"{name: orders}", "{}", "metadata.name: is missing"},
		"bad name":           {"{name: orders}", "{name: Orders}", `3:18: metadata.name: "Orders" is not a legal name`},
		"no policies":        {"  policyDir: policies\n", "", "spec.policyDir: is missing"},
		"policies of no dir": {"policyDir: policies", "policyDir: ''", "5:14: spec.policyDir: is empty"},
		"no journal":         {"  journalDir: /var/lib/custody/components\n", "", "spec.journalDir: is missing"},
		"bad durability":     {"  ca:", "  durability: later\n  ca:", `9:15: spec.durability: "later" is neither group nor sync`},
		"databases alone":    {"  ca: ../ca\n", "", "8:14: spec.databases: belongs together with spec.ca"},
		"ca alone":           {"  databases: databases\n", "", "8:7: spec.ca: belongs together with spec.databases"},
		"no requests":        {"  ca:", "  perCaller: {requests: 0}\n  ca:", "9:25: spec.perCaller.requests: "},
		"fewer":              {"  ca:", "  perCaller: {requests: -1}\n  ca:", "9:25: spec.perCaller.requests: "},
		"too many requests":  {"  ca:", "  perCaller: {requests: 100001}\n  ca:", "9:25: spec.perCaller.requests: "},
		"too few bytes":      {"  ca:", "  perCaller: {bytes: 1048575}\n  ca:", "9:22: spec.perCaller.bytes: "},
		"too many bytes":     {"  ca:", "  perCaller: {bytes: 1073741825}\n  ca:", "9:22: spec.perCaller.bytes: "},
		"bytes of no number": {"  ca:", "  perCaller: {bytes: 1Gi}\n  ca:", "9:22: spec.perCaller.bytes: "},
		"unknown limit":      {"  ca:", "  perCaller: {connections: 1}\n  ca:", "9:15: spec.perCaller.connections: unknown field"},
		"app twice":          {"[orders-mcp]", "[a, b, a]", `10:16: spec.apps[2]: "a" is given twice`},
		"app without a name": {"[orders-mcp]", "['']", "10:10: spec.apps[0]: is empty"},
		"second document":    {"apps: [orders-mcp]", "apps: [a]\n---\nkind: x", "12:1: there is more than one document: keep one"},
		"nothing":            {good, "", "1:1: the file is empty: write a document with kind: ComponentServer"},
		"far too much of it": {good, strings.Repeat("#\n", serverfile.MaxBytes), "the limit is"},
	} {
		_, err := serverfile.Parse("components.yaml", []byte(strings.Replace(good, test.old, test.new, 1)))
		require.ErrorContains(t, err, test.want, name)
		require.ErrorContains(t, err, "serverfile: components.yaml:", name)
	}
}

// All that is wrong is told at once, in the order of the file.
func TestAllThatIsWrongIsSaid(t *testing.T) {
	_, err := serverfile.Parse("components.yaml", []byte(`apiVersion: v1
kind: ComponentServer
metadata: {name: orders}
spec:
  policyDir: policies
  durability: later
  databases: databases
`))
	require.EqualError(t, err, `serverfile: components.yaml:1:13: apiVersion: "v1" is not supported: write custody.dev/v1alpha1
components.yaml:5:3: spec.journalDir: is missing: add it
components.yaml:6:15: spec.durability: "later" is neither group nor sync: write one of them
components.yaml:7:14: spec.databases: belongs together with spec.ca: name both, or neither`)
	var list *manifest.ErrorList
	require.ErrorAs(t, err, &list)
	require.Len(t, list.Problems, 4)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := serverfile.Parse("/etc/custody/components.yaml", data)
		if err == nil {
			require.NotEmpty(t, file.PolicyDir)
			require.NotEmpty(t, file.JournalDir)
			require.Positive(t, file.Requests)
			require.Positive(t, file.Bytes)
		}
	})
}
