// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package resources_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/database"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/serverfile"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
	"github.com/dapr-custody/custody/middleware/mcpguard"
	"github.com/dapr-custody/custody/resources"
)

// Every file must be what it says: the parts that are ours read it.
func TestEveryResourceIsRead(t *testing.T) {
	names, err := resources.Names()
	require.NoError(t, err)
	read := map[string]int{}
	for _, name := range names {
		text, err := resources.Read(name)
		require.NoError(t, err)
		folder, _, _ := strings.Cut(name, "/")
		read[folder]++
		switch folder {
		case "policies":
			if strings.HasSuffix(name, ".schema.json") {
				require.True(t, json.Valid(text), name)
				continue
			}
			documents, err := policy.Parse(name, text)
			require.NoError(t, err)
			_, warnings, err := policy.Compile(documents, policy.CompileOptions{TrustDomain: testkit.TrustDomain("custody.local"), Namespace: "default"})
			require.NoError(t, err)
			require.Empty(t, warnings, name)
		case "components":
			var component struct {
				Spec struct {
					Type, Version string
					Metadata      []struct{ Name, Value string }
				}
			}
			require.NoError(t, yaml.Unmarshal(text, &component))
			properties := map[string]string{}
			for _, item := range component.Spec.Metadata {
				properties[item.Name] = item.Value
			}
			switch component.Spec.Type {
			case "middleware.http.mcpguard":
				_, err = mcpguard.ParseMetadata(properties)
			case "middleware.http.mcpcaller":
				_, err = mcpcaller.ParseMetadata(properties)
			case "state.custody":
				require.Contains(t, properties, "backend", name)
			case "bindings.custody-postgres":
				require.Contains(t, properties, "database", name)
			default:
				require.Fail(t, "a component that is not ours", name)
			}
			require.NoError(t, err)
		case "configurations":
			control, err := policy.ParseConfiguration(name, text)
			require.NoError(t, err)
			require.Equal(t, "custody.local", control.TrustDomain)
			_, warnings := policy.FromAccessControl(name, control, "/mcp", "orders")
			require.Empty(t, warnings, name)
		case "databases":
			_, err := database.Parse(name, text)
			require.NoError(t, err)
		case "registrations":
			_, err := identity.ParseRegistrations(name, text)
			require.NoError(t, err)
		case "servers":
			_, err := serverfile.Parse(name, text)
			require.NoError(t, err)
		default:
			require.Fail(t, "a folder that no test reads", name)
		}
	}
	require.Len(t, read, 6)
}

func TestUnknownResource(t *testing.T) {
	_, err := resources.Read("policies/../resources.go")
	require.ErrorContains(t, err, "policies/per-tool.yaml")
}
