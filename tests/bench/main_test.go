// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/localdomain"
	"github.com/dapr-custody/custody/internal/policy"
)

func TestFlags(t *testing.T) {
	t.Parallel()
	s, err := parseFlags(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 5, s.rounds)
	require.Equal(t, 2*time.Second, s.duration)
	require.Equal(t, []int{1, 8, 32}, s.connections)
	require.Len(t, s.variants, len(variants()))
	require.False(t, s.named)
	require.Equal(t, 300, s.changes)
	require.Empty(t, s.only)
	s, err = parseFlags([]string{"--variants", "guard,direct", "--connections", "4, 2", "--rounds", "1", "--profile", "x"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{direct, guard}, []string{s.variants[0].name, s.variants[1].name})
	require.Equal(t, []int{4, 2}, s.connections)
	require.Equal(t, 30*time.Second, s.duration)
	for _, args := range [][]string{
		{"--variants", "guards"},
		{"--variants", "guard,"},
		{"--connections", "0"},
		{"--connections", "1,"},
		{"--connections", "many"},
		{"--rounds", "0"},
		{"--duration", "-1s"},
		{"-o", "yaml"},
		{"--only", "speed"},
		{"--changes", "0"},
		{"--workflows", "0"},
		{"--steps", "1"},
		{"more"},
	} {
		_, err := parseFlags(args, io.Discard)
		require.Error(t, err, args)
	}
}

func TestCPUTime(t *testing.T) {
	t.Parallel()
	const rest = " S 1 2 3 0 -1 4194560 9 0 0 0 150 25 7 7 20 0 9 0 100 200 300"
	for _, name := range []string{"daprd", "a b", "x) S 1 (y"} {
		got, err := cpuTime("42 (" + name + ")" + rest)
		require.NoError(t, err)
		require.Equal(t, 1750*time.Millisecond, got, name)
	}
	for _, stat := range []string{"", "42 (daprd) S 1 2", "42 (daprd) S 1 2 3 0 -1 4194560 9 0 0 0 x 25 7"} {
		_, err := cpuTime(stat)
		require.Error(t, err, stat)
	}
}

// The files of the sidecars are what localdomain, Dapr and the guard read.
func TestFiles(t *testing.T) {
	t.Parallel()
	d := newFolder(filepath.Join(t.TempDir(), "mesh"), "daprd")
	for _, v := range variants() {
		d.addCallee(v)
	}
	require.NoError(t, d.write())
	file, err := localdomain.LoadRunFile(d.path)
	require.NoError(t, err)
	require.Len(t, file.Apps, 1+len(variants()))
	_, err = policy.Parse("bench.yaml", []byte(d.files["policies/bench.yaml"]))
	require.NoError(t, err)

	text, err := os.ReadFile(filepath.Join(d.path, "resources-"+guard, "bench.yaml"))
	require.NoError(t, err)
	var component struct {
		Spec struct {
			Type     string `yaml:"type"`
			Metadata []struct{ Name, Value string }
		} `yaml:"spec"`
	}
	require.NoError(t, yaml.Unmarshal(text, &component))
	require.Equal(t, guardType, component.Spec.Type)
	got := map[string]string{}
	for _, m := range component.Spec.Metadata {
		got[m.Name] = m.Value
	}
	require.Equal(t, map[string]string{
		"server": "bench", "policyDir": d.path + "/policies", "journalDir": d.path + "/journal-group", "durability": "group",
	}, got)
	require.Contains(t, d.files["resources-"+guardSync+"/bench.yaml"], "durability, value: sync")
	require.Contains(t, d.files[opa+".yaml"], opaType)
	require.NotContains(t, d.files[plain+".yaml"], "middleware")
}

func profileOf(texts ...string) []byte {
	out := protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 300)
	for _, text := range texts {
		out = protowire.AppendString(protowire.AppendTag(out, stringTable, protowire.BytesType), text)
	}
	return protowire.AppendString(protowire.AppendTag(out, 3, protowire.BytesType), "/not/a/string")
}

func TestWithoutFolders(t *testing.T) {
	t.Parallel()
	got, err := withoutFolders(profileOf("", "main.run", "/home/me/custody/cmd/daprd/main.go", "net/http.(*conn).serve", "/bin/daprd"))
	require.NoError(t, err)
	require.Equal(t, profileOf("", "main.run", "main.go", "net/http.(*conn).serve", "daprd"), got)
	_, err = withoutFolders(profileOf("x")[:5])
	require.Error(t, err)
}

func FuzzWithoutFolders(f *testing.F) {
	f.Add(profileOf("", "/a/b"))
	f.Add([]byte{0x32, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		once, err := withoutFolders(in)
		if err != nil {
			return
		}
		twice, err := withoutFolders(once)
		require.NoError(t, err)
		require.Equal(t, once, twice)
	})
}
