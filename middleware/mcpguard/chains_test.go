// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// scribe is a worker without a guard.
func scribe(tb testing.TB, ca *testkit.CA, app string) *worker {
	tb.Helper()
	svid := ca.SVID(app)
	return &worker{
		r: &rig{}, app: app, svid: svid,
		chain: receipt.Chain{App: svid.ID, Instance: "refund-1", Started: time.Now().Add(-time.Second)},
	}
}

func (w *worker) started(tb testing.TB, instance string) *receipt.Envelope {
	tb.Helper()
	w.chain.Instance = instance
	return sign(tb, w.link("custody.attest", "step", receipt.StatusStated), w.svid)
}

// What there is too much of goes at the cost of the caller that has most of it.
func TestMemoryOfChainsIsBoundedAndFair(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	alice, bob := scribe(t, ca, "alice"), scribe(t, ca, "bob")
	size := len(alice.started(t, "0").Payload)
	for name, tt := range map[string]struct {
		chains, links, bytes int
		same                 bool // all links are of one chain
	}{
		"chains": {4, 1000, 1 << 30, false}, "links": {1000, 4, 1 << 30, false}, "bytes": {1000, 1000, 5 * size, false},
		"links of one chain": {1000, 4, 1 << 30, true},
	} {
		t.Run(name, func(t *testing.T) {
			memory := mcpguard.NewChains(x509bundle.NewSet(ca.Bundle()), tt.chains, tt.links, tt.bytes)
			kept := bob.started(t, "kept")
			require.NoError(t, memory.Add(bob.svid.ID, &bob.chain, kept))
			of := func(i int) string {
				if tt.same {
					return "same"
				}
				return fmt.Sprint(i)
			}
			for i := range 20 {
				require.NoError(t, memory.Add(alice.svid.ID, &alice.chain, alice.started(t, of(i))))
				require.True(t, memory.Sums())
				require.Equal(t, 1, memory.Known(bob.svid.ID, &bob.chain), "bob's is not pushed out by alice")
			}
			if !tt.same {
				require.Equal(t, 1, memory.Known(alice.svid.ID, &alice.chain), "the newest is there")
				alice.chain.Instance = "0"
				require.Equal(t, -1, memory.Known(alice.svid.ID, &alice.chain), "the oldest is not")
			}
		})
	}
}

// A link that names many that are missing takes more than its own bytes.
func TestMemoryOfMissingLinks(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	alice := scribe(t, ca, "alice")
	alice.heads = make([]receipt.Digest, 100)
	for i := range alice.heads {
		alice.heads[i] = receipt.Sum([]byte{byte(i)})
	}
	join := sign(t, alice.link("custody.join", "", receipt.StatusStated), alice.svid)
	for room, known := range map[int]int{100 * 300: -1, 100 * 400: 1} {
		memory := mcpguard.NewChains(x509bundle.NewSet(ca.Bundle()), 10, 10, len(join.Payload)+room)
		require.NoError(t, memory.Add(alice.svid.ID, &alice.chain, join))
		require.Equal(t, known, memory.Known(alice.svid.ID, &alice.chain), room)
		require.True(t, memory.Sums())
	}
}

func TestMemoryOfChainsTogether(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	memory := mcpguard.NewChains(x509bundle.NewSet(ca.Bundle()), 3, 40, 1<<30)
	var wait sync.WaitGroup
	for i := range 8 {
		w := scribe(t, ca, fmt.Sprintf("app-%d", i%2))
		links := make([]*receipt.Envelope, 20)
		ids := make([]receipt.Chain, len(links))
		for j := range links {
			links[j] = w.started(t, fmt.Sprintf("%d-%d", i, j%4))
			ids[j] = w.chain
		}
		wait.Go(func() {
			for j, link := range links {
				if err := memory.Add(w.svid.ID, &ids[j], link); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	require.True(t, memory.Sums())
}

// A link from the future is not believed, whatever its certificate.
func TestLinkOfTheFuture(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	alice := scribe(t, ca, "alice")
	memory := mcpguard.NewChains(x509bundle.NewSet(ca.Bundle()), 3, 40, 1<<30)
	for after, good := range map[time.Duration]bool{30 * time.Second: true, 10 * time.Minute: false} {
		link := alice.link("custody.attest", "step", receipt.StatusStated)
		link.Times.Settled = time.Now().Add(after)
		err := memory.Add(alice.svid.ID, &alice.chain, sign(t, link, alice.svid))
		require.Equal(t, good, err == nil, after)
	}
}

func FuzzQuestionHeader(f *testing.F) {
	ca := testkit.NewCA(f, "custody.local")
	link := scribe(f, ca, "alice").started(f, "i")
	f.Add(receipt.EncodeHeader(link, ""))
	f.Add(receipt.EncodeHeader(link, "") + "=")
	f.Add(link.Short())
	f.Add(link.Short() + ".")
	f.Add("e30")
	f.Add("e3")
	f.Add("\n")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := mcpguard.DecodeQuestion([]string{text})
		if err != nil {
			return
		}
		form := receipt.EncodeHeader(e, "")
		if strings.Contains(text, ".") {
			form = e.Short()
		}
		again, err := mcpguard.DecodeQuestion([]string{form})
		require.NoError(t, err)
		require.Equal(t, e, again)
		require.LessOrEqual(t, len(text), 64<<10)
		require.NotContains(t, text, "\n")
	})
}

// Whatever is presented, what is kept was signed by whom it names.
func FuzzPresented(f *testing.F) {
	ca := testkit.NewCA(f, "custody.local")
	alice := scribe(f, ca, "alice")
	one, two := alice.started(f, "i"), alice.started(f, "i")
	good := presenting(f, &alice.chain, one, two)
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, `"payload":"`, `"payload":"AAAA`, 1)))
	f.Add([]byte(presenting(f, &alice.chain)))
	f.Add([]byte(`{"chain":{"app":"spiffe://a/ns/b/c","instance":"i","started":"2026-01-01T00:00:00Z"},"links":[null,1,{}]}`))
	f.Add([]byte(`{"chain":null}`))
	bundles := x509bundle.NewSet(ca.Bundle())
	f.Fuzz(func(t *testing.T, body []byte) {
		memory := mcpguard.NewChains(bundles, 3, 40, 1<<20)
		read, known, bad, err := memory.Present(alice.svid.ID, body)
		if err != nil {
			return
		}
		require.LessOrEqual(t, read, 1000)
		require.LessOrEqual(t, known+bad, read)
		require.LessOrEqual(t, known, 2, "only two were signed")
		require.True(t, memory.Sums())
	})
}
