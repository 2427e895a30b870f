// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"bytes"
	"fmt"
	"io"
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
type served struct {
	t      *testing.T
	folder string
	domain *localdomain.Domain
}

func startServed(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, folder: t.TempDir()}
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
		path := filepath.Join(s.folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	var err error
	s.domain, err = localdomain.Start(t.Context(), localdomain.Options{
		File: filepath.Join(s.folder, "dapr.yaml"), Home: filepath.Join(s.folder, "home"), Environ: os.Environ(),
		Daprd: binary(t, "daprd"), ControlPlane: binary(t, "controlplane"), Components: binary(t, "custody-components"),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := s.domain.Stop(); err != nil {
			t.Logf("stopping the trust domain: %v", err)
		}
	})
	return s
}

func (s *served) port(app string) int {
	for _, a := range s.domain.Info().Apps {
		if a.AppID == app {
			return a.DaprHTTPPort
		}
	}
	s.t.Fatalf("no app %s", app)
	return 0
}

// state calls the state API of a sidecar.
func (s *served) state(port int, method, path, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d/v1.0/state/cart%s", port, path), bytes.NewBufferString(body))
	require.NoError(s.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, string(text)
}

// Two apps reach their own stores through one server. A sidecar that says it is one of them, and has its token, is not
// the process that was started for it: it is refused, recorded, and told so at once.
func TestComponentServer(t *testing.T) {
	s := startServed(t)
	for _, app := range []string{"alice", "bob"} {
		status, text := s.state(s.port(app), http.MethodPost, "", `[{"key":"mine","value":"`+app+`'s"}]`)
		require.Equal(t, http.StatusNoContent, status, text)
	}
	for _, app := range []string{"alice", "bob"} {
		status, text := s.state(s.port(app), http.MethodGet, "/mine", "")
		require.Equal(t, http.StatusOK, status, text)
		require.Equal(t, `"`+app+`'s"`, text)
	}

	status, text := s.state(s.port("alice"), http.MethodPost, "", `[{"key":"other","value":1}]`)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Regexp(t, `policy denied this \(reference [0-9a-f-]{36}\)`, text)
	require.NotContains(t, text, "rule")

	status, text = s.state(s.port("mallory"), http.MethodGet, "/mine", "")
	require.NotEqual(t, http.StatusOK, status, "mallory reads what is bob's: %s", text)

	var token string
	for _, a := range s.domain.Info().Apps {
		if a.AppID == "alice" {
			token = a.TokenFile
		}
	}
	impostor, err := s.domain.Launch(localdomain.Sidecar{
		AppID: "alice", TokenFile: token, ConfigFile: filepath.Join(s.folder, "config.yaml"),
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
