// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity_test

import (
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/identity"
	"github.com/dapr-custody/custody/internal/testkit"
)

// The own SVID comes from a Workload API, is rotated, expires, and loses its root.
func TestOwnSVID(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	api := testkit.NewWorkloadAPI(t, ca)
	api.Give(ca.SVID("cart"))
	source, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(api.Addr())))
	require.NoError(t, err)
	defer func() { require.NoError(t, source.Close()) }()
	now := time.Now()
	verifier := identity.NewVerifier(source, func() time.Time { return now })
	own := func() (identity.Caller, error) { return identity.OwnSVID(verifier, source) }

	first, err := own()
	require.NoError(t, err)
	require.Equal(t, "spiffe://custody.local/ns/default/cart", first.String())
	require.Equal(t, identity.ProofX509SVID, first.Proof())

	api.Give(ca.SVID("cart"))
	<-source.Updated()
	second, err := own()
	require.NoError(t, err)
	require.Equal(t, first.ID(), second.ID())
	require.NotEqual(t, first.CertificateDigest(), second.CertificateDigest())

	// Taken away: what was given is good until it expires, and no longer.
	api.Give()
	third, err := own()
	require.NoError(t, err)
	require.Equal(t, second, third)
	now = now.Add(2 * time.Hour)
	nobody, err := own()
	require.ErrorIs(t, err, identity.ErrUnverified)
	require.True(t, nobody.IsZero())
	now = time.Now()

	// The agent restarts with another root: the old SVID is nobody's.
	api.Stop()
	other := testkit.NewCA(t, "custody.local")
	api.Trust(other.Bundle())
	api.Give(other.SVID("cart"))
	api.Start()
	<-source.Updated()
	fourth, err := own()
	require.NoError(t, err)
	require.Equal(t, first.ID(), fourth.ID())
	_, err = identity.OwnSVID(verifier, fixed{ca.SVID("cart")})
	require.ErrorIs(t, err, identity.ErrUnverified)
}

// fixed is a source that has one SVID for ever, or none.
type fixed struct{ svid *x509svid.SVID }

func (f fixed) GetX509SVID() (*x509svid.SVID, error) { return f.svid, nil }

type broken struct{}

func (broken) GetX509SVID() (*x509svid.SVID, error) { return nil, errors.New("no agent") }

func TestOwnSVIDThatIsNotThere(t *testing.T) {
	ca := testkit.NewCA(t, "custody.local")
	verifier := identity.NewVerifier(x509bundle.NewSet(ca.Bundle()), time.Now)
	for name, source := range map[string]x509svid.Source{"nil": fixed{}, "error": broken{}, "empty": fixed{&x509svid.SVID{}}} {
		caller, err := identity.OwnSVID(verifier, source)
		require.Error(t, err, name)
		require.True(t, caller.IsZero(), name)
	}
	caller, err := identity.OwnSVID(verifier, fixed{ca.SVID("cart")})
	require.NoError(t, err)
	require.Equal(t, "cart", caller.AppID())
}

// BenchmarkOwnSVID is what a request costs whose caller is the process itself: as before, and with an SVID that is new.
func BenchmarkOwnSVID(b *testing.B) {
	ca := testkit.NewCA(b, "custody.local")
	svids := make([]fixed, 64)
	for i := range svids {
		svids[i] = fixed{ca.SVID("cart")}
	}
	verifier := identity.NewVerifier(x509bundle.NewSet(ca.Bundle()), time.Now)
	own := func(b *testing.B, source fixed) {
		if _, err := identity.OwnSVID(verifier, source); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("as before", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			own(b, svids[0])
		}
	})
	b.Run("new", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if i%len(svids) == 0 {
				verifier = identity.NewVerifier(x509bundle.NewSet(ca.Bundle()), time.Now)
			}
			own(b, svids[i%len(svids)])
		}
	})
}
