// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/testkit"
)

// mesh is a trust domain with one guarded MCP server, which runs in the test,
// and the callers alice and bob, which are sidecars.
type mesh struct {
	trustDomain

	server  *testkit.MCPServer
	options meshOptions
}

type meshOptions struct {
	mcp          testkit.MCPOptions
	ttl          time.Duration
	unguarded    bool
	policy       string
	guard        string // the guard's component; %s is the folder of the mesh
	config       string // spec of the server's Configuration
	callerConfig string // spec of the callers' Configuration; empty for none
	signing      string // the component by which alice signs; %s is its journal. Empty for none
	daprdFlags   []string
	daprdEnv     map[string]string
	callerEnv    map[string]string // of alice's sidecar
	journal      string
}

const (
	pipelineSpec = `  appHttpPipeline:
    handlers: [{name: guard, type: middleware.http.mcpguard}]
`
	guardedSpec    = "  accessControl: {trustDomain: custody.local}\n" + pipelineSpec
	guardComponent = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: guard}
spec:
  type: middleware.http.mcpguard
  version: v1
  initTimeout: 60s
  metadata:
  - {name: server, value: server}
  - {name: policyDir, value: %[1]s/policies}
  - {name: journalDir, value: %[2]s}
`
	signingSpec = `  accessControl: {trustDomain: custody.local}
  httpPipeline:
    handlers: [{name: caller, type: middleware.http.mcpcaller}]
`
	signingComponent = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: caller}
spec:
  type: middleware.http.mcpcaller
  version: v1
  initTimeout: 60s
  metadata:
  - {name: journalDir, value: %s}
`
	meshPolicy = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: mesh}
spec:
  rules:
  - {name: alice-echoes, effect: allow, from: [alice], to: {server: server, tools: [echo, fail]}}
  - {name: bob-reverses, effect: allow, from: [bob], to: {server: server, tools: [reverse]}}
`
)

// links is the journal of what alice's sidecar signs.
func (m *mesh) links() string { return filepath.Join(m.folder, "links") }

// newMesh lays out the files; the mesh is started unless the options say otherwise.
func newMesh(t *testing.T, options meshOptions) *mesh {
	t.Helper()
	m := &mesh{trustDomain: newTrustDomain(t), server: testkit.NewMCPServer(t, options.mcp), options: options}
	if m.options.journal == "" {
		m.options.journal = filepath.Join(m.folder, "journal")
	}
	spec := options.config
	switch {
	case spec != "":
	case options.unguarded:
		spec = "  accessControl: {trustDomain: custody.local}\n"
	default:
		spec = guardedSpec
	}
	m.write("server.yaml", "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: server}\nspec:\n"+spec)
	callerSpec := options.callerConfig
	if callerSpec == "" {
		callerSpec = "  accessControl: {trustDomain: custody.local}\n"
	}
	m.write("caller.yaml", "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: caller}\nspec:\n"+callerSpec)
	if options.signing != "" {
		m.write("alice.yaml", "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: alice}\nspec:\n"+signingSpec)
		m.write("alice/caller.yaml", fmt.Sprintf(options.signing, m.links()))
	}
	if !options.unguarded && options.guard != "none" {
		m.writeGuard()
	}
	policy := options.policy
	if policy == "" {
		policy = meshPolicy
	}
	m.write("policies/mesh.yaml", policy)
	require.NoError(t, os.MkdirAll(filepath.Join(m.folder, "resources"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(m.folder, "none"), 0o755))
	m.write("dapr.yaml", m.runFile())
	return m
}

func startMesh(t *testing.T, options meshOptions) *mesh {
	t.Helper()
	m := newMesh(t, options)
	require.NoError(t, m.start())
	return m
}

func (m *mesh) runFile() string {
	var text strings.Builder
	text.WriteString("version: 1\napps:\n")
	fmt.Fprintf(&text, "- {appID: server, appDirPath: ., appPort: %d, configFilePath: server.yaml, resourcesPath: resources, command: [sleep, '3600']}\n", m.port())
	for _, caller := range []string{"alice", "bob"} {
		config, resources := "caller.yaml", "none"
		if caller == "alice" && m.options.signing != "" {
			config, resources = "alice.yaml", "alice"
		}
		fmt.Fprintf(&text, "- {appID: %s, appDirPath: ., configFilePath: %s, resourcesPath: %s, command: [sleep, '3600']}\n", caller, config, resources)
	}
	return text.String()
}

func (m *mesh) port() int {
	m.t.Helper()
	address, err := url.Parse(m.server.URL)
	require.NoError(m.t, err)
	port, err := strconv.Atoi(address.Port())
	require.NoError(m.t, err)
	return port
}

func (m *mesh) start() error { return m.trustDomain.start(m.parts()) }

// parts are what the run has of its own.
func (m *mesh) parts() localdomain.Options {
	m.t.Helper()
	return localdomain.Options{CertTTL: m.options.ttl, Apps: map[string]localdomain.AppOptions{
		"server": {External: m.port(), DaprdFlags: m.options.daprdFlags, DaprdEnv: m.options.daprdEnv},
		"alice":  {DaprdEnv: m.options.callerEnv},
	}}
}

func (m *mesh) guardFile() string { return filepath.Join(m.folder, "resources", "guard.yaml") }

func (m *mesh) writeGuard() {
	text := m.options.guard
	if text == "" {
		text = guardComponent
	}
	m.write("resources/guard.yaml", fmt.Sprintf(text, m.folder, m.options.journal))
}

// log is that of the sidecar of the server.
func (m *mesh) log() string { return m.logOf("server") }

// endpoint is the MCP endpoint as the caller's sidecar offers it.
func (m *mesh) endpoint(caller string) string {
	return fmt.Sprintf("http://127.0.0.1:%d/v1.0/invoke/server/method/mcp", m.app(caller).DaprHTTPPort)
}

func (m *mesh) journal() testkit.Journal {
	m.t.Helper()
	return testkit.ReadJournal(m.t, m.options.journal, m.bundle())
}

// answered is what came back to a caller.
type answered struct {
	status int
	header http.Header
	body   string
}

func post(ctx context.Context, url, body string, header ...string) (answered, error) {
	return postBy(ctx, http.DefaultClient, url, body, header...)
}

func postBy(ctx context.Context, client *http.Client, url, body string, header ...string) (answered, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return answered{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(request)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answered{status: resp.StatusCode, header: resp.Header, body: string(text)}, err
}

func (m *mesh) post(caller, body string, header ...string) answered {
	m.t.Helper()
	got, err := post(m.t.Context(), m.endpoint(caller), body, header...)
	require.NoError(m.t, err)
	return got
}

// call is a tools/call of a revision that needs no session header.
func call(tool, text string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":%q,"arguments":{"text":%q}}}`, tool, text)
}

func (m *mesh) connect(caller string) *mcp.ClientSession {
	m.t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: caller, Version: "1"}, nil)
	session, err := client.Connect(m.t.Context(), &mcp.StreamableClientTransport{Endpoint: m.endpoint(caller), MaxRetries: -1}, nil)
	require.NoError(m.t, err)
	return session
}
