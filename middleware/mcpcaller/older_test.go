// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
	"github.com/dapr-custody/custody/middleware/mcpguard"
)

// way is what is between the sidecars, on a real socket: it makes one of them one of before.
type way struct {
	// before is whether the guard is one that takes whole questions and tokens alone, and says nothing of what it has;
	// silent is whether the caller is one that says nothing of what its worker holds, and hears nothing of what the guard has.
	before, silent bool

	mu       sync.Mutex
	asked    []sent
	answered []int
}

func (w *way) note(asked sent, answered int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.answered = append(w.asked, asked), append(w.answered, answered)
}

// guardedBy is a rig whose server has a real guard before it, at the end of the way.
func guardedBy(t *testing.T, along *way) (r *rig, journal string) {
	t.Helper()
	folder := t.TempDir()
	journal = filepath.Join(folder, "guard")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "allow.yaml"), []byte(`apiVersion: custody.dev/v1alpha1
kind: AccessPolicy
metadata: {name: test}
spec:
  rules:
  - {name: refunds-echoes, effect: allow, from: [refunds], to: {server: payments, tools: [echo]}}
`), 0o600))
	r = newRig(t)
	address, err := url.Parse(r.server.URL)
	require.NoError(t, err)
	svid := r.ca.SVID("payments")
	factory := mcpguard.NewFactory(func() (mcpguard.Host, error) {
		return mcpguard.Host{
			AppID: "payments", Namespace: "default", AppAddress: address.Host, ID: svid.ID, SVIDs: svid,
			Bundles: x509bundle.NewSet(r.ca.Bundle()), Log: t.Logf,
		}, nil
	})
	guard, err := factory.Make("mcpguard", map[string]string{"policyDir": folder, "journalDir": journal})
	require.NoError(t, err)
	app := httputil.NewSingleHostReverseProxy(address)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		one := sent{question: in.Header.Get(mcpcaller.HeaderQuestion), token: in.Header.Get(mcpcaller.HeaderTxnToken)}
		if along.before && (one.short() || one.named()) {
			along.note(one, http.StatusForbidden)
			http.Error(w, "the question is not base64", http.StatusForbidden)
			return
		}
		if along.before || along.silent {
			in.Header.Del(mcpcaller.HeaderHeld)
		}
		in.URL.Host = address.Host
		peers := &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: r.svids.svid.Certificates}}}
		answer := httptest.NewRecorder()
		guard.Handler(app).ServeHTTP(answer, in.WithContext(peer.NewContext(in.Context(), peers)))
		along.note(one, answer.Code)
		if along.before || along.silent {
			answer.Header().Del(mcpcaller.HeaderHas)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // the caller may be gone
	}))
	t.Cleanup(func() {
		front.Close()
		require.NoError(t, factory.Close())
	})
	r.to = front.URL
	return r, journal
}

// A sidecar of now and one of before do with one another as two of before do, whichever is which.
func TestWithSidecarsOfBefore(t *testing.T) {
	const calls = 4
	for _, test := range []struct {
		name          string
		way           *way
		after         func(*way, int) // a call
		short         int             // questions that come without certificates
		held          int             // answers that the worker gets without
		statuses      []int           // of the guard
		questionsHeld int             // questions that the worker gets without
	}{
		{name: "both of now", short: 3, held: 3, questionsHeld: 3, statuses: []int{200, 200, 200, 200}},
		{name: "a guard of before", way: &way{before: true}, questionsHeld: 3, statuses: []int{200, 200, 200, 200}},
		{name: "a caller of before", way: &way{silent: true}, questionsHeld: 3, statuses: []int{200, 200, 200, 200}},
		{
			name: "a guard that becomes one of before", after: func(w *way, n int) { w.before = n >= 2 },
			short: 2, held: 1, questionsHeld: 3, statuses: []int{200, 200, 403, 200, 200},
		},
		{
			name: "a guard that becomes one of now", way: &way{before: true}, after: func(w *way, n int) { w.before = n < 2 },
			short: 1, held: 2, questionsHeld: 3, statuses: []int{200, 200, 200, 200},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			along := test.way
			if along == nil {
				along = &way{}
			}
			r, journal := guardedBy(t, along)
			certificates := map[string]receipt.Signature{}
			link := func(text string, short *int) *receipt.Receipt {
				e, err := receipt.DecodeHeader(text)
				require.NoError(t, err)
				s := &e.Signatures[0]
				if len(s.Certificate) > 0 {
					certificates[s.KeyID] = *s
				} else {
					*short++
					s.Certificate, s.Intermediates = certificates[s.KeyID].Certificate, certificates[s.KeyID].Intermediates
				}
				verified, err := receipt.Verify(e, r.host.Bundles, receipt.VerifyOptions{})
				require.NoError(t, err)
				return verified.Receipt
			}
			questions, answers := 0, 0
			for task := 1; task <= calls; task++ {
				holds := []string{}
				for keyID := range certificates {
					holds = append(holds, keyID[:16])
				}
				held := "none"
				if len(holds) > 0 {
					held = strings.Join(holds, " ")
				}
				got := r.call(aStep(task), mcpcaller.HeaderHeld, held)
				require.Equal(t, 200, got.status, got.body)
				require.Empty(t, got.header.Values(mcpcaller.HeaderHas))
				asked := link(got.header.Get(mcpcaller.HeaderQuestion), &questions)
				answer := link(got.header.Get("Custody-Answer"), &answers)
				require.Equal(t, asked.Workflow, answer.Workflow)
				require.Equal(t, receipt.StatusOK, answer.Outcome.Status)
				require.NotEmpty(t, answer.Txn)
				require.False(t, txn.IsName(r.server.Last(t).Header.Get(mcpcaller.HeaderTxnToken)), "the server gets the whole token")
				if test.after != nil {
					test.after(along, task)
				}
			}
			short := 0
			for _, one := range along.asked {
				require.Equal(t, one.short(), one.named())
				if one.short() {
					short++
				}
			}
			require.Equal(t, test.statuses, along.answered)
			require.Equal(t, []int{test.short, test.held, test.questionsHeld}, []int{short, answers, questions})
			require.Len(t, r.server.Requests(), calls, "each step reaches the server once")
			require.Len(t, r.records().Receipts, calls, "and is one question")
			require.Len(t, testkit.ReadJournal(t, journal, r.host.Bundles).Receipts, calls, "with one answer")
		})
	}
}

// Many that ask for one step at once have one question, and it reaches the server once, whatever of it was left out.
func TestOneStepManyTimesAtOnce(t *testing.T) {
	along := &way{}
	r, journal := guardedBy(t, along)
	require.Equal(t, 200, r.call(aStep(1)).status)
	require.Equal(t, 200, r.call(aStep(2)).status)
	const times = 16
	answers := make(chan answered, times)
	for range times {
		go func() { answers <- r.call(aStep(3)) }()
	}
	count, questions := map[int]int{}, map[string]bool{}
	for range times {
		got := <-answers
		count[got.status]++
		questions[got.header.Get(mcpcaller.HeaderQuestion)] = true
	}
	require.Equal(t, map[int]int{200: 1, 409: times - 1}, count)
	require.Len(t, questions, 1)
	require.Len(t, r.server.Requests(), 3)
	require.Len(t, r.records().Receipts, 3)
	read := testkit.ReadJournal(t, journal, r.host.Bundles)
	require.Len(t, read.Intents, 3)
	require.Len(t, read.Receipts, 3+times-1, "each repetition is recorded")
}
