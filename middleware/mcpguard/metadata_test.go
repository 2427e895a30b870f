// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/middleware/mcpguard"
)

func TestParseMetadata(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	full := mcpguard.Metadata{
		Path: "/mcp", JournalDir: filepath.Join(here, "j"), Durability: "group", MaxRequestBytes: 4 << 20, MaxAnswerBytes: 16 << 20,
		MaxRequestTime: 30 * time.Second, MaxQuestionAge: 24 * time.Hour, DenyAs: "error",
	}
	changed := func(change func(*mcpguard.Metadata)) mcpguard.Metadata {
		copied := full
		change(&copied)
		return copied
	}
	tests := []struct {
		name       string
		properties map[string]string
		want       mcpguard.Metadata
		err        string
	}{
		{"what is required", map[string]string{"journalDir": "j"}, full, ""},
		{"names in other letters", map[string]string{"JOURNALDIR": " j "}, full, ""},
		{"everything", map[string]string{
			"journalDir": "/j", "policyDir": "/p", "server": "orders", "path": "/x/mcp", "durability": "sync", "maxRequestBytes": "10", "maxAnswerBytes": "20",
			"maxRequestTime": "1m", "denyAs": "toolError", "rateFile": "/r", "maxQuestionAge": "5m",
		}, mcpguard.Metadata{
			Server: "orders", Path: "/x/mcp", PolicyDir: "/p", JournalDir: "/j", Durability: "sync", MaxRequestBytes: 10, MaxAnswerBytes: 20,
			MaxRequestTime: time.Minute, DenyAs: "toolError", RateFile: "/r", MaxQuestionAge: 5 * time.Minute,
		}, ""},
		{"relative folders", map[string]string{"journalDir": "j", "policyDir": "p"}, changed(func(m *mcpguard.Metadata) { m.PolicyDir = filepath.Join(here, "p") }), ""},
		{"no journal", map[string]string{"policyDir": "p"}, mcpguard.Metadata{}, `"journalDir" is missing`},
		{"an unknown name", map[string]string{"journalDir": "j", "polcyDir": "p"}, mcpguard.Metadata{}, `"polcyDir" is not known; known are server, path, policyDir`},
		{"another durability", map[string]string{"journalDir": "j", "durability": "none"}, mcpguard.Metadata{}, `neither "group" nor "sync"`},
		{"a path that is none", map[string]string{"journalDir": "j", "path": "mcp"}, mcpguard.Metadata{}, "not a plain absolute path"},
		{"a path with dots", map[string]string{"journalDir": "j", "path": "/a/../mcp"}, mcpguard.Metadata{}, "not a plain absolute path"},
		{"a path that is encoded", map[string]string{"journalDir": "j", "path": "/m%63p"}, mcpguard.Metadata{}, "not a plain absolute path"},
		{"no number", map[string]string{"journalDir": "j", "maxRequestBytes": "4MB"}, mcpguard.Metadata{}, "not a number of bytes"},
		{"another form of denial", map[string]string{"journalDir": "j", "denyAs": "toolerror"}, mcpguard.Metadata{}, `neither "error" nor "toolError"`},
		{"zero", map[string]string{"journalDir": "j", "maxAnswerBytes": "0"}, mcpguard.Metadata{}, "not a number of bytes"},
		{"a time without a unit", map[string]string{"journalDir": "j", "maxRequestTime": "30"}, mcpguard.Metadata{}, `"30" is not a time above zero such as 30s`},
		{"no age", map[string]string{"journalDir": "j", "maxQuestionAge": "0s"}, mcpguard.Metadata{}, "not a time above zero"},
		{"no time", map[string]string{"journalDir": "j", "maxRequestTime": "0s"}, mcpguard.Metadata{}, "not a time above zero"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := mcpguard.ParseMetadata(test.properties)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

// metadata.yaml, which Dapr's tools read, names the same fields as the code.
func TestMetadataYAML(t *testing.T) {
	text, err := os.ReadFile("metadata.yaml")
	require.NoError(t, err)
	var file struct{ Metadata []struct{ Name string } }
	require.NoError(t, yaml.Unmarshal(text, &file))
	var written, declared []string
	for _, field := range file.Metadata {
		written = append(written, strings.ToLower(field.Name))
	}
	for field := range reflect.TypeFor[mcpguard.Metadata]().Fields() {
		declared = append(declared, strings.ToLower(field.Name))
	}
	require.ElementsMatch(t, declared, written)
}
