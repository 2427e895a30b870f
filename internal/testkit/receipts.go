// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package testkit

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
	"github.com/dapr-custody/custody/internal/receipt"
)

// Journal is what a journal holds, each receipt verified.
type Journal struct {
	Receipts []*receipt.Receipt
	Digests  []string
	Intents  []*receipt.Intent
}

// ReadJournal reads the journal in dir while it may still be written, and
// verifies every receipt in it against the bundles.
func ReadJournal(tb testing.TB, dir string, bundles x509bundle.Source) Journal {
	tb.Helper()
	envelopes, intents := ReadEnvelopes(tb, dir)
	result := Journal{Intents: intents}
	for _, envelope := range envelopes {
		verified, err := receipt.Verify(envelope, bundles, receipt.VerifyOptions{})
		require.NoError(tb, err)
		result.Receipts = append(result.Receipts, verified.Receipt)
		result.Digests = append(result.Digests, envelope.Digest())
	}
	return result
}

// ReadEnvelopes reads the journal in dir while it may still be written: the receipts as they were signed, with their
// certificates, and the intents. Nothing is verified.
func ReadEnvelopes(tb testing.TB, dir string) (envelopes []*receipt.Envelope, intents []*receipt.Intent) {
	tb.Helper()
	chains := map[string][]*x509.Certificate{}
	err := journal.Read(dir, func(record journal.Record) error {
		switch record.Kind {
		case journal.KindCertificates:
			chain, err := receipt.DecodeCertificates(bytes.Clone(record.Payload))
			require.NoError(tb, err)
			chains[receipt.KeyID(chain[0])] = chain
		case journal.KindIntent:
			intent, err := receipt.DecodeIntent(record.Payload)
			require.NoError(tb, err)
			intents = append(intents, intent)
		case journal.KindReceipt:
			stored, err := receipt.DecodeEnvelope(record.Payload)
			require.NoError(tb, err)
			envelope, err := stored.WithCertificates(func(keyID string) []*x509.Certificate { return chains[keyID] })
			require.NoError(tb, err)
			envelopes = append(envelopes, envelope)
		}
		return nil
	})
	require.NoError(tb, err)
	return envelopes, intents
}

// Sign signs a receipt with the key of an SVID.
func Sign(tb testing.TB, r *receipt.Receipt, svid *x509svid.SVID) *receipt.Envelope {
	tb.Helper()
	signer, err := receipt.NewSigner(svid.PrivateKey, svid.Certificates)
	require.NoError(tb, err)
	e, err := receipt.Sign(r, signer)
	require.NoError(tb, err)
	return e
}
