// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
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
// the certificate beside it; each certificate an X.509-SVID of a workload (exactly one URI, which is a SPIFFE ID with a
// path; no authority; digitalSignature among its key usages, and neither keyCertSign nor cRLSign), with the right key ID
// and a chain to the bundle of its own trust domain at the moment of VerifyOptions.At, in which nothing is signed over
// SHA-1 or MD5 (extended key usages are not looked at); a payload that is well formed and does not contradict itself; and
// the receipt's door among the signers. The error wraps the sentinel that says what failed.
func Verify(e *Envelope, bundles x509bundle.Source, opts VerifyOptions) (*Verified, error) {
	return NewVerifier(bundles).Verify(e, opts)
}

// Verifier is Verify for many envelopes: it remembers which certificates chain to the bundle, and from when to when. What
// it remembers holds only for the very same certificates, while the bundle of their trust domain has the same
// authorities, and for moments at which every certificate on the path is valid. It is safe for concurrent use.
type Verifier struct {
	bundles x509bundle.Source

	mu   sync.RWMutex
	seen map[string]*trusted // by key ID
}

// maxTrusted bounds the memory of a Verifier. When it is reached, everything is forgotten and verified anew.
const maxTrusted = 4096

// paes are buffers for pre-authentication encodings, which nothing keeps.
var paes = sync.Pool{New: func() any { return new([]byte) }}

// NewVerifier makes a Verifier. Bundles must give the bundle of one trust domain only when asked for that trust domain.
func NewVerifier(bundles x509bundle.Source) *Verifier {
	return &Verifier{bundles: bundles, seen: map[string]*trusted{}}
}

// Verify does what the function Verify does.
func (v *Verifier) Verify(e *Envelope, opts VerifyOptions) (*Verified, error) {
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
	case v.bundles == nil:
		return nil, fmt.Errorf("receipt: %w: no trust bundle was given", ErrTrustDomain)
	}
	chains, err := v.checkSignatures(e)
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
	for i := range chains {
		if signers[i], err = v.checkChain(chains[i], at); err != nil {
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

// Certificates gives the chain of the signer with this key ID, if it was found good before and is remembered; nil if not.
// It has the certificates that led to a root, and none that stood beside them. Whether it is good now is for Verify to say. It serves [Envelope.WithCertificates].
func (v *Verifier) Certificates(keyID string) []*x509.Certificate {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if known := v.seen[keyID]; known != nil {
		return known.chain
	}
	return nil
}

// CheckSignature checks that the envelope has one signature, which is good by the certificate that it carries. Nothing is
// known of the certificate, which anybody can have made; but nobody can have put that of another beside a signature of his
// own. The errors are ErrSignature, ErrCertificate and ErrKey.
func (e *Envelope) CheckSignature() error {
	if len(e.Signatures) != 1 {
		return signatureError("there are %d, not one", len(e.Signatures))
	}
	chain, err := e.Signatures[0].chain()
	if err != nil {
		return err
	}
	return checkSignature(chain[0], appendPAE(nil, e.PayloadType, e.Payload), e.Signatures[0].Sig)
}

func (v *Verifier) checkSignatures(e *Envelope) ([]*trusted, error) {
	buffer := paes.Get().(*[]byte)
	defer paes.Put(buffer)
	pae := appendPAE((*buffer)[:0], e.PayloadType, e.Payload)
	*buffer = pae
	chains := make([]*trusted, len(e.Signatures))
	for i := range e.Signatures {
		s := &e.Signatures[i]
		v.mu.RLock()
		known := v.seen[s.KeyID]
		v.mu.RUnlock()
		if known == nil || !s.carries(known.chain) {
			chain, err := s.chain()
			if err != nil {
				return nil, err
			}
			known = &trusted{chain: chain}
		}
		if err := checkSignature(known.chain[0], pae, s.Sig); err != nil {
			return nil, err
		}
		chains[i] = known
	}
	return chains, nil
}
