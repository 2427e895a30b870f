// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package redact_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/redact"
)

// sample is a line of testdata.
type sample struct {
	text     string
	hits     []string // as they stand in text
	promised bool     // what a detector finds is exactly hits; else it is known not to
}

func corpus(t testing.TB, detector string) []sample {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + detector + ".txt")
	require.NoError(t, err)
	clean := strings.NewReplacer("¦", "", "␤", "\n")
	var samples []sample
	for line := range strings.Lines(string(raw)) {
		line = clean.Replace(strings.TrimSuffix(line, "\n"))
		if strings.HasPrefix(line, "#") {
			continue
		}
		kind, text, ok := strings.Cut(line, " ")
		require.True(t, ok, line)
		require.Contains(t, []string{"+", "-", "?+", "?-"}, kind, line)
		s := sample{text: strings.NewReplacer("«", "", "»", "").Replace(text), promised: kind[0] != '?'}
		for i, part := range strings.Split(text, "«") {
			if i > 0 {
				hit, _, closed := strings.Cut(part, "»")
				require.True(t, closed, line)
				s.hits = append(s.hits, hit)
			}
		}
		require.Equal(t, strings.HasSuffix(kind, "+"), len(s.hits) > 0, line)
		samples = append(samples, s)
	}
	return samples
}

// quality returns which part of what a detector finds it should find, and which part of what it should find it does.
func quality(t testing.TB, detector string) (precision, recall float64) {
	var found, wanted, right int
	for _, s := range corpus(t, detector) {
		got := redact.Find(detector, s.text)
		found, wanted = found+len(got), wanted+len(s.hits)
		for _, hit := range got {
			if i := slices.Index(s.hits, hit); i >= 0 {
				s.hits = slices.Delete(s.hits, i, i+1)
				right++
			}
		}
	}
	return float64(right) / float64(found), float64(right) / float64(wanted)
}

func TestCorpora(t *testing.T) {
	for _, name := range redact.Names() {
		t.Run(name, func(t *testing.T) {
			samples := corpus(t, name)
			require.GreaterOrEqual(t, len(samples), 60)
			misses := 0
			for _, s := range samples {
				if len(s.hits) == 0 {
					misses++
				}
				got := redact.Find(name, s.text)
				if s.promised {
					require.Equal(t, s.hits, got, s.text)
				} else {
					require.NotEqual(t, s.hits, got, "no longer missed, so promise it: %s", s.text)
				}
			}
			require.GreaterOrEqual(t, 20*misses, 9*len(samples), "too few near misses")
			precision, recall := quality(t, name)
			t.Logf("%d lines, precision %.3f, recall %.3f", len(samples), precision, recall)
			require.GreaterOrEqual(t, precision, 0.85)
			require.GreaterOrEqual(t, recall, 0.85)
		})
	}
}
