// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package policydir

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// hold asks for a read lease, which the kernel gives only if no process has the
// file open for writing. Until f is closed, an open for writing or a truncation
// waits; the kernel tells this process with SIGIO, which Go ignores. The lease is
// refused for files of another user and by some file systems.
func hold(f *os.File) rest {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		return restHeld
	case errors.Is(err, unix.EAGAIN):
		return restBusy
	default:
		return restUnknown
	}
}
