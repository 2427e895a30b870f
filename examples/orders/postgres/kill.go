// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"errors"
	"fmt"
	"syscall"
)

// Kill ends the server of a scratch cluster by SIGKILL: nothing is written or told any more, and what it has started
// finds out by itself. Resume fails until that has ended, too.
func (d *Database) Kill() error {
	if d.scratch == nil {
		return errors.New("postgres: only a scratch cluster can be killed")
	}
	if err := d.scratch.server.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	<-d.scratch.server.done
	return nil
}
