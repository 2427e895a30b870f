// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package serverfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	}, f)
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown field":      {"policyDir: policies", "policyDir: policies\n  polices: x", `line 6: field polices is not known`},
		"doubled field":      {"policyDir: policies", "policyDir: policies\n  policyDir: x", `line 6: mapping key "policyDir" already defined`},
		"other type":         {"[orders-mcp]", "orders-mcp", "line 10: cannot unmarshal !!str `orders-mcp`"},
		"another version":    {"v1alpha1", "v2", "apiVersion: is "},
		"another kind":       {"ComponentServer", "AccessPolicy", "kind: is "},
		"no name":            {"{name: orders}", "{}", "metadata.name: "},
		"bad name":           {"{name: orders}", "{name: Orders}", "metadata.name: "},
		"no policies":        {"  policyDir: policies\n", "", "spec.policyDir: is missing"},
		"no journal":         {"  journalDir: /var/lib/custody/components\n", "", "spec.journalDir: is missing"},
		"bad durability":     {"  ca:", "  durability: later\n  ca:", "spec.durability: "},
		"databases alone":    {"  ca: ../ca\n", "", "belong together"},
		"app twice":          {"[orders-mcp]", "[a, b, a]", "spec.apps[2]: "},
		"second document":    {"apps: [orders-mcp]", "apps: []\n---\nkind: x", "more than one document"},
		"nothing":            {good, "", "is empty"},
		"far too much of it": {good, strings.Repeat("#\n", serverfile.MaxBytes), "the limit is"},
	} {
		_, err := serverfile.Parse("components.yaml", []byte(strings.Replace(good, test.old, test.new, 1)))
		require.ErrorContains(t, err, test.want, name)
		require.ErrorContains(t, err, "components.yaml: ", name)
		require.NotContains(t, err.Error(), "serverfile.", name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := serverfile.Parse("/etc/custody/components.yaml", data)
		if err == nil {
			require.NotEmpty(t, file.PolicyDir)
			require.NotEmpty(t, file.JournalDir)
		}
	})
}
