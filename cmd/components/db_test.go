// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/examples/orders/postgres"
)

const shopDocument = `apiVersion: custody.dev/v1alpha1
kind: Database
metadata: {name: %s}
spec:
  engine: postgresql
  host: %s
  port: %d
  database: postgres
  serverCA: server-ca.pem
  schemas: [public]
  roles:
  - {from: [orders-mcp], role: %s}
`

// db runs the command and gives what it printed and its exit code.
func db(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	err := runDB(t.Context(), &out, args)
	if err == nil {
		return out.String(), 0
	}
	return out.String() + err.Error(), exitStatus(err)
}

func TestDBUsage(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	one := write("one.yaml", fmt.Sprintf(shopDocument, "a", "127.0.0.1", 1, "r1"))
	wrong := write("wrong.yml", "apiVersion: custody.dev/v1alpha1\nkind: Databse\n")
	write("far/a.yaml", fmt.Sprintf(shopDocument, "a", "127.0.0.1", 1, "r1"))
	write("far/b.yml", fmt.Sprintf(shopDocument, "b", "localhost", 1, "r2"))
	write("far/c.txt", "not read")
	write("same/a.yaml", fmt.Sprintf(shopDocument, "a", "127.0.0.1", 1, "r1"))
	write("same/b.yaml", fmt.Sprintf(shopDocument, "a", "127.0.0.1", 1, "r2"))
	write("none/x.txt", "")
	ca := filepath.Join(dir, "ca")
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":          {nil, 0, "usage: custody db setup|check|undo|rotate-ca"},
		"help":             {[]string{"--help"}, 0, "custody db undo --databases databases/"},
		"help of one":      {[]string{"setup", "--help"}, 0, "-revoke-functions"},
		"unknown":          {[]string{"stup"}, 2, "it is setup, check, undo or rotate-ca"},
		"no document":      {[]string{"setup", "--ca", ca}, 2, "--databases is missing"},
		"no authority":     {[]string{"check", "--databases", one}, 2, "--ca is missing"},
		"none made":        {[]string{"check", "--databases", one, "--ca", ca}, 2, "run custody db setup --ca " + ca},
		"more":             {[]string{"undo", "--databases", one, "x"}, 2, `argument "x" is not known`},
		"flag of others":   {[]string{"undo", "--databases", one, "--revoke-functions"}, 2, "flag provided but not defined"},
		"no file":          {[]string{"undo", "--databases", dir + "/x"}, 2, "no such file"},
		"wrong file":       {[]string{"setup", "--databases", wrong, "--ca", ca}, 2, `wrong.yml:2:7: kind: "Databse" is not supported: write Database`},
		"empty folder":     {[]string{"undo", "--databases", dir + "/none"}, 2, "holds no file with a Database document"},
		"other name":       {[]string{"undo", "--databases", one, "--database", "b"}, 2, `describes no "b": there are a`},
		"same name":        {[]string{"undo", "--databases", dir + "/same"}, 2, `database "a" is already described in`},
		"two servers":      {[]string{"setup", "--databases", dir + "/far", "--ca", ca}, 2, "choose one with --database"},
		"wrong URL":        {[]string{"undo", "--databases", one, "--admin-url", "postgres://u:hunter2@h:port/"}, 2, "--admin-url: "},
		"no server":        {[]string{"undo", "--databases", one, "--admin-url", "postgres://u:hunter2@127.0.0.1:1/"}, 2, "database a: the superuser does not get in"},
		"one of two":       {[]string{"undo", "--databases", dir + "/far", "--database", "b", "--admin-url", "postgres://u@127.0.0.1:1/"}, 2, "database b: "},
		"nothing was made": {[]string{"rotate-ca", "--databases", one, "--ca", ca}, 2, "there is no authority for databases yet"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := db(t, c.args...)
			require.Equal(t, c.code, code, out)
			require.Contains(t, out, c.want)
			require.NotContains(t, out, "hunter2")
			require.NoDirExists(t, ca)
		})
	}
}

// The whole path on a server that speaks no TLS: what is left to do is told, and the exit codes say so.
func TestDBCommands(t *testing.T) {
	scratch, err := postgres.StartScratch(t.Context(), postgres.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, scratch.Close()) })
	admin, err := pgx.ParseConfig(scratch.URL())
	require.NoError(t, err)
	// As libpq has it: no URL at all.
	for name, value := range map[string]string{
		"PGHOST": admin.Host, "PGPORT": fmt.Sprint(admin.Port), "PGUSER": admin.User, "PGPASSWORD": admin.Password, "PGSSLMODE": "disable",
	} {
		t.Setenv(name, value)
	}
	dir := t.TempDir()
	file, ca := filepath.Join(dir, "db.yaml"), filepath.Join(dir, "ca")
	require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf(shopDocument, "shop", "127.0.0.1", admin.Port, "shop_role")), 0o600))

	out, code := db(t, "setup", "--databases", file, "--ca", ca, "--print")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "CREATE ROLE shop_role LOGIN NOSUPERUSER")
	require.Contains(t, out, "the authority would be made")
	require.NoDirExists(t, ca)
	require.Contains(t, out, "to do by hand: the server speaks no TLS")
	out, code = db(t, "setup", "--databases", dir, "--ca", ca)
	require.Equal(t, 2, code, out)
	require.Contains(t, out, "the server speaks no TLS: give it a certificate for 127.0.0.1")
	require.Contains(t, out, ca+": an authority for databases was made")

	conn, err := pgx.ConnectConfig(t.Context(), admin)
	require.NoError(t, err)
	giveCertificate(t, conn)
	require.NoError(t, conn.Close(t.Context()))
	out, code = db(t, "setup", "--databases", file, "--ca", ca)
	require.Equal(t, 0, code, out)
	out, code = db(t, "setup", "--databases", file, "--ca", ca)
	require.Equal(t, 0, code, out)
	require.Contains(t, out, "nothing changed")
	out, code = db(t, "check", "--databases", file, "--ca", ca) // the server's authority is nowhere
	require.Equal(t, 1, code)
	require.Contains(t, out, "FAIL  gets in with a certificate")
	require.NotContains(t, out, admin.Password)
	var data string
	conn, err = pgx.ConnectConfig(t.Context(), admin)
	require.NoError(t, err)
	require.NoError(t, conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&data))
	require.NoError(t, conn.Close(t.Context()))
	certificate, err := os.ReadFile(filepath.Join(data, "server.crt"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "server-ca.pem"), certificate, 0o600))
	out, code = db(t, "check", "--databases", file, "--ca", ca)
	require.Equal(t, 0, code, out)
	out, code = db(t, "rotate-ca", "--databases", file, "--ca", ca)
	require.Equal(t, 0, code, out)
	out, code = db(t, "check", "--databases", file, "--ca", ca)
	require.Equal(t, 0, code, out)
	out, code = db(t, "undo", "--databases", file)
	require.Equal(t, 0, code, out)
	require.Contains(t, out, "role shop_role taken away")
}

// giveCertificate has the server speak TLS with a certificate that is its own authority.
func giveCertificate(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	var data string
	require.NoError(t, conn.QueryRow(t.Context(), "SHOW data_directory").Scan(&data))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	info, err := os.Stat(data)
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	for name, block := range map[string]*pem.Block{"server.crt": {Type: "CERTIFICATE", Bytes: der}, "server.key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		file := filepath.Join(data, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		require.NoError(t, os.Chown(file, int(owner.Uid), int(owner.Gid)))
	}
	for _, sql := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		fresh, err := pgx.ConnectConfig(t.Context(), conn.Config())
		require.NoError(t, err)
		var on string
		require.NoError(t, fresh.QueryRow(t.Context(), "SHOW ssl").Scan(&on))
		require.NoError(t, fresh.Close(t.Context()))
		return on == "on"
	}, 10*time.Second, 10*time.Millisecond)
}
