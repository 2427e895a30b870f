// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

//go:build !linux

package peer

import (
	"fmt"
	"net"

	"github.com/dapr-custody/custody/internal/identity"
)

// Attestor attests peers, on Linux only.
type Attestor struct{}

// Attest fails with [ErrUnsupported].
func (*Attestor) Attest(*net.UnixConn) (identity.Process, *Handle, error) {
	return identity.Process{}, nil, fmt.Errorf("peer: %w", ErrUnsupported)
}

// connected knows of no process here: where Options.Own speaks, none is needed.
func connected(*net.UnixConn) (identity.Process, error) { return identity.Process{}, nil }

// Handle holds a process, on Linux only.
type Handle struct{}

// Ended fails with [ErrUnsupported].
func (*Handle) Ended() error { return ErrUnsupported }

// Close does nothing.
func (*Handle) Close() error { return nil }

// Folder reads registrations, on Linux only.
type Folder struct{}

// OpenFolder fails with [ErrUnsupported].
func OpenFolder(string, FolderOptions) (*Folder, error) {
	return nil, fmt.Errorf("peer: %w", ErrUnsupported)
}

// Match fails with [ErrUnsupported].
func (*Folder) Match(identity.Process) (identity.Caller, error) {
	return identity.Caller{}, fmt.Errorf("peer: %w", ErrUnsupported)
}

// Len is 0.
func (*Folder) Len() int { return 0 }
