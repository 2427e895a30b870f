// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
)

func testIssuer(t *testing.T, now func() time.Time) (*issuer, string) {
	t.Helper()
	dir := t.TempDir()
	audience, err := controlPlaneID("dapr-sentry")
	require.NoError(t, err)
	i, err := newIssuer(dir, audience, now)
	require.NoError(t, err)
	return i, dir
}

// claims verifies a token with the published key set, as Sentry does.
func claims(t *testing.T, dir, file string) jwt.Claims {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	token, err := jwt.ParseSigned(string(text), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	set, err := os.ReadFile(filepath.Join(dir, "jwks", "jwks.json"))
	require.NoError(t, err)
	require.NotContains(t, string(set), `"d"`, "the private key is not published")
	var keys jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(set, &keys))
	found := keys.Key(token.Headers[0].KeyID)
	require.Len(t, found, 1)
	var c jwt.Claims
	require.NoError(t, token.Claims(found[0], &c))
	return c
}

func TestTokenIsForOneIdentityAndOneAudience(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	i, dir := testIssuer(t, func() time.Time { return now })
	file, err := i.issue("app.alpha", spiffeid.RequireFromString("spiffe://custody.local/ns/default/alpha"))
	require.NoError(t, err)

	c := claims(t, dir, file)
	require.Equal(t, "spiffe://custody.local/ns/default/alpha", c.Subject)
	require.Equal(t, jwt.Audience{"spiffe://control.custody.local/ns/default/dapr-sentry"}, c.Audience)
	require.Equal(t, now, c.IssuedAt.Time().UTC())
	require.Equal(t, now, c.NotBefore.Time().UTC())
	require.Equal(t, now.Add(time.Hour), c.Expiry.Time().UTC())
	for _, path := range []string{file, filepath.Join(dir, "issuer", "key.pem"), filepath.Join(dir, "jwks", "jwks.json")} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
	}
}

func TestTokenOfAnotherIssuerDoesNotVerify(t *testing.T) {
	t.Parallel()
	i, _ := testIssuer(t, time.Now)
	other, otherDir := testIssuer(t, time.Now)
	text, err := i.token(spiffeid.RequireFromString("spiffe://custody.local/a"))
	require.NoError(t, err)
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	set, err := os.ReadFile(filepath.Join(otherDir, "jwks", "jwks.json"))
	require.NoError(t, err)
	var keys jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(set, &keys))
	require.Error(t, token.Claims(keys.Keys[0], &jwt.Claims{}))
	require.NotNil(t, other)
}

func TestTokensAreReplacedAtHalfTheirLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, dir := testIssuer(t, time.Now)
		began := time.Now()
		file, err := i.issue("app.alpha", spiffeid.RequireFromString("spiffe://custody.local/ns/default/alpha"))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		go i.keepFresh(ctx, func(error) {})

		time.Sleep(29 * time.Minute) // the clock of the bubble
		synctest.Wait()
		require.WithinDuration(t, began, claims(t, dir, file).IssuedAt.Time(), time.Second)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.WithinDuration(t, began.Add(30*time.Minute), claims(t, dir, file).IssuedAt.Time(), time.Second)
		cancel()
		synctest.Wait()
	})
}

func TestFailedRefreshIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, dir := testIssuer(t, time.Now)
		id := spiffeid.RequireFromString("spiffe://custody.local/ns/default/alpha")
		file, err := i.issue("app.alpha", id)
		require.NoError(t, err)
		away := filepath.Join(dir, "away")
		require.NoError(t, os.Rename(i.dir, away))
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		go i.keepFresh(ctx, func(err error) { told = append(told, err.Error()) })

		time.Sleep(30*time.Minute + time.Second)
		synctest.Wait()
		require.Len(t, told, 1)
		require.True(t, strings.HasPrefix(told[0], "write app.alpha.jwt:"), told[0])
		require.NoError(t, os.Rename(away, i.dir))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, told, 1)
		require.WithinDuration(t, time.Now(), claims(t, dir, file).IssuedAt.Time(), 2*time.Second)
		cancel()
		synctest.Wait()
	})
}
