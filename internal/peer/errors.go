// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import "errors"

// What callers of this package may test for.
var (
	// ErrNotUnix means that the connection is not one over a Unix socket.
	ErrNotUnix = errors.New("the connection does not come over a Unix socket")
	// ErrEnded means that the process that connected has ended.
	ErrEnded = errors.New("the process that connected has ended")
	// ErrHidden means that the process is there but may not be examined.
	ErrHidden = errors.New("the process that connected may not be examined")
	// ErrAmbiguous means that what the process says of itself can be read in two ways.
	ErrAmbiguous = errors.New("what the process says of itself is ambiguous")
	// ErrChanged means that the process is not, or not certainly, what it was started as.
	ErrChanged = errors.New("the process that connected has changed")
	// ErrRevoked means that the registration under which a connection was let in is gone.
	ErrRevoked = errors.New("the registration of the connection no longer holds")
	// ErrNoPeer means that a request did not come over an attested connection.
	ErrNoPeer = errors.New("the request has no attested peer")
	// ErrUnsupported means that this system does not say enough of a peer.
	ErrUnsupported = errors.New("processes can be attested on Linux only: run the component server there, or beside one app with SPIFFE_ENDPOINT_SOCKET")
)
