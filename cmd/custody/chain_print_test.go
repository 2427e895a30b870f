// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/dossier"
	"github.com/dapr-custody/custody/internal/receipt"
)

// The table of a chain fits 160 columns, whatever the names are, and tells apps apart.
func TestChainTableFits(t *testing.T) {
	long := strings.Repeat("long-", 40)
	at := time.Date(2026, 11, 23, 15, 4, 5, 6, time.UTC)
	id := func(path string) spiffeid.ID { return spiffeid.RequireFromString("spiffe://" + path) }
	step := func(by, door spiffeid.ID) dossier.Step {
		return dossier.Step{
			Step: chain.Step{
				Name: long, Kind: chain.StepStatement, Server: long, Tool: long, Status: receipt.StatusIncomplete, Instance: long, By: by, Door: door, At: at,
			},
			Scheduled: 1000, Recorded: 1001, Faults: []*dossier.Fault{{Kind: "link/faulty-predecessor"}},
		}
	}
	report := &dossier.Report{
		Chain: receipt.Chain{App: id("custody.local/ns/default/intake"), Instance: "refund-7", Started: at},
		Steps: []dossier.Step{
			step(id("custody.local/ns/default/intake"), id("custody.local/ns/prod/payments")),
			step(id("other.local/ns/default/intake"), id("custody.local/ns/default/"+long[:60])),
			step(id("custody.local/human/anna"), spiffeid.ID{}),
		},
	}
	var out bytes.Buffer
	require.NoError(t, chainTable(&out, report))
	lines := strings.Split(out.String(), "\n")
	require.Contains(t, lines[0], "spiffe://custody.local/ns/default/intake")
	for _, line := range lines[1:5] {
		require.LessOrEqual(t, utf8.RuneCountInString(line), 160, line)
	}
	require.Regexp(t, `^1  long-.*…  statement  intake          long-.*…  prod/payments   incomplete  11-23 15:04:05  long-long-l…  1000-1001  NO: link/faulty…$`, lines[2])
	require.Regexp(t, `  spiffe://othe…  .*  long-long-lon…  `, lines[3])
	require.Regexp(t, `  spiffe://cust…  .*  -  `, lines[4])
}

// hostile is a step whose name steers what shows it: a terminal, Mermaid and Graphviz.
const hostile = "a\u009b31m\u202e\x1b[2J\x7f\"]; end\nclick s0 %%{init:{'themeCSS':'*{display:none}'}}%% <b>`#1\U000e0041"

func hostileReport() *dossier.Report {
	by := spiffeid.RequireFromString("spiffe://custody.local/ns/default/intake")
	return &dossier.Report{
		Chain: receipt.Chain{App: by, Instance: hostile},
		Steps: []dossier.Step{{
			Step: chain.Step{Name: hostile, Kind: chain.StepApproval, By: by, Instance: hostile, Tool: hostile, Link: receipt.Sum(nil)}, Scheduled: -1, Recorded: -1, Unchecked: hostile,
		}},
		Faults: []*dossier.Fault{{Kind: dossier.OtherStep, Step: hostile, Instance: hostile, Row: hostile, Detail: hostile}},
		Notes:  []string{hostile},
	}
}

// No name steers a terminal or a picture, in whatever form it is printed, and JSON says what it is all the same.
func TestHostileNames(t *testing.T) {
	for name, print := range map[string]func(out *bytes.Buffer) error{
		"table":   func(out *bytes.Buffer) error { return chainTable(out, hostileReport()) },
		"json":    func(out *bytes.Buffer) error { return policyJSON(out, newChainView(hostileReport())) },
		"mermaid": func(out *bytes.Buffer) error { return chainGraph(out, hostileReport(), "mermaid") },
		"dot":     func(out *bytes.Buffer) error { return chainGraph(out, hostileReport(), "dot") },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, print(&out))
			for _, r := range out.String() {
				require.True(t, r == '\n' || unicode.IsPrint(r), "%q in %s", r, out.String())
			}
			switch name {
			case "json":
				var view chainView
				require.NoError(t, json.Unmarshal(out.Bytes(), &view))
				require.Equal(t, hostile, view.Steps[0].Step)
				require.Equal(t, hostile, view.Steps[0].Unchecked)
			case "mermaid":
				require.NotContains(t, out.String(), "%%")
				require.Equal(t, 2, strings.Count(out.String(), "\n"), out.String())
			case "dot":
				require.Contains(t, out.String(), `\"]; end\nclick`)
			case "table":
				require.Contains(t, out.String(), "in part")
			}
		})
	}
}
