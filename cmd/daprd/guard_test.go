// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/config"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

func configured(t *testing.T, spec string) *config.Configuration {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("kind: Configuration\nmetadata: {name: x}\nspec:\n"+spec), 0o600))
	cfg, err := config.LoadStandaloneConfiguration(file)
	require.NoError(t, err)
	return cfg
}

// required is a middleware of ours that a Configuration asks for: its name, or why it cannot be had.
type required struct {
	name, spec string
	opts       options.Options
	want, err  string
}

func runRequired(t *testing.T, ask func(*config.Configuration, *options.Options) (string, error), tests []required) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ask(configured(t, test.spec), &test.opts)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestRequiredGuard(t *testing.T) {
	const handler = "{name: g, type: middleware.http.mcpguard}"
	mtls := options.Options{EnableMTLS: true, AppProtocol: "http"}
	runRequired(t, requiredGuard, []required{
		{"none", "  mtls: {enabled: true}\n", options.Options{}, "", ""},
		{"other middleware only", "  appHttpPipeline: {handlers: [{name: a, type: middleware.http.bearer}]}\n", options.Options{AppProtocol: "grpc"}, "", ""},
		{"the guard", "  appHttpPipeline: {handlers: [" + handler + "]}\n", mtls, "g", ""},
		{"behind another", "  appHttpPipeline: {handlers: [{name: a, type: middleware.http.bearer}, " + handler + "]}\n", mtls, "g", ""},
		{"with its version", "  appHttpPipeline: {handlers: [{name: g, type: middleware.http.mcpguard, version: v1}]}\n", mtls, "g", ""},
		{"in other letters", "  appHttpPipeline: {handlers: [{name: g, type: Middleware.HTTP.MCPGuard}]}\n", mtls, "g", ""},
		{"its version in its type", "  appHttpPipeline: {handlers: [{name: g, type: middleware.http.mcpguard/v1}]}\n", mtls, "", "write middleware.http.mcpguard"},
		{"without its prefix", "  appHttpPipeline: {handlers: [{name: g, type: MCPGuard}]}\n", mtls, "", "write middleware.http.mcpguard"},
		{"before another", "  appHttpPipeline: {handlers: [" + handler + ", {name: a, type: middleware.http.bearer}]}\n", mtls, "", "must be the last handler"},
		{"twice", "  appHttpPipeline: {handlers: [" + handler + ", " + handler + "]}\n", mtls, "", "must be the last handler"},
		{"in the API's pipeline", "  httpPipeline: {handlers: [" + handler + "]}\n", mtls, "", "move it to spec.appHttpPipeline"},
		{"another version", "  appHttpPipeline: {handlers: [{name: g, type: middleware.http.mcpguard, version: v2}]}\n", mtls, "", "has only v1"},
		{"without mTLS", "  appHttpPipeline: {handlers: [" + handler + "]}\n", options.Options{AppProtocol: "http"}, "", "start with --enable-mtls"},
		{"gRPC app", "  appHttpPipeline: {handlers: [" + handler + "]}\n", options.Options{EnableMTLS: true, AppProtocol: "grpc"}, "", "use http or https"},
		{"h2c app", "  appHttpPipeline: {handlers: [" + handler + "]}\n", options.Options{EnableMTLS: true, AppProtocol: "h2c"}, "", "use http or https"},
	})
}

func TestRequiredCaller(t *testing.T) {
	const handler = "{name: c, type: middleware.http.mcpcaller}"
	mtls := options.Options{EnableMTLS: true, AppProtocol: "http"}
	runRequired(t, requiredCaller, []required{
		{"none", "  mtls: {enabled: true}\n", options.Options{}, "", ""},
		{"the guard only", "  appHttpPipeline: {handlers: [{name: g, type: middleware.http.mcpguard}]}\n", mtls, "", ""},
		{"the caller", "  httpPipeline: {handlers: [" + handler + "]}\n", mtls, "c", ""},
		{"with a gRPC app", "  httpPipeline: {handlers: [" + handler + "]}\n", options.Options{EnableMTLS: true, AppProtocol: "grpc"}, "c", ""},
		{"in other letters, behind another", "  httpPipeline: {handlers: [{name: a, type: middleware.http.bearer}, {name: c, type: Middleware.HTTP.MCPCaller, version: v1}]}\n", mtls, "c", ""},
		{"before another", "  httpPipeline: {handlers: [" + handler + ", {name: a, type: middleware.http.bearer}]}\n", mtls, "", "must be the last handler"},
		{"before the app", "  appHttpPipeline: {handlers: [" + handler + "]}\n", mtls, "", "move it to spec.httpPipeline"},
		{"before the guard", "  appHttpPipeline: {handlers: [" + handler + ", {name: g, type: middleware.http.mcpguard}]}\n", mtls, "", "move it to spec.httpPipeline"},
		{"another version", "  httpPipeline: {handlers: [{name: c, type: middleware.http.mcpcaller, version: v2}]}\n", mtls, "", "has only v1"},
		{"without mTLS", "  httpPipeline: {handlers: [" + handler + "]}\n", options.Options{AppProtocol: "http"}, "", "start with --enable-mtls"},
	})
}

func TestOnlyStandalone(t *testing.T) {
	d := newDaemon(&options.Options{Mode: "kubernetes", AppChannelAddress: "127.0.0.1", AppPort: "1"})
	require.ErrorContains(t, d.run(t.Context()), `mode "kubernetes" is not supported`)
}

func TestAccessControlIsPassedOn(t *testing.T) {
	cfg := configured(t, `  accessControl:
    defaultAction: deny
    trustDomain: custody.local
    policies:
    - appId: alice
      namespace: default
      trustDomain: custody.local
      defaultAction: deny
      operations:
      - {name: /mcp/tools/call/echo, httpVerb: [POST], action: allow}
`)
	require.Equal(t, policy.AccessControl{
		DefaultAction: "deny", TrustDomain: "custody.local",
		Policies: []policy.AppPolicy{{
			AppID: "alice", Namespace: "default", TrustDomain: "custody.local", DefaultAction: "deny",
			Operations: []policy.Operation{{Name: "/mcp/tools/call/echo", HTTPVerb: []string{"POST"}, Action: "allow"}},
		}},
	}, accessControl(cfg.Spec.AccessControlSpec))
	require.Equal(t, policy.AccessControl{}, accessControl(nil))
}
