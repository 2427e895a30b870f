// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package receipt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Signer signs receipts with the key of one X.509-SVID. It must be safe for concurrent use, and its certificates must
// never change: after a rotation there is a new Signer.
type Signer interface {
	// Sign signs a DSSE pre-authentication encoding: with Ed25519 over the PAE itself, with ECDSA P-256 over its SHA-256
	// in ASN.1 form. It must not keep pae.
	Sign(pae []byte) (sig []byte, err error)
	// Certificates gives the chain, leaf first.
	Certificates() []*x509.Certificate
}

// NewSigner gives a Signer for the key and the chain of an X.509-SVID, leaf first. The key has to be Ed25519 or ECDSA on
// P-256 and to belong to the leaf, and the leaf has to have one SPIFFE ID; all else is ErrKey or ErrCertificate. Whether
// the certificate is valid now is not checked.
func NewSigner(key crypto.Signer, chain []*x509.Certificate) (Signer, error) {
	if len(chain) == 0 || len(chain) > MaxCertificates {
		return nil, certificateError("a signer needs 1 to %d certificates, not %d", MaxCertificates, len(chain))
	}
	identity, err := identityOf(chain)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, keyError("there is none")
	}
	var equal bool
	var opts crypto.SignerOpts
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		equal, opts = public.Equal(chain[0].PublicKey), crypto.Hash(0)
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return nil, keyError("ECDSA is accepted on P-256 only, not on %s", public.Params().Name)
		}
		equal, opts = public.Equal(chain[0].PublicKey), crypto.SHA256
	default:
		return nil, keyError("%T is neither Ed25519 nor ECDSA on P-256", public)
	}
	if !equal {
		return nil, keyError("it does not belong to the certificate of %s", identity.id)
	}
	return &signer{key: key, chain: chain, opts: opts, leaf: identity}, nil
}

type signer struct {
	key   crypto.Signer
	chain []*x509.Certificate
	opts  crypto.SignerOpts
	leaf  leafIdentity
}

// leafIdentity is what Sign needs of a chain on every call.
type leafIdentity struct {
	id    spiffeid.ID
	blank Signature // all of it but Sig
}

func identityOf(chain []*x509.Certificate) (leafIdentity, error) {
	id, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return leafIdentity{}, certificateError("%w", err)
	}
	identity := leafIdentity{id: id, blank: Signature{KeyID: KeyID(chain[0])}}
	identity.blank.setCertificates(chain)
	return identity, nil
}

func (s *signer) Certificates() []*x509.Certificate { return s.chain }

func (s *signer) Sign(pae []byte) ([]byte, error) {
	message := pae
	if s.opts == crypto.SHA256 {
		sum := sha256.Sum256(pae)
		message = sum[:]
	}
	sig, err := s.key.Sign(rand.Reader, message, s.opts)
	if err != nil {
		return nil, keyError("it did not sign: %w", err)
	}
	return sig, nil
}

// Sign makes the payload of r, signs it, and gives the envelope with the signer's certificates in it. It refuses a
// receipt that Verify would refuse: a required part missing, effect and outcome at odds, times out of order (ErrPayload),
// or a door that is not the signer (ErrSigner).
func Sign(r *Receipt, s Signer) (*Envelope, error) {
	signed, err := r.sign(make([]byte, 0, 2048), s)
	if err != nil {
		return nil, err
	}
	return &Envelope{
		PayloadType: PayloadType, Payload: signed.payload(), Signatures: []Signature{signed.signature},
	}, nil
}

// AppendSigned appends to dst the bytes that Sign, WithoutCertificates and AppendJSON make of r, and gives the digest of
// the receipt. The payload is made in the memory of dst too, which 4 KiB are mostly enough for. The errors are those of
// Sign.
func AppendSigned(dst []byte, r *Receipt, s Signer) ([]byte, Digest, error) {
	signed, err := r.sign(dst, s)
	if err != nil {
		return nil, Digest{}, err
	}
	bare := []Signature{{KeyID: signed.signature.KeyID, Sig: signed.signature.Sig}}
	e := Envelope{PayloadType: PayloadType, Payload: signed.payload(), Signatures: bare}
	digest := e.PayloadDigest()
	text := e.AppendJSON(signed.pae)
	size := copy(text[len(dst):], text[len(signed.pae):]) // over what the envelope was made of
	return text[:len(dst)+size], digest, nil
}

// signed is a payload within its pre-authentication encoding, with the signature over that.
type signed struct {
	pae       []byte // up to its end; it begins somewhere before at
	at        int    // where the payload begins
	signature Signature
}

func (s signed) payload() []byte { return s.pae[s.at:len(s.pae):len(s.pae)] }

// sign makes payload and encoding behind dst.
func (r *Receipt) sign(dst []byte, s Signer) (signed, error) {
	if err := r.validate(); err != nil {
		return signed{}, err
	}
	identity, err := signerIdentity(s)
	if err != nil {
		return signed{}, err
	}
	if r.Door.SPIFFEID != identity.id {
		return signed{}, signerError("the door is %s, the certificate that of %s", r.Door.SPIFFEID, identity.id)
	}
	// What comes before the payload depends on its length.
	const room = 64 // for "DSSEv1", two lengths and PayloadType
	at := len(dst) + room
	all := appendStatement(append(dst, make([]byte, room)...), r)
	size := len(all) - at
	if size > MaxPayload {
		return signed{}, payloadError("it has %d bytes, more than %d", size, MaxPayload)
	}
	head := appendPAEHead(make([]byte, 0, room), PayloadType, size)
	begin := at - len(head)
	copy(all[begin:], head)
	signature := identity.blank
	if signature.Sig, err = s.Sign(all[begin:]); err != nil {
		return signed{}, fmt.Errorf("receipt: sign: %w", err)
	}
	return signed{pae: all, at: at, signature: signature}, nil
}

func signerIdentity(s Signer) (leafIdentity, error) {
	if own, ok := s.(*signer); ok {
		return own.leaf, nil
	}
	chain := s.Certificates()
	if len(chain) == 0 {
		return leafIdentity{}, certificateError("the signer has none")
	}
	return identityOf(chain)
}

// checkSignature verifies sig over pae with the key of leaf.
func checkSignature(leaf *x509.Certificate, pae, sig []byte) error {
	switch key := leaf.PublicKey.(type) {
	case ed25519.PublicKey:
		if !ed25519.Verify(key, pae, sig) {
			return signatureError("Ed25519 over the payload does not fit the certificate")
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return keyError("ECDSA is accepted on P-256 only, not on %s", key.Params().Name)
		}
		sum := sha256.Sum256(pae)
		if !ecdsa.VerifyASN1(key, sum[:], sig) {
			return signatureError("ECDSA over the payload does not fit the certificate")
		}
	default:
		return keyError("%T is neither Ed25519 nor ECDSA on P-256", key)
	}
	return nil
}

func keyError(format string, args ...any) error {
	return fmt.Errorf("receipt: %w: "+format, append([]any{ErrKey}, args...)...)
}

func signatureError(format string, args ...any) error {
	return fmt.Errorf("receipt: %w: "+format, append([]any{ErrSignature}, args...)...)
}

func signerError(format string, args ...any) error {
	return fmt.Errorf("receipt: %w: "+format, append([]any{ErrSigner}, args...)...)
}
