// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
)

// openDir is a folder that other users may pass through, unlike t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "custody-orders-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711))
	return dir
}

func start(t *testing.T, options postgres.Options) *postgres.Database {
	t.Helper()
	database, err := postgres.Start(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Close()) })
	return database
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	return conn
}

func ask[T any](t *testing.T, conn *pgx.Conn, sql string) T {
	t.Helper()
	var answer T
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&answer))
	return answer
}

const contents = `SELECT md5(string_agg(line, E'\n' ORDER BY line)) FROM (
	SELECT customers::text AS line FROM customers UNION ALL
	SELECT orders::text FROM orders UNION ALL
	SELECT order_items::text FROM order_items) AS lines`

func TestClusterHoldsTheSeed(t *testing.T) {
	dir := openDir(t)
	database := start(t, postgres.Options{Dir: dir})
	require.Contains(t, database.Origin(), dir)
	conn := connect(t, database.URL())

	for _, c := range []struct {
		name, sql string
		want      int
	}{
		{"customers", "SELECT count(*) FROM customers", 12},
		{"orders", "SELECT count(*) FROM orders", 60},
		{"months with five orders", `SELECT count(*) FROM (SELECT FROM orders
			GROUP BY date_trunc('month', placed_at AT TIME ZONE 'UTC') HAVING count(*) = 5) AS months`, 12},
		{"orders without a line", "SELECT count(*) FROM orders WHERE id NOT IN (SELECT order_id FROM order_items)", 0},
		{"customers with an order", "SELECT count(DISTINCT customer_id) FROM orders", 12},
		{"statuses", "SELECT count(DISTINCT status) FROM orders", 5},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, ask[int](t, conn, c.sql)) })
	}
}

func TestClusterListensOnLoopbackOnly(t *testing.T) {
	admin := connect(t, postgres.AdminURL(t))
	require.Equal(t, "127.0.0.1", ask[string](t, admin, "SHOW listen_addresses"))
	require.Empty(t, ask[string](t, admin, "SHOW unix_socket_directories"))
}

func TestClusterIsTheSameEveryTime(t *testing.T) {
	first := connect(t, start(t, postgres.Options{}).URL())
	second := connect(t, start(t, postgres.Options{}).URL())
	require.Equal(t, ask[string](t, first, contents), ask[string](t, second, contents))
}

func TestServerRoleMayOnlySetStatus(t *testing.T) {
	conn := connect(t, start(t, postgres.Options{}).URL())
	tag, err := conn.Exec(t.Context(), "UPDATE orders SET status = 'shipped', updated_at = now() WHERE id = 1060")
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())

	for _, sql := range []string{
		"UPDATE orders SET customer_id = 1 WHERE id = 1060",
		"UPDATE customers SET email = 'x'",
		"DELETE FROM orders WHERE id = 1060",
		"INSERT INTO orders SELECT 1, customer_id, status, placed_at, updated_at FROM orders LIMIT 1",
		"DROP TABLE order_items",
		"CREATE TABLE t ()",
		"COPY orders TO PROGRAM 'cat'",
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.ErrorContains(t, err, "42501", sql) // insufficient_privilege
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	config, err := pgx.ParseConfig(start(t, postgres.Options{}).URL())
	require.NoError(t, err)
	config.Password += "0"
	_, err = pgx.ConnectConfig(t.Context(), config)
	require.ErrorContains(t, err, "28P01") // invalid_password
}

func TestCloseLeavesNothing(t *testing.T) {
	dir := openDir(t)
	database, err := postgres.Start(t.Context(), postgres.Options{Dir: dir})
	require.NoError(t, err)
	config, err := pgx.ParseConfig(database.URL())
	require.NoError(t, err)

	require.NoError(t, database.Close())
	require.NoError(t, database.Close())
	requireEmpty(t, dir)
	_, err = pgx.ConnectConfig(t.Context(), config)
	var dial *net.OpError
	require.ErrorAs(t, err, &dial)
}

func TestFailedStartLeavesNothing(t *testing.T) {
	missing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(missing.Close)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()

	for _, c := range []struct {
		name    string
		ctx     context.Context
		options postgres.Options
		want    []string
	}{
		{
			"no programs, no download", t.Context(),
			postgres.Options{Search: []string{t.TempDir()}, Repository: missing.URL},
			[]string{"apt-get install postgresql", "docker compose up -d postgres", "no version found"},
		},
		{"bad search pattern", t.Context(), postgres.Options{Search: []string{"["}}, []string{"search folder"}},
		{"cancelled", cancelled, postgres.Options{}, []string{"make the cluster: context canceled"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Dir = openDir(t)
			database, err := postgres.Start(c.ctx, c.options)
			require.Nil(t, database)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.True(t, strings.HasPrefix(err.Error(), "postgres: "), err)
			requireEmpty(t, c.options.Dir)
		})
	}
}

func TestNotFoundCanBeTold(t *testing.T) {
	missing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(missing.Close)
	temp := openDir(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("TMPDIR", temp)
	_, err := postgres.Start(t.Context(), postgres.Options{Search: []string{}, Repository: missing.URL})
	require.ErrorIs(t, err, postgres.ErrNotFound)
	require.Equal(t, temp, os.Getenv("TMPDIR"))
	requireEmpty(t, temp)
}

// TestClosedFolder: root hands the cluster to another user, who cannot pass
// through a folder that is root's alone. Who is not root can use it.
func TestClosedFolder(t *testing.T) {
	dir := openDir(t)
	require.NoError(t, os.Chmod(dir, 0o700))
	database, err := postgres.Start(t.Context(), postgres.Options{Dir: dir})
	if os.Geteuid() == 0 {
		require.ErrorContains(t, err, "may its user pass through the folders above")
	} else {
		require.NoError(t, err)
		require.NoError(t, database.Close())
	}
	requireEmpty(t, dir)
}

func TestFromEnvironment(t *testing.T) {
	t.Setenv("CUSTODY_POSTGRES_URL", "postgres://h/d")
	t.Setenv("ORDERS_DATA_DIR", "/data")
	require.Equal(t, postgres.Options{URL: "postgres://h/d", Dir: "/data"}, postgres.FromEnvironment())
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
