// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

//go:build unix && !linux

package postgres

import "syscall"

// attributes keep a Ctrl-C in the terminal from reaching the child before us.
// These systems have no parent-death signal: only Close stops the child.
func attributes(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: credential, Setpgid: true}
}
