// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/txn"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

// sent is what a guard was sent.
type sent struct{ question, token, body string }

func (s sent) short() bool { return strings.Contains(s.question, ".") }

func (s sent) named() bool { return txn.IsName(s.token) }

// guarded is a rig whose server is behind a guard that says what it has.
func guarded(t *testing.T, guard func(http.ResponseWriter, sent)) (*rig, *[]sent) {
	t.Helper()
	var all []sent
	r := newRig(t, func(r *rig) {
		r.guard = func(w http.ResponseWriter, in *http.Request, body string) {
			one := sent{in.Header.Get(mcpcaller.HeaderQuestion), in.Header.Get(mcpcaller.HeaderTxnToken), body}
			all = append(all, one)
			guard(w, one)
		}
	})
	return r, &all
}

// says is a guard that answers with that and nothing else.
func says(has string, status int, header ...string) func(http.ResponseWriter, sent) {
	return func(w http.ResponseWriter, _ sent) {
		if has != "" {
			w.Header().Set(mcpcaller.HeaderHas, has)
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, "said")
	}
}

func TestWhatAGuardHasIsLeftOut(t *testing.T) {
	for _, test := range []struct {
		name          string
		guard         func(http.ResponseWriter, sent)
		short, named  bool
		times, status int // of the second call
	}{
		{"it has both", says(mcpcaller.HasBoth, 200), true, true, 1, 200},
		{"it has the certificates", says(mcpcaller.HasQuestion, 200), true, false, 1, 200},
		{"it has nothing", says(mcpcaller.HasNothing, 200), false, false, 1, 200},
		{"it is one of before", says("", 200), false, false, 1, 200},
		{"it says what nobody knows", says("token", 200), false, false, 1, 200},
		{"it denies the step", says(mcpcaller.HasBoth, 403, "Custody-Answer", "x"), true, true, 1, 403},
		{"it refuses the step", says(mcpcaller.HasBoth, 403), true, true, 1, 403},
		{"it wants the chain", says(mcpcaller.HasBoth, 428, mcpcaller.HeaderChain, "wanted"), true, true, 1, 428},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, all := guarded(t, test.guard)
			for task := 1; task <= 2; task++ {
				got := r.call(aStep(task))
				require.Equal(t, test.status, got.status, got.body)
				require.Equal(t, "said", got.body)
				require.Empty(t, got.header.Values(mcpcaller.HeaderHas))
				require.Equal(t, 0, strings.Count(got.header.Get(mcpcaller.HeaderQuestion), "."), "the worker has said nothing")
				r.question(got.header.Get(mcpcaller.HeaderQuestion))
			}
			require.Len(t, *all, 1+test.times)
			first, second := (*all)[0], (*all)[1]
			require.False(t, first.short() || first.named(), "nothing is known of the guard yet")
			require.Equal(t, canonical("echo", "hi"), second.body)
			require.Equal(t, test.short, second.short())
			require.Equal(t, test.named, second.named())
			if test.named {
				require.Equal(t, txn.Name(first.token), second.token)
			} else {
				require.Equal(t, first.token, second.token)
			}
		})
	}
}

// A guard that can do nothing with what it gets is sent all of it, once; the worker sees the answer to that alone.
func TestWhatIsLackingIsSent(t *testing.T) {
	lacking := says(mcpcaller.HasNothing, 428, "X-First", "1")
	before := says("", 403, "X-First", "1")
	for _, test := range []struct {
		name         string
		short, whole func(http.ResponseWriter, sent)
		status       int
		times        int
	}{
		{"another instance, or one that began anew", lacking, says(mcpcaller.HasBoth, 200), 200, 2},
		{"an instance of before", before, says("", 200), 200, 2},
		{"one that never has enough", lacking, lacking, 428, 2},
		{"one of before, that refuses the whole too", before, before, 403, 2},
		{"it denies", says("", 403, "Custody-Answer", "x"), says("", 200), 403, 1},
		{"it refuses for another reason", says(mcpcaller.HasNothing, 403), says("", 200), 403, 1},
		{"another precondition", says("", 428), says("", 200), 428, 1},
		{"it cannot record", says(mcpcaller.HasNothing, 503), says("", 200), 503, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := false
			r, all := guarded(t, func(w http.ResponseWriter, s sent) {
				switch {
				case !began:
					began = true
					says(mcpcaller.HasBoth, 200)(w, s)
				case s.short():
					test.short(w, s)
				default:
					test.whole(w, s)
				}
			})
			require.Equal(t, 200, r.call(aStep(1)).status)
			*all = nil
			got := r.call(aStep(2), "X-Asked", "1")
			require.Equal(t, test.status, got.status)
			require.Equal(t, "said", got.body)
			require.Empty(t, got.header.Values(mcpcaller.HeaderHas))
			require.Len(t, *all, test.times)
			require.True(t, (*all)[0].short() && (*all)[0].named())
			if test.times == 2 {
				require.False(t, (*all)[1].short() || (*all)[1].named())
				require.Equal(t, (*all)[0].body, (*all)[1].body)
				require.Equal(t, test.status != 200, got.header.Get("X-First") != "", "nothing of the first answer passes")
			}
			require.Equal(t, r.question(got.header.Get(mcpcaller.HeaderQuestion)), r.records().Receipts[1])
			require.Len(t, r.records().Receipts, 2, "it is one question")
		})
	}
}

func TestWhoseCertificatesAreLeftOut(t *testing.T) {
	r, all := guarded(t, says(mcpcaller.HasBoth, 200))
	last := func() sent { return (*all)[len(*all)-1] }
	r.call(aStep(1))
	r.call(aStep(2))
	require.True(t, last().short())
	r.do(http.MethodPost, "/v1.0/invoke/other/method/mcp", call("echo", "hi"), mcpcaller.HeaderStep, encoded(aStep(3)))
	require.False(t, last().short(), "of another app nothing is known")
	r.do(http.MethodPost, "/v1.0/invoke/payments.prod/method/mcp", call("echo", "hi"), mcpcaller.HeaderStep, encoded(aStep(4)))
	require.False(t, last().short(), "nor of one in another namespace")

	r.svids.svid = r.ca.SVID("refunds")
	r.call(aStep(5))
	require.False(t, last().short() || last().named(), "the certificate is another")
	r.call(aStep(6))
	require.True(t, last().short() && last().named())
	r.call(aStep(1))
	require.False(t, last().short(), "a question of before is signed by the one of before")
	require.False(t, last().named())

	require.Equal(t, 200, r.call(aStep(7), mcpcaller.HeaderTxn, `scope="payments/*"`).status)
	require.False(t, last().named(), "another token")
}

// The worker gets the question without certificates if it says that it has them.
func TestWorkerHasTheCertificates(t *testing.T) {
	r, _ := guarded(t, func(w http.ResponseWriter, _ sent) { says(mcpcaller.HasBoth, 200)(w, sent{}) })
	key := receipt.KeyID(r.svids.svid.Certificates[0])
	for held, want := range map[string]bool{"": false, "none": false, "0123456789abcdef": false, key: false, key[:16]: true, "0123456789abcdef " + key[:16]: true} {
		got := r.call(aStep(1), mcpcaller.HeaderHeld, held)
		require.Equal(t, want, strings.Contains(got.header.Get(mcpcaller.HeaderQuestion), "."), held)
	}
	twice := r.call(aStep(1), mcpcaller.HeaderHeld, key[:16], mcpcaller.HeaderHeld, key[:16])
	require.NotContains(t, twice.header.Get(mcpcaller.HeaderQuestion), ".")
}

// What the worker holds is told to the guard, where it is in order; of other calls nothing is.
func TestGuardIsToldWhatTheWorkerHolds(t *testing.T) {
	r := newRig(t)
	for held, want := range map[string]string{"none": "none", "0123456789abcdef": "0123456789abcdef", "x": "", "none,": ""} {
		require.Equal(t, 200, r.call(aStep(1), mcpcaller.HeaderHeld, held).status)
		require.Equal(t, want, r.server.Last(t).Header.Get(mcpcaller.HeaderHeld))
	}
	r.do(http.MethodPost, invokePath, call("echo", "hi"), mcpcaller.HeaderHeld, "none")
	require.Empty(t, r.server.Last(t).Header.Values(mcpcaller.HeaderHeld))
}
