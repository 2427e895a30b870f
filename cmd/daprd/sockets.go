// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/dapr/dapr/pkg/components/pluggable"
)

// foreignSockets has the runtime pass over the folder in which Dapr looks for
// pluggable components where nobody names one, unless only root or our own user
// can have put something there: it is in /tmp, and a socket custody.sock in it
// would take the place of state.custody, before which policy decides, and be
// told the metadata of its components. A folder that is not there is passed over
// too, since it could come into being.
func foreignSockets(folder string, own int) error {
	if _, named := os.LookupEnv(pluggable.SocketFolderEnvVar); named {
		return nil
	}
	unsafe := othersMayWrite(folder, own)
	if unsafe == nil {
		return nil
	}
	if err := os.Setenv(pluggable.SocketFolderEnvVar, ""); err != nil {
		return err
	}
	if !errors.Is(unsafe, fs.ErrNotExist) {
		log.Warnf("Pluggable components are not looked for: %v; name a folder in %s to have them used", unsafe, pluggable.SocketFolderEnvVar)
	}
	return nil
}

// othersMayWrite says how others than root and our own user may have put
// something into a folder; nil if they cannot.
func othersMayWrite(folder string, own int) error {
	info, err := os.Lstat(folder)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no folder", folder)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("whose the folder %s is cannot be told on this system", folder)
	}
	if stat.Uid != 0 && int64(stat.Uid) != int64(own) {
		return fmt.Errorf("the folder %s belongs to another user (%d)", folder, stat.Uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to the folder %s (mode %#o)", folder, info.Mode().Perm())
	}
	return nil
}
