// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package conformance_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// difference is an entry of differences.yaml.
type difference struct {
	Scenario  string   `yaml:"scenario"`
	Revisions []string `yaml:"revisions"`
	Checks    []string `yaml:"checks"`
	Reason    string   `yaml:"reason"`
}

func readDifferences(text []byte) ([]difference, error) {
	var entries []difference
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entries); err != nil {
		return nil, err
	}
	for _, d := range entries {
		if d.Scenario == "" || len(d.Revisions) == 0 || len(d.Checks) == 0 || strings.TrimSpace(d.Reason) == "" {
			return nil, fmt.Errorf("scenario %q: scenario, revisions, checks and reason are required", d.Scenario)
		}
	}
	return entries, nil
}

func knownDifferences(t *testing.T) []difference {
	t.Helper()
	text, err := os.ReadFile("differences.yaml")
	require.NoError(t, err)
	entries, err := readDifferences(text)
	require.NoError(t, err)
	return entries
}

// row is one scenario on both ways.
type row struct {
	scenario        string
	direct, guarded result
	differs         []string // the checks that do
	expected        []string // those that differences.yaml names
}

func (r row) unexpected() bool { return !slices.Equal(r.differs, r.expected) }

func (r row) remark() string {
	switch {
	case r.unexpected():
		return fmt.Sprintf("UNEXPECTED: %v differ, differences.yaml names %v", r.differs, r.expected)
	case len(r.differs) > 0:
		return "as differences.yaml says"
	}
	return ""
}

// compare puts two runs side by side. They have to have the same scenarios, and
// every entry for the revision has to be about one of them.
func compare(revision string, direct, guarded []result, known []difference) ([]row, error) {
	if len(direct) != len(guarded) {
		return nil, fmt.Errorf("%d scenarios ran directly and %d through the guard", len(direct), len(guarded))
	}
	rows := make([]row, len(direct))
	for i, d := range direct {
		if guarded[i].scenario != d.scenario {
			return nil, fmt.Errorf("scenario %d is %s directly and %s through the guard", i, d.scenario, guarded[i].scenario)
		}
		rows[i] = row{scenario: d.scenario, direct: d, guarded: guarded[i], differs: differing(d, guarded[i])}
	}
	for _, entry := range known {
		if !slices.Contains(entry.Revisions, revision) {
			continue
		}
		i := slices.IndexFunc(rows, func(r row) bool { return r.scenario == entry.Scenario })
		if i < 0 {
			return nil, fmt.Errorf("differences.yaml: %s has no scenario %s", revision, entry.Scenario)
		}
		rows[i].expected = append(rows[i].expected, entry.Checks...)
		slices.Sort(rows[i].expected)
	}
	return rows, nil
}

func TestDifferencesAreNoticed(t *testing.T) {
	ok := result{scenario: "s", passed: 2, checks: []check{{ID: "a", Status: "SUCCESS"}, {ID: "a", Status: "SUCCESS"}, {ID: "b", Status: "INFO"}}}
	tests := []struct {
		name    string
		guarded result
		want    []string
	}{
		{"the same", ok, nil},
		{"told otherwise", result{scenario: "s", passed: 2, checks: []check{{ID: "c", Status: "INFO"}, ok.checks[0], ok.checks[1]}}, nil},
		{"one of two", result{scenario: "s", passed: 1, failed: 1, checks: []check{ok.checks[0], {ID: "a", Status: "FAILURE"}}}, []string{"a"}},
		{"a warning", result{scenario: "s", passed: 2, checks: append([]check{{ID: "w", Status: "WARNING"}}, ok.checks...)}, []string{"w"}},
		{"a check left out", result{scenario: "s", passed: 1, checks: ok.checks[:1]}, []string{"a"}},
		{"broken off", result{scenario: "s", failed: 1}, []string{"a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			known := []difference{{Scenario: "s", Revisions: []string{"r"}, Checks: []string{"a"}, Reason: "x"}}
			rows, err := compare("r", []result{ok}, []result{test.guarded}, nil)
			require.NoError(t, err)
			require.Equal(t, test.want, rows[0].differs)
			require.Equal(t, test.want != nil, rows[0].unexpected())

			rows, err = compare("r", []result{ok}, []result{test.guarded}, known)
			require.NoError(t, err)
			require.Equal(t, !slices.Equal(test.want, []string{"a"}), rows[0].unexpected(), rows[0].remark())

			_, err = compare("other", []result{ok}, []result{test.guarded}, known)
			require.NoError(t, err)
		})
	}
	t.Run("broken off both ways, otherwise", func(t *testing.T) {
		require.Equal(t, []string{"s"}, differing(result{scenario: "s", passed: 1}, result{scenario: "s", failed: 1}))
	})
	t.Run("other scenarios", func(t *testing.T) {
		_, err := compare("r", []result{ok}, nil, nil)
		require.Error(t, err)
		_, err = compare("r", []result{ok}, []result{{scenario: "t"}}, nil)
		require.Error(t, err)
		_, err = compare("r", []result{ok}, []result{ok}, []difference{{Scenario: "t", Revisions: []string{"r"}}})
		require.Error(t, err)
	})
}

func TestReadDifferences(t *testing.T) {
	good := "- {scenario: s, revisions: [r], checks: [c], reason: because}"
	_, err := readDifferences([]byte(good))
	require.NoError(t, err)
	for _, cut := range []string{"scenario: s, ", "revisions: [r], ", "checks: [c], ", ", reason: because"} {
		_, err := readDifferences([]byte(strings.Replace(good, cut, "", 1)))
		require.Error(t, err, cut)
	}
	_, err = readDifferences([]byte(strings.Replace(good, "checks", "check", 1)))
	require.Error(t, err)
}

func TestReadSummary(t *testing.T) {
	const head = "=== Running scenario: a ===\n✓ a: 9 passed, 0 failed\n\n=== SUMMARY ===\n"
	results, err := readSummary(head + "✓ a: 2 passed, 0 failed\n✗ b-2: 0 passed, 1 failed\n\nTotal: 2 passed, 1 failed\n  ✗ b-2 (pending)\n")
	require.NoError(t, err)
	require.Equal(t, []result{{scenario: "a", passed: 2}, {scenario: "b-2", failed: 1}}, results)
	for _, output := range []string{"", "✓ a: 2 passed, 0 failed\n", head, head + "Total: 0 passed, 0 failed\n"} {
		_, err := readSummary(output)
		require.Error(t, err, output)
	}
}

func TestReadChecks(t *testing.T) {
	const success = `[{"id":"a","status":"SUCCESS"},{"id":"i","status":"INFO"}]`
	tests := []struct {
		name  string
		files map[string]string
		give  result
		ok    bool
	}{
		{"agree", map[string]string{"server-s-2026-11-23T08": success, "server-s-t-2026-11-23T08": `[]`}, result{scenario: "s", passed: 1}, true},
		{"disagree", map[string]string{"server-s-2026-11-23T08": success}, result{scenario: "s", passed: 2}, false},
		{"broken off", nil, result{scenario: "s", failed: 1}, true},
		{"missing", nil, result{scenario: "s", passed: 1}, false},
		{"two", map[string]string{"server-s-2026-11-23T08": success, "server-s-2026-11-23T09": success}, result{scenario: "s", passed: 1}, false},
		{"not JSON", map[string]string{"server-s-2026-11-23T08": "oops"}, result{scenario: "s"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			for name, text := range test.files {
				require.NoError(t, os.Mkdir(folder+"/"+name, 0o755))
				require.NoError(t, os.WriteFile(folder+"/"+name+"/checks.json", []byte(text), 0o600))
			}
			require.Equal(t, test.ok, readChecks(folder, []result{test.give}) == nil)
		})
	}
}
