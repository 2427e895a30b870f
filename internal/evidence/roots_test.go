// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence_test

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

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
		{"retired before the receipt, for any domain", "*", m{"roots": []m{{"pem": retired, "validUntil": at.Add(-time.Second)}}}, "", receipt.ErrCertificate},
		{"gone", "custody.test", m{"roots": []m{{"pem": now}}}, "", receipt.ErrCertificate},
		{"names its domain", "", m{"roots": []m{{"pem": retired, "trustDomain": "custody.test"}}}, "", nil},
		{"names another domain", "", m{"roots": []m{{"pem": retired, "trustDomain": "other.test"}}}, "", receipt.ErrTrustDomain},
		{"names another domain beside the given", "custody.test", m{"roots": []m{{"pem": retired, "trustDomain": "other.test"}}}, "", receipt.ErrTrustDomain},
		{"some name the domain", "custody.test", m{"roots": []m{{"pem": now, "trustDomain": "custody.test"}, {"pem": retired}}}, "", nil},
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
			file := filepath.Join(t.TempDir(), "roots.json")
			require.NoError(t, os.WriteFile(file, document, 0o600))
			bundles, err := evidence.LoadTrustBundle(file, tt.trustDomain)
			if tt.load != "" {
				require.ErrorContains(t, err, tt.load)
				return
			}
			require.NoError(t, err)
			_, err = receipt.Verify(e, bundles, receipt.VerifyOptions{})
			require.ErrorIs(t, err, tt.verify)
		})
	}
}
