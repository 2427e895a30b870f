// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/serverfile"
)

// Each sidecar is known as its own app, whatever its ID is made of and however late two IDs differ.
func TestSidecarsAreRegisteredByAnyID(t *testing.T) {
	long := strings.Repeat("x", maxAppID-1)
	d := &Domain{components: &components{file: &serverfile.File{}}}
	d.run.Dir = t.TempDir()
	require.NoError(t, os.Mkdir(d.path("registrations"), 0o700))
	ids := []string{"Second_1", "_", "plain", long + "a", long + "b"}
	for i, id := range ids {
		m := &member{App: App{ID: id, Namespace: "default"}, index: i, id: spiffeid.RequireFromString("spiffe://custody.local/ns/default/" + id)}
		require.NoError(t, d.register(m, &process{id: ProcessID{PID: 100 + i, StartTime: 7}}), id)
	}

	files, err := filepath.Glob(d.path("registrations", "*.yaml"))
	require.NoError(t, err)
	var all []identity.Registration
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		found, err := identity.ParseRegistrations(file, text)
		require.NoError(t, err)
		all = append(all, found...)
	}
	registrations, err := identity.NewRegistrations(all)
	require.NoError(t, err)
	require.Equal(t, len(ids), registrations.Len())
	for i, id := range ids {
		caller, err := registrations.Match(identity.Process{PID: 100 + i, Started: 7, AppID: id, Namespace: "default"})
		require.NoError(t, err)
		require.Equal(t, id, caller.AppID())
	}
}

// An app of that ID would get a token for the identity that signs the component server's records.
func TestNoAppIsTheComponentServer(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, serverfile.Name), []byte(`apiVersion: custody.dev/v1alpha1
kind: ComponentServer
metadata: {name: server}
spec: {policyDir: policies, journalDir: journal, stores: stores}
`), 0o600))
	run := &RunFile{Path: filepath.Join(dir, "dapr.yaml"), Apps: []App{{ID: "alpha"}, {ID: componentsID}}}
	_, err := findComponents(Options{}, run)
	require.ErrorContains(t, err, "that of the component server")

	run.Apps[1].ID += "-2"
	found, err := findComponents(Options{}, run)
	require.NoError(t, err)
	require.NotNil(t, found)
}
