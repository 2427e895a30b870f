// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
)

var (
	fence = regexp.MustCompile("(?s)```(yaml|calls)\n(.*?)```\n")
	asked = regexp.MustCompile(`(?m)^(allow|deny) +(\S+) +(\S+) (\{.*?\})(?: at (\S+))?(?: from (\S+))?$`)
)

// Every policy in the documentation loads, and decides as it says there.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	require.NoError(t, err)
	var set *policy.Set
	examples := 0
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "yaml" {
			set = compile(t, block[2])
			continue
		}
		examples++
		lines := asked.FindAllStringSubmatch(block[2], -1)
		require.Equal(t, len(regexp.MustCompile(`\n`).FindAllString(block[2], -1)), len(lines), "every line is a call: %s", block[2])
		effects := map[string]bool{}
		for _, m := range lines {
			effects[m[1]] = true
			r := tool(app(m[2]), "orders", m[3])
			r.Facts = &policy.Facts{Arguments: []byte(m[4]), Now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), Proof: "x509-svid"}
			if m[5] != "" {
				r.Facts.Now, err = time.Parse(time.RFC3339, m[5])
				require.NoError(t, err)
			}
			if m[6] != "" {
				r.Facts.IP = netip.MustParseAddr(m[6])
			}
			require.Equal(t, m[1], string(set.Decide(r).Effect), m[0])
		}
		require.Len(t, effects, 2, "each example allows and denies: %s", block[2])
	}
	require.Equal(t, 6, examples)
}
