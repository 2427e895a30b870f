// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package conformance_test

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"
)

func TestGuardIsTransparent(t *testing.T) {
	known := knownDifferences(t)
	m := startMesh(t)
	for _, run := range []struct{ revision, server string }{
		{"2026-07-28", statelessApp},
		{"2025-11-25", sessionsApp},
	} {
		t.Run(run.revision, func(t *testing.T) {
			direct := runSuite(t, run.revision, m.direct(run.server))
			rows, err := compare(run.revision, direct, runSuite(t, run.revision, m.guarded(run.server)), known)
			require.NoError(t, err)
			show(t, run.revision, rows)
			for _, row := range rows {
				if !row.unexpected() {
					continue
				}
				t.Errorf("%s: %s", row.scenario, row.remark())
				for _, c := range row.guarded.checks {
					if c.ErrorMessage != "" {
						t.Logf("through the guard: %s: %s", c.ID, c.ErrorMessage)
					}
				}
			}
		})
	}
}

// show prints both columns. A scenario that fails both ways is one that the
// server does not meet.
func show(t *testing.T, revision string, rows []row) {
	t.Helper()
	w := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "MCP %s\tdirect\tguarded\n", revision)
	for _, row := range rows {
		fmt.Fprint(w, strings.TrimRight(fmt.Sprintf("%s\t%s\t%s\t%s", row.scenario, row.direct, row.guarded, row.remark()), "\t"), "\n")
	}
	require.NoError(t, w.Flush())
}
