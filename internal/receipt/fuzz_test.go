// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

func FuzzDecodeEnvelope(f *testing.F) {
	w := newWorld(f)
	f.Add(w.sign(f, w.full()).AppendJSON(nil))
	f.Add(w.sign(f, w.asked()).AppendJSON(nil))
	f.Add(w.sign(f, w.least()).WithoutCertificates().AppendJSON(nil))
	f.Add([]byte(`{"payload":"","payloadType":"","signatures":[{}]}`))
	f.Add([]byte(`{"payload":"QQ==","payloadType":"\ud800","signatures":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := receipt.DecodeEnvelope(text)
		if err != nil {
			require.ErrorIs(t, err, receipt.ErrEnvelope)
			return
		}
		again, err := receipt.DecodeEnvelope(e.AppendJSON(nil))
		if len(e.AppendJSON(nil)) > receipt.MaxEnvelope {
			return
		}
		require.NoError(t, err)
		require.Equal(t, e.Payload, again.Payload)
		require.Equal(t, e.PayloadType, again.PayloadType)
	})
}

// FuzzVerify puts any payload and signature under a good certificate: nothing but the true pair is accepted.
func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	good := w.sign(f, w.full())
	f.Add(good.Payload, good.Signatures[0].Sig, good.Signatures[0].Certificate)
	f.Add(w.sign(f, w.asked()).Payload, good.Signatures[0].Sig, good.Signatures[0].Certificate)
	f.Add([]byte(`{}`), make([]byte, 64), w.chain[1].Raw)
	f.Add([]byte(nil), []byte(nil), []byte(nil))
	bundle := w.ca.Bundle()
	f.Fuzz(func(t *testing.T, payload, sig, certificate []byte) {
		e := &receipt.Envelope{PayloadType: receipt.PayloadType, Payload: payload, Signatures: []receipt.Signature{{
			KeyID: good.Signatures[0].KeyID, Sig: sig, Certificate: certificate, Intermediates: good.Signatures[0].Intermediates,
		}}}
		if _, err := receipt.Verify(e, bundle, receipt.VerifyOptions{}); err == nil {
			require.Equal(t, good.Payload, payload)
			require.Equal(t, good.Signatures[0].Sig, sig)
		}
		// The parsers behind the signature see the same bytes without one.
		if r, err := e.UnsafeReceipt(); err == nil {
			require.NotEmpty(t, r.ID)
		} else {
			require.ErrorIs(t, err, receipt.ErrPayload)
		}
		if _, err := receipt.DecodeIntent(payload); err != nil {
			require.ErrorIs(t, err, receipt.ErrPayload)
		}
		if _, err := receipt.DecodeCertificates(certificate); err != nil {
			require.ErrorIs(t, err, receipt.ErrCertificate)
		}
	})
}
