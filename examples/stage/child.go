// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package stage

import (
	"os/exec"
	"runtime"
	"syscall"
)

// childAttributes have the kernel end custody when we are killed, and keep a
// Ctrl-C in the terminal from reaching it before us.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// startLocked starts cmd from a thread that lives until cmd has ended, since
// the parent-death signal is sent when that thread ends. ended is told how.
func startLocked(cmd *exec.Cmd, ended func(error)) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here with the goroutine
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}
