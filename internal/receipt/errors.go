// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import "errors"

// What Verify, Sign and the decoders find wrong. Every error of this package wraps exactly one of these, and its text
// says which rule was broken.
var (
	// ErrEnvelope: the envelope itself is not well formed, is too large, or has another payload type.
	ErrEnvelope = errors.New("envelope is not acceptable")
	// ErrSignature: a signature does not fit the payload and the certificate that stands beside it.
	ErrSignature = errors.New("signature is not valid")
	// ErrCertificate: a certificate is missing, broken, not the one that the key ID names, or does not chain to the
	// bundle at the moment in question.
	ErrCertificate = errors.New("certificate is not acceptable")
	// ErrTrustDomain: there is no bundle for the trust domain of a signer.
	ErrTrustDomain = errors.New("trust domain is not known")
	// ErrSigner: the signatures are good, but none is by the door that the receipt names, or by the door expected.
	ErrSigner = errors.New("signer is not the door")
	// ErrPayload: the payload (or intent) is not well formed, or contradicts itself.
	ErrPayload = errors.New("payload is not acceptable")
	// ErrKey: the key is of a kind that receipts are not signed with, or does not belong to the certificate.
	ErrKey = errors.New("key is not acceptable")
)
