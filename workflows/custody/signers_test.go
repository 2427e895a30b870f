// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/workflows/custody"
)

// threeCalls is a world with a workflow of three calls, which gives its links.
func threeCalls(t *testing.T) *world {
	return newWorld(t, func(worker *custody.Worker) {
		require.NoError(t, worker.AddWorkflow("refund", func(ctx *custody.Context) (any, error) {
			for range 3 {
				if _, err := echo(ctx, "echo", "order"); err != nil {
					return nil, err
				}
			}
			return ctx.Links(), nil
		}))
	})
}

// A worker has certificates once, and links that come without them get them back.
func TestLinksComeWithoutCertificates(t *testing.T) {
	for name, tc := range map[string]struct {
		way  trouble
		form func(receipt.Held, *receipt.Envelope) receipt.Held
		want int // links of six in the short form
	}{
		"in headers":            {none, nil, 4},
		"in events":             {streamed, nil, 4},
		"a sidecar of before":   {none, func(receipt.Held, *receipt.Envelope) receipt.Held { return "" }, 0},
		"a new key each time":   {none, func(receipt.Held, *receipt.Envelope) receipt.Held { return "none" }, 0},
		"the question is whole": {none, func(held receipt.Held, e *receipt.Envelope) receipt.Held { return questionWhole(t, held, e) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := threeCalls(t)
			w.sidecar.trouble = func(string, int) trouble { return tc.way }
			w.sidecar.form = tc.form
			var links []custody.Link
			w.run("refund", "r1", nil, &links)
			short := 0
			for _, is := range w.sidecar.short {
				if is {
					short++
				}
			}
			require.Equal(t, tc.want, short)
			require.Len(t, links, 6)
			for i, link := range links {
				e, err := receipt.DecodeEnvelope(link.Envelope)
				require.NoError(t, err)
				require.Equal(t, w.sidecar.signed()[i], e)
			}
			w.verified("r1", w.sidecar.signed())
			require.Len(t, w.kept("r1"), 6)
		})
	}
}

func questionWhole(t *testing.T, held receipt.Held, e *receipt.Envelope) receipt.Held {
	r, err := e.UnsafeReceipt()
	require.NoError(t, err)
	if r.Outcome.Status == receipt.StatusAsked {
		return ""
	}
	return held
}

// What comes without certificates that the worker did not say it holds is not taken.
func TestLinksWithoutCertificatesThatNobodyHolds(t *testing.T) {
	w := threeCalls(t)
	w.sidecar.form = func(_ receipt.Held, e *receipt.Envelope) receipt.Held {
		return receipt.Held(e.Signatures[0].KeyID[:16])
	}
	w.start("refund", "r1", nil)
	meta := w.end("r1")
	require.Equal(t, "FAILED", meta.String())
	require.Contains(t, meta.FailureDetails.GetErrorMessage(), "was not said to be held")
}

// signedBy is a link as the sidecar of an app with a new key signs it.
func signedBy(t *testing.T, ca *testkit.CA, app string) *receipt.Envelope {
	c := testkit.NewChained(t, ca.SVID(app), "refund-7", time.Now())
	c.State("custody.attest", "fraud-check")
	return c.Links[0]
}

func short(e *receipt.Envelope) string { return e.Short() }

func whole(e *receipt.Envelope) string { return receipt.EncodeHeader(e, "") }

func TestSigners(t *testing.T) {
	ca := testkit.NewCA(t, "custody.test")
	one, other := signedBy(t, ca, "intake"), signedBy(t, ca, "intake")
	var s custody.Signers
	require.Equal(t, "none", s.Held())
	_, err := s.Read(short(one))
	require.ErrorContains(t, err, "not said to be held")
	for range 2 {
		_, err = s.Read(whole(one))
		require.NoError(t, err)
		require.Equal(t, one.Signatures[0].KeyID[:16], s.Held())
	}
	link, err := s.Read(short(one))
	require.NoError(t, err)
	require.Equal(t, string(one.AppendJSON(nil)), string(link.Envelope))
	_, err = s.Read(short(other))
	require.ErrorContains(t, err, "not said to be held")

	swapped := *other
	swapped.Signatures = []receipt.Signature{other.Signatures[0]}
	swapped.Signatures[0].Certificate = one.Signatures[0].Certificate
	_, err = s.Read(whole(&swapped))
	require.NoError(t, err, "that it does not verify, others say")
	require.NotContains(t, s.Held(), other.Signatures[0].KeyID[:16])
}

func TestSignersAreFew(t *testing.T) {
	ca := testkit.NewCA(t, "custody.test")
	var s custody.Signers
	for i := range 20 {
		e := signedBy(t, ca, fmt.Sprint("app-", i))
		_, err := s.Read(whole(e))
		require.NoError(t, err)
		names := strings.Fields(s.Held())
		require.Contains(t, names, e.Signatures[0].KeyID[:16])
		require.LessOrEqual(t, len(names), 8)
		require.NotEmpty(t, receipt.ParseHeld([]string{s.Held()}))
	}
}
