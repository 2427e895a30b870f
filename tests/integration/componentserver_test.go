// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
)

// served is a trust domain with a component server and the apps alice and bob, who both call their store cart, and
// mallory, whose component of that name says where bob's is.
type served struct{ trustDomain }

func startServed(t *testing.T) *served {
	t.Helper()
	s := &served{newTrustDomain(t)}
	files := map[string]string{
		"config.yaml": `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: apps}
spec:
  accessControl: {trustDomain: custody.local}
`,
		"components.yaml": `apiVersion: custody.dev/v1alpha1
kind: ComponentServer
metadata: {name: stores}
spec: {policyDir: policies, journalDir: journal, stores: stores}
`,
		"policies/carts.yaml": `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: carts}
spec:
  rules:
  - {name: own, effect: allow, from: [alice, bob, mallory], to: {server: cart, state: {operations: [get, set], keys: [mine]}}}
`,
		"dapr.yaml": `version: 1
apps:
- {appID: alice, appDirPath: ., configFilePath: config.yaml, resourcesPath: alice, command: [sleep, '3600']}
- {appID: bob, appDirPath: ., configFilePath: config.yaml, resourcesPath: bob, command: [sleep, '3600']}
- {appID: mallory, appDirPath: ., configFilePath: config.yaml, resourcesPath: mallory, command: [sleep, '3600']}
`,
	}
	const component = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: cart}
spec:
  type: state.custody
  version: v1
  ignoreErrors: %[3]t
  metadata:
  - {name: keyPrefix, value: none}
  - {name: backend, value: sqlite}
  - {name: connectionString, value: %[1]s/%[2]s.db}
`
	for app, store := range map[string]string{"alice": "alice", "bob": "bob", "mallory": "bob"} {
		files[app+"/cart.yaml"] = fmt.Sprintf(component, s.folder, store, app == "mallory")
		files["stores/"+app+".yaml"] = fmt.Sprintf(component+"scopes: [%[2]s]\n", s.folder, app, false)
	}
	for name, text := range files {
		s.write(name, text)
	}
	require.NoError(t, s.start(localdomain.Options{Components: binary(t, "custody-components")}))
	return s
}

// Two apps reach their own stores through one server. A sidecar that says it is one of them, and has its token, is not
// the process that was started for it: it is refused, recorded, and told so at once.
func TestComponentServer(t *testing.T) {
	s := startServed(t)
	for _, app := range []string{"alice", "bob"} {
		got := s.state(app, http.MethodPost, "cart", `[{"key":"mine","value":"`+app+`'s"}]`)
		require.Equal(t, http.StatusNoContent, got.status, got.text)
	}
	for _, app := range []string{"alice", "bob"} {
		require.Equal(t, answer{http.StatusOK, `"` + app + `'s"`}, s.state(app, http.MethodGet, "cart/mine", ""))
	}

	s.denied(s.state("alice", http.MethodPost, "cart", `[{"key":"other","value":1}]`))

	got := s.state("mallory", http.MethodGet, "cart/mine", "")
	require.NotEqual(t, http.StatusOK, got.status, "mallory reads what is bob's: %s", got.text)

	impostor, err := s.domain.Launch(localdomain.Sidecar{
		AppID: "alice", TokenFile: s.app("alice").TokenFile, ConfigFile: filepath.Join(s.folder, "config.yaml"),
		ResourcesPaths: []string{filepath.Join(s.folder, "alice")},
		Env:            map[string]string{"DAPR_COMPONENTS_SOCKETS_FOLDER": s.domain.Info().Sockets},
	})
	require.NoError(t, err)
	select {
	case <-impostor.Done():
	case <-time.After(30 * time.Second):
		log, err := os.ReadFile(impostor.LogFile)
		require.NoError(t, err)
		t.Fatalf("the impostor runs: %s", log)
	}
	log, err := os.ReadFile(impostor.LogFile)
	require.NoError(t, err)
	require.Contains(t, string(log), "this workload is not known here (reference ")
}
