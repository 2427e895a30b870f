// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/receipt"
)

// BenchmarkSign is what a door does for a call: payload, signature and the bytes for the journal, in memory that it has.
func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	r := w.full()
	buffer := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := receipt.AppendSigned(buffer, r, w.signer); err != nil {
			b.Fatal(err)
		}
	}
}

// noKey leaves the signature out, so that the rest can be measured.
type noKey struct{ receipt.Signer }

func (noKey) Sign([]byte) ([]byte, error) { return make([]byte, 64), nil }

// BenchmarkBuild is BenchmarkSign without the signature itself. Unlike a Signer from NewSigner it also pays for reading
// the identity from the certificate.
func BenchmarkBuild(b *testing.B) {
	w := newWorld(b)
	r := w.full()
	buffer := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := receipt.AppendSigned(buffer, r, noKey{w.signer}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	text := w.sign(b, w.full()).AppendJSON(nil)
	bundle := w.ca.Bundle()
	b.ReportAllocs()
	for b.Loop() {
		e, err := receipt.DecodeEnvelope(text)
		require.NoError(b, err)
		_, err = receipt.Verify(e, bundle, receipt.VerifyOptions{})
		require.NoError(b, err)
	}
}

func BenchmarkIntent(b *testing.B) {
	w := newWorld(b)
	r := w.full()
	intent := receipt.Intent{
		ID: r.ID, Decided: r.Times.Decided, Caller: r.Caller.SPIFFEID, Action: r.Action,
		RequestDigest: r.RequestDigest, SetDigest: r.Decision.SetDigest,
	}
	buffer := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := intent.AppendJSON(buffer); err != nil {
			b.Fatal(err)
		}
	}
}
