// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package vectors_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/receipt"
)

var update = flag.Bool("update", false, "write the vectors anew")

// files gives every vector by its name.
func files(t *testing.T) map[string][]byte {
	t.Helper()
	m := newMaker(t)
	all := map[string][]byte{
		"bundle.pem":                 m.ca.bundle(),
		"other-bundle.pem":           m.other.bundle(),
		"envelopes/all.intoto.jsonl": m.export(),
	}
	maps.Copy(all, m.historyFiles())
	for _, v := range m.envelopes() {
		all["envelopes/"+v.name+".json"] = v.text
	}
	maps.Copy(all, m.chainFiles())
	for _, v := range m.journals() {
		for name, text := range v.segments {
			all["journals/"+v.name+"/"+name] = text
		}
	}
	return all
}

func TestFilesAreWhatIsMade(t *testing.T) {
	want := files(t)
	if *update {
		require.NoError(t, os.RemoveAll("envelopes"))
		require.NoError(t, os.RemoveAll("journals"))
		require.NoError(t, os.RemoveAll("history"))
		require.NoError(t, os.RemoveAll("chains"))
		for name, text := range want {
			require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
			require.NoError(t, os.WriteFile(name, text, 0o644))
		}
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for name, text := range want {
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Truef(t, bytes.Equal(text, got), "%s differs from what is made; see -update", name)
	}
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, ".go") || path == "README.md" {
			return err
		}
		require.Contains(t, want, path, "no such vector is made")
		name := strings.TrimSuffix(path, ".json")
		if strings.HasPrefix(path, "chains/") {
			name = strings.TrimSuffix(name, ".jsonl")
		}
		if strings.HasPrefix(path, "journals/") {
			name = filepath.Dir(path)
		}
		require.Contains(t, string(readme), "`"+filepath.Base(name)+"`", "README.md does not say what it is")
		return nil
	})
	require.NoError(t, err)
}

func TestEnvelopes(t *testing.T) {
	bundles, err := evidence.LoadTrustBundle("bundle.pem", "custody.test")
	require.NoError(t, err)
	for _, v := range newMaker(t).envelopes() {
		t.Run(v.name, func(t *testing.T) {
			text, err := os.ReadFile("envelopes/" + v.name + ".json")
			require.NoError(t, err)
			e, err := receipt.DecodeEnvelope(bytes.TrimSuffix(text, []byte("\n")))
			if err == nil {
				_, err = receipt.Verify(e, bundles, receipt.VerifyOptions{})
			}
			require.ErrorIs(t, err, v.want)
		})
	}
}

func TestExport(t *testing.T) {
	for name, good := range map[string]bool{"bundle.pem": true, "other-bundle.pem": false} {
		bundles, err := evidence.LoadTrustBundle(name, "custody.test")
		require.NoError(t, err)
		file, err := os.Open("envelopes/all.intoto.jsonl")
		require.NoError(t, err)
		report, err := evidence.VerifyFile("all", file, evidence.Check{Bundles: bundles})
		require.NoError(t, err)
		require.NoError(t, file.Close())
		require.Equal(t, good, report.OK())
		require.Equal(t, 2, report.Receipts)
	}
}

func TestJournals(t *testing.T) {
	bundles, err := evidence.LoadTrustBundle("bundle.pem", "custody.test")
	require.NoError(t, err)
	for _, v := range newMaker(t).journals() {
		t.Run(v.name, func(t *testing.T) {
			report, err := evidence.VerifyJournal("journals/"+v.name, evidence.Check{Bundles: bundles})
			require.NoError(t, err)
			require.Equal(t, v.good, report.Good)
			require.Equal(t, v.torn, report.Torn > 0)
			var got []string
			for _, f := range report.Findings {
				got = append(got, f.Segment+": "+f.Reason)
			}
			require.Lenf(t, got, len(v.want), "%q", got)
			for i := range v.want {
				require.Contains(t, got[i], v.want[i])
			}
		})
	}
}

func TestChains(t *testing.T) {
	bundles, err := evidence.LoadTrustBundle("bundle.pem", "custody.test")
	require.NoError(t, err)
	text, err := os.ReadFile("chains/manifest.json")
	require.NoError(t, err)
	var manifest map[string]manifestEntry
	require.NoError(t, json.Unmarshal(text, &manifest))
	for name, want := range manifest {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("chains/" + name)
			require.NoError(t, err)
			report := chain.Verify(parseLinks(t, text), chain.Options{Bundles: bundles, Expect: &want.Chain})
			got := []manifestFault{}
			for _, f := range report.All() {
				got = append(got, manifestFault{string(f.Kind), f.Step})
			}
			require.ElementsMatchf(t, want.Faults, got, "%v", report.All())
			require.True(t, slices.IsSortedFunc(report.All(), func(a, b *chain.Fault) int {
				return cmp.Compare(follows(a), follows(b))
			}), "what follows from a fault is told after it")
			require.Equal(t, strings.HasPrefix(name, "good-"), report.OK())
			steps := 0
			for _, c := range report.Chains {
				require.True(t, c.Chain.Equal(&want.Chain))
				steps += len(c.Steps)
			}
			require.Equal(t, want.Steps, steps)
		})
	}
}

func follows(f *chain.Fault) int {
	if f.Kind.Follows() {
		return 1
	}
	return 0
}
