// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package identity

import "errors"

// What callers of this package may test for.
var (
	// ErrNoPeer means that the request did not come over a connection with a
	// peer at all, as a sidecar's call to its own app does not.
	ErrNoPeer = errors.New("the request has no mTLS peer")
	// ErrNoCertificate means that the peer of the connection showed no certificate.
	ErrNoCertificate = errors.New("the peer showed no certificate")
	// ErrUnverified means that the certificate chain did not verify.
	ErrUnverified = errors.New("the peer's certificate does not verify")
	// ErrUnregistered means that no WorkloadRegistration matches the process.
	ErrUnregistered = errors.New("no workload registration matches the process")
	// ErrAmbiguous means that registrations of different SPIFFE IDs match the process.
	ErrAmbiguous = errors.New("workload registrations of different SPIFFE IDs match the process")
)
