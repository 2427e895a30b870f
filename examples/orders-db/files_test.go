// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package ordersdb_test checks the files of the example without starting it.
package ordersdb_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/serverfile"
	"github.com/dapr-custody/custody/internal/testkit"
)

const domain = "spiffe://custody.local/ns/default/"

var trustDomain = spiffeid.RequireTrustDomainFromString("custody.local")

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

func TestServerAndDatabase(t *testing.T) {
	server, err := serverfile.Parse("components.yaml", read(t, "components.yaml"))
	require.NoError(t, err)
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(here, "policies"), server.PolicyDir)
	require.Equal(t, filepath.Join(here, "databases"), server.Databases)

	all, err := database.Parse("databases/orders-db.yaml", read(t, "databases/orders-db.yaml"))
	require.NoError(t, err)
	require.Len(t, all, 1)
	for app, want := range map[string]string{
		"orders-mcp": "custody_orders_mcp", "analytics-agent": "custody_analytics", "support-agent": "", "fulfilment-agent": "", "orders-mcp2": "",
	} {
		role, ok := all[0].RoleOf(spiffeid.RequireFromString(domain+app), trustDomain, "default")
		require.Equal(t, want != "", ok, app)
		require.Equal(t, want, role.Name, app)
		require.Equal(t, app == "orders-mcp", role.Write, app)
	}
}

// There is nothing to steal: no file of the example holds what lets somebody in.
func TestNoFileHoldsACredential(t *testing.T) {
	credential := regexp.MustCompile(`(?i)postgres(ql)?://|password[=:]|connectionstring|PGPASS|BEGIN [A-Z ]*PRIVATE KEY|secretKeyRef`)
	for _, folder := range []string{"dapr.yaml", "components.yaml", "config", "databases", "policies", "resources"} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				require.NotRegexp(t, credential, string(read(t, path)), path)
			}
			return err
		}))
	}
}

func TestPolicies(t *testing.T) {
	require.Equal(t, string(read(t, "../orders/policies/orders.yaml")), string(read(t, "policies/orders.yaml")), "tools are as in the orders example")
	set := testkit.PolicyFiles(t, "policies/orders.yaml", "policies/orders-db.yaml")
	whole := &policy.SQLUse{Reads: []string{policy.EveryColumn}}
	status := &policy.SQLUse{Reads: []string{"id"}, Writes: []string{"status"}, HasWhere: true}
	for name, c := range map[string]struct {
		caller, kind, table string
		use                 *policy.SQLUse
		want                policy.Effect
	}{
		"reads":                  {"orders-mcp", policy.KindSQLSelect, "shop.orders", whole, policy.Allow},
		"of another":             {"analytics-agent", policy.KindSQLSelect, "shop.orders", whole, policy.Deny},
		"no rule":                {"orders-mcp", policy.KindSQLSelect, "shop.customers_secret", whole, policy.Deny},
		"all payments":           {"orders-mcp", policy.KindSQLSelect, "shop.payments", whole, policy.Deny},
		"one's payments":         {"orders-mcp", policy.KindSQLSelect, "shop.payments", &policy.SQLUse{Reads: whole.Reads, Bound: []string{"customer_id"}}, policy.Allow},
		"status":                 {"orders-mcp", policy.KindSQLUpdate, "shop.orders", status, policy.Allow},
		"status everywhere":      {"orders-mcp", policy.KindSQLUpdate, "shop.orders", &policy.SQLUse{Writes: status.Writes}, policy.Deny},
		"owner":                  {"orders-mcp", policy.KindSQLUpdate, "shop.orders", &policy.SQLUse{Writes: []string{"owner"}, HasWhere: true}, policy.Deny},
		"status of another kind": {"orders-mcp", policy.KindSQLUpdate, "shop.customers", status, policy.Deny},
		"deletes":                {"orders-mcp", policy.KindSQLDelete, "shop.orders", status, policy.Deny},
		"drops":                  {"orders-mcp", policy.KindSQLDDL, "shop.orders", whole, policy.Deny},
	} {
		action := policy.Action{Kind: c.kind, Server: "orders-db", Name: c.table, Use: c.use}
		decision := set.Decide(policy.Request{Caller: spiffeid.RequireFromString(domain + c.caller), Action: action})
		require.Equal(t, c.want, decision.Effect, name)
	}
}
