// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
	"github.com/dapr-custody/custody/internal/testkit"
)

// apiCall is a request to the API of the server's sidecar and what it answers.
type apiCall struct {
	name, method, path, body string
	status                   int
	want                     string // part of the answer; "" for an empty one
}

// api asks the sidecar of the server.
func (m *mesh) api(method, path, body string) answered {
	m.t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d/v1.0/%s", m.app("server").DaprHTTPPort, path)
	request, err := http.NewRequestWithContext(m.t.Context(), method, url, strings.NewReader(body))
	require.NoError(m.t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(m.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(m.t, err)
	return answered{status: response.StatusCode, header: response.Header, body: string(text)}
}

// works makes the calls in their order.
func (m *mesh) works(calls []apiCall) {
	m.t.Helper()
	for _, c := range calls {
		got := m.api(c.method, c.path, c.body)
		require.Equal(m.t, c.status, got.status, "%s: %s", c.name, got.body)
		if c.want == "" {
			require.Empty(m.t, got.body, c.name)
		}
		require.Contains(m.t, got.body, c.want, c.name)
	}
}

// guards wants the guard to be in force as in any other mesh.
func (m *mesh) guards() {
	m.t.Helper()
	got := m.post("alice", call("echo", "x"))
	require.Equal(m.t, 200, got.status, got.body)
	got = m.post("alice", call("reverse", "x"))
	require.Equal(m.t, 403, got.status, got.body)
	require.NotEmpty(m.t, m.journal().Receipts)
}

// loaded are the components of the sidecar of the server, as name: type/version.
func (m *mesh) loaded() map[string]string {
	m.t.Helper()
	got := m.api("GET", "metadata", "")
	require.Equal(m.t, 200, got.status, got.body)
	var metadata struct {
		Components []struct{ Name, Type, Version string }
	}
	require.NoError(m.t, json.Unmarshal([]byte(got.body), &metadata))
	all := map[string]string{}
	for _, c := range metadata.Components {
		all[c.Name] = c.Type + "/" + c.Version
	}
	return all
}

// component writes a Component; the pairs are its metadata.
func (m *mesh) component(name, kind, version string, pairs ...string) {
	m.t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {name: %s}\n", name)
	fmt.Fprintf(&text, "spec:\n  type: %s\n  version: %s\n  metadata:\n", kind, version)
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&text, "  - {name: %s, value: %q}\n", pairs[i], pairs[i+1])
	}
	m.write("resources/"+name+".yaml", text.String())
}

// What the lean daprd carries works beside the guard without a server of its
// own; middleware stands before the guard.
func TestLeanComponents(t *testing.T) {
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	}))
	t.Cleanup(outside.Close)
	m := newMesh(t, meshOptions{
		mcp: testkit.MCPOptions{JSON: true},
		config: strings.Replace(guardedSpec, "handlers: [",
			"handlers: [{name: alias, type: middleware.http.routeralias}, {name: limit, type: middleware.http.ratelimit}, ", 1),
		daprdEnv: map[string]string{"LEAN_SECRET": "in the environment"},
	})
	m.write("secrets.json", `{"lean":"in a file"}`)
	m.component("memory", "state.in-memory", "v1")
	m.component("disk", "state.sqlite", "v1", "connectionString", filepath.Join(m.folder, "state.db"))
	m.component("environment", "secretstores.local.env", "v1")
	m.component("file", "secretstores.local.file", "v1", "secretsFile", filepath.Join(m.folder, "secrets.json"))
	m.component("outside", "bindings.http", "v1", "url", outside.URL)
	m.component("bus", "pubsub.in-memory", "v1")
	m.component("alias", "middleware.http.routeralias", "v1", "routes", `{"/desk": "/mcp"}`)
	m.component("limit", "middleware.http.ratelimit", "v1", "maxRequestsPerSecond", "1000")
	require.NoError(t, m.start())

	require.Equal(t, map[string]string{
		"memory": "state.in-memory/v1", "disk": "state.sqlite/v1",
		"environment": "secretstores.local.env/v1", "file": "secretstores.local.file/v1",
		"outside": "bindings.http/v1", "bus": "pubsub.in-memory/v1",
		"alias": "middleware.http.routeralias/v1", "limit": "middleware.http.ratelimit/v1",
		"guard": "middleware.http.mcpguard/v1",
	}, m.loaded())
	for _, store := range []string{"memory", "disk"} {
		m.keeps(store)
	}
	require.FileExists(t, filepath.Join(m.folder, "state.db"))
	m.works([]apiCall{
		{"secret of the environment", "GET", "secrets/environment/LEAN_SECRET", "", 200, "in the environment"},
		{"secret that is Dapr's own", "GET", "secrets/environment/APP_API_TOKEN", "", 200, `{"APP_API_TOKEN":""}`},
		{"secret of the file", "GET", "secrets/file/lean", "", 200, "in a file"},
		{"secret that is not there", "GET", "secrets/file/fat", "", 500, "fat"},
		{"output binding", "POST", "bindings/outside", `{"operation":"get","metadata":{"path":"/there"}}`, 200, "GET /there"},
		{"publish", "POST", "publish/bus/news", `{"a":1}`, 204, ""},
	})
	m.guards()

	desk := strings.TrimSuffix(m.endpoint("alice"), "mcp") + "desk"
	got, err := post(t.Context(), desk, call("echo", "by the alias"))
	require.NoError(t, err)
	require.Equal(t, 200, got.status, got.body)
	require.Equal(t, "/mcp", m.server.Last(t).Path)
	reached := len(m.server.Requests())
	got, err = post(t.Context(), desk, call("reverse", "by the alias"))
	require.NoError(t, err)
	require.Equal(t, 403, got.status, got.body)
	require.Len(t, m.server.Requests(), reached)
}

// keeps saves, gets and deletes in a state store.
func (m *mesh) keeps(store string) {
	m.t.Helper()
	m.works([]apiCall{
		{store + ": save", "POST", "state/" + store, `[{"key":"a","value":"first"},{"key":"b","value":2}]`, 204, ""},
		{store + ": get", "GET", "state/" + store + "/a", "", 200, `"first"`},
		{store + ": delete", "DELETE", "state/" + store + "/a", "", 204, ""},
		{store + ": gone", "GET", "state/" + store + "/a", "", 204, ""},
		{store + ": the other is still there", "GET", "state/" + store + "/b", "", 200, "2"},
	})
}

// State in PostgreSQL and SQL from a binding; the binding has the rights of the
// example's server, which may change nothing but an order's status.
func TestLeanComponentsOnPostgreSQL(t *testing.T) {
	database, owner := startPostgres(t)
	m := newMesh(t, meshOptions{mcp: testkit.MCPOptions{JSON: true}})
	m.component("tables", "state.postgresql", "v2", "connectionString", owner)
	m.component("oldtables", "state.postgresql", "v1", "connectionString", owner, "tableName", "old_state", "metadataTableName", "old_metadata")
	m.component("orders", "bindings.postgres", "v1", "url", database)
	require.NoError(t, m.start())
	sql := func(operation, text string) string {
		return fmt.Sprintf(`{"operation":%q,"metadata":{"sql":%q}}`, operation, text)
	}

	require.Equal(t, map[string]string{
		"tables": "state.postgresql/v2", "oldtables": "state.postgresql/v1", "orders": "bindings.postgres/v1", "guard": "middleware.http.mcpguard/v1",
	}, m.loaded())
	m.keeps("tables")
	m.keeps("oldtables")
	m.works([]apiCall{
		{"exec", "POST", "bindings/orders", sql("exec", "UPDATE orders SET status = 'cancelled' WHERE id = 1001"), 200, ""},
		{"exec without the right", "POST", "bindings/orders", sql("exec", "DELETE FROM orders"), 500, "permission denied"},
		{"query", "POST", "bindings/orders", sql("query", "SELECT status FROM orders WHERE id = 1001"), 200, `[["cancelled"]]`},
		{"query all", "POST", "bindings/orders", sql("query", "SELECT count(*) FROM orders"), 200, "[[60]]"},
	})
	m.guards()
}

// startPostgres gives the example's throw-away cluster: the connection string
// of its server's role, and one of its owner. The owner's password is kept by
// nobody, so the cluster, which is ours, is told to do without.
func startPostgres(t *testing.T) (server, owner string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "custody-components-") // not t.TempDir, which the cluster's user may not enter
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	database, err := postgres.Start(t.Context(), postgres.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Close()) })

	found, err := filepath.Glob(filepath.Join(dir, "*", "data", "postmaster.pid"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	text, err := os.ReadFile(found[0])
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.SplitN(string(text), "\n", 2)[0])
	require.NoError(t, err)
	access := "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(found[0]), "pg_hba.conf"), []byte(access), 0o600))
	require.NoError(t, syscall.Kill(pid, syscall.SIGHUP))

	config, err := pgx.ParseConfig(database.URL())
	require.NoError(t, err)
	owner = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", config.Port)
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), owner)
		return err == nil && conn.Close(t.Context()) == nil
	}, 30*time.Second, 5*time.Millisecond)
	return database.URL(), owner
}
