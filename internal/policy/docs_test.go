// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/toolcall"
)

var (
	fence = regexp.MustCompile("(?s)```(yaml|calls|requests)\n(.*?)```\n")
	// What is asked for is a tool with its arguments, or a method and what it names.
	asked = regexp.MustCompile(`(?m)^(allow|deny) +(\S+) +(\S+)(?: +(\{.*?\}|"[^"]*"))?(?: at (\S+))?(?: from (\S+))?` +
		`(?: in session (\S+))?(?: => (.+))?$`)
	heading = regexp.MustCompile(`(?m)^### (\d+)\. `)
)

// Every policy in the documentation loads, and decides as it says there.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "policy.md"))
	require.NoError(t, err)
	var set *policy.Set
	examples := 0
	for _, block := range fence.FindAllStringSubmatch(string(text), -1) {
		if block[1] == "yaml" {
			set = compile(t, block[2])
			continue
		}
		examples++
		if block[1] == "requests" {
			documentedRequests(t, set, block[2])
			continue
		}
		lines := asked.FindAllStringSubmatch(block[2], -1)
		require.Equal(t, strings.Count(block[2], "\n"), len(lines), "every line is a call: %s", block[2])
		effects := map[string]bool{}
		for _, m := range lines {
			effects[m[1]] = true
			d := decideDocumented(t, set, m)
			require.Equal(t, m[1], string(d.Effect), "%s: %s", m[0], d.Reason)
			require.Equal(t, m[8], comesWith(d), m[0])
		}
		require.Len(t, effects, 2, "each example allows and denies: %s", block[2])
	}
	require.Equal(t, 18, examples)
	for i, m := range heading.FindAllStringSubmatch(string(text), -1) {
		require.Equal(t, strconv.Itoa(i+1), m[1])
	}
}

// decideDocumented decides a line that asked found, as a guard would.
func decideDocumented(t *testing.T, set *policy.Set, m []string) policy.Decision {
	t.Helper()
	facts := &policy.Facts{Now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), Proof: "x509-svid", Session: m[7]}
	if m[5] != "" {
		var err error
		facts.Now, err = time.Parse(time.RFC3339, m[5])
		require.NoError(t, err)
	}
	if m[6] != "" {
		facts.IP = netip.MustParseAddr(m[6])
	}
	if strings.HasPrefix(m[4], "{") {
		facts.Arguments = []byte(m[4])
		r := tool(app(m[2]), "orders", m[3])
		r.Facts = facts
		return set.Decide(r)
	}
	r := ask(app(m[2]), policy.KindMCPPrefix+m[3], "orders", strings.Trim(m[4], `"`))
	r.Facts = facts
	at := slices.IndexFunc(toolcall.Methods(), func(method toolcall.Method) bool { return method.Name == m[3] && !method.FromServer })
	require.GreaterOrEqual(t, at, 0, m[0])
	if toolcall.Methods()[at].Default == toolcall.Reach {
		return set.DecideDefault(r)
	}
	return set.Decide(r)
}

// A request is an effect, a caller and parts: an operation, what it names, and how a table is used.
var requested = regexp.MustCompile(`(?m)^(allow|deny) +(\S+) +(.+?)(?: limit (\d+))?(?: params (\[.*\]))?(?: => (.+))?$`)

func documentedRequests(t *testing.T, set *policy.Set, block string) {
	t.Helper()
	lines := requested.FindAllStringSubmatch(block, -1)
	require.Equal(t, strings.Count(block, "\n"), len(lines), "every line is a request: %s", block)
	effects := map[string]bool{}
	for _, m := range lines {
		effects[m[1]] = true
		statement := &policy.Statement{Command: "select", Limit: -1, Params: []byte(m[5])}
		if m[4] != "" {
			var err error
			statement.Limit, err = strconv.ParseInt(m[4], 10, 64)
			require.NoError(t, err)
		}
		var parts []policy.Action
		for _, text := range strings.Split(m[3], ", ") {
			parts = append(parts, documentedPart(t, strings.Fields(text)))
			statement.Tables = append(statement.Tables, parts[len(parts)-1].Name)
		}
		d := set.DecideAll(app(m[2]), parts, &policy.Facts{SQL: statement})
		require.Equal(t, m[1], string(d.Effect), "%s: %s", m[0], d.Reason)
		require.Equal(t, m[6], comesWith(d), m[0])
	}
	require.Len(t, effects, 2, "each example allows and denies: %s", block)
}

// documentedPart reads a part such as: update shop.orders reads id writes status binds id.
func documentedPart(t *testing.T, words []string) policy.Action {
	t.Helper()
	part := policy.Action{Kind: "sql." + words[0], Server: "orders-db", Use: &policy.SQLUse{}}
	if slices.Contains([]string{"get", "set", "transact", "query", "keys"}, words[0]) || words[0] == "delete" && !strings.Contains(words[1], ".") {
		part = policy.Action{Kind: "state." + words[0], Server: "cart-store"}
	}
	if words = words[1:]; len(words) > 0 {
		part.Name, words = words[0], words[1:]
	}
	for ; len(words) > 0; words = words[1:] {
		if words[0] == "where" {
			part.Use.HasWhere = true
			continue
		}
		require.GreaterOrEqual(t, len(words), 2, words)
		list := strings.Split(words[1], ",")
		switch words[0] {
		case "reads":
			part.Use.Reads = list
		case "writes":
			part.Use.Writes = list
		case "binds":
			part.Use.Bound, part.Use.HasWhere = list, true
		default:
			require.Fail(t, words[0])
		}
		words = words[1:]
	}
	return part
}

// comesWith is what comes with a decision, as the documentation writes it.
func comesWith(d policy.Decision) string {
	var parts []string
	if o := d.Obligations; o != nil {
		for _, rate := range o.Rates {
			parts = append(parts, "rate: "+rate.String())
		}
		if o.MaxRows > 0 {
			parts = append(parts, "maxRows: "+strconv.Itoa(o.MaxRows))
		}
		if o.MaxResultBytes > 0 {
			parts = append(parts, "maxResultBytes: "+strconv.Itoa(o.MaxResultBytes))
		}
		if spec := o.Redact.Spec(); o.Redact != nil {
			parts = append(parts, "redact: "+strings.Join(slices.Concat(spec.Detectors, spec.Paths), ", "))
		}
	}
	if d.Reason == policy.ReasonNoGrant {
		parts = append(parts, "requireGrant")
	}
	if d.Shadow != nil {
		parts = append(parts, "shadow: "+string(d.Shadow.Effect))
	}
	return strings.Join(parts, "; ")
}
