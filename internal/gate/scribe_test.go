// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package gate_test

import (
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/gate"
	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

func (p *parts) scribe(change ...func(*gate.ScribeOptions)) *gate.Scribe {
	p.tb.Helper()
	options := gate.ScribeOptions{Door: "test", SVIDs: p.svids, Journal: p.journal, Dir: p.dir, Now: func() time.Time { return p.now }}
	for _, c := range change {
		c(&options)
	}
	s, err := gate.NewScribe(options)
	require.NoError(p.tb, err)
	return s
}

// asked is what the app orders asks in task 3 of its workflow.
func asked(change ...func(*gate.Saying)) gate.Saying {
	saying := gate.Saying{
		Status:  receipt.StatusAsked,
		Action:  receipt.Action{Kind: "mcp.tools/call", Server: "payments", Name: "charge"},
		To:      spiffeid.RequireFromString("spiffe://custody.local/ns/default/payments"),
		Request: receipt.Sum([]byte("request")), Arguments: receipt.Sum([]byte("{}")),
		Workflow: receipt.Workflow{
			Chain:    &receipt.Chain{Instance: "refund-1", Started: time.Date(2026, 11, 23, 9, 0, 0, 5, time.UTC)},
			Instance: "refund-1", Name: "Refund", Task: 3, Step: "charge",
		},
		Prev: []receipt.Digest{receipt.Sum([]byte("head"))},
	}
	for _, c := range change {
		c(&saying)
	}
	return saying
}

func task(n uint32) func(*gate.Saying) {
	return func(s *gate.Saying) { s.Workflow.Task = n }
}

func TestScribeSignsWhatTheAppAsks(t *testing.T) {
	p := working(t)
	link, err := p.scribe().Write(asked())
	require.NoError(t, err)

	verified, err := receipt.Verify(link.Envelope, x509bundle.NewSet(p.ca.Bundle()), receipt.VerifyOptions{})
	require.NoError(t, err)
	own := spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders")
	r := verified.Receipt
	require.Equal(t, receipt.Door{SPIFFEID: own, Name: "test"}, r.Door)
	require.Equal(t, receipt.Caller{SPIFFEID: own, Proof: gate.ProofSidecar}, r.Caller)
	require.Equal(t, receipt.Action{Kind: "mcp.tools/call", Server: "payments", Name: "charge"}, r.Action)
	require.Equal(t, "spiffe://custody.local/ns/default/payments", r.To.String())
	require.Equal(t, receipt.Sum([]byte("request")), r.RequestDigest)
	require.Equal(t, receipt.Sum([]byte("{}")), r.ArgumentsDigest)
	require.Equal(t, []receipt.Digest{receipt.Sum([]byte("head"))}, r.Prev)
	require.Equal(t, receipt.StatusAsked, r.Outcome.Status)
	require.Equal(t, &receipt.Workflow{
		Chain:    &receipt.Chain{App: own, Instance: "refund-1", Started: time.Date(2026, 11, 23, 9, 0, 0, 5, time.UTC)},
		Instance: "refund-1", App: "orders", Name: "Refund", Task: 3, Step: "charge",
	}, r.Workflow)
	require.Equal(t, link.Digest, link.Envelope.PayloadDigest())
	require.Equal(t, []string{link.Digest.String()}, p.read().Digests)
}

func TestScribeRefusesWhatTheAppMustNotSay(t *testing.T) {
	own := spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders")
	chainOf := func(id string) func(*gate.Saying) {
		return func(s *gate.Saying) { s.Workflow.Chain.App = spiffeid.RequireFromString(id) }
	}
	approval := func(s *gate.Saying) {
		s.Status, s.Action, s.To = receipt.StatusApproved, receipt.Action{Kind: chain.KindApproval, Name: "charge"}, spiffeid.ID{}
	}
	tests := []struct {
		name   string
		change []func(*gate.Saying)
		want   string // empty: it is signed
	}{
		{"own app named", []func(*gate.Saying){func(s *gate.Saying) { s.Workflow.App, s.Workflow.Chain.App = "orders", own }}, ""},
		{"child of another app's workflow", []func(*gate.Saying){chainOf("spiffe://custody.local/ns/default/intake")}, ""},
		{"chain of another namespace", []func(*gate.Saying){chainOf("spiffe://custody.local/ns/prod/intake")}, `not in the namespace "default"`},
		{"chain of another trust domain", []func(*gate.Saying){chainOf("spiffe://other.local/ns/default/intake")}, "not an app of the trust domain"},
		{"chain of what is no app", []func(*gate.Saying){chainOf("spiffe://custody.local/intake")}, "not an app of the trust domain"},
		{"another app", []func(*gate.Saying){func(s *gate.Saying) { s.Workflow.App = "intake" }}, "an app speaks for its own workflows only"},
		{"approval of another app's workflow", []func(*gate.Saying){approval, func(s *gate.Saying) { s.Workflow.App = "intake" }}, ""},
		{"approval in another trust domain", []func(*gate.Saying){approval, chainOf("spiffe://other.local/ns/default/intake")}, "not an app of the trust domain"},
		{"no instance", []func(*gate.Saying){func(s *gate.Saying) { s.Workflow.Instance = "" }}, "workflow.instance is missing"},
		{"no step", []func(*gate.Saying){func(s *gate.Saying) { s.Workflow.Step = "" }}, "workflow.step is missing"},
		{"no task", []func(*gate.Saying){task(0)}, "workflow.task is missing"},
		{"no chain", []func(*gate.Saying){func(s *gate.Saying) { s.Workflow.Chain = nil }}, "workflow.chain is missing"},
		{"no start", []func(*gate.Saying){func(s *gate.Saying) { s.Workflow.Chain.Started = time.Time{} }}, "needs instance and started"},
		{"a start before time", []func(*gate.Saying){func(s *gate.Saying) { s.Workflow.Chain.Started = time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC) }}, "years 1 to 9999"},
		{"16 heads", []func(*gate.Saying){heads(16)}, ""},
		{"17 heads", []func(*gate.Saying){heads(17)}, "make a custody.join of them first"},
		{"17 heads to join", []func(*gate.Saying){heads(17), func(s *gate.Saying) {
			s.Status, s.Action, s.To = receipt.StatusStated, receipt.Action{Kind: chain.KindJoin, Name: "join"}, spiffeid.ID{}
		}}, ""},
		{"nobody asked", []func(*gate.Saying){func(s *gate.Saying) { s.To = spiffeid.ID{} }}, "to is missing"},
		{"somebody told", []func(*gate.Saying){func(s *gate.Saying) {
			s.Status, s.Action = receipt.StatusStated, receipt.Action{Kind: chain.KindAttest, Name: "charge"}
		}}, "to is set"},
		{"a head twice", []func(*gate.Saying){func(s *gate.Saying) { s.Prev = append(s.Prev, s.Prev[0]) }}, "twice"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := working(t)
			_, err := p.scribe().Write(asked(test.change...))
			if test.want == "" {
				require.NoError(t, err)
				require.Len(t, p.read().Receipts, 1)
				return
			}
			var refused *gate.SayingError
			require.ErrorAs(t, err, &refused)
			require.ErrorContains(t, err, test.want)
			require.Empty(t, p.read().Receipts)
		})
	}
}

func heads(n byte) func(*gate.Saying) {
	return func(s *gate.Saying) {
		s.Prev = nil
		for i := range n {
			s.Prev = append(s.Prev, receipt.Sum([]byte{i}))
		}
	}
}

// Again the same, also after a restart: the same bytes, once on record. Something else: refused.
func TestStepHasOneLink(t *testing.T) {
	p := working(t)
	before := p.scribe()
	first, err := before.Write(asked())
	require.NoError(t, err)
	p.now = p.now.Add(time.Second)
	for name, scribe := range map[string]*gate.Scribe{"in one run": before, "after a restart": p.scribe()} {
		again, err := scribe.Write(asked())
		require.NoError(t, err, name)
		require.Equal(t, first.Envelope.AppendJSON(nil), again.Envelope.AppendJSON(nil), name)
		require.Equal(t, first.Digest, again.Digest, name)
		for differs, change := range map[string]func(*gate.Saying){
			"action":   func(s *gate.Saying) { s.Action.Name = "refund" },
			"to":       func(s *gate.Saying) { s.To = spiffeid.RequireFromString("spiffe://custody.local/ns/prod/payments") },
			"content":  func(s *gate.Saying) { s.Request = receipt.Sum([]byte("another")) },
			"prev":     func(s *gate.Saying) { s.Prev = nil },
			"workflow": func(s *gate.Saying) { s.Workflow.Step = "other" },
		} {
			_, err := scribe.Write(asked(change))
			var other *gate.OtherContentError
			require.ErrorAs(t, err, &other, "%s %s", name, differs)
			require.Equal(t, differs, other.Differs)
			require.Equal(t, first.Digest, other.Digest)
		}
	}
	require.Len(t, p.read().Receipts, 1)

	for name, change := range map[string]func(*gate.Saying){
		"task":       task(4),
		"generation": func(s *gate.Saying) { s.Workflow.Generation = 1 },
		"instance":   func(s *gate.Saying) { s.Workflow.Instance = "refund-1:0001" },
		"chain":      func(s *gate.Saying) { s.Workflow.Chain.Instance = "refund-2" },
		"run":        func(s *gate.Saying) { s.Workflow.Chain.Started = s.Workflow.Chain.Started.Add(1) },
		"kind":       func(s *gate.Saying) { s.Action.Kind = "mcp.tools/list" },
	} {
		other, err := before.Write(asked(change))
		require.NoError(t, err, name)
		require.NotEqual(t, first.Digest, other.Digest, "another %s is another step", name)
	}
	require.Len(t, p.read().Receipts, 7)
}

// A new SVID signs what is new; what was signed stays as it is.
func TestScribeKeepsLinksOfAnEarlierSVID(t *testing.T) {
	p := working(t)
	first, err := p.scribe().Write(asked())
	require.NoError(t, err)
	p.svids.svid = p.ca.SVID("orders")
	restarted := p.scribe()
	again, err := restarted.Write(asked())
	require.NoError(t, err)
	require.Equal(t, first.Envelope, again.Envelope)
	other, err := restarted.Write(asked(task(4)))
	require.NoError(t, err)
	require.NotEqual(t, first.Envelope.Signatures[0].KeyID, other.Envelope.Signatures[0].KeyID)

	p.svids.svid = p.ca.SVID("intruder")
	_, err = p.scribe().Write(asked(func(s *gate.Saying) {
		s.Workflow.Chain.App = spiffeid.RequireFromString("spiffe://custody.local/ns/default/orders")
	}))
	require.ErrorContains(t, err, "another identity of the app")
}

func TestScribeForgetsTheOldest(t *testing.T) {
	p := working(t)
	few := func(o *gate.ScribeOptions) { o.Remember = 3 }
	scribe := p.scribe(few)
	var all []*gate.Link
	for n := range uint32(5) {
		link, err := scribe.Write(asked(task(n + 1)))
		require.NoError(t, err)
		all = append(all, link)
	}
	for name, scribe := range map[string]*gate.Scribe{"in one run": scribe, "after a restart": p.scribe(few)} {
		for n := uint32(2); n < 5; n++ {
			again, err := scribe.Write(asked(task(n + 1)))
			require.NoError(t, err)
			require.Equal(t, all[n].Digest, again.Digest, name)
		}
	}
	require.Len(t, p.read().Receipts, 5)
	again, err := scribe.Write(asked(task(1)))
	require.NoError(t, err)
	require.NotEqual(t, all[0].Digest, again.Digest)
}

// The certificates of a link may stand in an earlier segment than those that are read for links.
func TestScribeFindsCertificatesFurtherBack(t *testing.T) {
	p := working(t)
	require.NoError(t, p.journal.Close())
	small := journal.Options{Dir: p.dir, SegmentBytes: 100} // a record each
	var err error
	p.journal, err = journal.Open(small)
	require.NoError(t, err)
	scribe := p.scribe()
	var last *gate.Link
	for n := range uint32(6) {
		last, err = scribe.Write(asked(task(n + 1)))
		require.NoError(t, err)
	}
	again, err := p.scribe().Write(asked(task(6)))
	require.NoError(t, err)
	require.Equal(t, last.Envelope, again.Envelope)
}

func TestStepAskedManyTimesAtOnce(t *testing.T) {
	p := working(t)
	scribe := p.scribe()
	var group sync.WaitGroup
	digests := make([]receipt.Digest, 16)
	for i := range digests {
		group.Go(func() {
			link, err := scribe.Write(asked())
			if err != nil {
				t.Error(err)
				return
			}
			digests[i] = link.Digest
		})
	}
	group.Wait()
	for _, digest := range digests {
		require.Equal(t, digests[0], digest)
	}
	require.Len(t, p.read().Receipts, 1)
}

// Break one part at a time: nothing is signed, and when the part is back the step can be done.
func TestScribeFailsClosed(t *testing.T) {
	tests := []struct {
		name         string
		breakIt, fix func(*parts)
		want         error
	}{
		{"no identity", func(p *parts) { p.svids.err = errors.New("away") }, func(p *parts) { p.svids.err = nil }, gate.ErrNoIdentity},
		{"no certificates", func(p *parts) { p.svids.svid.Certificates = nil }, func(p *parts) { p.svids.svid = p.ca.SVID("orders") }, gate.ErrNoIdentity},
		{"clock before the certificate", func(p *parts) { p.now = p.now.Add(-time.Hour) }, func(p *parts) { p.now = time.Now() }, gate.ErrClock},
		{"certificate expired", func(p *parts) {
			p.svids.svid = p.ca.SVID("orders", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })
		}, func(p *parts) { p.svids.svid = p.ca.SVID("orders") }, gate.ErrClock},
		{"journal closed", func(p *parts) { require.NoError(p.tb, p.journal.Close()) }, nil, gate.ErrJournal},
		{"journal removed", func(p *parts) { require.NoError(p.tb, os.RemoveAll(p.dir)) }, nil, gate.ErrJournal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := working(t)
			scribe := p.scribe()
			_, err := scribe.Write(asked(task(1)))
			require.NoError(t, err)
			test.breakIt(p)
			link, err := scribe.Write(asked())
			var closed *gate.ClosedError
			require.ErrorAs(t, err, &closed)
			require.ErrorIs(t, err, test.want)
			require.NotEmpty(t, closed.Reference)
			require.Nil(t, link)
			if test.fix == nil {
				return
			}
			test.fix(p)
			_, err = scribe.Write(asked())
			require.NoError(t, err)
		})
	}
}

// A step that could not be signed is not taken for done.
func TestStepCanBeTriedAgain(t *testing.T) {
	p := working(t)
	scribe := p.scribe()
	_, err := scribe.Write(asked(func(s *gate.Saying) { s.Workflow.Name = strings.Repeat("x", receipt.MaxPayload) }))
	var refused *gate.SayingError
	require.ErrorAs(t, err, &refused)
	_, err = scribe.Write(asked())
	require.NoError(t, err)
}

func TestScribeNeedsItsParts(t *testing.T) {
	p := working(t)
	_, err := gate.NewScribe(gate.ScribeOptions{Door: "test", SVIDs: p.svids, Journal: p.journal, Now: time.Now})
	require.ErrorContains(t, err, "every part is required")
	_, err = p.journal.Append(journal.KindReceipt, []byte("no envelope"))
	require.NoError(t, err)
	_, err = gate.NewScribe(gate.ScribeOptions{Door: "test", SVIDs: p.svids, Journal: p.journal, Dir: p.dir, Now: time.Now})
	require.ErrorIs(t, err, receipt.ErrEnvelope)
}

func BenchmarkScribe(b *testing.B) {
	p := working(b)
	scribe := p.scribe()
	b.ReportAllocs()
	for n := uint32(1); b.Loop(); n++ {
		if _, err := scribe.Write(asked(task(n))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScribeStart reads back as many links as are remembered.
func BenchmarkScribeStart(b *testing.B) {
	p := working(b)
	scribe := p.scribe()
	for n := range uint32(10_000) {
		if _, err := scribe.Write(asked(task(n + 1))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		p.scribe()
	}
}
