// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every policy command shows how it is used, in which forms it prints, and what
// its exit codes mean; wrong use of it is 2 and leads to its help.
func TestPolicyCommandsTellHowTheyAreUsed(t *testing.T) {
	t.Setenv("CUSTODY_HOME", t.TempDir())
	for _, cmd := range newRootCommand().Commands() {
		if cmd.Name() != "policy" {
			continue
		}
		require.NotEmpty(t, cmd.Commands())
		for _, sub := range cmd.Commands() {
			t.Run(sub.Name(), func(t *testing.T) {
				require.NotEmpty(t, sub.Short)
				require.Contains(t, sub.Example, "  custody policy "+sub.Name())
				require.Contains(t, sub.Long, "Exit status: 0 ")
				require.Contains(t, sub.Long, "2 ")
				output := sub.Flags().Lookup("output")
				require.NotNil(t, output)
				require.Equal(t, "o", output.Shorthand)
				for _, format := range []string{"json", "yaml"} {
					require.Contains(t, output.Usage, format)
				}
				for _, wrong := range []string{"--no-such-flag", "-o=xml"} {
					_, errOut, code := runPolicy(t, sub.Name(), "x", "y", wrong)
					require.Equal(t, 2, code, errOut)
				}
				_, errOut, _ := runPolicy(t, sub.Name(), "--no-such-flag")
				require.True(t, strings.HasSuffix(errOut, "; see policy "+sub.Name()+" --help"), errOut)
			})
		}
	}
}

func TestPolicyLintAsData(t *testing.T) {
	out, errOut, code := runPolicy(t, "lint", resourcePolicies, "-o", "json")
	require.Zero(t, code, errOut)
	var answer lintAnswer
	require.NoError(t, json.Unmarshal([]byte(out), &answer))
	require.Len(t, answer.Set, 64)
	require.Equal(t, lintAnswer{OK: true, Files: 2, Policies: 2, Rules: 5, Set: answer.Set, Errors: []lintLine{}, Warnings: []lintLine{}}, answer)

	bad := candidateFile(t, "  - {name: a, effect: alow, from: [a], to: {server: s, tools: [t]}}\n")
	out, errOut, code = runPolicy(t, "lint", bad, "-o", "json")
	require.Equal(t, 1, code, errOut)
	answer = lintAnswer{}
	require.NoError(t, json.Unmarshal([]byte(out), &answer))
	require.Equal(t, lintAnswer{Files: 1, Errors: []lintLine{{
		File: bad, Line: 6, Column: 23, Field: "spec.rules[0].effect", Message: `"alow" is no effect: did you mean "allow"?`,
	}}, Warnings: []lintLine{}}, answer)

	out, _, code = runPolicy(t, "lint", filepath.Dir(bad), "-o", "yaml")
	require.Equal(t, 1, code)
	require.Contains(t, out, "ok: false\n")
	require.Contains(t, out, "    line: 6\n")
}
