// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

var (
	pastFence  = regexp.MustCompile("(?s)```yaml\n([^`]*)```\n\n```past\n(.*?)```\n")
	askedAfter = regexp.MustCompile(`^(allow|deny) +(\S+) (\S+) (\{.*?\})(?: after (.*?)(, and a gap)?(?:, hiding (\S+))?)?$`)
	stepBefore = regexp.MustCompile(`^(tool|statement|approval) (\S+)(?: of (\S+))? by (\S+) (\S+) ago$`)
)

// Every policy about a chain in the documentation decides as it says there.
func TestChainDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	require.NoError(t, err)
	examples := pastFence.FindAllStringSubmatch(string(text), -1)
	require.Len(t, examples, 3)
	for _, block := range examples {
		set := compile(t, block[1])
		require.True(t, set.AsksChain("orders"))
		effects := map[string]bool{}
		for line := range strings.Lines(block[2]) {
			m := askedAfter.FindStringSubmatch(strings.TrimSpace(line))
			require.NotNil(t, m, line)
			effects[m[1]] = true
			r := tool(app(m[2]), "orders", m[3])
			r.Facts = facts(m[4])
			r.Facts.ArgumentsDigest = digest(t, m[4])
			if m[5] != "" {
				r.Facts.Passed = passedIn(m[5], m[7])
				r.Facts.Past = policy.NewPast("i-1", m[6] == "", documentedSteps(t, r.Facts.Now, m[5]))
			}
			require.Equal(t, m[1], string(set.Decide(r).Effect), line)
		}
		require.Len(t, effects, 2)
	}
}

// passedIn counts the tool calls among the steps, and one that they do not show.
func passedIn(steps, hidden string) func(string) (int, error) {
	return func(tool string) (int, error) {
		n := strings.Count(", "+steps, ", tool "+tool+" ")
		if tool == hidden {
			n++
		}
		return n, nil
	}
}

// digest is that of a JSON text in RFC 8785 form.
func digest(t *testing.T, text string) policy.Digest {
	t.Helper()
	canonical, err := jcs.Transform([]byte(text))
	require.NoError(t, err)
	return sha256.Sum256(canonical)
}

func documentedSteps(t *testing.T, now time.Time, text string) []policy.PastStep {
	t.Helper()
	var steps []policy.PastStep
	for each := range strings.SplitSeq(text, ", ") {
		m := stepBefore.FindStringSubmatch(each)
		require.NotNil(t, m, each)
		before, err := time.ParseDuration(m[5])
		require.NoError(t, err)
		s := policy.PastStep{Name: m[2], Kind: m[1], By: app(m[4]), At: now.Add(-before)}
		if m[3] != "" {
			s.Digest = digest(t, m[3])
		}
		if s.Kind == policy.StepTool {
			s.Server, s.Tool, s.Status = "orders", s.Name, "ok"
		}
		steps = append(steps, s)
	}
	return steps
}
