// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import "syscall"

// attributes make the kernel stop the child when we die, and keep a Ctrl-C in
// the terminal from reaching it before us.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
