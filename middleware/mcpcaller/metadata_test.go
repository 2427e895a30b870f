// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

func TestParseMetadata(t *testing.T) {
	abs, err := filepath.Abs("j")
	require.NoError(t, err)
	tests := []struct {
		name string
		in   map[string]string
		want mcpcaller.Metadata
		err  string
	}{
		{"what is required", map[string]string{"journalDir": "j"}, mcpcaller.Metadata{JournalDir: abs, Durability: journal.DurabilityGroup, MaxRequestBytes: 4 << 20}, ""},
		{
			"everything, in other letters",
			map[string]string{"JOURNALDIR": " /j ", "Durability": "sync", "maxrequestbytes": "7"},
			mcpcaller.Metadata{JournalDir: "/j", Durability: journal.DurabilitySync, MaxRequestBytes: 7},
			"",
		},
		{"no journal", nil, mcpcaller.Metadata{}, `"journalDir" is missing`},
		{"unknown", map[string]string{"journalDir": "j", "journalDri": "k"}, mcpcaller.Metadata{}, `"journalDri" is not known; known are journalDir`},
		{"of the guard", map[string]string{"journalDir": "j", "policyDir": "p"}, mcpcaller.Metadata{}, `"policyDir" is not known`},
		{"durability", map[string]string{"journalDir": "j", "durability": "none"}, mcpcaller.Metadata{}, `neither "group" nor "sync"`},
		{"no bytes", map[string]string{"journalDir": "j", "maxRequestBytes": "0"}, mcpcaller.Metadata{}, "not a number of bytes"},
		{"bytes in words", map[string]string{"journalDir": "j", "maxRequestBytes": "4Mi"}, mcpcaller.Metadata{}, "not a number of bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := mcpcaller.ParseMetadata(test.in)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

// What metadata.yaml names is what is read, and its examples are good.
func TestMetadataFile(t *testing.T) {
	text, err := os.ReadFile("metadata.yaml")
	require.NoError(t, err)
	var file struct {
		Metadata []struct{ Name, Example string }
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	properties := map[string]string{}
	for _, item := range file.Metadata {
		var example string
		require.NoError(t, yaml.Unmarshal([]byte(item.Example), &example))
		properties[item.Name] = example
	}
	require.Len(t, properties, 3)
	_, err = mcpcaller.ParseMetadata(properties)
	require.NoError(t, err)
}
