// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package conformance_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Statuses of a check that stand for something. The rest (INFO) is what the
// suite tells of its own doing.
const (
	statusSuccess = "SUCCESS"
	statusFailure = "FAILURE"
	statusInfo    = "INFO"
)

type check struct {
	ID           string `json:"id"`
	Status       string `json:"status"`
	ErrorMessage string `json:"errorMessage"`
}

// result is what the suite says of one scenario.
type result struct {
	scenario       string
	passed, failed int
	checks         []check // none if the scenario broke off
}

func (r result) String() string {
	if r.failed == 0 {
		return fmt.Sprintf("ok %d", r.passed)
	}
	return fmt.Sprintf("FAIL %d of %d", r.failed, r.passed+r.failed)
}

// verdicts counts each check with each of its verdicts.
func (r result) verdicts() map[check]int {
	counts := map[check]int{}
	for _, c := range r.checks {
		if c.Status != statusInfo {
			counts[check{ID: c.ID, Status: c.Status}]++
		}
	}
	return counts
}

// differing names the checks that two runs of a scenario judge differently.
// Where one broke off, it is the scenario.
func differing(a, b result) []string {
	var ids []string
	x, y := a.verdicts(), b.verdicts()
	for _, counts := range []map[check]int{x, y} {
		for c := range counts {
			if x[c] != y[c] {
				ids = append(ids, c.ID)
			}
		}
	}
	if len(ids) == 0 && (a.passed != b.passed || a.failed != b.failed) {
		ids = append(ids, a.scenario)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

const summaryTitle = "=== SUMMARY ==="

var summaryLine = regexp.MustCompile(`^[✓✗] (\S+): (\d+) passed, (\d+) failed$`)

// readSummary reads the list of scenarios with which the suite's output ends.
func readSummary(output string) ([]result, error) {
	_, summary, found := strings.Cut(output, summaryTitle)
	if !found {
		return nil, errors.New("the suite printed no summary")
	}
	var results []result
	for line := range strings.Lines(summary) {
		match := summaryLine.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			continue
		}
		passed, err := strconv.Atoi(match[2])
		if err != nil {
			return nil, err
		}
		failed, err := strconv.Atoi(match[3])
		if err != nil {
			return nil, err
		}
		results = append(results, result{scenario: match[1], passed: passed, failed: failed})
	}
	if len(results) == 0 {
		return nil, errors.New("the suite's summary names no scenario")
	}
	return results, nil
}

// readChecks fills in the checks that the suite wrote to files, one for each
// scenario that came to its end. The two have to agree.
func readChecks(folder string, results []result) error {
	for i := range results {
		r := &results[i]
		files, err := filepath.Glob(filepath.Join(folder, "server-"+r.scenario+"-20[0-9][0-9]-*", "checks.json"))
		switch {
		case err != nil:
			return err
		case len(files) == 0 && r.passed == 0 && r.failed == 1:
			continue
		case len(files) != 1:
			return fmt.Errorf("%s: %d files of checks", r.scenario, len(files))
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &r.checks); err != nil {
			return fmt.Errorf("%s: %w", files[0], err)
		}
		if passed, failed := r.count(statusSuccess), r.count(statusFailure); passed != r.passed || failed != r.failed {
			return fmt.Errorf("%s: the summary says %d passed and %d failed, the file %d and %d", r.scenario, r.passed, r.failed, passed, failed)
		}
	}
	return nil
}

func (r result) count(status string) int {
	n := 0
	for _, c := range r.checks {
		if c.Status == status {
			n++
		}
	}
	return n
}

// runSuite runs the server scenarios that a revision of MCP requires, and those
// that the suite runs beside them.
func runSuite(t *testing.T, revision, url string) []result {
	t.Helper()
	node, suite := installed(t)
	folder := t.TempDir()
	command := exec.CommandContext(t.Context(), node, suite, "server", "--url", url, "--requirements", revision, "--output-dir", folder)
	command.Dir = folder
	out, err := command.CombinedOutput()
	// That a scenario fails is no error here.
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	results, err := readSummary(string(out))
	require.NoError(t, err, string(out))
	require.NoError(t, readChecks(folder, results))
	return results
}

// installed gives the suite and the Node.js to run it with, which the first run
// installs as package-lock.json fixes them.
func installed(t *testing.T) (node, suite string) {
	t.Helper()
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	folder, err := filepath.Abs("node_modules")
	require.NoError(t, err)
	node = filepath.Join(folder, "node-"+runtime.GOOS+"-"+arch, "bin", "node")
	suite = filepath.Join(folder, "@modelcontextprotocol", "conformance", "dist", "index.js")
	if !current(t) {
		command := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		out, err := command.CombinedOutput()
		require.NoError(t, err, "npm ci in tests/conformance: %s", out)
	}
	require.FileExists(t, node)
	require.FileExists(t, suite)
	return node, suite
}

// current reports whether what is installed is not older than the lock file:
// npm writes its own note of it last.
func current(t *testing.T) bool {
	t.Helper()
	lock, err := os.Stat("package-lock.json")
	require.NoError(t, err)
	note, err := os.Stat(filepath.Join("node_modules", ".package-lock.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	require.NoError(t, err)
	return !note.ModTime().Before(lock.ModTime())
}
