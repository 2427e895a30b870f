// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package dbca_test

import (
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/dbca"
)

var (
	now   = time.Date(2026, 10, 20, 12, 0, 0, 0, time.UTC)
	agent = spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders-mcp")
	alice = spiffeid.RequireFromString("spiffe://custody.local/ns/default/alice")
)

func create(t *testing.T) (*dbca.CA, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	ca, err := dbca.Create(dir, now)
	require.NoError(t, err)
	return ca, dir
}

// verify says whether a database that trusts this bundle would take the certificate then.
func verify(ca *dbca.CA, leaf *x509.Certificate, at time.Time) error {
	trusted, err := ca.Trusted()
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	for _, c := range trusted {
		roots.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

func TestMint(t *testing.T) {
	ca, _ := create(t)
	cert, err := ca.Mint("custody_orders", agent, alice, now)
	require.NoError(t, err)
	leaf := cert.Leaf
	require.Equal(t, "CN=custody_orders", leaf.Subject.String())
	require.Equal(t, []*url.URL{agent.URL(), {Scheme: "custody-actor", Opaque: alice.String()}}, leaf.URIs)
	require.Empty(t, leaf.DNSNames)
	require.Equal(t, x509.KeyUsageDigitalSignature, leaf.KeyUsage)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage)
	require.False(t, leaf.IsCA)
	require.Equal(t, now.Add(-time.Minute), leaf.NotBefore)
	require.Equal(t, now.Add(5*time.Minute), leaf.NotAfter)
	require.NoError(t, verify(ca, leaf, now))
	require.Error(t, verify(ca, leaf, now.Add(5*time.Minute+time.Second)))
	require.Error(t, verify(ca, leaf, now.Add(-61*time.Second)))

	alone, err := ca.Mint("custody_orders", agent, spiffeid.ID{}, now)
	require.NoError(t, err)
	require.Equal(t, []*url.URL{agent.URL()}, alone.Leaf.URIs)
	require.NotEqual(t, leaf.SerialNumber, alone.Leaf.SerialNumber)

	other, _ := create(t)
	require.Error(t, verify(other, leaf, now))
}

func TestMintRefuses(t *testing.T) {
	ca, _ := create(t)
	domain := spiffeid.RequireTrustDomainFromString("custody.local").ID()
	long := spiffeid.RequireFromString("spiffe://custody.local/" + strings.Repeat("a", 2048))
	for name, c := range map[string]struct {
		role          string
		caller, actor spiffeid.ID
		at            time.Time
		want          string
	}{
		"no role":         {"", agent, alice, now, "is not a legal role"},
		"superuser":       {"postgres", agent, alice, now, "PostgreSQL's own"},
		"quotes":          {`a" OR`, agent, alice, now, "is not a legal role"},
		"nobody":          {"custody_orders", spiffeid.ID{}, alice, now, "the caller is nobody"},
		"a trust domain":  {"custody_orders", domain, alice, now, "a trust domain, not a workload"},
		"a domain acting": {"custody_orders", agent, domain, now, "a trust domain, not a workload"},
		"too long":        {"custody_orders", agent, long, now, "longer than 2048"},
		"after the end":   {"custody_orders", agent, alice, now.AddDate(6, 0, 0), "run custody db rotate-ca"},
		"before":          {"custody_orders", agent, alice, now.Add(-time.Hour), "is the clock right?"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ca.Mint(c.role, c.caller, c.actor, c.at)
			require.ErrorContains(t, err, c.want)
			require.True(t, strings.HasPrefix(err.Error(), "dbca: "))
		})
	}
}

func TestCertificatesEndWithTheAuthority(t *testing.T) {
	ca, _ := create(t)
	signer, err := ca.Certificate()
	require.NoError(t, err)
	cert, err := ca.Mint("custody_orders", agent, alice, signer.NotAfter.Add(-time.Minute))
	require.NoError(t, err)
	require.Equal(t, signer.NotAfter, cert.Leaf.NotAfter)
}

func TestCreateAndOpen(t *testing.T) {
	_, dir := create(t)
	for file, mode := range map[string]os.FileMode{"": 0o700, "ca-key.pem": 0o600, "ca.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), file)
	}
	_, err := dbca.Create(dir, now)
	require.ErrorContains(t, err, "is there already")
	ca, err := dbca.Open(dir)
	require.NoError(t, err)
	cert, err := ca.Mint("custody_orders", agent, alice, now)
	require.NoError(t, err)
	require.NoError(t, verify(ca, cert.Leaf, now))

	empty := t.TempDir()
	require.NoError(t, os.Chmod(empty, 0o700))
	_, err = dbca.Create(empty, now)
	require.NoError(t, err)
	// A crash before the key was written leaves a bundle, and is begun anew.
	require.NoError(t, os.Remove(filepath.Join(empty, "ca-key.pem")))
	_, err = dbca.Open(empty)
	require.ErrorIs(t, err, dbca.ErrNone)
	_, err = dbca.Create(empty, now)
	require.NoError(t, err)
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"open folder": {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir, 0o750)) }, "chmod 700"},
		"open key":    {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(dir+"/ca-key.pem", 0o640)) }, "chmod 600"},
		"a link": {func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(dir+"/ca-key.pem", dir+"/elsewhere"))
			require.NoError(t, os.Symlink("elsewhere", dir+"/ca-key.pem"))
		}, "is no plain file"},
		"no folder": {func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) }, "run custody db setup --ca"},
		"no bundle": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir+"/ca.pem")) }, "ca.pem"},
		"key alone": {func(t *testing.T, dir string) {
			text, err := os.ReadFile(dir + "/ca-key.pem")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(dir+"/ca-key.pem", text[strings.Index(string(text), "-----BEGIN PRIVATE"):], 0o600))
		}, "no certificate of an authority"},
		"another's key": {func(t *testing.T, dir string) {
			_, other := create(t)
			mine, err := os.ReadFile(dir + "/ca-key.pem")
			require.NoError(t, err)
			theirs, err := os.ReadFile(other + "/ca-key.pem")
			require.NoError(t, err)
			certificate, _, _ := strings.Cut(string(mine), "-----BEGIN PRIVATE")
			_, key, _ := strings.Cut(string(theirs), "-----BEGIN PRIVATE")
			require.NoError(t, os.WriteFile(dir+"/ca-key.pem", []byte(certificate+"-----BEGIN PRIVATE"+key), 0o600))
		}, "no certificate of an authority"},
		"another's bundle": {func(t *testing.T, dir string) {
			_, other := create(t)
			text, err := os.ReadFile(other + "/ca.pem")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(dir+"/ca.pem", text, 0o600))
		}, "does not hold the certificate"},
		"rubbish": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(dir+"/ca-key.pem", []byte("-----BEGIN CERTIFICATE-----\nMQ==\n-----END CERTIFICATE-----\n"), 0o600))
		}, "ca-key.pem: x509"},
		"huge": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(dir+"/ca-key.pem", make([]byte, 1<<20), 0o600))
		}, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, dir := create(t)
			c.spoil(t, dir)
			_, err := dbca.Open(dir)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := dbca.Open("")
	require.ErrorContains(t, err, "no folder is named")
	_, err = dbca.Create("", now)
	require.ErrorContains(t, err, "no folder is named")
}

func TestRotation(t *testing.T) {
	ca, dir := create(t)
	serving, err := dbca.Open(dir) // of another process
	require.NoError(t, err)
	mint := func(c *dbca.CA) *x509.Certificate {
		t.Helper()
		cert, err := c.Mint("custody_orders", agent, alice, now)
		require.NoError(t, err)
		return cert.Leaf
	}
	old := mint(serving)

	next, err := ca.Next()
	require.NoError(t, err)
	require.Nil(t, next)
	require.ErrorContains(t, ca.Switch(), "prepare one first")

	require.NoError(t, ca.Prepare(now))
	bundle, err := ca.Bundle()
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(bundle), "BEGIN CERTIFICATE"))
	require.NoError(t, ca.Prepare(now))
	again, err := ca.Bundle()
	require.NoError(t, err)
	require.Equal(t, bundle, again)

	next, err = ca.Next()
	require.NoError(t, err)
	fresh := mint(next)
	require.Equal(t, old.Issuer, mint(serving).Issuer)
	require.NotEqual(t, old.Issuer, fresh.Issuer)
	for _, leaf := range []*x509.Certificate{old, fresh} {
		require.NoError(t, verify(ca, leaf, now))
	}
	require.ErrorContains(t, ca.Drop(), "switch to it first")

	require.NoError(t, ca.Switch())
	require.Equal(t, fresh.Issuer, mint(serving).Issuer)
	require.NoError(t, verify(ca, old, now))
	require.NoError(t, ca.Drop())
	require.Error(t, verify(ca, old, now))
	require.NoError(t, verify(ca, mint(serving), now))
	_, err = dbca.Open(dir)
	require.NoError(t, err)
}

// What happens to the folder while it is in use ends in refusals, not in what was read before.
func TestMintAfterTheFolderWasSpoilt(t *testing.T) {
	ca, dir := create(t)
	require.NoError(t, os.Chmod(dir+"/ca-key.pem", 0o644))
	_, err := ca.Mint("custody_orders", agent, alice, now)
	require.ErrorContains(t, err, "chmod 600")
	require.NoError(t, os.Remove(dir+"/ca-key.pem"))
	_, err = ca.Mint("custody_orders", agent, alice, now)
	require.ErrorIs(t, err, dbca.ErrNone)
}

func BenchmarkMint(b *testing.B) {
	ca, err := dbca.Create(filepath.Join(b.TempDir(), "ca"), now)
	require.NoError(b, err)
	for b.Loop() {
		_, err := ca.Mint("custody_orders", agent, alice, now)
		require.NoError(b, err)
	}
}
