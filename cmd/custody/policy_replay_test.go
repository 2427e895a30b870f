// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// replayed is a real gate with liveRules, whose journal is replayed.
type replayed struct {
	t       *testing.T
	dir     string
	gate    *gate.Gate
	anchors *gate.Anchors
	now     time.Time
	callers map[string]identity.Caller
}

type fixedSVID struct{ svid *x509svid.SVID }

func (f fixedSVID) GetX509SVID() (*x509svid.SVID, error) { return f.svid, nil }

func newReplayed(t *testing.T) *replayed {
	t.Helper()
	return newReplayedBy(t, liveRules)
}

// newReplayedBy is newReplayed with other rules in force.
func newReplayedBy(t *testing.T, rules string) *replayed {
	t.Helper()
	t.Setenv("CUSTODY_HOME", t.TempDir())
	t.Setenv(journalVariable, "")
	ca := testkit.NewCA(t, "custody.local")
	r := &replayed{t: t, dir: filepath.Join(t.TempDir(), "journal"), now: time.Now(), callers: map[string]identity.Caller{}}
	writer, err := journal.Open(journal.Options{Dir: r.dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, writer.Close()) })
	documents, err := policy.Parse("live.yaml", []byte(policyText(rules)))
	require.NoError(t, err)
	set, _, err := policy.Compile(documents, policy.CompileOptions{TrustDomain: testkit.TrustDomain("custody.local"), Namespace: "default"})
	require.NoError(t, err)
	// Valid for long, so that decisions can be old.
	door := ca.SVID("orders", func(c *x509.Certificate) { c.NotBefore = r.now.Add(-100 * time.Hour) })
	r.gate, err = gate.New(gate.Options{
		Door: "test", Policy: func() *policy.Set { return set }, SVIDs: fixedSVID{door}, Journal: writer,
		Now: func() time.Time { return r.now },
	})
	require.NoError(t, err)
	r.anchors, err = gate.NewAnchors(gate.AnchorOptions{
		Door: "state", SVIDs: fixedSVID{door}, Journal: writer, Now: func() time.Time { return r.now },
	})
	require.NoError(t, err)
	verifier := identity.NewVerifier(x509bundle.NewSet(ca.Bundle()), time.Now)
	for _, app := range []string{"support", "intern"} {
		r.callers[app], err = verifier.Verify(ca.SVID(app).Certificates)
		require.NoError(t, err)
	}
	return r
}

// call has the gate decide; what is allowed is settled.
func (r *replayed) call(caller, kind, name string, change ...func(*gate.Ask)) *gate.Permit {
	r.t.Helper()
	ask := gate.Ask{
		Caller: r.callers[caller], Action: policy.Action{Kind: kind, Server: "orders", Name: name}, Request: receipt.Sum([]byte(name)),
	}
	for _, f := range change {
		f(&ask)
	}
	permit, err := r.gate.Check(ask)
	if err != nil {
		var denied *gate.DeniedError
		require.ErrorAs(r.t, err, &denied)
	}
	return permit
}

func (r *replayed) tool(caller, name, arguments string) {
	r.t.Helper()
	permit := r.call(caller, policy.KindToolCall, name, func(ask *gate.Ask) {
		if arguments != "" {
			ask.Facts.Arguments, ask.Arguments = []byte(arguments), receipt.Sum([]byte(arguments))
		}
	})
	if permit != nil {
		_, err := permit.Settle(receipt.Outcome{Status: receipt.StatusOK})
		require.NoError(r.t, err)
	}
}

func policyText(rules string) string {
	return "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: orders}\nspec:\n  rules:\n" + rules
}

// file writes a candidate.
func candidateFile(t *testing.T, rules string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "candidate.yaml")
	require.NoError(t, os.WriteFile(file, []byte(policyText(rules)), 0o600))
	return file
}

// replay returns the answer, and lines of change, caller's name, action, what was and would be, and times.
func (r *replayed) replay(rules string, want int, more ...string) (replayAnswer, [][]any) {
	r.t.Helper()
	args := append([]string{"replay", "--journal", r.dir, "-o", "json", candidateFile(r.t, rules)}, more...)
	out, errOut, code := runPolicy(r.t, args...)
	require.Equal(r.t, want, code, errOut)
	var answer replayAnswer
	require.NoError(r.t, json.Unmarshal([]byte(out), &answer))
	require.Equal(r.t, answer.Decisions, answer.Same+answer.Otherwise+answer.Depends)
	lines := [][]any{}
	for _, c := range answer.Changes {
		lines = append(lines, []any{c.Change, filepath.Base(c.Caller), c.Name, c.Was.String(), c.Would.String(), c.Times})
	}
	return answer, lines
}

const liveRules = `
  - {name: reads, effect: allow, from: [support], to: {server: orders, tools: ["get_*"]}}
  - {name: small, effect: allow, from: [support], to: {server: orders, tools: [refund]}, when: args.amount <= 200}
`

func TestReplay(t *testing.T) {
	r := newReplayed(t)
	for range 3 {
		r.tool("support", "get_order", `{"id": 7}`)
	}
	r.tool("support", "refund", `{"amount": 3}`)
	r.tool("support", "refund", `{"amount": 300}`)
	r.tool("intern", "get_order", `{"id": 7}`)
	r.tool("intern", "get_order", `{"id": 8}`)
	r.tool("intern", "list", "")

	const reads = "  - {name: reads, effect: allow, from: [support, intern], to: {server: orders, tools: [\"get_*\"]}}\n"
	tests := []struct {
		name, rules string
		code        int
		want        [][]any
	}{
		{"an equal policy", "\n# Other comments.\n" + liveRules, 0, [][]any{}},
		{
			"other rules, which say the same of what was done", reads[:len(reads)-1] + `
  - {name: no-intern, effect: deny, from: [intern], to: {server: orders, tools: ["*"]}}
  - {name: refunds, effect: allow, from: [support], to: {server: orders, tools: [refund]}, when: args.amount <= 200}
`, 1, [][]any{
				{"may open", "support", "refund", "deny", "depends on the condition of rule orders/refunds (allow when args.amount <= 200)", 1},
				{"may close", "support", "refund", "allow (orders/small)", "depends on the condition of rule orders/refunds (allow when args.amount <= 200)", 1},
			},
		},
		{"what opens comes first, then what closes", reads, 1, [][]any{
			{"opens", "intern", "get_order", "deny", "allow (orders/reads)", 2},
			{"closes", "support", "refund", "allow (orders/small)", "deny", 1},
		}},
		{"nothing is allowed", "  - {name: no, effect: deny, from: [intern], to: {server: orders, tools: [list]}}\n", 1, [][]any{
			{"closes", "support", "get_order", "allow (orders/reads)", "deny", 3},
			{"closes", "support", "refund", "allow (orders/small)", "deny", 1},
		}},
		{"a deny under a condition", liveRules + "  - {name: odd, effect: deny, from: [support], to: {server: orders, tools: [get_order]}, when: session.id == \"\"}\n", 1, [][]any{
			{"may open", "support", "refund", "deny", "depends on the condition of rule orders/small (allow when args.amount <= 200)", 1},
			{"may close", "support", "get_order", "allow (orders/reads)", `depends on the condition of rule orders/odd (deny when session.id == "")`, 3},
			{"may close", "support", "refund", "allow (orders/small)", "depends on the condition of rule orders/small (allow when args.amount <= 200)", 1},
		}},
		{"conditions on what is recorded are decided", reads + `
  - {name: refunds, effect: allow, from: [support], to: {server: orders, tools: [refund]}, when: caller.proof == "x509-svid" && now > timestamp("2026-01-01T00:00:00Z")}
  - {name: never, effect: deny, from: [support], to: {server: orders, tools: [refund]}, when: now < timestamp("2026-01-01T00:00:00Z") && args.amount > 9}
  - {name: empty, effect: allow, from: [intern], to: {server: orders, tools: [list]}, when: size(args) == 0}
`, 1, [][]any{
			{"opens", "intern", "get_order", "deny", "allow (orders/reads)", 2},
			{"opens", "intern", "list", "deny", "allow (orders/empty)", 1},
			{"opens", "support", "refund", "deny", "allow (orders/refunds)", 1},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			answer, lines := r.replay(tt.rules, tt.code)
			require.Equal(t, tt.want, lines)
			require.Equal(t, 8, answer.Decisions)
			for _, c := range answer.Changes {
				require.NotEmpty(t, c.Reference)
				require.Equal(t, r.dir, c.Journal)
				require.WithinDuration(t, r.now, c.Last, time.Second)
			}
		})
	}
}

func TestReplaySince(t *testing.T) {
	r := newReplayed(t)
	const nothing = "  - {name: no, effect: deny, from: [support], to: {server: orders, tools: [\"*\"]}}\n"
	begun := r.now
	for _, ago := range []time.Duration{50 * time.Hour, 30 * time.Hour, 2 * time.Hour, time.Minute} {
		r.now = begun.Add(-ago)
		require.NotNil(t, r.call("support", policy.KindToolCall, "get_order"))
	}
	r.now = begun
	for since, want := range map[string]int{
		"": 4, "51h": 4, "49h": 3, "2d": 3, "1d5h": 2, "24h": 2, "1d7h": 3, "90m": 1, "30s": 0,
		begun.Add(-31 * time.Hour).UTC().Format(time.RFC3339): 3, begun.Add(-time.Hour).Format(time.RFC3339): 1,
	} {
		code := 1
		if want == 0 {
			code = 0
		}
		answer, _ := r.replay(nothing, code, "--since", since)
		require.Equal(t, want, answer.Decisions, since)
		require.Equal(t, want, answer.Otherwise, since)
	}
	for _, since := range []string{"yesterday", "-3h", "d", "1d-1h", "1.5d", "5", begun.Add(time.Hour).Format(time.RFC3339)} {
		_, errOut, code := runPolicy(t, "replay", "--journal", r.dir, "--since", since, candidateFile(t, nothing))
		require.Equal(t, 2, code, since)
		require.Contains(t, errOut, "--since", since)
	}
}

// Intents without a receipt were allowed. Steps of the protocol go by who reaches
// the server, and what the door refused by itself is left out.
func TestReplayOfWhatIsNoToolCall(t *testing.T) {
	r := newReplayed(t)
	require.NotNil(t, r.call("support", policy.KindToolCall, "get_order"))
	plumbing := func(ask *gate.Ask) { ask.Plumbing = true }
	for _, kind := range []string{"mcp.initialize", "mcp.tools/list", kindEndSession} {
		require.NotNil(t, r.call("support", kind, "", plumbing))
		require.Nil(t, r.call("intern", kind, "", plumbing))
	}
	require.Nil(t, r.call("support", "mcp.unparsed", "", func(ask *gate.Ask) { ask.Refusal = "it is no JSON" }))
	require.Nil(t, r.call("support", policy.KindToolCall, "get_order", func(ask *gate.Ask) { ask.Refusal = "the session is not there" }))
	require.Nil(t, r.call("nobody", policy.KindToolCall, "get_order"))

	answer, lines := r.replay(liveRules, 0)
	require.Empty(t, lines)
	require.Equal(t, []int{7, 3}, []int{answer.Decisions, answer.OwnRefusals})

	// The same by other rules, of which one more says nothing of this.
	_, lines = r.replay(liveRules+"  - {name: more, effect: allow, from: [other], to: {server: orders, tools: [t]}}\n", 0)
	require.Empty(t, lines)

	_, lines = r.replay("  - {name: list, effect: allow, from: [intern], to: {server: orders, tools: [list]}, when: args.x == 1}\n", 1)
	require.Equal(t, [][]any{
		{"opens", "intern", "", "deny", "allow", 1},
		{"opens", "intern", "", "deny", "allow", 1},
		{"opens", "intern", "", "deny", "allow", 1},
		{"closes", "support", "", "allow", "deny", 1},
		{"closes", "support", "", "allow", "deny", 1},
		{"closes", "support", "", "allow", "deny", 1},
		{"closes", "support", "get_order", "allow", "deny", 1},
	}, lines)
}

// A refusal because of a rate stays one where there may be a rate again.
func TestReplayOfWhatWasHeldBack(t *testing.T) {
	held := &recorded{replayVerdict: replayVerdict{Effect: policy.Deny, Policy: "orders", Rule: "reads", Reason: "the rate of rule reads is used up"}}
	denied, failed := *held, *held
	denied.Reason, failed.Reason = policy.ReasonDenied, "the condition of rule reads could not be evaluated: it costs too much"
	require.True(t, held.heldBack())
	require.False(t, denied.heldBack())
	require.False(t, failed.heldBack())
	support := newReplayed(t).callers["support"].ID()
	for rules, want := range map[string]bool{
		"  - {name: reads, effect: allow, from: [support], to: {server: orders, tools: [get]}, rate: 9/hour}\n":      false,
		"  - {name: reads, effect: allow, from: [support], to: {server: orders, tools: [get]}, maxResultBytes: 9}\n": true,
		"  - {name: reads, effect: allow, from: [support], to: {server: orders, tools: [get]}}\n":                    true,
		"  - {name: reads, effect: allow, from: [support], to: {server: orders, tools: [put]}}\n":                    false,
	} {
		found, err := (&policySource{trustDomain: "custody.local", namespace: "default"}).load([]string{candidateFile(t, rules)})
		require.NoError(t, err)
		r := *held
		r.caller, r.action = support, policy.Action{Kind: policy.KindToolCall, Server: "orders", Name: "get"}
		_, _, change := newCandidate(found.set).changes(&r)
		require.Equal(t, want, change == changeOpens, rules)
	}
}

// What was redacted is recorded, what else an allow obliged to is not: what NEW
// obliges to is told, and is no change.
func TestReplayOfObligations(t *testing.T) {
	r := newReplayed(t)
	permit := r.call("support", policy.KindToolCall, "get_customer")
	_, err := permit.Settle(receipt.Outcome{Status: receipt.StatusOK, Redacted: map[string]int{"email": 2, "path": 1, "binary": 1}})
	require.NoError(t, err)
	for range 2 {
		r.tool("support", "get_order", "")
	}
	task := r.call("support", "mcp.tasks/result", "7", func(ask *gate.Ask) { ask.Plumbing = true })
	_, err = task.Settle(receipt.Outcome{Status: receipt.StatusOK, Redacted: map[string]int{"email": 2}})
	require.NoError(t, err)
	r.tool("intern", "get_order", "")
	const was = "allow (orders/reads), redacted: "
	allow := func(more string) string {
		return "  - {name: reads, effect: allow, from: [support], to: {server: orders, tools: [\"get_*\"]}" + more + "}\n"
	}
	tests := []struct {
		name, rules string
		code        int
		want        [][]any
		obliged     [][]any
	}{
		{
			"nothing is redacted", allow(", rate: 3/minute"), 1,
			[][]any{{"reveals", "support", "get_customer", was + "binary, email, path", "allow (orders/reads) with rate: 3/minute", 1}},
			[][]any{{"get_order", "rate: 3/minute", 2}, {"get_customer", "rate: 3/minute", 1}},
		},
		{
			"all that was", allow(", redact: {detectors: [card, email], paths: [$.x]}"), 0,
			[][]any{},
			[][]any{{"get_order", `redact: {detectors: [card, email], paths: ["$.x"]}`, 2}, {"get_customer", `redact: {detectors: [card, email], paths: ["$.x"]}`, 1}},
		},
		{
			"other things", allow(", redact: {detectors: [card], binary: pass}"), 1,
			[][]any{{"may reveal", "support", "get_customer", was + "binary, email, path", "allow (orders/reads) with redact: {detectors: [card], binary: pass}", 1}},
			[][]any{{"get_order", "redact: {detectors: [card], binary: pass}", 2}, {"get_customer", "redact: {detectors: [card], binary: pass}", 1}},
		},
		{
			"under a condition", allow("") + strings.ReplaceAll(allow(", redact: {detectors: [email]}, when: session.id == \"\""), "reads", "mails"), 1,
			[][]any{{"may reveal", "support", "get_customer", was + "binary, email, path", `allow (orders/reads) with redact: {detectors: [email]} when session.id == ""`, 1}},
			[][]any{{"get_order", `redact: {detectors: [email]} when session.id == ""`, 2}, {"get_customer", `redact: {detectors: [email]} when session.id == ""`, 1}},
		},
		{
			"what opens obliges too", strings.ReplaceAll(allow(", maxResultBytes: 9"), "support", "intern"), 1,
			[][]any{
				{"opens", "intern", "get_order", "deny", "allow (orders/reads) with maxResultBytes: 9", 1},
				{"closes", "support", "get_order", "allow (orders/reads)", "deny", 2},
				{"closes", "support", "7", "allow", "deny", 1},
				{"closes", "support", "get_customer", "allow (orders/reads)", "deny", 1},
			},
			[][]any{},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			answer, lines := r.replay(tt.rules, tt.code)
			require.Equal(t, tt.want, lines)
			obliged := [][]any{}
			for _, o := range answer.Obliged {
				require.Equal(t, []string{"support", "orders"}, []string{filepath.Base(o.Caller), o.Server})
				obliged = append(obliged, []any{o.Name, strings.Join(o.Obligations, "; "), o.Times})
			}
			require.Equal(t, tt.obliged, obliged)
		})
	}
	out, errOut, code := runPolicy(t, "replay", "--journal", r.dir, candidateFile(t, allow(", redact: {detectors: [email], paths: [$.x]}")))
	require.Zero(t, code, errOut)
	require.Regexp(t, `^CALLER  +ACTION  +ALLOWED AS BEFORE, WITH  +TIMES\n`+
		`spiffe://custody.local/ns/default/support +mcp.tools/call orders/get_order +redact: .* 2\n.*get_customer .* 1\n`+
		`5 decisions: 5 as before, 0 otherwise, 0 that depend\n$`, out)
	same, _ := r.replay(liveRules, 0)
	require.Equal(t, []*replayObliged{}, same.Obliged)
}

func TestReplayPrints(t *testing.T) {
	r := newReplayed(t)
	r.tool("support", "get_order", "")
	r.tool("support", "get_\x1b[2J", "")
	closed := candidateFile(t, "  - {name: no, effect: deny, from: [support], to: {server: orders, tools: [\"*\"]}}\n")
	out, errOut, code := runPolicy(t, "replay", "--journal", r.dir, closed)
	require.Equal(t, 1, code)
	require.Equal(t, "2 decisions are made otherwise", errOut)
	require.Regexp(t, `^CHANGE  CALLER  +ACTION  +WAS  +WOULD BE  +TIMES  LAST  +REFERENCE\n`+
		`closes  spiffe://custody.local/ns/default/support  mcp.tools/call orders/get_\x{FFFD}\[2J +allow \(orders/reads\)  deny \(orders/no\)  1 +20[^ ]+Z  [0-9a-f-]{36}\n`+
		`closes  .* orders/get_order +allow .*\n`+
		`2 decisions: 0 as before, 2 otherwise, 0 that depend\n$`, out)

	out, errOut, code = runPolicy(t, "replay", "--journal", r.dir, closed, "-o", "yaml")
	require.Equal(t, 1, code, errOut)
	var answer map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(out), &answer))
	require.Equal(t, 2, answer["otherwise"])

	same := candidateFile(t, liveRules)
	out, errOut, code = runPolicy(t, "replay", "--journal", r.dir, same, "--since", "1h")
	require.Zero(t, code, errOut)
	require.Regexp(t, `^2 decisions since 20\S+Z: 2 as before, 0 otherwise, 0 that depend\n$`, out)

	for name, args := range map[string][]string{
		"no policy": {"--journal", r.dir}, "no such policy": {"--journal", r.dir, "lost"}, "no journal": {same},
		"no such journal": {"--journal", "lost", same}, "format": {"--journal", r.dir, same, "-o", "xml"},
		"a policy with an error": {"--journal", r.dir, candidateFile(t, "  - nothing\n")},
	} {
		_, errOut, code = runPolicy(t, append([]string{"replay"}, args...)...)
		require.Equal(t, 2, code, name+": "+errOut)
	}
}

// A journal that is not what was written is said, and not passed over.
func TestReplayOfABrokenJournal(t *testing.T) {
	t.Setenv("CUSTODY_HOME", t.TempDir())
	broken := filepath.Join(vectors, "journals", "flipped-byte")
	rules := candidateFile(t, liveRules)
	out, errOut, code := runPolicy(t, "replay", "--journal", broken, "--trust-domain", "custody.test", rules)
	require.Equal(t, 2, code)
	require.Empty(t, out)
	require.Contains(t, errOut, "the journal does not verify: "+broken+", segment 00000002.journal")
	require.Contains(t, errOut, "--unverified")
	out, errOut, code = runPolicy(t, "replay", "--journal", broken, "--trust-domain", "custody.test", "--unverified", rules)
	require.Equal(t, 1, code)
	require.Contains(t, errOut, "custody: wrong: "+broken)
	require.Contains(t, out, "1 thing in the journals did not verify")

	rewritten := filepath.Join(vectors, "journals", "rewritten-intent")
	_, errOut, code = runPolicy(t, "replay", "--journal", rewritten, "--trust-domain", "custody.test", rules)
	require.Equal(t, 2, code, errOut)
}

// App IDs belong to the trust domain of the run, unless a flag says another.
func TestReplayOfARun(t *testing.T) {
	home := t.TempDir()
	t.Setenv("CUSTODY_HOME", home)
	t.Setenv(journalVariable, "")
	run := filepath.Join(home, "runs", "r1")
	require.NoError(t, os.MkdirAll(run, 0o700))
	dir, err := filepath.Abs(filepath.Join(vectors, "journals", "good"))
	require.NoError(t, err)
	text, err := json.Marshal(map[string]any{
		"id": "r1", "dir": run,
		"apps":     []any{map[string]any{"appID": "orders", "trustDomain": "custody.test", "namespace": "default"}},
		"journals": []any{map[string]any{"app": "orders", "dir": dir}, map[string]any{"app": "orders", "dir": filepath.Join(run, "new")}},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(run, "run.json"), text, 0o600))
	rules := candidateFile(t, "  - {name: reads, effect: allow, from: [support-agent], to: {server: orders, tools: [get_order]}}\n")
	out, errOut, code := runPolicy(t, "replay", rules)
	require.Zero(t, code, errOut+out)
	_, _, code = runPolicy(t, "replay", "--trust-domain", "other.test", rules)
	require.Equal(t, 1, code)
	_, _, code = runPolicy(t, "replay", "--namespace", "other", rules)
	require.Equal(t, 1, code)
}

// What a door says by itself was decided by nobody.
func TestReplayPassesOverWitnesses(t *testing.T) {
	r := newReplayed(t)
	r.tool("support", "get_order", "")
	history := []gate.Anchor{{
		Action: receipt.Action{Kind: gate.KindHistory, Server: "workflows", Name: "i"}, Record: receipt.Sum([]byte("signature")),
		Workflow: receipt.Workflow{Instance: "i", App: "intake", Task: 1},
	}}
	begun, err := r.anchors.Begin(history)
	require.NoError(t, err)
	require.NoError(t, begun.Settle())
	_, err = r.anchors.Begin(history) // and nobody knows what came of it
	require.NoError(t, err)
	answer, _ := r.replay(liveRules, 0)
	require.Equal(t, 1, answer.Decisions)
}
