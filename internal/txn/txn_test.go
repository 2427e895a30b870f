// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/testkit"
	"github.com/dapr-custody/custody/internal/txn"
)

// world is a trust domain with the workloads a, b, c, d and e.
type world struct {
	ca    *testkit.CA
	svids map[string]*x509svid.SVID
	now   time.Time
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{ca: testkit.NewCA(tb, "custody.test"), svids: map[string]*x509svid.SVID{}, now: time.Now().Truncate(time.Second)}
	for _, app := range []string{"a", "b", "c", "d", "e"} {
		w.svids[app] = w.ca.SVID(app)
	}
	return w
}

func (w *world) id(app string) spiffeid.ID { return w.svids[app].ID }

func scope(tb testing.TB, text string) txn.Scope {
	tb.Helper()
	s, err := txn.ParseScope(text)
	require.NoError(tb, err)
	return s
}

func (w *world) begin(tb testing.TB) *txn.Token {
	tb.Helper()
	t, err := txn.Begin{
		Txn: "t-1", To: w.id("b"), Scope: scope(tb, "orders/* payments/refund"),
		Context: jsontext.Value(`{"order": 7, "by": "desk"}`), Now: w.now,
	}.Sign(w.svids["a"])
	require.NoError(tb, err)
	return t
}

func (w *world) verify(compact, from, to string) (*txn.Token, error) {
	o := txn.VerifyOptions{To: w.id(to), Now: w.now.Add(10 * time.Second)}
	if from != "" {
		o.Sender = w.id(from)
	}
	return txn.Verify(compact, w.ca.Bundle(), o)
}

func TestFirstToken(t *testing.T) {
	w := newWorld(t)
	first := w.begin(t)
	got, err := w.verify(first.Compact, "a", "b")
	require.NoError(t, err)
	require.Equal(t, "t-1", got.Txn)
	require.Equal(t, w.id("a"), got.Subject)
	require.Equal(t, []spiffeid.ID{w.id("a")}, got.Actors)
	require.Equal(t, w.id("a"), got.Sender())
	require.Equal(t, "custody.test", got.Audience.Name())
	require.JSONEq(t, `{"order": 7, "by": "desk"}`, string(got.Context))
	require.Equal(t, w.now.Add(txn.MaxLifetime).Unix(), got.Expires.Unix())
	require.Equal(t, "orders/* payments/refund", got.Scope.String())
}

func TestDelegation(t *testing.T) {
	w := newWorld(t)
	at := func(n int) time.Time { return w.now.Add(time.Duration(n) * time.Second) }
	second, err := w.begin(t).Replace(txn.Replace{To: w.id("c"), Scope: scope(t, "orders/get_*"), Now: at(1)}, w.svids["b"])
	require.NoError(t, err)
	third, err := second.Replace(txn.Replace{To: w.id("d"), Now: at(2)}, w.svids["c"])
	require.NoError(t, err)

	got, err := w.verify(third.Compact, "c", "d")
	require.NoError(t, err)
	require.Equal(t, third, got)
	require.Equal(t, []spiffeid.ID{w.id("a"), w.id("b"), w.id("c")}, got.Actors)
	require.Equal(t, "orders/get_*", got.Scope.String())
	require.Equal(t, w.now.Add(txn.MaxLifetime).Unix(), got.Expires.Unix(), "a hop does not make it last longer")

	payload := claimsOf(t, third.Compact)
	require.Equal(t, map[string]any{"sub": w.id("c").String(), "act": map[string]any{"sub": w.id("b").String()}}, payload["act"])

	fourth, err := third.Replace(txn.Replace{To: w.id("e"), Now: at(3)}, w.svids["d"])
	require.NoError(t, err)
	_, err = w.verify(fourth.Compact, "d", "e")
	require.NoError(t, err)
	_, err = fourth.Replace(txn.Replace{To: w.id("a"), Now: at(4)}, w.svids["e"])
	require.ErrorContains(t, err, "4 hands, which is the most")
}

func TestReplaceRefuses(t *testing.T) {
	w := newWorld(t)
	first := w.begin(t)
	for name, c := range map[string]struct {
		replace txn.Replace
		by      string
		want    string
	}{
		"whom it was not sent to": {txn.Replace{To: w.id("d"), Now: w.now}, "c", "was sent to spiffe://custody.test/ns/default/b"},
		"a wider scope":           {txn.Replace{To: w.id("c"), Now: w.now, Scope: scope(t, "orders/* payments/*")}, "b", "wider"},
		"everything":              {txn.Replace{To: w.id("c"), Now: w.now, Scope: scope(t, "*")}, "b", "wider"},
		"after it expired":        {txn.Replace{To: w.id("c"), Now: w.now.Add(txn.MaxLifetime)}, "b", "expired"},
		"no receiver":             {txn.Replace{Now: w.now}, "b", "rctx.to is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := first.Replace(c.replace, w.svids[c.by])
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestBeginRefuses(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(*txn.Begin)
		want   string
	}{
		"no ID":            {func(b *txn.Begin) { b.Txn = "" }, "txn"},
		"a strange ID":     {func(b *txn.Begin) { b.Txn = "a b" }, "txn"},
		"no receiver":      {func(b *txn.Begin) { b.To = spiffeid.ID{} }, "rctx.to"},
		"no scope":         {func(b *txn.Begin) { b.Scope = txn.Scope{} }, "scope"},
		"a long life":      {func(b *txn.Begin) { b.Lifetime = txn.MaxLifetime + time.Second }, "apart"},
		"a life backwards": {func(b *txn.Begin) { b.Lifetime = -time.Second }, "apart"},
		"no time":          {func(b *txn.Begin) { b.Now = time.Time{} }, "apart"},
		"context no JSON":  {func(b *txn.Begin) { b.Context = jsontext.Value(`{`) }, "tctx"},
		"context a list":   {func(b *txn.Begin) { b.Context = jsontext.Value(`[]`) }, "tctx"},
		"context twice":    {func(b *txn.Begin) { b.Context = jsontext.Value(`{"a":1,"a":2}`) }, "tctx"},
		"context large": {func(b *txn.Begin) {
			b.Context = jsontext.Value(`{"a":"` + strings.Repeat("x", txn.MaxContext) + `"}`)
		}, "tctx"},
	} {
		t.Run(name, func(t *testing.T) {
			b := txn.Begin{Txn: "t-1", To: w.id("b"), Scope: scope(t, "*"), Now: w.now}
			c.change(&b)
			_, err := b.Sign(w.svids["a"])
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := txn.Begin{}.Sign(nil)
	require.ErrorContains(t, err, "no identity")
}

func TestVerifyRefuses(t *testing.T) {
	w := newWorld(t)
	first := w.begin(t)
	elsewhere := testkit.NewCA(t, "custody.test") // the same name, another root
	stranger := testkit.NewCA(t, "other.test").SVID("a")
	begin := func(svid *x509svid.SVID) string {
		got, err := txn.Begin{Txn: "t", To: w.id("b"), Scope: scope(t, "*"), Now: w.now}.Sign(svid)
		require.NoError(t, err)
		return got.Compact
	}
	later := func(d time.Duration) txn.VerifyOptions {
		return txn.VerifyOptions{Sender: w.id("a"), To: w.id("b"), Now: w.now.Add(d)}
	}
	for name, c := range map[string]struct {
		compact string
		options txn.VerifyOptions
		want    string
	}{
		"another sender":          {first.Compact, txn.VerifyOptions{Sender: w.id("c"), To: w.id("b"), Now: w.now}, "came from"},
		"another receiver":        {first.Compact, txn.VerifyOptions{Sender: w.id("a"), To: w.id("c"), Now: w.now}, "was sent to"},
		"expired":                 {first.Compact, later(txn.MaxLifetime), "it is good from"},
		"from the future":         {first.Compact, later(-2 * time.Minute), "it is good from"},
		"another root":            {begin(elsewhere.SVID("a")), later(0), "certificate of the signer"},
		"another trust domain":    {begin(stranger), later(0), "certificate of the signer"},
		"a certificate that ends": {begin(w.ca.SVID("a", func(c *x509.Certificate) { c.NotAfter = w.now.Add(-time.Second) })), later(0), "certificate of the signer"},
		"empty":                   {"", later(0), "three parts"},
		"two parts":               {"a.b", later(0), "three parts"},
		"padding":                 {first.Compact + "=", later(0), "base64url"},
		"too large":               {strings.Repeat("a", txn.MaxToken+1), later(0), "more than"},
		"no time":                 {first.Compact, txn.VerifyOptions{To: w.id("b")}, "not known"},
		"no receiver":             {first.Compact, txn.VerifyOptions{Now: w.now}, "not known"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := txn.Verify(c.compact, w.ca.Bundle(), c.options)
			require.ErrorIs(t, err, txn.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := txn.Verify(first.Compact, nil, later(0))
	require.ErrorIs(t, err, txn.ErrInvalid)
}

// A token with any claim changed and signed by the sender itself, who has a good key, must not pass where the change
// widens, renames or contradicts.
func TestForgedBySender(t *testing.T) {
	w := newWorld(t)
	first := w.begin(t)
	second, err := first.Replace(txn.Replace{To: w.id("c"), Now: w.now.Add(time.Second)}, w.svids["b"])
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string // empty: it is good
	}{
		"nothing":             {func(map[string]any) {}, ""},
		"a narrower scope":    {func(m map[string]any) { m["scope"] = "orders/get_order" }, ""},
		"a shorter life":      {func(m map[string]any) { m["exp"] = w.now.Unix() + 60 }, ""},
		"a wider scope":       {func(m map[string]any) { m["scope"] = "orders/* payments/*" }, "wider"},
		"a longer life":       {func(m map[string]any) { m["exp"] = w.now.Unix() + 301 }, "exp is later"},
		"another transaction": {func(m map[string]any) { m["txn"] = "t-2" }, "txn, sub or aud"},
		"another subject":     {func(m map[string]any) { m["sub"] = w.id("e").String() }, "txn, sub or aud"},
		"another audience":    {func(m map[string]any) { m["aud"] = "other.test" }, "txn, sub or aud"},
		"another context":     {func(m map[string]any) { m["tctx"] = map[string]any{"order": 8} }, "tctx"},
		"no context":          {func(m map[string]any) { delete(m, "tctx") }, "tctx"},
		"no act":              {func(m map[string]any) { delete(m, "act") }, "act"},
		"act of another":      {func(m map[string]any) { m["act"] = map[string]any{"sub": w.id("d").String()} }, "act"},
		"act deeper": {func(m map[string]any) {
			m["act"] = map[string]any{"sub": w.id("b").String(), "act": map[string]any{"sub": w.id("d").String()}}
		}, "act"},
		"another workload":        {func(m map[string]any) { m["req_wl"] = w.id("d").String() }, "signed"},
		"nothing replaced":        {func(m map[string]any) { delete(m, "https://custody.dev/replaces") }, "the first token has act"},
		"as if it began":          {func(m map[string]any) { delete(m, "https://custody.dev/replaces"); delete(m, "act") }, "began it"},
		"itself replaced":         {func(m map[string]any) { m["https://custody.dev/replaces"] = second.Compact }, "replaces a token that was sent to"},
		"rubbish replaced":        {func(m map[string]any) { m["https://custody.dev/replaces"] = "a.b.c" }, "in the token that it replaces"},
		"an unknown claim":        {func(m map[string]any) { m["not_for"] = "c" }, "unknown"},
		"a claim in other case":   {func(m map[string]any) { m["Scope"] = "*" }, "unknown"},
		"an audience of two":      {func(m map[string]any) { m["aud"] = []string{"custody.test", "other"} }, "claims"},
		"an ID that is no ID":     {func(m map[string]any) { m["sub"] = "a" }, "claims"},
		"an audience in capitals": {func(m map[string]any) { m["aud"] = "Custody.Test" }, "aud"},
	} {
		t.Run(name, func(t *testing.T) {
			payload := claimsOf(t, second.Compact)
			c.change(payload)
			text, err := json.Marshal(payload)
			require.NoError(t, err)
			_, err = w.verify(compact(t, w.svids["b"], nil, text), "b", "c")
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, txn.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestHeaderIsStrict(t *testing.T) {
	w := newWorld(t)
	payload, err := json.Marshal(claimsOf(t, w.begin(t).Compact))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"nothing":                   {func(map[string]any) {}, ""},
		"another type":              {func(m map[string]any) { m["typ"] = "JWT" }, "typ"},
		"no algorithm":              {func(m map[string]any) { m["alg"] = "none" }, "signature"},
		"another algorithm":         {func(m map[string]any) { m["alg"] = "ES256" }, "signature"},
		"an algorithm of secrets":   {func(m map[string]any) { m["alg"] = "HS256" }, "signature"},
		"critical":                  {func(m map[string]any) { m["crit"] = []string{"b64"}; m["b64"] = false }, "unknown"},
		"a key":                     {func(m map[string]any) { m["jwk"] = map[string]any{} }, "unknown"},
		"no certificate":            {func(m map[string]any) { delete(m, "x5c") }, "x5c has 0"},
		"another key ID":            {func(m map[string]any) { m["kid"] = "00" }, "kid"},
		"certificate of another":    {func(m map[string]any) { certificate(m, w.svids["c"].Certificates[0]) }, "signature"},
		"a certificate that is not": {func(m map[string]any) { m["x5c"] = []string{"AAAA"} }, "x5c"},
		"six certificates":          {func(m map[string]any) { m["x5c"] = []string{"", "", "", "", "", ""} }, "x5c has 6"},
		"no intermediate":           {func(m map[string]any) { certificate(m, w.svids["a"].Certificates[0]) }, "certificate of the signer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.verify(compact(t, w.svids["a"], c.change, payload), "a", "b")
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, txn.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// No byte of a token can be another.
func TestEveryByteCounts(t *testing.T) {
	w := newWorld(t)
	second, err := w.begin(t).Replace(txn.Replace{To: w.id("c"), Now: w.now}, w.svids["b"])
	require.NoError(t, err)
	for i := 0; i < len(second.Compact); i += 7 {
		flipped := []byte(second.Compact)
		if flipped[i] ^= 1; flipped[i] == second.Compact[i] {
			continue
		}
		_, err := w.verify(string(flipped), "b", "c")
		require.ErrorIs(t, err, txn.ErrInvalid, "byte %d", i)
	}
}

func TestES256(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	svid := w.ca.SVIDWithKey(w.id("a"), key)
	for range 20 { // Short halves of a signature are filled up.
		first, err := txn.Begin{Txn: "t", To: w.id("b"), Scope: scope(t, "*"), Now: w.now}.Sign(svid)
		require.NoError(t, err)
		_, err = w.verify(first.Compact, "a", "b")
		require.NoError(t, err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, err = txn.Begin{Txn: "t", To: w.id("b"), Scope: scope(t, "*"), Now: w.now}.Sign(w.ca.SVIDWithKey(w.id("a"), other))
	require.ErrorContains(t, err, "P-256 only")
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	first := w.begin(f)
	second, err := first.Replace(txn.Replace{To: w.id("b"), Now: w.now}, w.svids["b"])
	require.NoError(f, err)
	f.Add(first.Compact)
	f.Add(second.Compact)
	f.Add("..")
	good := map[string]bool{first.Compact: true, second.Compact: true}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := w.verify(text, "", "b"); err == nil && !good[text] {
			t.Fatalf("accepted %q", text)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	second, err := w.begin(b).Replace(txn.Replace{To: w.id("c"), Now: w.now}, w.svids["b"])
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.verify(second.Compact, "b", "c"); err != nil {
			b.Fatal(err)
		}
	}
}

func claimsOf(t *testing.T, compact string) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1])
	require.NoError(t, err)
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var m map[string]any
	require.NoError(t, d.Decode(&m))
	return m
}

// compact signs any header and payload with Ed25519, as a peer that does not keep to the rules could.
func compact(t *testing.T, svid *x509svid.SVID, change func(map[string]any), payload []byte) string {
	t.Helper()
	header := map[string]any{"typ": txn.Type, "alg": "EdDSA"}
	certificate(header, svid.Certificates...)
	if change != nil {
		change(header)
	}
	text, err := json.Marshal(header)
	require.NoError(t, err)
	input := base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sig := ed25519.Sign(svid.PrivateKey.(ed25519.PrivateKey), []byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func certificate(header map[string]any, chain ...*x509.Certificate) {
	sum := sha256.Sum256(chain[0].Raw)
	header["kid"] = hex.EncodeToString(sum[:])
	var x5c []string
	for _, c := range chain {
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}
	header["x5c"] = x5c
}
