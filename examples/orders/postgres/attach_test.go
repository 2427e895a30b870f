// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
)

const ownSchemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'custody_orders_%'"

func TestAttachUsesOneSchemaAndDropsIt(t *testing.T) {
	url := postgres.AdminURL(t)
	admin := connect(t, url)
	_, err := admin.Exec(t.Context(), "CREATE TABLE orders (mine text); INSERT INTO orders VALUES ('untouched')")
	require.NoError(t, err)
	config := admin.Config()
	keyword := fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s",
		config.Host, config.Port, config.User, config.Password, config.Database)

	for name, form := range map[string]string{"url": url, "keyword": keyword} {
		t.Run(name, func(t *testing.T) {
			first, err := postgres.Start(t.Context(), postgres.Options{URL: form})
			require.NoError(t, err)
			second, err := postgres.Start(t.Context(), postgres.Options{URL: form})
			require.NoError(t, err)
			require.NotContains(t, first.Origin(), config.Password)
			require.Equal(t, 2, ask[int](t, admin, ownSchemas))

			require.Equal(t, 60, ask[int](t, connect(t, first.URL()), "SELECT count(*) FROM orders"))
			require.NoError(t, first.Close())
			require.Equal(t, 60, ask[int](t, connect(t, second.URL()), "SELECT count(*) FROM orders"))
			require.NoError(t, second.Close())
			require.Zero(t, ask[int](t, admin, ownSchemas))
			require.Equal(t, "untouched", ask[string](t, admin, "SELECT mine FROM public.orders"))
		})
	}
}

func TestAttachWithoutTheRightToCreate(t *testing.T) {
	url := postgres.AdminURL(t)
	admin := connect(t, url)
	_, err := admin.Exec(t.Context(), "CREATE ROLE reader LOGIN PASSWORD 'reader'")
	require.NoError(t, err)
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	reader := fmt.Sprintf("postgres://reader:reader@%s:%d/%s", config.Host, config.Port, config.Database)

	_, err = postgres.Start(t.Context(), postgres.Options{URL: reader})
	require.ErrorContains(t, err, "42501") // insufficient_privilege
	require.Zero(t, ask[int](t, admin, ownSchemas))
}

func TestAttachToABadURL(t *testing.T) {
	for _, url := range []string{"postgres://user:hunter2@host:port/db", "postgres://127.0.0.1:1/db?password=hunter2"} {
		_, err := postgres.Start(t.Context(), postgres.Options{URL: url})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
