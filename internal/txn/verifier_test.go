// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package txn_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/txn"
)

// roots are a bundle that can be changed and taken away.
type roots struct {
	bundle *x509bundle.Bundle
	err    error
}

func (r *roots) GetX509BundleForTrustDomain(spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return r.bundle, r.err
}

// What is remembered must not pass where it would not pass the first time.
func TestVerifierForgetsNothingThatCounts(t *testing.T) {
	w := newWorld(t)
	soon := w.now.Add(time.Minute)
	w.svids["a"] = w.ca.SVID("a", func(c *x509.Certificate) { c.NotAfter = soon })
	compact := w.begin(t).Compact
	other := newWorld(t).ca.Bundle()
	now := func(d time.Duration) txn.VerifyOptions {
		return txn.VerifyOptions{Sender: w.id("a"), To: w.id("b"), Now: w.now.Add(d)}
	}
	for name, c := range map[string]struct {
		change  func(*roots)
		options txn.VerifyOptions
		want    string // empty: it is good
	}{
		"again":                    {nil, now(time.Second), ""},
		"with one root more":       {func(r *roots) { r.bundle.AddX509Authority(other.X509Authorities()[0]) }, now(0), ""},
		"from another":             {nil, txn.VerifyOptions{Sender: w.id("c"), To: w.id("b"), Now: w.now}, "came from"},
		"to another":               {nil, txn.VerifyOptions{Sender: w.id("a"), To: w.id("c"), Now: w.now}, "was sent to"},
		"expired":                  {nil, now(txn.MaxLifetime), "it is good from"},
		"from the future":          {nil, now(-2 * time.Minute), "it is good from"},
		"after the certificate":    {nil, now(time.Minute + time.Second), "certificate"},
		"no time":                  {nil, txn.VerifyOptions{To: w.id("b")}, "not known"},
		"no receiver":              {nil, txn.VerifyOptions{Now: w.now}, "not known"},
		"with another root":        {func(r *roots) { r.bundle = other }, now(0), "certificate"},
		"with no root":             {func(r *roots) { r.bundle = x509bundle.New(w.id("a").TrustDomain()) }, now(0), "certificate"},
		"while the roots are away": {func(r *roots) { r.err = errors.New("sentry is away") }, now(0), "sentry is away"},
	} {
		t.Run(name, func(t *testing.T) {
			source := &roots{bundle: w.ca.Bundle()}
			v := txn.NewVerifier(source)
			first, err := v.Verify(compact, now(0))
			require.NoError(t, err)
			require.Equal(t, compact, first.Compact)
			if c.change != nil {
				c.change(source)
			}
			got, err := v.Verify(compact, c.options)
			if c.want == "" {
				require.NoError(t, err)
				require.Equal(t, first, got)
				return
			}
			require.ErrorIs(t, err, txn.ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.Nil(t, got)
		})
	}
}

// The token expires before the certificate: what is remembered must not outlive it.
func TestVerifierHoldsExpiry(t *testing.T) {
	w := newWorld(t)
	compact, v := w.begin(t).Compact, txn.NewVerifier(w.ca.Bundle())
	for _, c := range []struct {
		after time.Duration
		good  bool
	}{{0, true}, {txn.MaxLifetime - time.Second, true}, {txn.MaxLifetime, false}, {-2 * time.Minute, false}, {0, true}} {
		_, err := v.Verify(compact, txn.VerifyOptions{Sender: w.id("a"), To: w.id("b"), Now: w.now.Add(c.after)})
		if c.good {
			require.NoError(t, err, c.after)
			continue
		}
		require.ErrorContains(t, err, "it is good from", c.after)
	}
}

// A token for which somebody else took it first is as good to whom it was sent.
func TestVerifierRemembersForWhomeverItIs(t *testing.T) {
	w := newWorld(t)
	compact, v := w.begin(t).Compact, txn.NewVerifier(w.ca.Bundle())
	_, err := v.Verify(compact, txn.VerifyOptions{Sender: w.id("c"), To: w.id("b"), Now: w.now})
	require.ErrorContains(t, err, "came from")
	_, err = v.Verify(compact, txn.VerifyOptions{Sender: w.id("a"), To: w.id("b"), Now: w.now})
	require.NoError(t, err)
}

// A name is worth what is remembered under it, and that is verified like what comes whole.
func TestVerifierKnowsNames(t *testing.T) {
	w := newWorld(t)
	compact, v := w.begin(t).Compact, txn.NewVerifier(w.ca.Bundle())
	name := txn.Name(compact)
	require.True(t, txn.IsName(name))
	require.False(t, txn.IsName(compact))
	require.Empty(t, v.Named(name), "it was not seen yet")
	good := txn.VerifyOptions{Sender: w.id("a"), To: w.id("b"), Now: w.now}
	_, err := v.Verify(compact, good)
	require.NoError(t, err)
	require.Equal(t, compact, v.Named(name))
	for _, other := range []string{"", "sha256:", strings.ToUpper(name), name[:len(name)-1], txn.Name(compact + ".")} {
		require.Empty(t, v.Named(other), other)
	}
	_, err = v.Verify(name, good)
	require.ErrorIs(t, err, txn.ErrInvalid, "a name is no token")
	_, err = v.Verify(compact+"x", good)
	require.Error(t, err)
	require.Empty(t, v.Named(txn.Name(compact+"x")), "what is not good is not remembered")

	v.Limit(1, txn.MaxToken)
	another, err := txn.Begin{Txn: "t-2", To: w.id("b"), Scope: scope(t, "*"), Now: w.now}.Sign(w.svids["a"])
	require.NoError(t, err)
	_, err = v.Verify(another.Compact, good)
	require.NoError(t, err)
	require.Empty(t, v.Named(name), "it is forgotten")
}

func TestVerifierRefuses(t *testing.T) {
	w := newWorld(t)
	o := txn.VerifyOptions{To: w.id("b"), Now: w.now}
	_, err := txn.NewVerifier(nil).Verify(w.begin(t).Compact, o)
	require.ErrorIs(t, err, txn.ErrInvalid)
	v := txn.NewVerifier(w.ca.Bundle())
	for _, text := range []string{"", "a.b.c", strings.Repeat("a", txn.MaxToken+1)} {
		_, err := v.Verify(text, o)
		require.ErrorIs(t, err, txn.ErrInvalid, "%.10q", text)
	}
	require.Zero(t, v.Remembered(), "what is no token is not remembered")
}

func TestVerifierInParallel(t *testing.T) {
	w := newWorld(t)
	compact, v := w.begin(t).Compact, txn.NewVerifier(w.ca.Bundle())
	v.Limit(1, txn.MaxToken)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for i := range 20 {
				token, o := compact, txn.VerifyOptions{Sender: w.id("a"), To: w.id("b"), Now: w.now}
				if (n+i)%3 == 0 {
					o.Sender = w.id("c")
				}
				_, err := v.Verify(token, o)
				assert.Equal(t, o.Sender == w.id("a"), err == nil)
			}
		})
	}
	group.Wait()
}

// What a Verifier remembers is bounded, in tokens and in bytes.
func TestVerifierIsBounded(t *testing.T) {
	w := newWorld(t)
	compact := w.begin(t).Compact
	v := txn.NewVerifier(w.ca.Bundle())
	v.Limit(2, 3*len(compact))
	verify := func(n int) {
		token, err := txn.Begin{Txn: "t-" + string(rune('0'+n)), To: w.id("b"), Scope: scope(t, "*"), Now: w.now}.Sign(w.svids["a"])
		require.NoError(t, err)
		_, err = v.Verify(token.Compact, txn.VerifyOptions{To: w.id("b"), Now: w.now})
		require.NoError(t, err)
	}
	for n := range 5 {
		verify(n)
		require.LessOrEqual(t, v.Remembered(), 2)
	}
	v.Limit(100, len(compact))
	verify(5)
	require.Equal(t, 1, v.Remembered())
}

func BenchmarkVerifierAgain(b *testing.B) {
	w := newWorld(b)
	second, err := w.begin(b).Replace(txn.Replace{To: w.id("c"), Now: w.now}, w.svids["b"])
	require.NoError(b, err)
	v, o := txn.NewVerifier(w.ca.Bundle()), txn.VerifyOptions{Sender: w.id("b"), To: w.id("c"), Now: w.now}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(second.Compact, o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	begin := txn.Begin{Txn: "t-1", To: w.id("b"), Scope: scope(b, "*"), Now: w.now}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := begin.Sign(w.svids["a"]); err != nil {
			b.Fatal(err)
		}
	}
}

// A door that knows the holder takes one token that was sent to it, and none is no error.
func TestVerifyHeld(t *testing.T) {
	w := newWorld(t)
	compact, v := w.begin(t).Compact, txn.NewVerifier(w.ca.Bundle())
	held, err := v.VerifyHeld([]string{compact}, w.id("b"), w.now)
	require.NoError(t, err)
	require.Equal(t, w.id("b"), held.Actors[len(held.Actors)-1])
	none, err := v.VerifyHeld(nil, w.id("b"), w.now)
	require.NoError(t, err)
	require.Nil(t, none)
	for name, c := range map[string]struct {
		by     *txn.Verifier
		tokens []string
		holder string
		want   error
	}{
		"another's":        {v, []string{compact}, "a", txn.ErrInvalid},
		"empty":            {v, []string{""}, "b", txn.ErrInvalid},
		"two":              {v, []string{compact, compact}, "b", txn.ErrSeveral},
		"two, one empty":   {v, []string{compact, ""}, "b", txn.ErrSeveral},
		"without verifier": {nil, []string{compact}, "b", txn.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			token, err := c.by.VerifyHeld(c.tokens, w.id(c.holder), w.now)
			require.ErrorIs(t, err, c.want)
			require.Nil(t, token)
		})
	}
}
