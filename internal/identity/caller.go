// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import (
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Proof says how an identity was established.
type Proof string

// The proofs a Caller can rest on.
const (
	// ProofX509SVID is an X.509-SVID presented in a TLS handshake (SPIFFE X509-SVID, section 5).
	ProofX509SVID Proof = "x509-svid"
	// ProofJWTSVID is a JWT-SVID (SPIFFE JWT-SVID).
	ProofJWTSVID Proof = "jwt-svid"
	// ProofUnixPeer is what the kernel says of the process at the other end of a Unix socket.
	ProofUnixPeer Proof = "unix-peer"
)

// Caller is a workload whose identity was proven. The zero Caller is nobody
// and must be refused; every other value comes from a verifier of this package.
type Caller struct {
	id         spiffeid.ID
	proof      Proof
	certDigest string
}

// ID is the caller's SPIFFE ID; zero for the zero Caller.
func (c Caller) ID() spiffeid.ID { return c.id }

// Proof says how the identity was established; empty for the zero Caller.
func (c Caller) Proof() Proof { return c.proof }

// CertificateDigest is the hex SHA-256 of the DER of the leaf certificate that
// proved the identity; empty where the proof is not a certificate.
func (c Caller) CertificateDigest() string { return c.certDigest }

// IsZero reports whether this is nobody.
func (c Caller) IsZero() bool { return c.id.IsZero() }

// Namespace is the Dapr namespace in the SPIFFE ID; empty if its path is not /ns/<namespace>/<app>.
func (c Caller) Namespace() string {
	namespace, _, _ := App(c.id)
	return namespace
}

// AppID is the Dapr app ID in the SPIFFE ID; empty if its path is not /ns/<namespace>/<app>.
func (c Caller) AppID() string {
	_, app, _ := App(c.id)
	return app
}

// String is the SPIFFE ID, or "nobody".
func (c Caller) String() string {
	if c.IsZero() {
		return "nobody"
	}
	return c.id.String()
}
