// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// VerifyOptions say what else has to hold. The zero value is good for a receipt of any door.
type VerifyOptions struct {
	// At gives the moment at which the certificates must have been valid. If nil, that is the settled time of the
	// receipt, which the door itself states: whoever got hold of the key of an expired certificate can then sign with a
	// time of the past. Give a moment that something else vouches for wherever there is one.
	At func(*Receipt) time.Time
	// Door, if not zero, is the only door whose receipts are accepted.
	Door spiffeid.ID
}

// Verified is a receipt whose signatures were checked. Signer is the door that signed it.
type Verified struct {
	Receipt *Receipt
	Signer  spiffeid.ID
}

// Verify checks everything that an envelope can prove: payload type; one signature at least, and each of them valid with
// the certificate beside it; each certificate with exactly one SPIFFE ID, the right key ID, and a chain to the bundle of
// its own trust domain at the moment of VerifyOptions.At (extended key usages are not looked at); a payload that is well
// formed and does not contradict itself; and the receipt's door among the signers. The error wraps the sentinel that
// says what failed.
func Verify(e *Envelope, bundles x509bundle.Source, opts VerifyOptions) (*Verified, error) {
	switch {
	case e == nil:
		return nil, envelopeError("there is none")
	case e.PayloadType != PayloadType:
		return nil, envelopeError("payloadType is %.80q, not %q", e.PayloadType, PayloadType)
	case len(e.Payload) > MaxPayload:
		return nil, payloadError("it has more than %d bytes", MaxPayload)
	case len(e.Signatures) == 0:
		return nil, signatureError("there is none")
	case len(e.Signatures) > MaxSignatures:
		return nil, envelopeError("it has more than %d signatures", MaxSignatures)
	case bundles == nil:
		return nil, fmt.Errorf("receipt: %w: no trust bundle was given", ErrTrustDomain)
	}
	chains, err := e.checkSignatures()
	if err != nil {
		return nil, err
	}
	r, err := decodeStatement(e.Payload)
	if err != nil {
		return nil, err
	}
	at := r.Times.Settled
	if opts.At != nil {
		at = opts.At(r)
	}
	if at.IsZero() {
		// The zero time would make crypto/x509 take the present.
		return nil, certificateError("the moment at which it should have been valid is not known")
	}
	signers := make([]spiffeid.ID, len(chains))
	for i, chain := range chains {
		if signers[i], err = checkChain(chain, bundles, at); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(signers, r.Door.SPIFFEID) {
		return nil, signerError("the receipt names the door %s, and is signed by %s", r.Door.SPIFFEID, signers[0])
	}
	if !opts.Door.IsZero() && r.Door.SPIFFEID != opts.Door {
		return nil, signerError("the door is %s, expected was %s", r.Door.SPIFFEID, opts.Door)
	}
	return &Verified{Receipt: r, Signer: r.Door.SPIFFEID}, nil
}

func (e *Envelope) checkSignatures() ([][]*x509.Certificate, error) {
	pae := appendPAE(make([]byte, 0, len(e.Payload)+64), e.PayloadType, e.Payload)
	chains := make([][]*x509.Certificate, len(e.Signatures))
	for i, s := range e.Signatures {
		chain, err := s.chain()
		if err != nil {
			return nil, err
		}
		if err := checkSignature(chain[0], pae, s.Sig); err != nil {
			return nil, err
		}
		chains[i] = chain
	}
	return chains, nil
}

func checkChain(chain []*x509.Certificate, bundles x509bundle.Source, at time.Time) (spiffeid.ID, error) {
	id, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return spiffeid.ID{}, certificateError("%w", err)
	}
	if _, err := bundles.GetX509BundleForTrustDomain(id.TrustDomain()); err != nil {
		return spiffeid.ID{}, fmt.Errorf("receipt: %w: %s (signer %s): %w", ErrTrustDomain, id.TrustDomain().Name(), id, err)
	}
	if _, _, err := x509svid.Verify(chain, bundles, x509svid.WithTime(at)); err != nil {
		if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return spiffeid.ID{}, certificateError("that of %s was not valid at %s (it is from %s to %s): %w", id,
				at.UTC().Format(time.RFC3339), chain[0].NotBefore.UTC().Format(time.RFC3339),
				chain[0].NotAfter.UTC().Format(time.RFC3339), err)
		}
		return spiffeid.ID{}, certificateError("that of %s does not chain to the bundle of %s: %w", id,
			id.TrustDomain().Name(), err)
	}
	return id, nil
}
