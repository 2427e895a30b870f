// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

func TestHeaderForms(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, w.asked())
	key := e.Signatures[0].KeyID
	long := base64.RawURLEncoding.EncodeToString(e.AppendJSON(nil))
	short := key + "." + base64.RawURLEncoding.EncodeToString(e.Signatures[0].Sig) + "." + base64.RawURLEncoding.EncodeToString(e.Payload)
	ascii := w.sign(t, w.least())
	asItIs := key + "." + base64.RawURLEncoding.EncodeToString(ascii.Signatures[0].Sig) + "." + string(ascii.Payload)
	twice, other := clone(e), clone(e)
	twice.Signatures = append(twice.Signatures, e.Signatures[0])
	other.PayloadType = "another"
	for name, test := range map[string]struct {
		envelope *receipt.Envelope
		held     []string
		want     string // "" for long
	}{
		"who says nothing":                {e, nil, ""},
		"who has none":                    {e, []string{"none"}, ""},
		"who has them":                    {e, []string{key[:16]}, short},
		"whose payload is plain":          {ascii, []string{key[:16]}, asItIs},
		"who has others too":              {e, []string{"0123456789abcdef " + key[:16]}, short},
		"who has 16":                      {e, []string{strings.Repeat("0123456789abcdef ", 15) + key[:16]}, short},
		"who has others":                  {e, []string{"0123456789abcdef"}, ""},
		"in two headers":                  {e, []string{key[:16], "0123456789abcdef"}, ""},
		"17 of them":                      {e, []string{strings.Repeat("0123456789abcdef ", 16) + key[:16]}, ""},
		"with a whole key ID":             {e, []string{key}, ""},
		"with fewer digits":               {e, []string{key[:15]}, ""},
		"with a space at the end":         {e, []string{key[:16] + " "}, ""},
		"with two spaces":                 {e, []string{key[:16] + "  0123456789abcde"}, ""},
		"with a comma":                    {e, []string{key[:16] + ",0123456789abcdef"}, ""},
		"with upper case":                 {e, []string{key[:16] + " 0123456789ABCDEF"}, ""},
		"with a space among digits":       {e, []string{"0123456 89abcdef " + key[:16]}, ""},
		"empty":                           {e, []string{""}, ""},
		"of two signatures":               {twice, []string{key[:16]}, base64.RawURLEncoding.EncodeToString(twice.AppendJSON(nil))},
		"of another payload type":         {other, []string{key[:16]}, base64.RawURLEncoding.EncodeToString(other.AppendJSON(nil))},
		"of a key ID that is none at all": {&receipt.Envelope{PayloadType: receipt.PayloadType, Signatures: []receipt.Signature{{KeyID: key[:16]}}}, []string{key[:16]}, "eyJwYXlsb2Fk"},
	} {
		t.Run(name, func(t *testing.T) {
			got := receipt.EncodeHeader(test.envelope, receipt.ParseHeld(test.held))
			if test.want == "" {
				test.want = long
			}
			require.True(t, strings.HasPrefix(got, test.want), got)
		})
	}
}

func TestShortFormIsCompleted(t *testing.T) {
	w := newWorld(t)
	least := w.sign(t, w.least())
	got, err := receipt.DecodeHeader(least.Short())
	require.NoError(t, err)
	require.Equal(t, least.WithoutCertificates(), got)
	e := w.sign(t, w.asked())
	got, err = receipt.DecodeHeader(e.Short())
	require.NoError(t, err)
	require.Equal(t, e.WithoutCertificates(), got)
	_, err = receipt.Verify(got, x509bundle.NewSet(w.ca.Bundle()), receipt.VerifyOptions{})
	require.ErrorIs(t, err, receipt.ErrCertificate, "it proves nothing by itself")

	v := receipt.NewVerifier(x509bundle.NewSet(w.ca.Bundle()))
	require.Nil(t, v.Certificates(got.Signatures[0].KeyID), "nothing was found good yet")
	_, err = v.Verify(e, receipt.VerifyOptions{})
	require.NoError(t, err)
	full, err := got.WithCertificates(v.Certificates)
	require.NoError(t, err)
	require.Equal(t, e, full)
	require.Nil(t, v.Certificates(strings.Repeat("0", 64)))
}

// What was not found good is not remembered.
func TestCertificatesOfNobody(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	v := receipt.NewVerifier(x509bundle.NewSet(other.ca.Bundle()))
	e := w.sign(t, w.asked())
	_, err := v.Verify(e, receipt.VerifyOptions{})
	require.Error(t, err)
	require.Nil(t, v.Certificates(e.Signatures[0].KeyID))
}

// A signature stands under the certificates that its key ID names, and under no others.
func TestShortFormOfAnother(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	e, theirs := w.sign(t, w.asked()), other.sign(t, other.asked())
	_, rest, _ := strings.Cut(e.Short(), ".")
	got, err := receipt.DecodeHeader(theirs.Signatures[0].KeyID + "." + rest)
	require.NoError(t, err)
	full, err := got.WithCertificates(func(string) []*x509.Certificate { return other.chain })
	require.NoError(t, err)
	_, err = receipt.Verify(full, x509bundle.NewSet(other.ca.Bundle()), receipt.VerifyOptions{})
	require.ErrorIs(t, err, receipt.ErrSignature)
}

func TestDecodeHeaderRefuses(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, w.asked())
	short := e.Short()
	key, rest, _ := strings.Cut(short, ".")
	sig, payload, _ := strings.Cut(rest, ".")
	plain := w.sign(t, w.least())
	begin := strings.TrimSuffix(plain.Short(), string(plain.Payload))
	for name, text := range map[string]string{
		"nothing":              "",
		"plain, as base64":     begin + base64.RawURLEncoding.EncodeToString(plain.Payload),
		"plain, with a space":  plain.Short() + " ",
		"plain, with a line":   begin + "{\n}",
		"plain, with a tab":    begin + "{\t}",
		"plain, with a DEL":    begin + "{\x7f}",
		"plain, not ASCII":     begin + "{\u00fc}",
		"plain, begins spaced": begin + " " + string(plain.Payload),
		"no key ID":            "." + rest,
		"half a key ID":        key[:32] + "." + rest,
		"upper case":           strings.ToUpper(key) + "." + rest,
		"no digit":             "g" + key[1:] + "." + rest,
		"beyond bytes":         "\u0161" + key[2:] + "." + rest,
		"no signature":         key + ".." + payload,
		"no payload":           key + "." + sig + ".",
		"two parts":            key + "." + sig,
		"four parts":           short + ".",
		"padding":              short + "=",
		"line break":           short + "\n",
		"another alphabet":     key + "." + sig + "." + strings.Repeat("+", 4),
		"unused bits":          key + "." + sig[:len(sig)-1] + "B." + payload,
		"long, with padding":   "e30=",
		"long, line break":     "e30\n",
		"long, no envelope":    "e30",
		"long, of standard 64": "e_+0",
		"too large":            key + "." + sig + "." + strings.Repeat("A", receipt.MaxEnvelope),
	} {
		_, err := receipt.DecodeHeader(text)
		require.ErrorIs(t, err, receipt.ErrEnvelope, name)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	w := newWorld(f)
	e := w.sign(f, w.asked())
	f.Add(e.Short())
	f.Add(w.sign(f, w.least()).Short())
	f.Add(receipt.EncodeHeader(e, ""))
	f.Add(strings.Repeat("0", 64) + ".AA.AA")
	f.Add(strings.Repeat("0", 64) + ".AB.AA")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := receipt.DecodeHeader(text)
		if err != nil {
			require.ErrorIs(t, err, receipt.ErrEnvelope)
			return
		}
		if strings.Contains(text, ".") {
			require.Equal(t, text, e.Short(), "there is one text for each envelope")
			require.Empty(t, e.Signatures[0].Certificate)
		}
	})
}

func FuzzParseHeld(f *testing.F) {
	f.Add("none")
	f.Add("0123456789abcdef 0123456789abcdee")
	f.Add("0123456789abcdef ")
	f.Fuzz(func(t *testing.T, text string) {
		held := receipt.ParseHeld([]string{text})
		require.Contains(t, []receipt.Held{"", receipt.Held(text)}, held)
		for _, digits := range strings.Fields(string(held)) {
			require.Equal(t, digits != "none", held.Has(digits+strings.Repeat("0", 48)), digits)
		}
	})
}
