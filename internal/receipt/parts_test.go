// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"crypto/x509"
	stdjson "encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

func TestPAEIsThatOfTheDSSELibrary(t *testing.T) {
	for _, tt := range []struct{ payloadType, payload string }{
		{"", ""},
		{"http://example.com/HelloWorld", "hello world"},
		{receipt.PayloadType, "\x00\xff"},
		{"ü", strings.Repeat("x", 1000)},
	} {
		require.Equal(t, dsse.PAE(tt.payloadType, []byte(tt.payload)), receipt.PAE(tt.payloadType, []byte(tt.payload)))
	}
}

func TestIntent(t *testing.T) {
	full := receipt.Intent{
		ID: "i-1", Decided: time.Date(2026, 5, 6, 7, 8, 9, 10, time.UTC),
		Caller:        spiffeid.RequireFromString("spiffe://custody.test/ns/default/support-agent"),
		Txn:           "t:1",
		Actors:        []spiffeid.ID{spiffeid.RequireFromString("spiffe://custody.test/ns/default/support-agent")},
		Action:        receipt.Action{Kind: "mcp.tools/call", Server: "orders", Name: "a\"b"},
		RequestDigest: receipt.Sum([]byte("request")), SetDigest: receipt.Sum([]byte("set")),
		Question: []byte(`{"payload":""}`),
	}
	least := receipt.Intent{
		ID: "i", Decided: full.Decided, Action: receipt.Action{Kind: "http.request"}, RequestDigest: receipt.Sum(nil),
	}
	for name, want := range map[string]receipt.Intent{"full": full, "least": least} {
		t.Run(name, func(t *testing.T) {
			text, err := want.AppendJSON(nil)
			require.NoError(t, err)
			got, err := receipt.DecodeIntent(text)
			require.NoError(t, err)
			require.Equal(t, &want, got)
			var plain receipt.Intent
			require.NoError(t, stdjson.Unmarshal(text, &plain))
			require.Equal(t, want, plain)
		})
	}
	for name, change := range map[string]func(*receipt.Intent){
		"id":      func(i *receipt.Intent) { i.ID = "" },
		"long id": func(i *receipt.Intent) { i.ID = strings.Repeat("a", 129) },
		"time":    func(i *receipt.Intent) { i.Decided = time.Time{} },
		"kind":    func(i *receipt.Intent) { i.Action.Kind = "" },
		"txn":     func(i *receipt.Intent) { i.Txn = "" },
		"digest":  func(i *receipt.Intent) { i.RequestDigest = receipt.Digest{} },
		"short question": func(i *receipt.Intent) {
			i.Question = []byte(`"` + strings.Repeat("x", receipt.MaxPayload/2) + `"`)
		},
	} {
		t.Run("no "+name, func(t *testing.T) {
			bad := full
			change(&bad)
			_, err := bad.AppendJSON(nil)
			require.ErrorIs(t, err, receipt.ErrPayload)
			text, err := stdjson.Marshal(bad)
			require.NoError(t, err)
			_, err = receipt.DecodeIntent(text)
			require.ErrorIs(t, err, receipt.ErrPayload)
		})
	}
}

func TestCertificatesRecordRefuses(t *testing.T) {
	w := newWorld(t)
	good, err := receipt.EncodeCertificates(w.chain)
	require.NoError(t, err)
	for cut := range good {
		if cut == 4+len(w.chain[0].Raw) {
			continue // a chain of one
		}
		_, err := receipt.DecodeCertificates(good[:cut])
		require.ErrorIsf(t, err, receipt.ErrCertificate, "cut at %d", cut)
	}
	_, err = receipt.DecodeCertificates(append(good, 0))
	require.ErrorIs(t, err, receipt.ErrCertificate)

	many := make([]*x509.Certificate, receipt.MaxCertificates+1)
	for i := range many {
		many[i] = w.chain[0]
	}
	for name, chain := range map[string][]*x509.Certificate{
		"none": nil, "many": many, "large": {{Raw: make([]byte, receipt.MaxCertificate+1)}}, "empty": {{}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := receipt.EncodeCertificates(chain)
			require.ErrorIs(t, err, receipt.ErrCertificate)
		})
	}
}

// Whom a question is for is said by every question of a chain, and by nothing else.
func TestQuestionSaysWhomItIsFor(t *testing.T) {
	w := newWorld(t)
	to := w.asked().To
	const missing, set = "to is missing", "to is set"
	for name, c := range map[string]struct {
		change func(*receipt.Receipt)
		want   string // empty: it is good
	}{
		"question":                           {func(*receipt.Receipt) {}, ""},
		"question for nobody":                {func(r *receipt.Receipt) { r.To = spiffeid.ID{} }, missing},
		"question outside a chain":           {func(r *receipt.Receipt) { r.Workflow.Chain = nil }, set},
		"question outside a workflow":        {func(r *receipt.Receipt) { r.Workflow = nil }, set},
		"for nobody, outside a chain":        {func(r *receipt.Receipt) { r.Workflow.Chain, r.To = nil, spiffeid.ID{} }, ""},
		"for nobody, outside a workflow":     {func(r *receipt.Receipt) { r.Workflow, r.To = nil, spiffeid.ID{} }, ""},
		"answer":                             {func(r *receipt.Receipt) { *r = *w.full() }, ""},
		"answer that is for somebody":        {func(r *receipt.Receipt) { *r = *w.full(); r.To = to }, set},
		"statement that is for somebody":     {func(r *receipt.Receipt) { r.Outcome.Status = receipt.StatusStated }, set},
		"approval that is for somebody":      {func(r *receipt.Receipt) { r.Outcome.Status = receipt.StatusApproved }, set},
		"anchor that is for somebody":        {func(r *receipt.Receipt) { r.Outcome.Status = receipt.StatusAnchored }, set},
		"call without a chain, for somebody": {func(r *receipt.Receipt) { *r = *w.least(); r.To = to }, set},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.asked()
			c.change(r)
			_, err := receipt.Sign(r, w.signer)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, receipt.ErrPayload)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestParseDigest(t *testing.T) {
	d := receipt.Sum([]byte("x"))
	for _, text := range []string{d.String(), d.Hex()} {
		got, err := receipt.ParseDigest(text)
		require.NoError(t, err)
		require.Equal(t, d, got)
	}
	zero, err := receipt.ParseDigest("")
	require.NoError(t, err)
	require.True(t, zero.IsZero())
	require.Empty(t, zero.String())
	require.Empty(t, zero.Hex())
	for _, text := range []string{
		"sha256:", d.Hex()[1:], d.Hex() + "0", strings.ToUpper(d.Hex()), "sha512:" + d.Hex(), "g" + d.Hex()[1:],
		"sha256:sha256:" + d.Hex(),
	} {
		_, err := receipt.ParseDigest(text)
		require.ErrorIs(t, err, receipt.ErrPayload, text)
	}
}

// The transaction of a chain is named by these bytes, which other implementations must make too.
func TestChainIsCanonical(t *testing.T) {
	c := receipt.Chain{
		App: spiffeid.RequireFromString("spiffe://custody.test/ns/default/intake"), Instance: "wf-\"0\"<é\u2028\x01",
		Started: time.Date(2026, 5, 6, 9, 8, 9, 10, time.FixedZone("", 7200)),
	}
	text := c.AppendJSON(nil)
	canonical := jsontext.Value(text).Clone()
	require.NoError(t, canonical.Canonicalize())
	require.Equal(t, string(canonical), string(text))
	require.Contains(t, string(text), `"started":"2026-05-06T07:08:09.000000010Z"`)
	var read receipt.Chain
	require.NoError(t, stdjson.Unmarshal(text, &read))
	require.True(t, c.Equal(&read))
}

func TestWhoStandsBehindIsWhole(t *testing.T) {
	w := newWorld(t)
	id := w.full().Actors[0]
	for name, c := range map[string]struct {
		txn    string
		actors []spiffeid.ID
		want   string // empty: it is good
	}{
		"nobody":          {},
		"one":             {"t", []spiffeid.ID{id}, ""},
		"the most":        {strings.Repeat("t", 128), []spiffeid.ID{id, id, id, id}, ""},
		"too many":        {"t", []spiffeid.ID{id, id, id, id, id}, "more than 4"},
		"no actors":       {"t", nil, "do not stand together"},
		"no txn":          {"", []spiffeid.ID{id}, "do not stand together"},
		"an empty actor":  {"t", []spiffeid.ID{id, {}}, "an empty member"},
		"a long txn":      {strings.Repeat("t", 129), []spiffeid.ID{id}, "txn"},
		"a txn to escape": {"t t", []spiffeid.ID{id}, "txn"},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.least()
			r.Txn, r.Actors = c.txn, c.actors
			_, err := receipt.Sign(r, w.signer)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, receipt.ErrPayload)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// What a request touched, and its statement, are bounded and whole.
func TestPartsOfARequest(t *testing.T) {
	w := newWorld(t)
	many := func(n int) []receipt.Touched {
		return slices.Repeat([]receipt.Touched{{Kind: "state.get", Name: "k"}}, n)
	}
	for name, c := range map[string]struct {
		change func(*receipt.Receipt)
		want   string // empty: it is good
	}{
		"none":                      {func(*receipt.Receipt) {}, ""},
		"the most":                  {func(r *receipt.Receipt) { r.Touched, r.TouchedMore = many(100), 1<<40 }, ""},
		"too many":                  {func(r *receipt.Receipt) { r.Touched = many(101) }, "more than 100"},
		"without a kind":            {func(r *receipt.Receipt) { r.Touched = []receipt.Touched{{Name: "k"}} }, "without a kind"},
		"more than nothing":         {func(r *receipt.Receipt) { r.TouchedMore = 1 }, "touchedMore 1"},
		"fewer than none":           {func(r *receipt.Receipt) { r.Touched, r.TouchedMore = many(1), -1 }, "touchedMore -1"},
		"statement without parsing": {func(r *receipt.Receipt) { r.Statement = &receipt.Statement{Digest: receipt.Sum(nil)} }, ""},
		"statement without digest":  {func(r *receipt.Receipt) { r.Statement = &receipt.Statement{Fingerprint: "f"} }, "statement.digest is missing"},
		"failed": {func(r *receipt.Receipt) {
			r.Decision.Effect, r.Outcome = receipt.EffectAllow, receipt.Outcome{Status: receipt.StatusFailed}
		}, ""},
		"denied that failed": {func(r *receipt.Receipt) { r.Outcome.Status = receipt.StatusFailed }, "does not go with"},
		"fewer rows":         {func(r *receipt.Receipt) { r.Outcome.Rows = -1 }, "outcome.rows -1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.least()
			c.change(r)
			e, err := receipt.Sign(r, w.signer)
			if c.want == "" {
				require.NoError(t, err)
				require.Equal(t, r.Touched != nil, strings.Contains(string(e.Payload), `"touched":`))
				require.Equal(t, r.Statement != nil, strings.Contains(string(e.Payload), `"statement":`))
				return
			}
			require.ErrorIs(t, err, receipt.ErrPayload)
			require.ErrorContains(t, err, c.want)
		})
	}
}
