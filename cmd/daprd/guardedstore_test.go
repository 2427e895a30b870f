// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/state"
	"github.com/dapr/dapr/cmd/daprd/options"
	spiffecontext "github.com/dapr/kit/crypto/spiffe/context"
	"github.com/dapr/kit/logger"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policydir"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

const storePolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: carts}
spec:
  rules:
  - {name: carts, effect: allow, from: [shop], to: {server: carts, state: {operations: [get, set], keys: ["cart-*"]}}}
`

// The host of the moment decides before a store, and a sidecar without mTLS, or without a runtime, has no such store.
func TestStoreDoorLivesInTheSidecar(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(journalSuffixEnv, "-run")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "policies"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "policies", "carts.yaml"), []byte(storePolicy), 0o600))
	ca := testkit.NewCA(t, "custody.local")
	svid := ca.SVID("shop")
	d := newDaemon(&options.Options{AppID: "shop"})
	meta := state.Metadata{Base: metadata.Base{Name: "carts", Properties: map[string]string{
		"backend": "in-memory", "journalDir": filepath.Join(dir, "journal"), "policyDir": filepath.Join(dir, "policies"), "rateFile": filepath.Join(dir, "rates"),
	}}}
	open := func() (state.Store, error) {
		store := d.newGuardedStore(logger.NewLogger("test"))
		return store, store.Init(spiffecontext.WithX509(t.Context(), svid), meta)
	}
	_, err := open()
	require.ErrorIs(t, err, errNoHost)
	d.host.Store(&mcpguard.Host{AppID: "shop", Namespace: "default"})
	_, err = open()
	require.ErrorContains(t, err, "start it with mTLS")

	d.host.Store(&mcpguard.Host{
		AppID: "shop", Namespace: "default", ID: svid.ID, SVIDs: svid, Bundles: x509bundle.NewSet(ca.Bundle()), StatusFile: filepath.Join(dir, "shop.json"),
	})
	store, err := open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.Set(t.Context(), &state.SetRequest{Key: "shop||cart-1", Value: []byte("1")}))
	require.ErrorContains(t, store.Set(t.Context(), &state.SetRequest{Key: "shop||order-1", Value: []byte("1")}), "policy denied this (reference ")
	require.Len(t, testkit.ReadJournal(t, filepath.Join(dir, "journal-run"), ca.Bundle()).Receipts, 2)
	require.FileExists(t, filepath.Join(dir, "rates-run"))
	status, err := policydir.ReadStatus(filepath.Join(dir, "shop@carts.json"))
	require.NoError(t, err)
	require.Equal(t, []string{"shop", "carts"}, []string{status.App, status.Guard})
}
