// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package conformance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
)

// The Go SDK's server runs twice: without sessions, as 2026-07-28 wants it, and
// with them.
const (
	statelessApp = "stateless"
	sessionsApp  = "sessions"
	callerApp    = "caller"

	serverPackage = "github.com/modelcontextprotocol/go-sdk/conformance/everything-server"
)

const (
	serverConfig = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: server}
spec:
  accessControl: {trustDomain: custody.local}
  appHttpPipeline:
    handlers: [{name: guard, type: middleware.http.mcpguard}]
`
	callerConfig = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: caller}
spec:
  accessControl: {trustDomain: custody.local}
`
	guardComponent = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: guard}
spec:
  type: middleware.http.mcpguard
  version: v1
  metadata:
  - {name: policyDir, value: %[1]s/policies}
  - {name: journalDir, value: %[1]s/journal-%[2]s}
`
	allowAll = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: all}
spec:
  rules:
  - {name: stateless, effect: allow, from: [caller], to: {server: stateless, tools: ["*"], methods: ["*"]}}
  - {name: sessions, effect: allow, from: [caller], to: {server: sessions, tools: ["*"], methods: ["*"]}}
`
	runFile = `version: 1
apps:
- {appID: stateless, appDirPath: ., appPort: 8080, configFilePath: server.yaml, resourcesPath: stateless,
   command: [sh, -c, 'exec ./server -http 127.0.0.1:$APP_PORT -stateless=true']}
- {appID: sessions, appDirPath: ., appPort: 8081, configFilePath: server.yaml, resourcesPath: sessions,
   command: [sh, -c, 'exec ./server -http 127.0.0.1:$APP_PORT -stateless=false']}
- {appID: caller, appDirPath: ., configFilePath: caller.yaml, resourcesPath: none, command: [sleep, '3600']}
`
)

// mesh is a trust domain with both servers, each behind a guard, and one caller.
type mesh struct{ apps map[string]localdomain.RunApp }

func startMesh(t *testing.T) *mesh {
	t.Helper()
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "server"), serverPackage)
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	for name, text := range map[string]string{
		"server.yaml":          serverConfig,
		"caller.yaml":          callerConfig,
		"stateless/guard.yaml": fmt.Sprintf(guardComponent, folder, statelessApp),
		"sessions/guard.yaml":  fmt.Sprintf(guardComponent, folder, sessionsApp),
		"policies/all.yaml":    allowAll,
		"dapr.yaml":            runFile,
	} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(folder, "none"), 0o755))
	domain, err := localdomain.Start(t.Context(), localdomain.Options{
		File: filepath.Join(folder, "dapr.yaml"), Home: filepath.Join(folder, "home"),
		Daprd: binary(t, "daprd"), ControlPlane: binary(t, "controlplane"), Environ: os.Environ(),
	})
	require.NoError(t, err)
	m := &mesh{apps: map[string]localdomain.RunApp{}}
	for _, app := range domain.Info().Apps {
		m.apps[app.AppID] = app
	}
	t.Cleanup(func() {
		if t.Failed() {
			m.showLogs(t)
		}
		if err := domain.Stop(); err != nil {
			t.Logf("stopping the mesh: %v", err)
		}
	})
	return m
}

// showLogs prints what the guards said last.
func (m *mesh) showLogs(t *testing.T) {
	t.Helper()
	for _, id := range []string{statelessApp, sessionsApp} {
		text, err := os.ReadFile(m.apps[id].DaprdLog)
		if err != nil {
			t.Log(err)
			continue
		}
		var said []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "mcpguard") {
				said = append(said, line)
			}
		}
		t.Logf("guard of %s:\n%s", id, strings.Join(said[max(0, len(said)-20):], ""))
	}
}

// direct is where a server listens itself.
func (m *mesh) direct(server string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/mcp", m.apps[server].AppPort)
}

// guarded is where the caller's sidecar offers a server.
func (m *mesh) guarded(server string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/%s/method/mcp", m.apps[callerApp].DaprHTTPPort, server)
}

func binary(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	require.NoError(t, err)
	require.FileExists(t, path, "run `make build` first")
	return path
}
