// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
)

func TestScratchWithTLSAndAShop(t *testing.T) {
	database, err := postgres.StartScratch(t.Context(), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, database.Close()) })
	url, err := database.Shop(t.Context(), "orders", "CREATE TABLE shop.more AS SELECT 1 AS one")
	require.NoError(t, err)
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	authority, err := database.SpeakTLS(t.Context())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(authority))

	for _, name := range []string{"127.0.0.1", "localhost"} {
		config.TLSConfig = &tls.Config{RootCAs: roots, ServerName: name}
		conn, err := pgx.ConnectConfig(t.Context(), config)
		require.NoError(t, err)
		var encrypted bool
		var orders, more int
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT ssl, (SELECT count(*) FROM shop.orders), (SELECT one FROM shop.more)
			FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&encrypted, &orders, &more))
		require.NoError(t, conn.Close(t.Context()))
		require.True(t, encrypted)
		require.Equal(t, 60, orders)
		require.Equal(t, 1, more)
	}
	config.TLSConfig = &tls.Config{RootCAs: roots, ServerName: "db.example"}
	_, err = pgx.ConnectConfig(t.Context(), config)
	require.ErrorContains(t, err, "certificate")
}

func TestOnlyScratchIsChanged(t *testing.T) {
	var other postgres.Database
	_, err := other.SpeakTLS(t.Context())
	require.ErrorContains(t, err, "only a scratch cluster")
	_, err = other.Shop(t.Context(), "orders", "")
	require.ErrorContains(t, err, "only a scratch cluster")
}
