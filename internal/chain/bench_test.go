// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package chain_test

import (
	"crypto/ed25519"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/chain"
	"github.com/dapr-custody/custody/internal/receipt"
)

// linear makes that many links in a row: a statement, and then calls.
func (w *world) linear(n int) []*receipt.Envelope {
	w.tb.Helper()
	links := []*receipt.Envelope{w.state("fraud-check")}
	for len(links) < n {
		last := links[len(links)-1]
		if len(links)%2 == 1 {
			links = append(links, w.ask("charge", last))
		} else {
			links = append(links, w.answer(last))
		}
	}
	return links
}

// bare is a signature with what it is over.
type bare struct {
	key      ed25519.PublicKey
	pae, sig []byte
}

func (w *world) bare(links []*receipt.Envelope) []bare {
	w.tb.Helper()
	out := make([]bare, len(links))
	for i, e := range links {
		r, err := e.UnsafeReceipt()
		require.NoError(w.tb, err)
		out[i] = bare{
			key: w.signer(r.Door.SPIFFEID).Certificates()[0].PublicKey.(ed25519.PublicKey),
			pae: fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload),
			sig: e.Signatures[0].Sig,
		}
	}
	return out
}

// verifyBare is what no verifier of links can be quicker than: Ed25519 alone, on as many cores as there are.
func verifyBare(signatures []bare) bool {
	var next, good atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(signatures)) {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(signatures) {
					return
				}
				if ed25519.Verify(signatures[i].key, signatures[i].pae, signatures[i].sig) {
					good.Add(1)
				}
			}
		})
	}
	workers.Wait()
	return int(good.Load()) == len(signatures)
}

// BenchmarkSign takes turns with Ed25519 alone too.
func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	r, err := w.ask("charge", w.state("fraud-check")).UnsafeReceipt()
	require.NoError(b, err)
	signer := w.signer(app("intake"))
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(b, err)
	e, err := receipt.Sign(r, signer)
	require.NoError(b, err)
	var ours, alone time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		ed25519.Sign(key, e.Payload)
		between := time.Now()
		if _, err := receipt.Sign(r, signer); err != nil {
			b.Fatal(err)
		}
		alone += between.Sub(start)
		ours += time.Since(between)
	}
	b.ReportMetric(float64(b.N)/ours.Seconds(), "links/s")
	b.ReportMetric(float64(b.N)/alone.Seconds(), "ed25519/s")
	b.ReportMetric(alone.Seconds()/ours.Seconds(), "of-ed25519")
}

// benchmarkVerify takes turns with Ed25519 alone, so that both have the same machine. Of one link most is the certificate,
// which takes two signatures more and is remembered for the next.
func benchmarkVerify(b *testing.B, n int) {
	w := newWorld(b)
	links := w.linear(n)
	signatures := w.bare(links)
	o := w.options()
	o.Running = true
	var ours, alone time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		if !verifyBare(signatures) {
			b.Fatal("a signature is not valid")
		}
		between := time.Now()
		if report := chain.Verify(links, o); !report.OK() {
			b.Fatal(report.All()[0])
		}
		alone += between.Sub(start)
		ours += time.Since(between)
	}
	b.ReportMetric(float64(b.N*n)/ours.Seconds(), "links/s")
	b.ReportMetric(float64(b.N*n)/alone.Seconds(), "ed25519/s")
	b.ReportMetric(alone.Seconds()/ours.Seconds(), "of-ed25519")
}

func BenchmarkVerify1(b *testing.B)     { benchmarkVerify(b, 1) }
func BenchmarkVerify100(b *testing.B)   { benchmarkVerify(b, 100) }
func BenchmarkVerify10000(b *testing.B) { benchmarkVerify(b, 10_000) }

// BenchmarkGrow is a chain of 10,000 links that grows by one call at a time and is asked each time, less the signatures.
func BenchmarkGrow10000(b *testing.B) {
	w := newWorld(b)
	links := w.linear(10_000)
	c := w.all(links...)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		chain.Forget(c)
		b.StartTimer()
		for i := 0; i < len(links); i += 2 {
			v := c.View([]receipt.Digest{links[i].PayloadDigest()})
			if len(v.Named("fraud-check")) != 1 || !v.Complete() {
				b.Fatal("not seen")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(links)/2), "ns/view")
}
