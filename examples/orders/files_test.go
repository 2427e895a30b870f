// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package orders_test checks the files of the example without starting it.
package orders_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/examples/stage"
	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

const domain = "spiffe://custody.local/ns/default/"

var tools = []string{"list_customers", "get_order", "update_order_status", "run_report"}

func TestRunFile(t *testing.T) {
	bin := t.TempDir()
	for _, program := range []string{"orders-server", "orders-agent"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, program), nil, 0o755))
	}
	s, err := stage.New(stage.Options{Source: ".", Take: []string{"dapr.yaml", "config", "resources"}, Bin: bin})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	here := s.Example
	file, err := localdomain.LoadRunFile(filepath.Join(here, "dapr.yaml"))
	require.NoError(t, err)
	require.Empty(t, file.Notices)

	type app struct {
		id        string
		port      int
		config    string
		resources []string
	}
	var got []app
	for _, a := range file.Apps {
		require.Equal(t, here, a.Dir)
		got = append(got, app{a.ID, a.AppPort.Number, a.ConfigFile, a.ResourcesPaths})
	}
	server, agents := []string{filepath.Join(here, "resources/orders-mcp")}, []string{filepath.Join(here, "resources/agents")}
	require.Equal(t, []app{
		{"orders-mcp", 8711, filepath.Join(here, "config/orders-mcp.yaml"), server},
		{"support-agent", 8712, filepath.Join(here, "config/agent.yaml"), agents},
		{"fulfilment-agent", 8713, filepath.Join(here, "config/agent.yaml"), agents},
		{"analytics-agent", 8714, filepath.Join(here, "config/agent.yaml"), agents},
	}, got)
}

func TestGuardComponentIsTheOneInThePipeline(t *testing.T) {
	var component struct {
		Metadata struct{ Name string }
		Spec     struct {
			Type, Version string
			Metadata      []struct{ Name, Value string }
		}
	}
	read(t, "resources/orders-mcp/mcpguard.yaml", &component)
	var configuration struct {
		Spec struct {
			AccessControl struct {
				TrustDomain string `yaml:"trustDomain"`
			} `yaml:"accessControl"`
			AppHTTPPipeline struct {
				Handlers []struct{ Name, Type string }
			} `yaml:"appHttpPipeline"`
		}
	}
	read(t, "config/orders-mcp.yaml", &configuration)
	require.Equal(t, "custody.local", configuration.Spec.AccessControl.TrustDomain)
	require.Len(t, configuration.Spec.AppHTTPPipeline.Handlers, 1)
	require.Equal(t, component.Metadata.Name, configuration.Spec.AppHTTPPipeline.Handlers[0].Name)
	require.Equal(t, "middleware.http.mcpguard", configuration.Spec.AppHTTPPipeline.Handlers[0].Type)
	require.Equal(t, "middleware.http.mcpguard", component.Spec.Type)
	require.Equal(t, "v1", component.Spec.Version)

	properties := map[string]string{}
	for _, item := range component.Spec.Metadata {
		properties[item.Name] = item.Value
	}
	metadata, err := mcpguard.ParseMetadata(properties)
	require.NoError(t, err)
	require.Equal(t, "orders", metadata.Server)
	require.Equal(t, "/mcp", metadata.Path)
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(here, "policies"), metadata.PolicyDir)
	require.Equal(t, filepath.Join(here, "journal"), metadata.JournalDir)
}

func TestAgentsCannotBeInvoked(t *testing.T) {
	text, err := os.ReadFile("config/agent.yaml")
	require.NoError(t, err)
	control, err := policy.ParseConfiguration("agent.yaml", text)
	require.NoError(t, err)
	require.Equal(t, policy.AccessControl{DefaultAction: "deny", TrustDomain: "custody.local"}, control)
}

func TestPolicies(t *testing.T) {
	granular := map[string][]string{
		domain + "support-agent":    {"list_customers", "get_order"},
		domain + "fulfilment-agent": {"get_order", "update_order_status"},
		domain + "analytics-agent":  {"run_report", "list_customers"},
		// Near misses: the server itself, another namespace, another domain.
		domain + "orders-mcp":                              nil,
		"spiffe://custody.local/ns/other/support-agent":    nil,
		"spiffe://other.local/ns/default/support-agent":    nil,
		"spiffe://custody.local/ns/default/support-agent2": nil,
	}
	for _, c := range []struct {
		name    string
		files   []string
		allowed map[string][]string
	}{
		{"granular", []string{"policies/orders.yaml"}, granular},
		{"deny all", []string{"policies-deny-all/orders.yaml"}, nil},
		{"deny all beside granular", []string{"policies/orders.yaml", "policies-deny-all/orders.yaml"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := testkit.PolicyFiles(t, c.files...)
			for caller := range granular {
				id := spiffeid.RequireFromString(caller)
				for _, tool := range tools {
					want := policy.Deny
					for _, allowed := range c.allowed[caller] {
						if allowed == tool {
							want = policy.Allow
						}
					}
					require.Equal(t, want, decide(set, id, "orders", tool), "%s %s", caller, tool)
					require.Equal(t, policy.Deny, decide(set, id, "billing", tool), "%s %s", caller, tool)
				}
				require.Equal(t, policy.Deny, decide(set, id, "orders", "drop_tables"), caller)
				require.Equal(t, len(c.allowed[caller]) > 0, set.Reaches(id, "orders"), caller)
			}
		})
	}
}

func decide(set *policy.Set, caller spiffeid.ID, server, tool string) policy.Effect {
	action := policy.Action{Kind: policy.KindToolCall, Server: server, Name: tool}
	return set.Decide(policy.Request{Caller: caller, Action: action}).Effect
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into))
}
