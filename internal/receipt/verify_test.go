// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
	"github.com/dapr-custody/custody/internal/testkit"
)

func TestVerifyAccepts(t *testing.T) {
	w := newWorld(t)
	for name, r := range map[string]*receipt.Receipt{"full": w.full(), "asked": w.asked(), "least": w.least()} {
		t.Run(name, func(t *testing.T) {
			got, err := receipt.Verify(w.sign(t, r), w.ca.Bundle(), receipt.VerifyOptions{Door: w.door})
			require.NoError(t, err)
			require.Equal(t, &receipt.Verified{Receipt: r, Signer: w.door}, got)
		})
	}
}

func TestVerifyRefusesWhatWasChanged(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	good := w.sign(t, w.full())
	agent := w.ca.SVID("support-agent")
	for _, tt := range []struct {
		name   string
		change func(e *receipt.Envelope)
		want   error
	}{
		{"payload type", func(e *receipt.Envelope) { e.PayloadType = "application/json" }, receipt.ErrEnvelope},
		{"payload byte", func(e *receipt.Envelope) { e.Payload[200] ^= 1 }, receipt.ErrSignature},
		{"payload with a space more", func(e *receipt.Envelope) { e.Payload = append(e.Payload, ' ') }, receipt.ErrSignature},
		{"signature byte", func(e *receipt.Envelope) { e.Signatures[0].Sig[0] ^= 1 }, receipt.ErrSignature},
		{"signature cut", func(e *receipt.Envelope) { e.Signatures[0].Sig = e.Signatures[0].Sig[:63] }, receipt.ErrSignature},
		{"no signature", func(e *receipt.Envelope) { e.Signatures = nil }, receipt.ErrSignature},
		{"key ID", func(e *receipt.Envelope) { e.Signatures[0].KeyID = "" }, receipt.ErrCertificate},
		{"no certificate", func(e *receipt.Envelope) { e.Signatures[0].Certificate = nil }, receipt.ErrCertificate},
		{"no intermediate", func(e *receipt.Envelope) { e.Signatures[0].Intermediates = nil }, receipt.ErrCertificate},
		{"certificate of another", func(e *receipt.Envelope) { e.Signatures[0].Certificate = agent.Certificates[0].Raw }, receipt.ErrCertificate},
		{"certificate and key ID of another", func(e *receipt.Envelope) {
			e.Signatures[0].Certificate = agent.Certificates[0].Raw
			e.Signatures[0].KeyID = receipt.KeyID(agent.Certificates[0])
		}, receipt.ErrSignature},
		{"certificate too large", func(e *receipt.Envelope) {
			e.Signatures[0].Certificate = make([]byte, receipt.MaxCertificate+1)
		}, receipt.ErrCertificate},
		{"too many intermediates", func(e *receipt.Envelope) {
			e.Signatures[0].Intermediates = make([][]byte, receipt.MaxCertificates)
		}, receipt.ErrCertificate},
		{"a second signature that is bad", func(e *receipt.Envelope) {
			bad := e.Signatures[0]
			bad.Sig = bytes.Repeat([]byte{1}, 64)
			e.Signatures = append(e.Signatures, bad)
		}, receipt.ErrSignature},
		{"a second signature from an unknown root", func(e *receipt.Envelope) {
			e.Signatures = append(e.Signatures, signPayload(t, other.ca, "orders", e.Payload))
		}, receipt.ErrCertificate},
		{"too many signatures", func(e *receipt.Envelope) {
			e.Signatures = make([]receipt.Signature, receipt.MaxSignatures+1)
		}, receipt.ErrEnvelope},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := clone(good)
			tt.change(e)
			_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{})
			require.ErrorIs(t, err, tt.want)
		})
	}
	_, err := receipt.Verify(nil, w.ca.Bundle(), receipt.VerifyOptions{})
	require.ErrorIs(t, err, receipt.ErrEnvelope)
	_, err = receipt.Verify(good, nil, receipt.VerifyOptions{})
	require.ErrorIs(t, err, receipt.ErrTrustDomain)
}

// signPayload signs any bytes as the payload of a receipt, past the checks of Sign.
func signPayload(t *testing.T, ca *testkit.CA, app string, payload []byte) receipt.Signature {
	t.Helper()
	svid := ca.SVID(app)
	signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	require.NoError(t, err)
	sig, err := signer.Sign(receipt.PAE(receipt.PayloadType, payload))
	require.NoError(t, err)
	return receipt.Signature{
		KeyID: receipt.KeyID(svid.Certificates[0]), Sig: sig,
		Certificate: svid.Certificates[0].Raw, Intermediates: [][]byte{svid.Certificates[1].Raw},
	}
}

func TestVerifySigner(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, w.full())

	t.Run("signed by another workload of the domain", func(t *testing.T) {
		forged := clone(e)
		forged.Signatures = []receipt.Signature{signPayload(t, w.ca, "support-agent", e.Payload)}
		_, err := receipt.Verify(forged, w.ca.Bundle(), receipt.VerifyOptions{})
		require.ErrorIs(t, err, receipt.ErrSigner)
	})
	t.Run("signed by another workload too", func(t *testing.T) {
		both := clone(e)
		both.Signatures = append(both.Signatures, signPayload(t, w.ca, "support-agent", e.Payload))
		got, err := receipt.Verify(both, w.ca.Bundle(), receipt.VerifyOptions{})
		require.NoError(t, err)
		require.Equal(t, w.door, got.Signer)
	})
	t.Run("another door expected", func(t *testing.T) {
		other := spiffeid.RequireFromString("spiffe://custody.test/ns/default/orders2")
		_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{Door: other})
		require.ErrorIs(t, err, receipt.ErrSigner)
	})
	t.Run("bundle of another trust domain", func(t *testing.T) {
		_, err := receipt.Verify(e, testkit.NewCA(t, "elsewhere.test").Bundle(), receipt.VerifyOptions{})
		require.ErrorIs(t, err, receipt.ErrTrustDomain)
	})
	t.Run("another root of the same name", func(t *testing.T) {
		_, err := receipt.Verify(e, testkit.NewCA(t, "custody.test").Bundle(), receipt.VerifyOptions{})
		require.ErrorIs(t, err, receipt.ErrCertificate)
	})
	t.Run("root that speaks for a domain not its own", func(t *testing.T) {
		evil := testkit.NewCA(t, "evil.test")
		forged := testkit.Sign(t, w.full(), evil.SVIDFor(w.door))
		_, err := receipt.Verify(forged, w.ca.Bundle(), receipt.VerifyOptions{})
		require.ErrorIs(t, err, receipt.ErrCertificate)
	})
}

func TestVerifyTime(t *testing.T) {
	w := newWorld(t)
	r := w.full()
	e := w.sign(t, r)
	leaf := w.chain[0]
	for _, tt := range []struct {
		name string
		at   time.Time
		want error
	}{
		{"first second", leaf.NotBefore, nil},
		{"last second", leaf.NotAfter, nil},
		{"before", leaf.NotBefore.Add(-time.Second), receipt.ErrCertificate},
		{"after", leaf.NotAfter.Add(time.Second), receipt.ErrCertificate},
		{"unknown", time.Time{}, receipt.ErrCertificate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := func(got *receipt.Receipt) time.Time {
				require.Equal(t, r, got)
				return tt.at
			}
			_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{At: at})
			require.ErrorIs(t, err, tt.want)
		})
	}
	t.Run("settled after the certificate", func(t *testing.T) {
		late := w.full()
		late.Times.Settled = leaf.NotAfter.Add(time.Minute)
		_, err := receipt.Verify(w.sign(t, late), w.ca.Bundle(), receipt.VerifyOptions{})
		require.ErrorIs(t, err, receipt.ErrCertificate)
		require.ErrorContains(t, err, "was not valid at")
	})
}

// What a door with a good key could sign and still must not be believed.
func TestVerifyRefusesBadPayload(t *testing.T) {
	w := newWorld(t)
	good := string(w.sign(t, w.full()).Payload)
	for _, tt := range []struct{ name, from, to string }{
		{"statement type", `in-toto.io/Statement/v1`, `in-toto.io/Statement/v0.1`},
		{"predicate type", `custody.dev/receipt/v1`, `custody.dev/receipt/v2`},
		{"no predicate", `"predicate":{`, `"other":{`},
		{"two subjects", `"subject":[`, `"subject":[{"name":"x","digest":{"sha256":"00"}},`},
		{"subject of another action", `"name":"mcp.tools/call orders/get_order"`, `"name":"mcp.tools/call orders/other"`},
		{"subject with a second digest", `"digest":{`, `"digest":{"sha512":"00",`},
		{"request digest differs from subject", `"requestDigest":"sha256:`, `"requestDigest":"sha256:0000` + "\x00"},
		{"duplicate member", `"id":`, `"id":"other","id":`},
		{"duplicate nested member", `"effect":"allow"`, `"effect":"deny","effect":"allow"`},
		{"member in other case", `"id":`, `"ID":`},
		{"trailing data", good, good + `{}`},
		{"not JSON", good, `null`},
		{"invalid UTF-8", `"support-reads"`, "\"\xff\""},
		{"digest without prefix", `"chain":"sha256:`, `"chain":"`},
		{"digest in upper case", `"chain":"sha256:`, `"chain":"SHA256:`},
		{"digest empty", `"prev":["`, `"prev":["","`},
		{"door without ID", w.door.String(), ``},
		{"door that is no SPIFFE ID", w.door.String(), `https://custody.test/x`},
		{"id with a slash", `01J9-abc_def.1`, `../x`},
		{"effect", `"effect":"allow"`, `"effect":"Allow"`},
		{"deny with outcome ok", `"effect":"allow"`, `"effect":"deny"`},
		{"allow with outcome denied", `"status":"ok"`, `"status":"denied"`},
		{"status", `"status":"ok"`, `"status":"fine"`},
		{"HTTP status", `"httpStatus":200`, `"httpStatus":20`},
		{"no journal ID", `"0123456789abcdef"`, `""`},
		{"negative sequence", `"seq":41`, `"seq":-1`},
		{"workflow without instance", `"wf-1"`, `""`},
		{"time", `"decided":"2`, `"decided":"x`},
		{"decided after settled", `"decided":"20`, `"decided":"30`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to, overwrite := strings.CutSuffix(tt.to, "\x00")
			at := strings.Index(good, tt.from)
			require.GreaterOrEqual(t, at, 0)
			end := at + len(tt.from)
			if overwrite { // replaces as many bytes as it has
				end = at + len(to)
			}
			payload := []byte(good[:at] + to + good[end:])
			e := &receipt.Envelope{
				PayloadType: receipt.PayloadType, Payload: payload,
				Signatures: []receipt.Signature{signPayload(t, w.ca, "orders", payload)},
			}
			_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{})
			require.ErrorIs(t, err, receipt.ErrPayload)
		})
	}
	t.Run("unknown member is allowed, for it is signed", func(t *testing.T) {
		payload := []byte(strings.Replace(good, `"id":`, `"later":{"a":1},"id":`, 1))
		e := &receipt.Envelope{
			PayloadType: receipt.PayloadType, Payload: payload,
			Signatures: []receipt.Signature{signPayload(t, w.ca, "orders", payload)},
		}
		_, err := receipt.Verify(e, w.ca.Bundle(), receipt.VerifyOptions{})
		require.NoError(t, err)
	})
}

// Whatever byte of an exported receipt is changed, and whichever bit of it, it is no longer accepted.
func TestEveryFlippedByteIsFound(t *testing.T) {
	w := newWorld(t)
	text := w.sign(t, w.full()).AppendJSON(nil)
	bundle := w.ca.Bundle()
	for i := range text {
		for _, mask := range []byte{1, 2, 0x20, 0x80} {
			changed := bytes.Clone(text)
			changed[i] ^= mask
			e, err := receipt.DecodeEnvelope(changed)
			if err == nil {
				_, err = receipt.Verify(e, bundle, receipt.VerifyOptions{})
			}
			require.Errorf(t, err, "byte %d (%q), mask %#x", i, text[i], mask)
		}
	}
}

func TestDecodeEnvelopeRefuses(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, w.least())
	good := string(e.AppendJSON(nil))
	payload := base64.StdEncoding.EncodeToString(e.Payload)
	for _, tt := range []struct{ name, text string }{
		{"empty", ``},
		{"null", `null`},
		{"array", `[` + good + `]`},
		{"no payload", `{"payloadType":"a","signatures":[]}`},
		{"no payload type", `{"payload":"","signatures":[]}`},
		{"duplicate member", strings.Replace(good, `"payload":`, `"payload":"","payload":`, 1)},
		{"trailing data", good + good},
		{"URL base64", `{"payload":"-_8=","payloadType":"a","signatures":[]}`},
		{"no padding", `{"payload":"QQ","payloadType":"a","signatures":[]}`},
		{"trailing bits", `{"payload":"QR==","payloadType":"a","signatures":[]}`},
		{"line break in base64", `{"payload":"QQ\n==","payloadType":"a","signatures":[]}`},
		{"signature not base64", `{"payload":"","payloadType":"a","signatures":[{"sig":"!"}]}`},
		{"too large", strings.Replace(good, payload, strings.Repeat("A", receipt.MaxEnvelope), 1)},
		{"too many signatures", `{"payload":"","payloadType":"a","signatures":[` +
			strings.Repeat(`{},`, receipt.MaxSignatures) + `{}]}`},
		{"too many certificates", `{"payload":"","payloadType":"a","signatures":[{"intermediates":[` +
			strings.Repeat(`"",`, receipt.MaxCertificates) + `""]}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := receipt.DecodeEnvelope([]byte(tt.text))
			require.ErrorIs(t, err, receipt.ErrEnvelope)
		})
	}
	_, err := receipt.DecodeEnvelope([]byte(strings.Replace(good, `{"payload"`, `{"later":1,"payload"`, 1)))
	require.NoError(t, err, "DSSE: unknown members are ignored")
}
