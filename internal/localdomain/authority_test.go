// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
)

var (
	keptAt     = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	keptSentry = spiffeid.RequireFromString("spiffe://control.custody.local/ns/default/dapr-sentry")
)

// kept is a folder with an authority that was made at keptAt.
func kept(t *testing.T) (string, *authority) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	a, renewed, err := openAuthority(dir, keptSentry, keptAt)
	require.NoError(t, err)
	require.False(t, renewed)
	return dir, a
}

func verifies(leaf, root *x509.Certificate, at time.Time) error {
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func TestAuthorityIsUsedAgain(t *testing.T) {
	t.Parallel()
	dir, first := kept(t)
	require.NoError(t, verifies(first.issuer.cert, first.root.cert, keptAt))
	require.Equal(t, keptAt.Add(keptRootTTL), first.root.cert.NotAfter)
	for _, name := range []string{rootFile, issuerFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	for _, later := range []time.Duration{0, time.Hour, keptIssuerTTL - keptIssuerLeft} {
		again, renewed, err := openAuthority(dir, keptSentry, keptAt.Add(later))
		require.NoError(t, err)
		require.False(t, renewed)
		require.True(t, again.root.cert.Equal(first.root.cert))
		require.True(t, again.issuer.cert.Equal(first.issuer.cert))
	}
}

// What Sentry gets: its issuer, and of the root the certificate only.
func TestKeyOfTheRootStays(t *testing.T) {
	t.Parallel()
	_, a := kept(t)
	dir := t.TempDir()
	require.NoError(t, a.give(dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	key, err := x509.MarshalPKCS8PrivateKey(a.root.key)
	require.NoError(t, err)
	rootKey := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		require.NoError(t, err)
		require.NotContains(t, string(text), rootKey)
	}
	var sentry pair
	require.NoError(t, sentry.parse(append(read(t, dir, "issuer.crt"), read(t, dir, "issuer.key")...)))
	require.Equal(t, certificatePEM(a.root.cert), read(t, dir, "ca.crt"))
}

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(t, err)
	return text
}

func TestIssuerIsReplacedNearItsEnd(t *testing.T) {
	t.Parallel()
	dir, first := kept(t)
	late := keptAt.Add(keptIssuerTTL - keptIssuerLeft + time.Second)
	next, renewed, err := openAuthority(dir, keptSentry, late)
	require.NoError(t, err)
	require.True(t, renewed)
	require.True(t, next.root.cert.Equal(first.root.cert))
	require.Equal(t, late.Add(keptIssuerTTL), next.issuer.cert.NotAfter)
	require.NoError(t, verifies(next.issuer.cert, first.root.cert, late))
	require.NotEqual(t, first.issuer.key, next.issuer.key)
	_, renewed, err = openAuthority(dir, keptSentry, late)
	require.NoError(t, err)
	require.False(t, renewed)
}

// An issuer that somebody removed is made anew, and does not outlive the root.
func TestIssuerIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir, first := kept(t)
	require.NoError(t, os.Remove(filepath.Join(dir, issuerFile)))
	late := first.root.cert.NotAfter.Add(-time.Hour)
	next, _, err := openAuthority(dir, keptSentry, late)
	require.NoError(t, err)
	require.Equal(t, first.root.cert.NotAfter, next.issuer.cert.NotAfter)
}

func TestAuthorityIsRefused(t *testing.T) {
	t.Parallel()
	other, _ := kept(t)
	elsewhere := t.TempDir()
	require.NoError(t, os.Chmod(elsewhere, 0o700))
	theirs := spiffeid.RequireFromString("spiffe://control.example.org/ns/default/dapr-sentry")
	_, _, err := openAuthority(elsewhere, theirs, keptAt)
	require.NoError(t, err)
	put := func(dir, name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	for name, c := range map[string]struct {
		change func(dir string) error
		later  time.Duration
		want   string
	}{
		"folder for all":         {func(dir string) error { return os.Chmod(dir, 0o750) }, 0, "has mode 0750, and keys are kept in it: make it yours alone with chmod 700"},
		"root for all":           {func(dir string) error { return os.Chmod(filepath.Join(dir, rootFile), 0o640) }, 0, "root.pem has mode 0640"},
		"issuer for all":         {func(dir string) error { return os.Chmod(filepath.Join(dir, issuerFile), 0o604) }, 0, "issuer.pem has mode 0604"},
		"a link":                 {linkRoot, 0, "root.pem is no file: a link"},
		"issuer expired":         {nil, keptIssuerTTL + time.Second, "issuer.pem expired on 2027-11-23T12:00:00Z; look at the clock, then remove it"},
		"root expired":           {func(dir string) error { return os.Remove(filepath.Join(dir, issuerFile)) }, keptRootTTL + time.Second, "root.pem expired on 2036"},
		"before its time":        {nil, -time.Hour, "root.pem is not good before 2026-11-23T11:55:00Z; look at the clock"},
		"another trust domain":   {func(dir string) error { return put(dir, rootFile, read(t, elsewhere, rootFile)) }, 0, `root.pem is the root of ["control.example.org"], and this is "control.custody.local"`},
		"issuer of another":      {func(dir string) error { return put(dir, issuerFile, read(t, elsewhere, issuerFile)) }, 0, `issuer.pem is the issuer of ["spiffe://control.example.org/ns/default/dapr-sentry"]`},
		"issuer of another root": {func(dir string) error { return put(dir, issuerFile, read(t, other, issuerFile)) }, 0, "issuer.pem was not signed by root.pem"},
		"issuer as root":         {func(dir string) error { return put(dir, rootFile, read(t, dir, issuerFile)) }, 0, `root.pem is the root of`},
		"root as issuer":         {func(dir string) error { return put(dir, issuerFile, read(t, dir, rootFile)) }, 0, `issuer.pem is the issuer of`},
		"no root":                {func(dir string) error { return os.Remove(filepath.Join(dir, rootFile)) }, 0, "has issuer.pem and no root.pem"},
		"cut off":                {func(dir string) error { return put(dir, rootFile, read(t, dir, rootFile)[:550]) }, 0, "root.pem is damaged"},
		"key of another": {func(dir string) error {
			block, _ := pem.Decode(read(t, dir, rootFile))
			_, key := pem.Decode(read(t, other, rootFile))
			return put(dir, rootFile, append(pem.EncodeToMemory(block), key...))
		}, 0, "the key is not that of the certificate"},
		"no key": {func(dir string) error {
			block, _ := pem.Decode(read(t, dir, rootFile))
			return put(dir, rootFile, pem.EncodeToMemory(block))
		}, 0, "does not hold a certificate and a key"},
		"two roots": {func(dir string) error {
			return put(dir, rootFile, append(read(t, dir, rootFile), read(t, other, rootFile)...))
		}, 0, "it holds a second CERTIFICATE"},
		"empty": {func(dir string) error { return put(dir, rootFile, nil) }, 0, "does not hold a certificate and a key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := kept(t)
			if c.change != nil {
				require.NoError(t, c.change(dir))
			}
			before := files(t, dir)
			_, _, err := openAuthority(dir, keptSentry, keptAt.Add(c.later))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, before, files(t, dir), "nothing is changed")
		})
	}
}

func linkRoot(dir string) error {
	path := filepath.Join(dir, rootFile)
	if err := os.Rename(path, path+".real"); err != nil {
		return err
	}
	return os.Symlink(path+".real", path)
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	found := map[string]string{}
	for _, entry := range entries {
		found[entry.Name()] = string(read(t, dir, entry.Name()))
	}
	return found
}

func FuzzPair(f *testing.F) {
	root, err := newRoot("custody.local", keptAt)
	require.NoError(f, err)
	path := filepath.Join(f.TempDir(), rootFile)
	require.NoError(f, root.write(path))
	text, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(text)
	f.Add(certificatePEM(root.cert))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p pair
		if p.parse(text) == nil {
			require.NotNil(t, p.cert)
			require.NotNil(t, p.key)
		}
	})
}
