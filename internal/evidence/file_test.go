// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package evidence_test

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/evidence"
	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

func hexBytes(s string) ([]byte, error) { return hex.DecodeString(s) }

func TestVerifyFile(t *testing.T) {
	d := newDoor(t)
	one, two := string(d.call("a").AppendJSON(nil)), string(d.call("b").AppendJSON(nil))
	var pretty strings.Builder
	indented, err := json.MarshalIndent(json.RawMessage(one), "", "  ")
	require.NoError(t, err)
	pretty.Write(indented)
	forged := strings.Replace(two, `"sig":"`, `"sig":"AAAA`, 1)
	for _, tt := range []struct {
		name, text string
		good       int
		line       int
		want       string
	}{
		{"one", one, 1, 0, ""},
		{"one with a newline", one + "\n", 1, 0, ""},
		{"one, spread", pretty.String(), 1, 0, ""},
		{"two", one + "\n" + two + "\n", 2, 0, ""},
		{"two, with empty lines and no newline at the end", "\n" + one + "\r\n\n" + two, 2, 0, ""},
		{"a bad one between", one + "\n" + forged + "\n" + two, 2, 2, "signature is not valid"},
		{"no JSON between", one + "\nx\n" + two, 2, 2, "envelope is not acceptable"},
		{"twice", one + "\n" + two + "\n" + one, 2, 3, "stands on line 1"},
		{"empty", "\n", 0, 0, "holds no receipt"},
		{"a line too long", one + "\n" + strings.Repeat(" ", receipt.MaxEnvelope+2) + "\n" + two, 1, 2, "longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := evidence.VerifyFile("f", strings.NewReader(tt.text), d.check())
			require.NoError(t, err)
			require.Equal(t, tt.good, report.Good)
			if tt.want == "" {
				require.Empty(t, report.Findings)
				return
			}
			require.Len(t, report.Findings, 1)
			require.Equal(t, tt.line, report.Findings[0].Line)
			require.Contains(t, report.Findings[0].Reason, tt.want)
		})
	}
	broken := errors.New("broken")
	_, err = evidence.VerifyFile("f", iotest.ErrReader(broken), d.check())
	require.ErrorIs(t, err, broken)
}

// requireBundle wants a trust bundle of that text to be refused with load, or else to verify an envelope with that error.
func requireBundle(t *testing.T, text, trustDomain string, e *receipt.Envelope, load string, verify error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bundle")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	bundles, err := evidence.LoadTrustBundle(file, trustDomain)
	if load != "" {
		require.ErrorContains(t, err, load)
		return
	}
	require.NoError(t, err)
	_, err = receipt.Verify(e, bundles, receipt.VerifyOptions{})
	require.ErrorIs(t, err, verify)
}

func TestLoadTrustBundle(t *testing.T) {
	d := newDoor(t)
	e := d.call("a")
	root := d.ca.Bundle().X509Authorities()[0]
	retired := testkit.NewCA(t, "custody.test").Bundle().X509Authorities()[0]
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	one := block("CERTIFICATE", root.Raw)
	spiffe := spiffebundle.New(d.ca.TrustDomain)
	empty, err := spiffe.Marshal()
	require.NoError(t, err)
	spiffe.AddX509Authority(root)
	document, err := spiffe.Marshal()
	require.NoError(t, err)

	onlyJWT := spiffebundle.New(d.ca.TrustDomain)
	require.NoError(t, onlyJWT.AddJWTAuthority("k", root.PublicKey))
	jwtDocument, err := onlyJWT.Marshal()
	require.NoError(t, err)

	for _, tt := range []struct {
		name, text, trustDomain string
		load                    string // error of loading
		verify                  error
	}{
		{"PEM", one, "custody.test", "", nil},
		{"PEM with a retired root", block("CERTIFICATE", retired.Raw) + "comment\n" + one, "custody.test", "", nil},
		{"PEM of the retired root only", block("CERTIFICATE", retired.Raw), "custody.test", "", receipt.ErrCertificate},
		{"PEM for another domain", one, "other.test", "", receipt.ErrTrustDomain},
		{"PEM for any domain", one, "*", "", nil},
		{"PEM for no domain", one, "", "trust domain of the bundle is not known", nil},
		{"SPIFFE bundle", string(document), "custody.test", "", nil},
		{"SPIFFE bundle for another domain", string(document), "other.test", "", receipt.ErrTrustDomain},
		{"SPIFFE bundle without authorities", string(empty), "custody.test", "no authorities", nil},
		{"SPIFFE bundle for tokens only", string(jwtDocument), "custody.test", "use x509-svid", nil},
		{"broken JSON", "{", "custody.test", "spiffebundle", nil},
		{"empty", "", "custody.test", "neither", nil},
		{"private key", block("PRIVATE KEY", []byte{1}) + one, "custody.test", "PRIVATE KEY", nil},
		{"leaf", block("CERTIFICATE", d.chain[0].Raw), "custody.test", "not that of an authority", nil},
		{"broken certificate", block("CERTIFICATE", []byte{1}), "custody.test", "certificate 1", nil},
		{"no trust domain name", one, "Custody Test", "trust domain", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requireBundle(t, tt.text, tt.trustDomain, e, tt.load, tt.verify)
		})
	}
	_, err = evidence.LoadTrustBundle(filepath.Join(t.TempDir(), "missing"), "custody.test")
	require.ErrorIs(t, err, os.ErrNotExist)
}
