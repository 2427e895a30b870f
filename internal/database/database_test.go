// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package database_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/database"
)

const small = `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: orders-db}
spec:
  engine: postgresql
  host: 127.0.0.1
  port: 5432
  database: orders
  serverCA: ../tls/server-ca.pem
  schemas: [shop]
  roles:
  - {from: [orders-mcp], role: custody_orders_mcp}
`

const large = small + `  - {from: ["spiffe://custody.local/ns/*/report", "spiffe://other.org/x"], role: custody_report, write: true}
  serverName: db.example
  clients: [10.0.0.0/8, "fd00::1/128"]
  limits: {statementTimeout: 1500ms, lockTimeout: 2s, idleTimeout: 1m, maxRows: 1, maxBytes: 2, maxConnections: 3}
  recordStatements: true
  rowSecurity:
  - {table: shop.orders, caller: owner}
  - {table: shop.Items, actor: buyer}
---
# nothing
---
` + "apiVersion: custody.dev/v1alpha1\nkind: Database\nmetadata: {name: stock}\n" + `spec: {engine: postgresql, host: localhost, port: 1, database: Stock-1, serverCA: /ca.pem, schemas: [Lager, b], roles: [{from: [a], role: r}]}
`

func parse(t *testing.T, text string) []database.Database {
	t.Helper()
	all, err := database.Parse("conf/db/orders.yaml", []byte(text))
	require.NoError(t, err)
	return all
}

func TestDefaults(t *testing.T) {
	d := parse(t, small)[0]
	require.Equal(t, "orders-db", d.Name)
	require.Equal(t, "conf/tls/server-ca.pem", d.ServerCA)
	require.Equal(t, "127.0.0.1", d.ServerName)
	require.Equal(t, database.DefaultLimits(), d.Limits)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}, d.Clients)
	require.False(t, d.Roles[0].Write)
	require.False(t, d.RecordStatements)
	require.Empty(t, d.RowSecurity)
	require.Equal(t, "pg_catalog, shop, pg_temp", d.SearchPath())
	require.Equal(t, "conf/db/orders.yaml", d.File)
	require.Equal(t, 1, d.Line)
}

func TestEverything(t *testing.T) {
	all := parse(t, large)
	require.Len(t, all, 2)
	d := all[0]
	require.Equal(t, "db.example", d.ServerName)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::1/128")}, d.Clients)
	require.Equal(t, database.Limits{
		StatementTimeout: 1500 * time.Millisecond, LockTimeout: 2 * time.Second, IdleTimeout: time.Minute, MaxRows: 1, MaxBytes: 2, MaxConnections: 3,
	}, d.Limits)
	require.True(t, d.RecordStatements)
	require.Equal(t, []database.RowSecurity{{"shop", "orders", "owner", ""}, {"shop", "Items", "", "buyer"}}, d.RowSecurity)
	require.Equal(t, `pg_catalog, "Lager", b, pg_temp`, all[1].SearchPath())
	require.Equal(t, "/ca.pem", all[1].ServerCA)
	require.Equal(t, "Stock-1", all[1].DBName)
}

func TestWhoGetsWhichRole(t *testing.T) {
	d := parse(t, large)[0]
	local := spiffeid.RequireTrustDomainFromString("custody.local")
	for id, want := range map[string]string{
		"spiffe://custody.local/ns/default/orders-mcp":   "custody_orders_mcp",
		"spiffe://custody.local/ns/other/orders-mcp":     "",
		"spiffe://other.org/ns/default/orders-mcp":       "",
		"spiffe://custody.local/ns/default/orders-mcp/x": "",
		"spiffe://custody.local/ns/default/Orders-mcp":   "",
		"spiffe://custody.local/ns/a/report":             "custody_report",
		"spiffe://custody.local/ns/b/report":             "custody_report",
		"spiffe://custody.local/ns/a/b/report":           "",
		"spiffe://custody.local/ns/report":               "",
		"spiffe://other.org/x":                           "custody_report",
		"spiffe://other.org/x/y":                         "",
		"spiffe://other.org":                             "",
	} {
		role, ok := d.RoleOf(spiffeid.RequireFromString(id), local, "default")
		require.Equal(t, want, role.Name, id)
		require.Equal(t, want != "", ok, id)
		require.Equal(t, want == "custody_report", role.Write, id)
	}
	agent := spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders-mcp")
	for name, refused := range map[string]func() (database.Role, bool){
		"nobody":           func() (database.Role, bool) { return d.RoleOf(spiffeid.ID{}, local, "default") },
		"no namespace":     func() (database.Role, bool) { return d.RoleOf(agent, local, "") },
		"no trust domain":  func() (database.Role, bool) { return d.RoleOf(agent, spiffeid.TrustDomain{}, "default") },
		"no such document": func() (database.Role, bool) { return (&database.Database{}).RoleOf(agent, local, "default") },
	} {
		_, ok := refused()
		require.False(t, ok, name)
	}
}

func TestFirstMatchWins(t *testing.T) {
	d := parse(t, small+"  - {from: [orders-mcp], role: second, write: true}\n  - {from: [x], role: second, write: true}\n")[0]
	id := spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders-mcp")
	role, ok := d.RoleOf(id, id.TrustDomain(), "default")
	require.True(t, ok)
	require.Equal(t, "custody_orders_mcp", role.Name)
	require.Equal(t, []string{"orders-mcp"}, role.From())
	require.Equal(t, []string{"custody_orders_mcp", "second"}, d.Names())
}

// Each case changes one thing of the small document, and gives one error.
func TestWhatIsRefused(t *testing.T) {
	change := func(old, by string) string {
		require.Contains(t, small, old)
		return strings.Replace(small, old, by, 1)
	}
	add := func(line string) string { return small + line + "\n" }
	const roles = "  - {from: [orders-mcp], role: custody_orders_mcp}"
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"# nothing\n", "orders.yaml:1:1: the file holds no document"},
		"no YAML":           {small + "  x: [", "not valid YAML"},
		"tab":               {small + "\tx: 1\n", "orders.yaml:13:1: a tab"},
		"not UTF-8":         {small + "# \xff\n", "orders.yaml:13:1: the file is not UTF-8"},
		"list":              {"- a\n", "want a mapping"},
		"kind":              {change("kind: Database", "kind: AccessPolicy"), `orders.yaml:2:7: kind: "AccessPolicy" is not supported: write Database`},
		"version":           {change("v1alpha1", "v1"), "apiVersion"},
		"name":              {change("orders-db", "Orders"), `metadata.name: "Orders" is not a legal name`},
		"no name":           {change("metadata: {name: orders-db}\n", "metadata: {}\n"), "metadata.name: is missing"},
		"slip":              {change("schemas:", "shemas:"), `spec.shemas: unknown field: did you mean "schemas"?`},
		"unknown":           {add("  password: x"), "spec.password: unknown field: want one of engine"},
		"twice":             {add("  port: 5433"), "spec.port: is given twice, the first one near line 7"},
		"engine":            {change("engine: postgresql", "engine: mysql"), `"mysql" is not supported: write postgresql`},
		"no host":           {change("  host: 127.0.0.1\n", ""), "spec.host: is missing"},
		"socket":            {change("host: 127.0.0.1", "host: /var/run/postgresql"), "is a Unix socket, over which there is no TLS"},
		"host with a port":  {change("host: 127.0.0.1", "host: \"localhost:1\""), "is no name or address of a host"},
		"two hosts":         {change("host: 127.0.0.1", "host: \"a,b\""), "is no name or address of a host"},
		"far without":       {change("host: 127.0.0.1", "host: db.example"), "spec.clients: is missing, and the server is not on this machine"},
		"port":              {change("port: 5432", "port: 0"), "orders.yaml:7:9: spec.port: want a whole number from 1 to 65535"},
		"port as text":      {change("port: 5432", "port: \"5432\""), "spec.port: want a whole number"},
		"database":          {change("database: orders", "database: 'a b'"), "spec.database"},
		"no CA":             {change("  serverCA: ../tls/server-ca.pem\n", ""), "spec.serverCA: is missing"},
		"empty CA":          {change("../tls/server-ca.pem", "''"), "spec.serverCA: is empty"},
		"no schema":         {change("[shop]", "[]"), "spec.schemas: the list is empty"},
		"schema twice":      {change("[shop]", "[shop, shop]"), `spec.schemas[1]: "shop" stands there twice`},
		"own schema":        {change("[shop]", "[custody]"), "is Custody's own"},
		"catalogue":         {change("[shop]", "[pg_catalog]"), "is the server's own"},
		"information":       {change("[shop]", "[information_schema]"), "is the server's own"},
		"quotes":            {change("[shop]", `['sh"op']`), "is not a legal name here"},
		"one schema":        {change("[shop]", "shop"), "spec.schemas: want a list: write [shop]"},
		"client":            {add("  clients: [10.0.0.1]"), "spec.clients[0]: \"10.0.0.1\" is no range"},
		"client bits":       {add("  clients: [10.0.0.1/8]"), `write "10.0.0.0/8"`},
		"no roles":          {change("  roles:\n"+roles+"\n", ""), "spec.roles: is missing"},
		"superuser":         {change("role: custody_orders_mcp", "role: postgres"), `spec.roles[0].role: "postgres" is a role or word of PostgreSQL's own`},
		"pg_ role":          {change("role: custody_orders_mcp", "role: pg_read_all_data"), "PostgreSQL's own"},
		"public":            {change("role: custody_orders_mcp", "role: public"), "PostgreSQL's own"},
		"role in capitals":  {change("role: custody_orders_mcp", "role: Orders"), "is not a legal role"},
		"long role":         {change("role: custody_orders_mcp", "role: "+strings.Repeat("a", 64)), "longer than 63"},
		"no caller":         {change("from: [orders-mcp], ", ""), "spec.roles[0].from: is missing"},
		"star":              {change("[orders-mcp]", `["*"]`), "`*` is no app ID"},
		"app with a dot":    {change("[orders-mcp]", "[a.b]"), "app ID"},
		"domain alone":      {change("[orders-mcp]", `["spiffe://a"]`), "names a trust domain, not a workload"},
		"domain as pattern": {change("[orders-mcp]", `["spiffe://*/x"]`), "it cannot be a pattern"},
		"part of a segment": {change("[orders-mcp]", `["spiffe://a/x*"]`), "or `*` for a whole segment"},
		"no segment":        {change("[orders-mcp]", `["spiffe://a//x"]`), "is not legal in a SPIFFE ID"},
		"other scheme":      {change("[orders-mcp]", `["http://a/x"]`), "is no SPIFFE ID"},
		"writes and not":    {add("  - {from: [x], role: custody_orders_mcp, write: true}"), "spec.roles[1].write: role custody_orders_mcp writes in one entry"},
		"write":             {change("custody_orders_mcp}", "custody_orders_mcp, write: yes}"), "want true or false"},
		"limit":             {add("  limits: {maxRows: 0}"), "spec.limits.maxRows: want a whole number from 1"},
		"no timeout":        {add("  limits: {statementTimeout: 0s}"), "spec.limits.statementTimeout: want a time from 1ms to 10m0s"},
		"timeout in number": {add("  limits: {lockTimeout: 5}"), "spec.limits.lockTimeout: want a time"},
		"too long":          {add("  limits: {idleTimeout: 1h}"), "spec.limits.idleTimeout: want a time"},
		"microseconds":      {add("  limits: {idleTimeout: 1500us}"), "spec.limits.idleTimeout: want a time"},
		"row table":         {add("  rowSecurity: [{table: orders, caller: o}]"), "write schema.table"},
		"row schema":        {add("  rowSecurity: [{table: shopp.orders, caller: o}]"), `schema "shopp" is not one of spec.schemas: add it there, or did you mean "shop"?`},
		"row column":        {add("  rowSecurity: [{table: shop.orders}]"), "names no column"},
		"row quotes":        {add(`  rowSecurity: [{table: shop.orders, caller: "a'b"}]`), "is not a legal name here"},
		"row twice":         {add("  rowSecurity: [{table: shop.o, caller: a}, {table: shop.o, actor: b}]"), "table shop.o is already there"},
		"alias":             {change("[shop]", "&s [shop]"), "anchors (&s) are not supported"},
		"tag":               {change("[shop]", "!!set [shop]"), "tags (!!set) are not supported"},
		"name twice":        {small + "---\n" + small, `metadata.name: database "orders-db" is already described on line 1`},
		"control":           {change("database: orders", "database: \"a\\nb\""), "characters that cannot be printed"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := database.Parse("orders.yaml", []byte(c.text))
			require.ErrorContains(t, err, c.want)
			require.Nil(t, all)
			var list *database.ErrorList
			require.ErrorAs(t, err, &list)
			require.Len(t, list.Problems, 1, err)
			require.Positive(t, list.Problems[0].Line)
		})
	}
}

func TestManyErrorsAreToldTogether(t *testing.T) {
	_, err := database.Parse("x.yaml", []byte(strings.Repeat("a: b\n---\n", 30)))
	var list *database.ErrorList
	require.ErrorAs(t, err, &list)
	require.Len(t, list.Problems, 20)
	require.Contains(t, err.Error(), "and 130 more")
	require.True(t, errors.Is(err, list.Problems[3]))

	_, err = database.Parse("x.yaml", make([]byte, database.MaxFileBytes+1))
	require.ErrorContains(t, err, "the limit is")
	_, err = database.Parse("x.yaml", []byte(strings.Repeat("a\n---\n", database.MaxDocuments+1)))
	require.ErrorContains(t, err, "more than 1000 documents")
}

// FuzzParse: any bytes give documents that hold together or errors with a place, never a panic.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", small, large, "a: &x [*x]", "<<: {a: b}", "? {a: b}\n: c", "\t", "- !!binary x", "%YAML 1.1\n---\na", "[[[[{"} {
		f.Add([]byte(seed))
	}
	agent := spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders-mcp")
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := database.Parse("f.yaml", data)
		if err != nil {
			require.Nil(t, all)
			var list *database.ErrorList
			require.ErrorAs(t, err, &list)
			for _, p := range list.Problems {
				require.Positive(t, p.Line, p.Error())
				require.NotEmpty(t, p.Message)
			}
			return
		}
		require.NotEmpty(t, all)
		for _, d := range all {
			require.NotEmpty(t, d.Roles)
			require.NotEmpty(t, d.Clients)
			require.NotContains(t, d.SearchPath()+strings.Join(d.Names(), ""), "'")
			require.Positive(t, min(d.Limits.StatementTimeout, d.Limits.LockTimeout, d.Limits.IdleTimeout))
			require.False(t, d.Limits.MaxRows < 1 || d.Limits.MaxBytes < 1 || d.Limits.MaxConnections < 1)
			for _, r := range d.Roles {
				require.NoError(t, database.CheckRole(r.Name))
			}
			if role, ok := d.RoleOf(agent, agent.TrustDomain(), "default"); ok {
				require.Contains(t, d.Names(), role.Name)
			}
		}
	})
}
