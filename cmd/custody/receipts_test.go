// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/receipt"
)

const vectors = "../../tests/vectors"

// TestReceiptsExitCodes holds the code that main exits with; what is printed is tested with the real command.
func TestReceiptsExitCodes(t *testing.T) {
	bundle := "--trust-bundle=" + filepath.Join(vectors, "bundle.pem")
	journal := func(name string) string { return "--journal=" + filepath.Join(vectors, "journals", name) }
	envelope := func(name string) string { return filepath.Join(vectors, "envelopes", name+".json") }
	const domain = "--trust-domain=custody.test"
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"verify a journal", []string{"verify", bundle, domain, journal("good")}, 0},
		{"verify a torn journal", []string{"verify", bundle, domain, journal("torn-tail")}, 0},
		{"verify a file", []string{"verify", bundle, domain, envelope("good-allow")}, 0},
		{"list", []string{"list", journal("good")}, 0},
		{"show", []string{"show", "call-1", journal("good")}, 0},
		{"export", []string{"export", journal("good")}, 0},
		{"verify a broken journal", []string{"verify", bundle, domain, journal("flipped-byte")}, exitNo},
		{"verify, as JSON", []string{"verify", bundle, domain, journal("flipped-byte"), "-o", "json"}, exitNo},
		{"verify a bad file", []string{"verify", bundle, domain, envelope("good-allow"), envelope("bad-signer")}, exitNo},
		{"verify for another domain", []string{"verify", bundle, "--trust-domain=other.test", journal("good")}, exitNo},
		{"list a broken journal", []string{"list", journal("missing-segment")}, exitNo},
		{"export a broken journal", []string{"export", journal("missing-segment")}, exitNo},
		{"no bundle", []string{"verify", journal("good")}, exitUsage},
		{"no such bundle", []string{"verify", "--trust-bundle=nowhere", domain, journal("good")}, exitUsage},
		{"no trust domain", []string{"verify", bundle, journal("good")}, exitUsage},
		{"no such journal", []string{"verify", bundle, domain, journal("nowhere")}, exitUsage},
		{"no such file", []string{"verify", bundle, domain, envelope("nowhere")}, exitUsage},
		{"journal and file", []string{"verify", bundle, domain, journal("good"), envelope("good-allow")}, exitUsage},
		{"no such flag", []string{"list", "--all"}, exitUsage},
		{"no such format", []string{"list", journal("good"), "-o", "xml"}, exitUsage},
		{"no such effect", []string{"list", journal("good"), "--effect", "maybe"}, exitUsage},
		{"negative limit", []string{"list", journal("good"), "--limit", "-1"}, exitUsage},
		{"no such time", []string{"list", journal("good"), "--since", "yesterday"}, exitUsage},
		{"arguments", []string{"list", "more"}, exitUsage},
		{"no ID", []string{"show", journal("good")}, exitUsage},
		{"no such ID", []string{"show", "call-77", journal("good")}, exitUsage},
		{"ID of an intent as envelope", []string{"show", "call-4", journal("good"), "-o", "envelope"}, exitUsage},
		{"ID in two journals", []string{"show", "call-1", journal("good"), journal("torn-tail")}, exitUsage},
		{"no such command", []string{"lost"}, exitUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(journalVariable, "")
			t.Setenv("CUSTODY_HOME", t.TempDir())
			cmd := newReceiptsCommand()
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			cmd.SetArgs(tt.args)
			err := cmd.Execute()
			if tt.want == 0 {
				require.NoError(t, err)
				return
			}
			var coded interface{ ExitCode() int }
			require.ErrorAs(t, err, &coded)
			require.Equal(t, tt.want, coded.ExitCode(), err)
		})
	}
}

func TestListFilters(t *testing.T) {
	now := time.Now()
	row := listRow{
		Time: now.Add(-time.Minute), Caller: "spiffe://custody.test/ns/default/agent", Server: "orders", Name: "get",
		Effect: receipt.EffectDeny,
	}
	for _, tt := range []struct {
		name  string
		flags receiptsListFlags
		want  bool
	}{
		{"all", receiptsListFlags{}, true},
		{"caller by ID", receiptsListFlags{caller: row.Caller}, true},
		{"caller by name", receiptsListFlags{caller: "agent"}, true},
		{"caller by the end of a name", receiptsListFlags{caller: "gent"}, false},
		{"tool", receiptsListFlags{tool: "get"}, true},
		{"tool of the server", receiptsListFlags{tool: "orders/get"}, true},
		{"tool of another server", receiptsListFlags{tool: "other/get"}, false},
		{"effect", receiptsListFlags{effect: "deny"}, true},
		{"other effect", receiptsListFlags{effect: "allow"}, false},
		{"since days", receiptsListFlags{since: "1d"}, true},
		{"since the time of it", receiptsListFlags{since: row.Time.Format(time.RFC3339Nano)}, true},
		{"since a time after it", receiptsListFlags{since: now.Add(-time.Second).Format(time.RFC3339Nano)}, false},
		{"since long", receiptsListFlags{since: "1h"}, true},
		{"since short", receiptsListFlags{since: "1s"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			since, err := parseSince(tt.flags.since, now)
			require.NoError(t, err)
			require.Equal(t, tt.want, tt.flags.wants(row, since))
		})
	}
}

// A tool may have any name that a client can send.
func TestTerminalIsNotSteered(t *testing.T) {
	item := &evidence.Item{Intent: &receipt.Intent{
		ID: "a", Action: receipt.Action{Kind: "k", Server: "s", Name: "x\x1b[2J\r\n\u202eb"},
	}}
	var out bytes.Buffer
	require.NoError(t, listTable(&out, []listRow{newListRow(journalSource{}, item)}))
	require.NoError(t, showItem(&out, item, "text"))
	require.Contains(t, out.String(), "x\uFFFD[2J\uFFFD\uFFFD\uFFFDb")
	require.NotContains(t, out.String(), "\x1b")
}

func TestShowSaysWhomAQuestionIsFor(t *testing.T) {
	question := &receipt.Receipt{To: spiffeid.RequireFromString("spiffe://custody.test/ns/default/payments")}
	for r, want := range map[*receipt.Receipt]bool{question: true, {}: false} {
		var out bytes.Buffer
		require.NoError(t, showItem(&out, &evidence.Item{Receipt: r, Envelope: &receipt.Envelope{}}, "text"))
		require.Equal(t, want, regexp.MustCompile(`\n  to +spiffe://custody.test/ns/default/payments\n`).MatchString(out.String()), out.String())
	}
}

// brokenPipe is a reader of the output that went away.
type brokenPipe struct{}

var errBroken = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

func TestFailedOutputIsAnError(t *testing.T) {
	journal := "--journal=" + filepath.Join(vectors, "journals", "good")
	for _, args := range [][]string{
		{"list", journal},
		{"list", journal, "-o", "json"},
		{"show", "call-1", journal},
		{"show", "call-1", journal, "-o", "envelope"},
		{"export", journal},
		{"verify", journal, "--trust-domain=custody.test", "--trust-bundle=" + filepath.Join(vectors, "bundle.pem")},
	} {
		cmd := newReceiptsCommand()
		cmd.SetOut(brokenPipe{})
		cmd.SetArgs(args)
		require.ErrorIs(t, cmd.Execute(), errBroken, args)
	}
}

// What policies in shadow mode would decide is told beside what was decided.
func TestReceiptsTellOfShadowPolicies(t *testing.T) {
	r := &receipt.Receipt{
		Action: receipt.Action{Kind: "mcp.tools/call", Server: "orders", Name: "get_order"},
		Decision: receipt.Decision{
			Effect: receipt.EffectAllow, Policy: "live", Rule: "get",
			Shadow: &receipt.Shadow{Effect: receipt.EffectDeny, Policy: "trial", Rule: "strict", Reason: "rule denies it"},
		},
		Outcome: receipt.Outcome{Status: receipt.StatusWithheld, Reason: "too large", Redacted: map[string]int{"email": 2}},
	}
	lines := map[string][]string{}
	showReceipt(func(name, value string) {
		if value != "" {
			lines[name] = append(lines[name], value)
		}
	}, r)
	require.Equal(t, []string{"deny"}, lines["in shadow mode"])
	require.Equal(t, []string{"live/get", "trial/strict"}, lines["  rule"])
	require.Equal(t, []string{"rule denies it", "too large"}, lines["  reason"])
	require.Equal(t, []string{"email, 2 times"}, lines["  redacted"])

	row := newListRow(journalSource{}, &evidence.Item{Receipt: r, Envelope: &receipt.Envelope{}})
	require.Equal(t, "live/get (in shadow mode: deny trial/strict)", row.ruleAndShadow())
	flags := receiptsListFlags{shadow: true}
	require.True(t, flags.wants(row, time.Time{}))
	row.Shadow = nil
	require.Equal(t, "live/get", row.ruleAndShadow())
	require.False(t, flags.wants(row, time.Time{}))
}

// Who stands behind a call is told of receipts and of intents.
func TestReceiptsTellWhoStandsBehind(t *testing.T) {
	actors := []spiffeid.ID{
		spiffeid.RequireFromString("spiffe://custody.test/ns/default/intake"),
		spiffeid.RequireFromString("spiffe://custody.test/ns/default/refunds"),
	}
	for name, item := range map[string]*evidence.Item{
		"receipt": {Receipt: &receipt.Receipt{Txn: "t-1", Actors: actors}, Envelope: &receipt.Envelope{}},
		"intent":  {Intent: &receipt.Intent{Txn: "t-1", Actors: actors}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, showItem(&out, item, "text"))
			require.Regexp(t, `transaction +t-1\n +begun by +spiffe://custody.test/ns/default/intake\n +through +spiffe://custody.test/ns/default/refunds`, out.String())
			text, err := json.Marshal(newListRow(journalSource{}, item))
			require.NoError(t, err)
			require.Contains(t, string(text), `"txn":"t-1","actors":["spiffe://custody.test/ns/default/intake","spiffe://custody.test/ns/default/refunds"]`)
		})
	}
}
