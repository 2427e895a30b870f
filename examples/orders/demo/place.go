// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/dapr-custody/custody/examples/stage"
)

const serverApp = "orders-mcp"

// place is the stage of this example, whose policies can be changed.
type place struct {
	*stage.Stage

	source string // the folder of the example itself
}

// newPlace copies the example, with the blanket deny in place of its policy.
func newPlace(s stage.Settings) (*place, error) {
	st, err := stage.New(stage.Options{
		Source: s.Example, Take: []string{"dapr.yaml", "config", "resources"}, Bin: s.Bin, Verbose: s.Verbose,
		Programs: []string{"custody", "daprd", "controlplane", "orders-server", "orders-agent"},
	})
	if err != nil {
		return nil, err
	}
	p := &place{Stage: st, source: s.Example}
	if err := p.furnish(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *place) furnish() error {
	data := filepath.Join(p.Dir, "data")
	p.Env = []string{"ORDERS_DATA_DIR=" + data}
	// PostgreSQL may run as another user, who has to pass through.
	if err := errors.Join(os.Chmod(p.Dir, 0o711), os.Mkdir(data, 0o711)); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(p.Example, "policies"), 0o755); err != nil {
		return err
	}
	return p.installPolicy("policies-deny-all")
}

func (p *place) journal() string { return filepath.Join(p.Example, "journal") }

// installPolicy puts the policy of a folder of the example in force, in one
// step, so that the guard never reads half of it.
func (p *place) installPolicy(folder string) error {
	next := filepath.Join(p.Dir, "next-policy.yaml")
	if err := stage.CopyFile(filepath.Join(p.source, folder, "orders.yaml"), next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(p.Example, "policies", "orders.yaml"))
}
