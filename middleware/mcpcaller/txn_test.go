// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package mcpcaller_test

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
	"github.com/dapr-custody/custody/middleware/mcpcaller"
)

const plainPath = "/v1.0/invoke/payments/method/charge"

func (r *rig) id(app string) spiffeid.ID { return r.ca.SVID(app).ID }

// sent is the token that the other sidecar gets, verified by it; nil if none was sent.
func (r *rig) sent(to string) *txn.Token {
	r.t.Helper()
	values := r.server.Last(r.t).Header[mcpcaller.HeaderTxnToken]
	if len(values) == 0 {
		return nil
	}
	require.Len(r.t, values, 1)
	token, err := txn.Verify(values[0], r.host.Bundles, txn.VerifyOptions{Sender: r.host.ID, To: r.id(to), Now: time.Now()})
	require.NoError(r.t, err)
	return token
}

// given is the token that intake sent to the app of the rig.
func (r *rig) given(svid *x509svid.SVID, change ...func(*txn.Begin)) string {
	r.t.Helper()
	scope, err := txn.ParseScope("payments/* orders/get_*")
	require.NoError(r.t, err)
	begin := txn.Begin{Txn: "t-1", To: r.host.ID, Scope: scope, Now: time.Now()}
	for _, c := range change {
		c(&begin)
	}
	token, err := begin.Sign(svid)
	require.NoError(r.t, err)
	return token.Compact
}

func (r *rig) get(path string, header ...string) answered {
	r.t.Helper()
	return r.do(http.MethodGet, path, "", header...)
}

func TestTransactionBegins(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct{ value, scope string }{
		"everything": {"begin", "*"},
		"with scope": {`begin; scope="payments/refund orders/*"`, "payments/refund orders/*"},
		"no space":   {`begin;scope="payments/*"`, "payments/*"},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.get(plainPath, mcpcaller.HeaderTxn, c.value)
			require.NotEqual(t, http.StatusForbidden, got.status, got.body)
			token := r.sent("payments")
			require.NotNil(t, token)
			require.Equal(t, []spiffeid.ID{r.host.ID}, token.Actors)
			require.Equal(t, r.host.ID, token.Subject)
			require.Equal(t, c.scope, token.Scope.String())
			require.Empty(t, token.Context)
			require.Empty(t, r.server.Last(t).Header.Values(mcpcaller.HeaderTxn), "what the app says stays here")
			r.get(plainPath, mcpcaller.HeaderTxn, c.value)
			require.NotEqual(t, token.Txn, r.sent("payments").Txn, "each begins another")
		})
	}
	r.get(plainPath)
	require.Nil(t, r.sent("payments"), "no token unless the app wants one")
}

func TestTokenIsReplaced(t *testing.T) {
	r := newRig(t)
	intake := r.ca.SVID("intake")
	r.get(plainPath, mcpcaller.HeaderTxnToken, r.given(intake))
	token := r.sent("payments")
	require.NotNil(t, token)
	require.Equal(t, []spiffeid.ID{intake.ID, r.host.ID}, token.Actors)
	require.Equal(t, intake.ID, token.Subject)
	require.Equal(t, "t-1", token.Txn)
	require.Equal(t, "payments/* orders/get_*", token.Scope.String())

	r.get(plainPath, mcpcaller.HeaderTxnToken, r.given(intake), mcpcaller.HeaderTxn, `scope="payments/refund"`)
	require.Equal(t, "payments/refund", r.sent("payments").Scope.String())

	// The same token, to the same app, with the same scope, is sent again; to another it is another.
	given := r.given(intake)
	r.get(plainPath, mcpcaller.HeaderTxnToken, given)
	first := r.sent("payments").Compact
	r.get(plainPath, mcpcaller.HeaderTxnToken, given)
	require.Equal(t, first, r.sent("payments").Compact)
	r.get(plainPath, mcpcaller.HeaderTxnToken, given, mcpcaller.HeaderTxn, `scope="payments/refund"`)
	require.Equal(t, "payments/refund", r.sent("payments").Scope.String())
	r.get("/v1.0/invoke/fraud/method/x", mcpcaller.HeaderTxnToken, given)
	require.Equal(t, r.id("fraud"), r.sent("fraud").To)

	// A new certificate signs anew.
	r.svids.svid = r.ca.SVID("refunds")
	r.get(plainPath, mcpcaller.HeaderTxnToken, given)
	require.NotEqual(t, first, r.sent("payments").Compact)
}

func TestTokenThatMustNotGoOut(t *testing.T) {
	r := newRig(t)
	intake := r.ca.SVID("intake")
	good := r.given(intake)
	deep := func() string {
		token, err := txn.Verify(r.given(r.ca.SVID("a"), func(b *txn.Begin) { b.To = r.id("b") }), r.host.Bundles,
			txn.VerifyOptions{To: r.id("b"), Now: time.Now()})
		require.NoError(t, err)
		for _, hop := range [][2]string{{"b", "c"}, {"c", "d"}, {"d", "refunds"}} {
			token, err = token.Replace(txn.Replace{To: r.id(hop[1]), Now: time.Now()}, r.ca.SVID(hop[0]))
			require.NoError(t, err)
		}
		return token.Compact
	}
	for name, c := range map[string]struct {
		status int
		want   string
		header []string
	}{
		"sent to another app": {403, "it was sent to", []string{
			"Txn-Token", r.given(intake, func(b *txn.Begin) { b.To = r.id("payments") }),
		}},
		"expired": {403, "it is good from", []string{
			"Txn-Token", r.given(intake, func(b *txn.Begin) { b.Now = b.Now.Add(-txn.MaxLifetime) }),
		}},
		"from the future": {403, "it is good from", []string{
			"Txn-Token", r.given(intake, func(b *txn.Begin) { b.Now = b.Now.Add(2 * time.Minute) }),
		}},
		"of another root":         {403, "certificate of the signer", []string{"Txn-Token", r.given(testkit.NewCA(t, "custody.local").SVID("intake"))}},
		"of another trust domain": {403, "certificate of the signer", []string{"Txn-Token", r.given(testkit.NewCA(t, "other.test").SVID("intake"))}},
		"of a certificate that ended": {403, "certificate of the signer", []string{
			"Txn-Token", r.given(r.ca.SVID("intake", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })),
		}},
		"through too many hands": {403, "which is the most", []string{"Txn-Token", deep()}},
		"flipped":                {403, "not good", []string{"Txn-Token", flip(good)}},
		"garbage":                {403, "three parts", []string{"Txn-Token", "garbage"}},
		"empty":                  {403, "three parts", []string{"Txn-Token", " "}},
		"too large":              {403, "more than 24576 bytes", []string{"Txn-Token", strings.Repeat("a", txn.MaxToken+1)}},
		"two":                    {400, "more than once", []string{"Txn-Token", good, "Txn-Token", good}},
		"two in one":             {403, "not good", []string{"Txn-Token", good + ", " + good}},
		"wider":                  {403, "is wider than", []string{"Txn-Token", good, "Custody-Txn", `scope="orders/*"`}},
		"begun again":            {400, "send one of them", []string{"Txn-Token", good, "Custody-Txn", "begin"}},
		"nothing to narrow":      {400, "there is none", []string{"Custody-Txn", `scope="orders/*"`}},
		"two that begin":         {400, "given 2 times", []string{"Custody-Txn", "begin", "Custody-Txn", "begin"}},
		"no known word":          {400, "write begin", []string{"Custody-Txn", "start"}},
		"more words":             {400, "write begin", []string{"Custody-Txn", "begin; now"}},
		"no quotes":              {400, "write begin", []string{"Custody-Txn", "begin; scope=orders/*"}},
		"no scope":               {400, "a scope has", []string{"Custody-Txn", `begin; scope=""`}},
		"a scope that is none":   {400, "write server/tool", []string{"Custody-Txn", `begin; scope="orders"`}},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.server.Requests())
			got := r.get(plainPath, c.header...)
			require.Equal(t, c.status, got.status, got.body)
			require.Contains(t, got.body, `"errorCode":"CUSTODY_REFUSED"`)
			require.Contains(t, got.body, c.want)
			require.Len(t, r.server.Requests(), before, "nothing is sent")
		})
	}
	require.NotEqual(t, 403, r.get(plainPath, "Txn-Token", good).status, "the good one passes")
}

func flip(token string) string {
	at := len(token) / 2
	other := byte('A')
	if token[at] == 'A' {
		other = 'B'
	}
	return token[:at] + string(other) + token[at+1:]
}

// Which app a token is for has to be what Dapr invokes.
func TestTokenIsForWhoIsInvoked(t *testing.T) {
	r := newRig(t)
	basic := func(user string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":x")) }
	for name, c := range map[string]struct {
		path   string
		header []string
		to     string // SPIFFE path; empty: refused; "none": goes on without a token
	}{
		"by path":              {plainPath, nil, "/ns/default/payments"},
		"with namespace":       {"/v1.0/invoke/payments.shop/method/x", nil, "/ns/shop/payments"},
		"by header":            {"/charge", []string{"Dapr-App-Id", "payments"}, "/ns/default/payments"},
		"by header, namespace": {"/charge", []string{"Dapr-App-Id", "payments.shop"}, "/ns/shop/payments"},
		"an escaped method":    {"/v1.0/invoke/payments/method/a%20b%2Fc", nil, "/ns/default/payments"},
		"a slash at the end":   {"/v1.0/invoke/payments/method/x/", nil, "/ns/default/payments"},
		"other basic user":     {plainPath, []string{"Authorization", basic("jane")}, "/ns/default/payments"},
		"a state store":        {"/v1.0/state/store", nil, "none"},
		"metadata":             {"/v1.0/metadata", nil, "none"},
		"path and header":      {plainPath, []string{"Dapr-App-Id", "fraud"}, ""},
		"two headers":          {"/charge", []string{"Dapr-App-Id", "payments", "Dapr-App-Id", "fraud"}, ""},
		"basic user":           {"/charge", []string{"Authorization", basic("dapr-app-id")}, ""},
		"path and basic user":  {plainPath, []string{"Authorization", basic("Dapr-App-Id")}, ""},
		"dots":                 {"/v1.0/invoke/payments/method/../../fraud/method/x", nil, ""},
		"escaped dots":         {"/v1.0/invoke/payments/method/%2e%2e/%2e%2e/fraud/method/x", nil, ""},
		"slashes":              {"/v1.0//invoke/payments/method/x", nil, ""},
		"an escaped app":       {"/v1.0/invoke/pay%6Dents/method/x", nil, ""},
		"a URL":                {"/v1.0/invoke/http:%2F%2Fevil.test/method/x", nil, ""},
		"no app":               {"/v1.0/invoke//method/x", nil, ""},
		"dot app":              {"/charge", []string{"Dapr-App-Id", ".."}, ""},
		"two dots":             {"/v1.0/invoke/a.b.c/method/x", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(r.server.Requests())
			got := r.get(c.path, append([]string{"Txn-Token", r.given(r.ca.SVID("intake"))}, c.header...)...)
			switch c.to {
			case "":
				require.Equal(t, 400, got.status, got.body)
				require.Len(t, r.server.Requests(), before)
			case "none":
				require.Empty(t, r.server.Last(t).Header.Values("Txn-Token"), "it never goes where it is not for")
			default:
				_, err := txn.Verify(r.server.Last(t).Header.Get("Txn-Token"), r.host.Bundles,
					txn.VerifyOptions{To: spiffeid.RequireFromString("spiffe://custody.local" + c.to), Now: time.Now()})
				require.NoError(t, err)
			}
		})
	}
	got := r.get("/v1.0/metadata", mcpcaller.HeaderTxn, "begin")
	require.Equal(t, 400, got.status)
	require.Contains(t, got.body, "goes with a service invocation")
}

func TestStepsOfOneChainAreOneTransaction(t *testing.T) {
	r := newRig(t)
	require.Equal(t, 200, r.call(aStep(1)).status)
	first := r.sent("payments")
	require.NotNil(t, first, "a step has a token always")
	require.Equal(t, "*", first.Scope.String())
	const name = `{"app":"spiffe://custody.local/ns/default/refunds","instance":"refund-1","started":"2026-11-23T09:00:00.000000005Z"}`
	require.Equal(t, jsontext.Value(`{"chain":`+name+`}`), first.Context)
	require.Equal(t, "3378e50dcea673af4437654ccfcc4320f4477f3e83cc483086af7ba3a7926a3d", first.Txn)

	require.Equal(t, 200, r.call(aStep(2)).status)
	require.Equal(t, first.Compact, r.sent("payments").Compact, "within a minute the same")
	require.Equal(t, 200, r.call(aStep(3), mcpcaller.HeaderTxn, `scope="payments/echo"`).status)
	require.Equal(t, "payments/echo", r.sent("payments").Scope.String())
	require.Equal(t, first.Txn, r.sent("payments").Txn)
	require.Equal(t, 200, r.call(strings.ReplaceAll(aStep(1), "refund-1", "refund-2")).status)
	require.NotEqual(t, first.Txn, r.sent("payments").Txn, "another chain")
}

// A step goes on in the transaction that its app was called in, but never in that of another chain, and what is refused
// leaves no question.
func TestStepWithTokenOfTheApp(t *testing.T) {
	r := newRig(t)
	intake := r.ca.SVID("intake")
	require.Equal(t, 200, r.call(aStep(1), "Txn-Token", r.given(intake)).status)
	require.Equal(t, []spiffeid.ID{intake.ID, r.host.ID}, r.sent("payments").Actors)
	own := r.given(intake, func(b *txn.Begin) {
		b.Context = jsontext.Value(`{"chain":{"app":"spiffe://custody.local/ns/default/refunds","instance":"refund-1","started":"2026-11-23T09:00:00.000000005Z"}}`)
	})
	require.Equal(t, 200, r.call(aStep(2), "Txn-Token", own).status)

	asked := len(r.records().Receipts)
	for name, context := range map[string]string{
		"another instance": `{"chain":{"app":"spiffe://custody.local/ns/default/refunds","instance":"refund-2","started":"2026-11-23T09:00:00.000000005Z"}}`,
		"another run":      `{"chain":{"app":"spiffe://custody.local/ns/default/refunds","instance":"refund-1","started":"2026-11-23T09:00:01Z"}}`,
		"another app":      `{"chain":{"app":"spiffe://custody.local/ns/default/intake","instance":"refund-1","started":"2026-11-23T09:00:00.000000005Z"}}`,
		"no chain at all":  `{"chain":7}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := r.call(aStep(3), "Txn-Token", r.given(intake, func(b *txn.Begin) { b.Context = jsontext.Value(context) }))
			require.Equal(t, 403, got.status, got.body)
		})
	}
	require.Equal(t, 403, r.call(aStep(3), "Txn-Token", "garbage").status)
	require.Equal(t, 400, r.call(aStep(3), mcpcaller.HeaderTxn, "garbage").status)
	require.Len(t, r.records().Receipts, asked)
	require.Equal(t, 200, r.call(aStep(3)).status)
}

func TestTokensFailClosed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rig)
		status int
	}{
		"no identity":   {func(r *rig) { r.svids.err = errors.New("sentry is away") }, 503},
		"no roots":      {func(r *rig) { r.host.Bundles = x509bundle.NewSet() }, 403},
		"another root":  {func(r *rig) { r.host.Bundles = x509bundle.NewSet(testkit.NewCA(r.t, "custody.local").Bundle()) }, 403},
		"nothing wrong": {func(*rig) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.change)
			given := r.given(r.ca.SVID("intake"))
			got := r.get(plainPath, "Txn-Token", given)
			if c.status == 0 {
				require.Len(t, r.server.Requests(), 1)
				return
			}
			require.Equal(t, c.status, got.status, got.body)
			require.Empty(t, r.server.Requests(), "nothing is sent")
		})
	}
}

func FuzzParseTransaction(f *testing.F) {
	for _, text := range []string{"begin", `begin; scope="a/b c/*"`, `scope="*"`, `begin;  scope="a/b"`, `begin; scope="`, `scope=""`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := mcpcaller.ParseTransaction([]string{text})
		if err != nil {
			return
		}
		require.True(t, got.Begin || got.Narrows, "it says something")
		again := `scope="` + got.Scope.String() + `"`
		switch {
		case got.Begin && got.Narrows:
			again = "begin; " + again
		case got.Begin:
			again = "begin"
		}
		same, err := mcpcaller.ParseTransaction([]string{again})
		require.NoError(t, err)
		require.Equal(t, got, same)
	})
}
