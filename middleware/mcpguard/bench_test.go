// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpguard_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// benchGuard is a guard whose policy allows alice to echo.
func benchGuard(b *testing.B, ca *testkit.CA, durability string) *mcpguard.Guard {
	b.Helper()
	return benchGuardOf(b, ca, durability, allowAlice)
}

func benchGuardOf(b *testing.B, ca *testkit.CA, durability, rules string) *mcpguard.Guard {
	b.Helper()
	policies := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(policies, "bench.yaml"), []byte(rules), 0o600))
	svid := ca.SVID("server")
	factory := mcpguard.NewFactory(func() (mcpguard.Host, error) {
		return mcpguard.Host{
			AppID: "server", Namespace: "default", AppAddress: "127.0.0.1:8080", ID: svid.ID,
			SVIDs: svid, Bundles: x509bundle.NewSet(ca.Bundle()), Log: b.Logf,
		}, nil
	})
	guard, err := factory.Make("bench", map[string]string{
		"policyDir": policies, "journalDir": filepath.Join(b.TempDir(), "journal"), "durability": durability,
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, factory.Close()) })
	return guard
}

// inMemory answers as an MCP server does, without one.
func inMemory(answer []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(err)
		}
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(answer); err != nil {
			panic(err)
		}
	})
}

// kept holds what was answered.
type kept struct {
	header http.Header
	status int
	bytes.Buffer
}

func (k *kept) Header() http.Header    { return k.header }
func (k *kept) WriteHeader(status int) { k.status = status }

func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkGuard is the whole work of the guard on one allowed tools/call of
// 600 bytes: the caller, the parse, the decision, the intent, the digests, the
// signature and the receipt. No socket is in it. With a token a transaction token of
// two layers comes with it, which is known already, or is new each time. cpu-ns/op is the CPU time of the
// process, with what the journal and the garbage collector do beside the call.
//
// Deep is a call in a goroutine of its own, with as much of the stack in use as Dapr has when it calls the guard: there
// the stack has to grow, or not.
func BenchmarkGuard(b *testing.B) {
	ca := testkit.NewCA(b, "custody.local")
	alice := ca.SVID("alice")
	ctx := peer.NewContext(b.Context(), &peer.Peer{
		AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: alice.Certificates}},
	})
	body := []byte(call("echo", strings.Repeat("n", 600-len(call("echo", "")))))
	answer := []byte(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"` + strings.Repeat("n", 500) + `"}]}}`)
	header := http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"},
		"Mcp-Protocol-Version": {"2025-11-25"}, "Dapr-Caller-App-Id": {"alice"}, "Dapr-Callee-App-Id": {"server"},
		"User-Agent": {"Go-http-client/1.1"}, "X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"localhost"},
	}
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:8080", Path: "/mcp"}
	intake := ca.SVID("intake")
	fresh := func() string { return benchToken(b, intake, alice) }
	for _, c := range []struct {
		name, durability string
		token            func() string
		deep             bool
	}{
		{"group", "group", nil, false},
		{"sync", "sync", nil, false},
		{"deep", "group", nil, true},
		{"a token", "group", sync.OnceValue(fresh), false},
		{"a new token", "group", fresh, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			handler := benchGuard(b, ca, c.durability).Handler(inMemory(answer))
			var token []string
			serve := func() *kept {
				r := (&http.Request{
					Method: http.MethodPost, URL: target, Header: header.Clone(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
					Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
				}).WithContext(ctx)
				if token != nil {
					r.Header[mcpguard.HeaderTxnToken] = token
				}
				w := &kept{header: http.Header{}}
				if !c.deep {
					handler.ServeHTTP(w, r)
					return w
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					under(9<<10/256, func() { handler.ServeHTTP(w, r) })
				}()
				<-done
				return w
			}
			first := serve()
			require.Equal(b, http.StatusOK, first.status, first.String())
			require.Equal(b, string(answer), first.String())
			require.NotEmpty(b, first.header.Get(mcpguard.HeaderReceipt))

			b.ReportAllocs()
			var making, before time.Duration
			for before = processCPU(b); b.Loop(); {
				if c.token != nil {
					start := processCPU(b)
					token = []string{c.token()}
					making += processCPU(b) - start
				}
				if serve().status != http.StatusOK {
					b.Fatal("refused")
				}
			}
			b.ReportMetric(float64(processCPU(b)-before-making)/float64(b.N), "cpu-ns/op")
		})
	}
}

// under calls f below so many frames of 256 bytes or somewhat more.
//
//go:noinline
func under(frames int, f func()) {
	var frame [256]byte
	if frames == 0 {
		f()
	} else {
		under(frames-1, f)
	}
	runtime.KeepAlive(&frame)
}

// BenchmarkStep is BenchmarkGuard for steps of a workflow, each with a question of
// its own, under a policy that asks for nothing of their chain and under one that
// does. The questions are signed beforehand, and but for the first come without
// certificates, as the answers go out.
func BenchmarkStep(b *testing.B) {
	for name, rules := range map[string]string{
		"no chain asked for": allowAlice,
		"chain asked for":    strings.Replace(allowAlice, "[echo, fail, progress]}}", "[echo, fail, progress]}, when: 'chain.length >= 0'}", 1),
	} {
		b.Run(name, func(b *testing.B) {
			ca := testkit.NewCA(b, "custody.local")
			w := scribe(b, ca, "alice")
			ctx := peer.NewContext(b.Context(), &peer.Peer{
				AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: w.svid.Certificates}},
			})
			body := call("echo", strings.Repeat("n", 600-len(call("echo", ""))))
			answer := []byte(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"` + strings.Repeat("n", 500) + `"}]}}`)
			handler := benchGuardOf(b, ca, "group", rules).Handler(inMemory(answer))
			target := &url.URL{Scheme: "http", Host: "127.0.0.1:8080", Path: "/mcp"}
			to := spiffeid.RequireFromSegments(ca.TrustDomain, "ns", "default", "server")
			held, form := "none", encoded
			var cpu time.Duration
			for b.Loop() {
				b.StopTimer()
				question := w.asked(b, body, func(q *receipt.Receipt) { q.To = to })
				r := (&http.Request{
					Method: http.MethodPost, URL: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
					Header: http.Header{"Content-Type": {"application/json"}, mcpguard.HeaderQuestion: {form(question)}, mcpguard.HeaderHeld: {held}},
					Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
				}).WithContext(ctx)
				got := &kept{header: http.Header{}}
				b.StartTimer()
				before := processCPU(b)
				handler.ServeHTTP(got, r)
				cpu += processCPU(b) - before
				if got.status != http.StatusOK {
					b.Fatal(got.String())
				}
				answer, err := receipt.DecodeHeader(got.header.Get(mcpguard.HeaderAnswer))
				require.NoError(b, err)
				w.heads = []receipt.Digest{answer.PayloadDigest()}
				held, form = answer.Signatures[0].KeyID[:16], (*receipt.Envelope).Short
			}
			b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

// benchToken is a token that the app intake began and alice goes on with.
func benchToken(b *testing.B, intake, alice *x509svid.SVID) string {
	b.Helper()
	scope, err := txn.ParseScope("server/*")
	require.NoError(b, err)
	first, err := txn.Begin{Txn: uuid.NewString(), To: alice.ID, Scope: scope, Now: time.Now()}.Sign(intake)
	require.NoError(b, err)
	to := spiffeid.RequireFromSegments(alice.ID.TrustDomain(), "ns", "default", "server")
	second, err := first.Replace(txn.Replace{To: to, Now: time.Now()}, alice)
	require.NoError(b, err)
	return second.Compact
}
