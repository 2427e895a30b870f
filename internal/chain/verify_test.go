// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// ended is a good chain: two calls at the same time, joined, an approval, and an end.
func (w *world) ended() []*receipt.Envelope {
	start := w.state("start")
	one, two := w.ask("one", start), w.ask("two", start)
	right, left := w.answer(two), w.answer(one)
	join := w.link(chain.KindJoin, "join", app("intake"), []*receipt.Envelope{left, right})
	approved := w.link(chain.KindApproval, "approve", app("approver"), []*receipt.Envelope{join})
	return []*receipt.Envelope{start, one, two, right, left, join, approved, w.end(approved)}
}

func TestVerifyAGoodChain(t *testing.T) {
	w := newWorld(t)
	links := w.ended()
	want := digests(links...)
	slices.Reverse(links)
	report := chain.Verify(links, w.options())
	require.Truef(t, report.OK(), "%v", report.All())
	require.Len(t, report.Chains, 1)
	found := report.Chains[0]
	require.True(t, found.Chain.Equal(&w.id))
	require.True(t, found.Ended)
	require.Equal(t, want[7:], found.Heads)
	var order []receipt.Digest
	for _, l := range found.Links {
		order = append(order, l.Digest)
	}
	require.Equal(t, want, order)
	var steps []string
	for _, s := range found.Steps {
		steps = append(steps, s.Name+" "+s.Kind+" "+s.Status)
	}
	require.Equal(t, []string{"start statement stated", "one tool ok", "two tool ok", "approve approval approved"}, steps)
	require.Equal(t, links[3].PayloadDigest(), found.Steps[1].Answer)
}

func TestVerifyFinds(t *testing.T) {
	type links = []*receipt.Envelope
	for _, tt := range []struct {
		name   string
		change func(w *world, all links) links
		want   []string
	}{
		{"nothing", func(_ *world, all links) links { return all }, nil},
		{"a link twice", func(_ *world, all links) links { return append(all, all[2], all[2], all[5]) }, []string{"duplicate", "duplicate"}},
		{"a link that is missing", func(_ *world, all links) links { return slices.Delete(all, 3, 4) }, []string{"missing"}},
		{"the last missing", func(_ *world, all links) links { return all[:7] }, []string{"not-ended"}},
		{"a signature that is bad", func(_ *world, all links) links {
			e := *all[5]
			e.Signatures = slices.Clone(e.Signatures)
			e.Signatures[0].Sig = make([]byte, 64)
			all[5] = &e
			return all
		}, []string{"faulty-predecessor", "signature"}},
		{"none", func(*world, links) links { return nil }, nil},
		{"nothing where a link should be", func(_ *world, all links) links { return append(all, nil) }, []string{"envelope"}},
		{"a receipt that is no link", func(w *world, all links) links {
			return append(all, w.link(chain.KindAttest, "x", app("intake"), nil, func(r *receipt.Receipt) { r.Workflow = nil }))
		}, []string{"other-chain"}},
		{"another instance's link", func(w *world, all links) links {
			w.id.Instance = "refund-8"
			return append(all, w.state("x"))
		}, []string{"not-ended"}},
		{
			"too many", func(w *world, all links) links { return append(all, w.state("x", all[7]), w.state("y", all[7])) },
			[]string{"after-end", "missing", "too-many"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.options()
			links := tt.change(w, w.ended())
			if tt.name == "too many" {
				o.MaxLinks = 9
				tt.want = []string{"after-end", "too-many"}
			}
			report := chain.Verify(links, o)
			got := kinds(report.All())
			slices.Sort(got)
			require.Equalf(t, append([]string{}, tt.want...), got, "%v", report.All())
			require.Equal(t, len(got) == 0 && len(links) > 0, report.OK())
		})
	}
}

func TestVerifyWhatIsExpected(t *testing.T) {
	w := newWorld(t)
	links := w.ended()
	o := w.options()
	expected := w.id
	expected.Started = expected.Started.In(time.FixedZone("", 7200))
	o.Expect = &expected
	require.True(t, chain.Verify(links, o).OK())
	w.id.Instance = "refund-8"
	o.Expect = &w.id
	report := chain.Verify(links, o)
	require.False(t, report.OK())
	require.Empty(t, report.Chains)
	require.Len(t, report.Faults, 8)
	require.Equal(t, chain.FaultOtherChain, report.Faults[0].Kind)

	other := w.ended()
	o.Expect = nil
	both := chain.Verify(append(links, other...), o)
	require.Truef(t, both.OK(), "%v", both.All())
	require.Len(t, both.Chains, 2)
	require.Equal(t, "refund-7", both.Chains[0].Chain.Instance)
	require.Equal(t, "refund-8", both.Chains[1].Chain.Instance)
}

func TestVerifyARunningChain(t *testing.T) {
	w := newWorld(t)
	links := w.ended()[:7]
	o := w.options()
	require.False(t, chain.Verify(links, o).OK())
	o.Running = true
	report := chain.Verify(links, o)
	require.True(t, report.OK())
	require.False(t, report.Chains[0].Ended)
}
