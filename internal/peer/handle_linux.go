// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package peer

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Handle holds a process by its pidfd, which never stands for another process. It
// must be closed, and is safe for concurrent use.
type Handle struct {
	mu    sync.RWMutex
	pidfd int // -1 once closed
}

// Ended fails with [ErrEnded] once the process has ended, also while its parent has
// not waited for it; and once the Handle is closed. It does not wait.
func (h *Handle) Ended() error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.pidfd < 0 {
		return ErrEnded
	}
	fds := [1]unix.PollFd{{Fd: int32(h.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds[:], 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("whether the process has ended cannot be told: %w", err)
		case n != 0: // Readable once it has ended, see pidfd_open(2).
			return ErrEnded
		}
		return nil
	}
}

// Close lets the process go. It may be called more than once.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pidfd < 0 {
		return nil
	}
	fd := h.pidfd
	h.pidfd = -1
	return unix.Close(fd)
}
