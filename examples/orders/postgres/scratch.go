// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// StartScratch returns a private cluster with nothing in it, whose URL is its superuser's: for tests of what SQL can
// do to a server. Options.URL is not heeded, so that no other server can be meant. ctx and Close are as with Start.
func StartScratch(ctx context.Context, options Options) (*Database, error) {
	dir, err := os.MkdirTemp(options.Dir, "custody-scratch-")
	if err != nil {
		return nil, fmt.Errorf("postgres: make a folder for the cluster: %w", err)
	}
	c := &cluster{dir: dir, password: randomHex(16)}
	if err := c.start(ctx, options); err != nil {
		return nil, fmt.Errorf("postgres: %w", errors.Join(err, c.close()))
	}
	origin := fmt.Sprintf("private cluster on 127.0.0.1:%d in %s", c.port, dir)
	return &Database{url: c.url(adminRole, c.password), origin: origin, stop: c.close, scratch: c}, nil
}

// Halt ends the server of a scratch cluster at once, as if the machine had failed. Its data stay.
func (d *Database) Halt() error {
	if d.scratch == nil {
		return errors.New("postgres: only a scratch cluster can be halted")
	}
	if err := d.scratch.server.stop(stopPatience); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// Resume starts the server of a scratch cluster again, on the same port, after Halt.
func (d *Database) Resume(ctx context.Context) error {
	if d.scratch == nil {
		return errors.New("postgres: only a scratch cluster can be resumed")
	}
	if err := d.scratch.listen(ctx); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}
