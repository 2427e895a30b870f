// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

// A root that was retired vouches for what it signed before, and for nothing after.
func TestRetiredRoots(t *testing.T) {
	d := newDoor(t)
	e := d.call("a")
	signed, err := e.UnsafeReceipt()
	require.NoError(t, err)
	at := signed.Times.Settled
	text := func(ca *testkit.CA) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Bundle().X509Authorities()[0].Raw}))
	}
	present := testkit.NewCA(t, "custody.test")
	retired, now := text(d.ca), text(present)
	type m map[string]any
	for _, tt := range []struct {
		name, trustDomain string
		bundle            any
		load              string
		verify            error
	}{
		{"present", "custody.test", m{"roots": []m{{"pem": retired}}}, "", nil},
		{"retired after the receipt", "custody.test", m{"roots": []m{{"pem": now}, {"pem": retired, "validUntil": at.Add(time.Second)}}}, "", nil},
		{"retired before the receipt", "custody.test", m{"roots": []m{{"pem": now}, {"pem": retired, "validUntil": at.Add(-time.Second)}}}, "", receipt.ErrCertificate},
		{"retired before all time", "custody.test", m{"roots": []m{{"pem": retired, "validUntil": time.Time{}}}}, "", receipt.ErrCertificate},
		{"retired before the receipt, for any domain", "*", m{"roots": []m{{"pem": retired, "validUntil": at.Add(-time.Second)}}}, "", receipt.ErrCertificate},
		{"gone", "custody.test", m{"roots": []m{{"pem": now}}}, "", receipt.ErrCertificate},
		{"names its domain", "", m{"roots": []m{{"pem": retired, "trustDomain": "custody.test"}}}, "", nil},
		{"names another domain", "", m{"roots": []m{{"pem": retired, "trustDomain": "other.test"}}}, "", receipt.ErrTrustDomain},
		{"names another domain beside the given", "custody.test", m{"roots": []m{{"pem": retired, "trustDomain": "other.test"}}}, "", receipt.ErrTrustDomain},
		{"some name the domain", "custody.test", m{"roots": []m{{"pem": now, "trustDomain": "custody.test"}, {"pem": retired}}}, "", nil},
		{"some name the domain, and none is given", "", m{"roots": []m{{"pem": now, "trustDomain": "custody.test"}, {"pem": retired}}}, "", nil},
		{"some name another, and none is given", "", m{"roots": []m{{"pem": now, "trustDomain": "other.test"}, {"pem": retired}}}, "", receipt.ErrTrustDomain},
		{
			"others name two, and none is given", "",
			m{"roots": []m{{"pem": now, "trustDomain": "custody.test"}, {"pem": now, "trustDomain": "other.test"}, {"pem": retired}}},
			"trust domain of the bundle is not known", nil,
		},
		{"some name another", "custody.test", m{"roots": []m{{"pem": now, "trustDomain": "other.test"}, {"pem": retired}}}, "", nil},
		{"names no domain", "", m{"roots": []m{{"pem": retired}}}, "trust domain of the bundle is not known", nil},
		{"bad domain", "", m{"roots": []m{{"pem": retired, "trustDomain": "Custody Test"}}}, "trust domain", nil},
		{"misspelt", "custody.test", m{"roots": []m{{"pem": retired, "validUntill": at}}}, "validUntill", nil},
		{"no roots", "custody.test", m{"roots": []m{}}, "no roots", nil},
		{"two in one", "custody.test", m{"roots": []m{{"pem": now + retired}}}, "2 certificates", nil},
		{"twice", "custody.test", m{"roots": []m{{"pem": retired}, {"pem": retired, "validUntil": at.Add(-time.Hour)}}}, "twice", nil},
		{"not PEM", "custody.test", m{"roots": []m{{"pem": "x"}}}, "root 1", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			document, err := json.Marshal(tt.bundle)
			require.NoError(t, err)
			requireBundle(t, string(document), tt.trustDomain, e, tt.load, tt.verify)
		})
	}
}

// Certificates in PEM name their trust domain by a SPIFFE ID of their own.
func TestTrustDomainOfCertificates(t *testing.T) {
	ca := func(ids ...string) string {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		for _, id := range ids {
			u, err := url.Parse(id)
			require.NoError(t, err)
			template.URIs = append(template.URIs, u)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	named := ca("spiffe://custody.test")
	for _, tt := range []struct{ name, bundle, given, want string }{
		{"one", named, "", "custody.test"},
		{"two of one", named + ca("spiffe://custody.test"), "", "custody.test"},
		{"another is given", named, "other.test", "other.test"},
		{"two of two", named + ca("spiffe://other.test"), "", ""},
		{"one names none", named + ca(), "", ""},
		{"none names one", ca(), "", ""},
		{"the ID of a workload", ca("spiffe://custody.test/ns/default/intake"), "", ""},
		{"no SPIFFE ID", ca("https://custody.test"), "", ""},
		{"two IDs", ca("spiffe://custody.test", "spiffe://custody.test"), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ca.crt")
			require.NoError(t, os.WriteFile(file, []byte(tt.bundle), 0o600))
			bundles, err := evidence.LoadTrustBundle(file, tt.given)
			if tt.want == "" {
				require.ErrorIs(t, err, evidence.ErrNoTrustDomain)
				return
			}
			require.NoError(t, err)
			_, err = bundles.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString(tt.want))
			require.NoError(t, err)
			_, err = bundles.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("third.test"))
			require.Error(t, err)
		})
	}
}
