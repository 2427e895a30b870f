// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package custody_test

import (
	"fmt"
	"slices"
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

	_, err = s.Read(whole(other))
	require.NoError(t, err)
}

// What is kept of a signer comes back with all that it signs, so nobody else can say what it is.
func TestSignersAreTheirOwn(t *testing.T) {
	ca := testkit.NewCA(t, "custody.test")
	one, other := signedBy(t, ca, "intake"), signedBy(t, ca, "payments")
	changed := func(e *receipt.Envelope, what func(*receipt.Envelope)) *receipt.Envelope {
		c := *e
		c.Signatures = slices.Clone(e.Signatures)
		what(&c)
		return &c
	}
	for name, tt := range map[string]struct {
		link *receipt.Envelope
		want string
	}{
		"as it is":              {one, ""},
		"another's certificate": {changed(one, func(e *receipt.Envelope) { e.Signatures[0].Certificate = other.Signatures[0].Certificate }), "is not that of the certificate"},
		"another's key":         {changed(one, func(e *receipt.Envelope) { e.Signatures[0].KeyID = other.Signatures[0].KeyID }), "is not that of the certificate"},
		"another's signature":   {changed(one, func(e *receipt.Envelope) { e.Signatures[0].Sig = other.Signatures[0].Sig }), "does not fit"},
		"another payload":       {changed(one, func(e *receipt.Envelope) { e.Payload = other.Payload }), "does not fit"},
		"another beside it":     {changed(one, func(e *receipt.Envelope) { e.Signatures = append(e.Signatures, other.Signatures[0]) }), "2 signatures"},
		"nobody":                {changed(one, func(e *receipt.Envelope) { e.Signatures = nil }), "0 signatures"},
	} {
		t.Run(name, func(t *testing.T) {
			var s custody.Signers
			_, err := s.Read(whole(tt.link))
			if tt.want == "" {
				require.NoError(t, err)
				require.NotEqual(t, "none", s.Held())
				return
			}
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, "none", s.Held())
		})
	}

	var s custody.Signers
	_, err := s.Read(whole(one))
	require.NoError(t, err)
	link, err := s.Read(whole(changed(one, func(e *receipt.Envelope) { e.Signatures[0].Intermediates = nil })))
	require.NoError(t, err)
	require.Equal(t, string(one.AppendJSON(nil)), string(link.Envelope), "a key has the certificates that it came with")
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
