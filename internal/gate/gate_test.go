// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/policy"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

const rules = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: alice-echoes, effect: allow, from: [alice], to: {server: orders, tools: [echo]}}
  - {name: no-prompts, effect: deny, from: [alice], to: {server: orders, methods: [prompts/list]}}
`

// parts are those of a gate that works; a test breaks one of them.
type parts struct {
	tb      testing.TB
	ca      *testkit.CA
	dir     string
	journal *journal.Writer
	svids   *source
	set     *policy.Set
	now     time.Time
	alice   identity.Caller
	bob     identity.Caller
}

type source struct {
	svid *x509svid.SVID
	err  error
}

func (s *source) GetX509SVID() (*x509svid.SVID, error) { return s.svid, s.err }

func working(tb testing.TB) *parts {
	tb.Helper()
	ca := testkit.NewCA(tb, "custody.local")
	p := &parts{tb: tb, ca: ca, dir: filepath.Join(tb.TempDir(), "journal"), svids: &source{svid: ca.SVID("orders")}, now: time.Now()}
	var err error
	p.journal, err = journal.Open(journal.Options{Dir: p.dir})
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if err := p.journal.Close(); err != nil && !errors.Is(err, journal.ErrClosed) {
			tb.Error(err)
		}
	})
	p.set = compile(tb, rules)
	verifier := identity.NewVerifier(x509bundle.NewSet(ca.Bundle()), time.Now)
	for app, caller := range map[string]*identity.Caller{"alice": &p.alice, "bob": &p.bob} {
		*caller, err = verifier.Verify(ca.SVID(app).Certificates)
		require.NoError(tb, err)
	}
	return p
}

func compile(tb testing.TB, text string) *policy.Set {
	tb.Helper()
	documents, err := policy.Parse("test.yaml", []byte(text))
	require.NoError(tb, err)
	set, _, err := policy.Compile(documents, policy.CompileOptions{
		TrustDomain: testkit.TrustDomain("custody.local"), Namespace: "default",
	})
	require.NoError(tb, err)
	return set
}

func (p *parts) current() *policy.Set { return p.set }

func (p *parts) gate() *gate.Gate {
	p.tb.Helper()
	g, err := gate.New(gate.Options{
		Door: "test", Policy: p.current, SVIDs: p.svids, Journal: p.journal, Now: func() time.Time { return p.now },
	})
	require.NoError(p.tb, err)
	return g
}

func (p *parts) read() testkit.Journal {
	return testkit.ReadJournal(p.tb, p.dir, x509bundle.NewSet(p.ca.Bundle()))
}

func echo(caller identity.Caller) gate.Ask {
	return gate.Ask{
		Caller: caller, Action: policy.Action{Kind: "mcp.tools/call", Server: "orders", Name: "echo"},
		Request: receipt.Sum([]byte("request")), Arguments: receipt.Sum([]byte("{}")),
	}
}

func TestAllowedCallIsIntendedThenSettled(t *testing.T) {
	p := working(t)
	permit, err := p.gate().Check(echo(p.alice))
	require.NoError(t, err)
	before := p.read()
	require.Len(t, before.Intents, 1, "the intent is there before the call goes on")
	require.Empty(t, before.Receipts)
	require.Equal(t, permit.Reference(), before.Intents[0].ID)

	p.now = p.now.Add(time.Second)
	digest, err := permit.Settle(receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200, ResponseDigest: receipt.Sum([]byte("answer"))})
	require.NoError(t, err)
	after := p.read()
	require.Equal(t, []string{digest}, after.Digests)
	r := after.Receipts[0]
	require.Equal(t, permit.Reference(), r.ID)
	require.Equal(t, p.svids.svid.ID, r.Door.SPIFFEID)
	require.Equal(t, p.alice.ID(), r.Caller.SPIFFEID)
	require.Equal(t, p.alice.CertificateDigest(), r.Caller.CertificateDigest.Hex())
	require.Equal(t, "allow", r.Decision.Effect)
	require.Equal(t, "alice-echoes", r.Decision.Rule)
	require.Equal(t, p.set.Digest(), r.Decision.SetDigest.Hex())
	require.Equal(t, receipt.Sum([]byte("request")), r.RequestDigest)
	require.Equal(t, time.Second, r.Times.Settled.Sub(r.Times.Decided))
	require.Equal(t, p.journal.ID(), r.Journal.ID)
	require.NotZero(t, r.Journal.Seq, "the receipt stands on its intent")
}

func TestRefusals(t *testing.T) {
	p := working(t)
	withRefusal := echo(p.alice)
	withRefusal.Refusal = "it makes no sense"
	otherTool := echo(p.alice)
	otherTool.Action.Name = "Echo"
	otherServer := echo(p.alice)
	otherServer.Action.Server = "billing"
	plumbing := func(caller identity.Caller, server string) gate.Ask {
		return gate.Ask{Caller: caller, Action: policy.Action{Kind: "mcp.ping", Server: server}, Request: receipt.Sum(nil), Plumbing: true}
	}
	deniedPlumbing := plumbing(p.alice, "orders")
	deniedPlumbing.Action.Kind = "mcp.prompts/list"
	part, partOfDenied := plumbing(p.alice, "orders"), plumbing(p.alice, "orders")
	part.Continues, partOfDenied.Continues = echo(p.alice).Action, otherTool.Action
	tests := []struct {
		name   string
		ask    gate.Ask
		reason string
	}{
		{"the rule's own case", echo(p.alice), ""},
		{"another caller", echo(p.bob), "no rule allows it"},
		{"another tool", otherTool, "no rule allows it"},
		{"another server", otherServer, "no rule allows it"},
		{"nobody", echo(identity.Caller{}), "the caller is not known"},
		{"the door refuses what policy would allow", withRefusal, "it makes no sense"},
		{"plumbing for who may reach the server", plumbing(p.alice, "orders"), ""},
		{"plumbing for who may not", plumbing(p.bob, "orders"), "no rule lets the caller reach the server"},
		{"plumbing that a rule denies by its method", deniedPlumbing, "rule denies it"},
		{"a part of what is allowed", part, ""},
		{"a part of what is not allowed", partOfDenied, "the call that this is a part of is not allowed any more"},
		{"plumbing at another server", plumbing(p.alice, "billing"), "no rule lets the caller reach the server"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := len(p.read().Intents)
			permit, err := p.gate().Check(test.ask)
			if test.reason == "" {
				require.NoError(t, err)
				require.NotEmpty(t, permit.Reference())
				return
			}
			require.Nil(t, permit)
			var denied *gate.DeniedError
			require.ErrorAs(t, err, &denied)
			require.Equal(t, test.reason, denied.Decision.Reason)
			after := p.read()
			require.Len(t, after.Intents, before, "a refusal needs no intent")
			last := after.Receipts[len(after.Receipts)-1]
			require.Equal(t, denied.Reference, last.ID)
			require.Equal(t, "deny", last.Decision.Effect)
			require.Equal(t, test.reason, last.Decision.Reason)
			require.Equal(t, "denied", last.Outcome.Status)
			require.Equal(t, test.ask.Caller.ID(), last.Caller.SPIFFEID)
		})
	}
}

// Each part that breaks closes the gate, for what is allowed and for what is denied.
func TestClosedWhenBroken(t *testing.T) {
	tests := []struct {
		name   string
		damage func(*parts)
		want   error
	}{
		{"policy", func(p *parts) { p.set = nil }, gate.ErrNoPolicy},
		{"identity", func(p *parts) { p.svids.err = errors.New("sentry is away") }, gate.ErrNoIdentity},
		{"identity is empty", func(p *parts) { p.svids.svid = &x509svid.SVID{} }, gate.ErrNoIdentity},
		{"key of another", func(p *parts) {
			p.svids.svid = &x509svid.SVID{ID: p.svids.svid.ID, Certificates: p.svids.svid.Certificates, PrivateKey: p.ca.SVID("orders").PrivateKey}
		}, gate.ErrNoIdentity},
		{"certificate has expired", func(p *parts) { p.now = p.svids.svid.Certificates[0].NotAfter.Add(time.Second) }, gate.ErrClock},
		{"clock went back", func(p *parts) { p.now = time.Unix(0, 0) }, gate.ErrClock},
		{"clock gives nothing", func(p *parts) { p.now = time.Time{} }, gate.ErrClock},
		{"journal", func(p *parts) { require.NoError(t, p.journal.Close()) }, gate.ErrJournal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := working(t)
			test.damage(p)
			g := p.gate()
			for _, caller := range []identity.Caller{p.alice, p.bob} {
				permit, err := g.Check(echo(caller))
				require.Nil(t, permit)
				var closed *gate.ClosedError
				require.ErrorAs(t, err, &closed)
				require.ErrorIs(t, err, test.want)
			}
		})
	}
}

func TestNothingIsSettledWithoutAJournal(t *testing.T) {
	p := working(t)
	g := p.gate()
	permit, err := g.Check(echo(p.alice))
	require.NoError(t, err)
	require.NoError(t, p.journal.Close())
	digest, err := permit.Settle(receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200})
	require.ErrorIs(t, err, gate.ErrJournal)
	require.Empty(t, digest)
	_, err = g.Check(echo(p.alice))
	require.ErrorIs(t, err, gate.ErrJournal)
}

// What an answer may show is decided by the rules that let the request pass.
func TestAllowsIsOfTheSameSet(t *testing.T) {
	p := working(t)
	permit, err := p.gate().Check(echo(p.alice))
	require.NoError(t, err)
	for _, set := range []*policy.Set{p.set, nil, compile(t, strings.ReplaceAll(rules, "[echo]", "[other]"))} {
		p.set = set
		require.True(t, permit.Allows("mcp.tools/call", "echo"))
		require.False(t, permit.Allows("mcp.tools/call", "other"))
		require.False(t, permit.Allows("mcp.resources/read", "echo"))
		require.True(t, permit.Shows("mcp.tools/call", "echo"))
		require.False(t, permit.Shows("mcp.tools/call", "other"))
	}
}

// What comes long after an action is decided by the rules of the moment.
func TestAllowsNowIsOfTheSetInForce(t *testing.T) {
	p := working(t)
	permit, err := p.gate().Check(echo(p.alice))
	require.NoError(t, err)
	require.Equal(t, echo(p.alice).Action, permit.Action())
	first := p.set
	for set, allowed := range map[*policy.Set]bool{first: true, nil: false, compile(t, strings.ReplaceAll(rules, "[echo]", "[other]")): false} {
		p.set = set
		require.Equal(t, allowed, permit.AllowsNow("mcp.tools/call", "echo"))
		require.Equal(t, allowed, permit.Stands())
		require.False(t, permit.AllowsNow("mcp.tools/call", "third"))
		require.False(t, permit.ShowsTemplate("file:///{x}"))
	}
	p.set = compile(t, strings.ReplaceAll(rules, "tools: [echo]", "tools: [echo], resources: [\"file:///docs/*\"]"))
	permit, err = p.gate().Check(echo(p.alice))
	require.NoError(t, err)
	require.True(t, permit.ShowsTemplate("file:///{x}"))
	require.False(t, permit.ShowsTemplate("file:///etc/{x}"))
}

const conditions = `apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - name: alice-says-hi
    effect: allow
    from: [alice, bob]
    to: {server: orders, tools: [echo]}
    when: args.text == "hi" && caller.proof == "x509-svid" && caller.appID == "alice"
  - name: sampling-in-time
    effect: allow
    from: [alice]
    to: {server: orders, methods: [sampling/createMessage]}
    when: args == {} && now < timestamp("2100-01-01T00:00:00Z")
  - {name: never-in-2100, effect: deny, from: [alice], to: {server: orders, tools: [echo]}, when: now.getFullYear() == 2100}
`

func TestConditionsSeeTheFacts(t *testing.T) {
	p := working(t)
	p.set = compile(t, conditions)
	with := func(caller identity.Caller, arguments string) gate.Ask {
		ask := echo(caller)
		ask.Facts.Arguments = []byte(arguments)
		return ask
	}
	permit, err := p.gate().Check(with(p.alice, `{"text":"hi"}`))
	require.NoError(t, err)
	require.False(t, permit.Allows("mcp.tools/call", "echo"), "without arguments")
	require.True(t, permit.Shows("mcp.tools/call", "echo"))
	require.True(t, permit.Allows("mcp.sampling/createMessage", ""))
	require.False(t, permit.Allows("mcp.roots/list", ""))

	for name, tt := range map[string]struct {
		ask    gate.Ask
		reason string
	}{
		"another text":   {with(p.alice, `{"text":"ho"}`), "no rule allows it"},
		"another caller": {with(p.bob, `{"text":"hi"}`), "no rule allows it"},
		"no arguments":   {with(p.alice, ``), "the condition of rule alice-says-hi could not be evaluated: no such key: text"},
		"half a text":    {with(p.alice, `{"text":"hi"`), "the condition of rule alice-says-hi could not be evaluated: the arguments are not a JSON object"},
	} {
		_, err := p.gate().Check(tt.ask)
		var denied *gate.DeniedError
		require.ErrorAs(t, err, &denied, name)
		require.Equal(t, tt.reason, denied.Decision.Reason, name)
		receipts := p.read().Receipts
		require.Equal(t, tt.reason, receipts[len(receipts)-1].Decision.Reason, name)
	}
	p.now = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	require.False(t, permit.Allows("mcp.sampling/createMessage", ""), "the time is that of the question")
}

func TestClockSetBackWithinACall(t *testing.T) {
	for name, back := range map[string]func(time.Time) time.Time{
		"a clock of a test": func(now time.Time) time.Time { return now.Add(-10 * time.Second) },
		"a real clock":      func(now time.Time) time.Time { return testkit.SetBack(t, now, 10) },
	} {
		t.Run(name, func(t *testing.T) {
			p := working(t)
			permit, err := p.gate().Check(echo(p.alice))
			require.NoError(t, err)
			p.now = back(p.now)
			_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200})
			require.NoError(t, err)
			r := p.read().Receipts[0]
			require.Equal(t, r.Times.Decided, r.Times.Settled)
		})
	}
}

func TestClockSetBackWhileARecordIsWritten(t *testing.T) {
	p := working(t)
	anchors, err := gate.NewAnchors(gate.AnchorOptions{Door: "state", SVIDs: p.svids, Journal: p.journal, Now: func() time.Time { return p.now }})
	require.NoError(t, err)
	begun, err := anchors.Begin([]gate.Anchor{{
		Action: receipt.Action{Kind: gate.KindHistory, Name: "i"}, Record: receipt.Sum([]byte("row")),
		Workflow: receipt.Workflow{Instance: "i", App: "orders", Task: 1},
	}})
	require.NoError(t, err)
	p.now = testkit.SetBack(t, p.now, 10)
	require.NoError(t, begun.Settle())
	r := p.read().Receipts[0]
	require.Equal(t, r.Times.Decided, r.Times.Settled)
}

// After a rotation receipts bear the new certificate, and both verify.
func TestRotation(t *testing.T) {
	p := working(t)
	g := p.gate()
	for range 2 {
		permit, err := g.Check(echo(p.alice))
		require.NoError(t, err)
		p.svids.svid = p.ca.SVID("orders")
		_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200})
		require.NoError(t, err)
	}
	require.Len(t, p.read().Receipts, 2)
}

func TestManyAtOnce(t *testing.T) {
	p := working(t)
	g := p.gate()
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 20 {
				permit, err := g.Check(echo(p.alice))
				if err == nil {
					_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200})
				}
				if err != nil {
					t.Error(err)
				}
				if _, err := g.Check(echo(p.bob)); err == nil {
					t.Error("bob was let through")
				}
			}
		})
	}
	group.Wait()
	read := p.read()
	require.Len(t, read.Intents, 320)
	require.Len(t, read.Receipts, 640)
}

func TestEveryPartIsRequired(t *testing.T) {
	p := working(t)
	full := gate.Options{Door: "test", Policy: func() *policy.Set { return p.set }, SVIDs: p.svids, Journal: p.journal, Now: time.Now}
	for name, omit := range map[string]func(*gate.Options){
		"door":    func(o *gate.Options) { o.Door = "" },
		"policy":  func(o *gate.Options) { o.Policy = nil },
		"svids":   func(o *gate.Options) { o.SVIDs = nil },
		"journal": func(o *gate.Options) { o.Journal = nil },
		"clock":   func(o *gate.Options) { o.Now = nil },
	} {
		options := full
		omit(&options)
		_, err := gate.New(options)
		require.Error(t, err, name)
	}
}

func BenchmarkCheckAndSettle(b *testing.B) {
	p := working(b)
	g := p.gate()
	b.ReportAllocs()
	for b.Loop() {
		permit, err := g.Check(echo(p.alice))
		if err == nil {
			_, err = permit.Settle(receipt.Outcome{Status: receipt.StatusOK, HTTPStatus: 200, ResponseDigest: receipt.Sum([]byte("x"))})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
