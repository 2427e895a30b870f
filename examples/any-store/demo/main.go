// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Demo runs the any-store example from its start to its end and checks all that
// it shows: one policy over SQLite, PostgreSQL, Redis and DynamoDB, who gets
// through it and who does not, and the records that are left of it.
//
//	go run ./examples/any-store/demo
//
// It needs redis-server, node and npm, and PostgreSQL as the orders example
// does. It works in a temporary folder with a Custody home of its own, and
// leaves neither files nor processes behind, also when it is interrupted; after
// a SIGKILL the folder stays. It ends with code 0 if everything was as expected,
// else with code 1.
package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/dapr-custody/custody/examples/stage"
)

const timeout = 3 * time.Minute

func main() { stage.Main("examples/any-store", timeout, run) }

// run plays the steps in order and takes everything down again.
func run(ctx context.Context, s stage.Settings, out *stage.Printer) (err error) {
	began := time.Now()
	st, err := stage.New(stage.Options{
		Source: s.Example, Take: []string{"dapr.yaml", "components.yaml", "config", "resources", "policies"}, Bin: s.Bin, Verbose: s.Verbose,
		Programs: []string{"custody", "custody-components", "daprd", "controlplane"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	out.Title("Four stores, two apps, one policy")
	// PostgreSQL may run as another user, who has to pass through.
	if err := os.Chmod(st.Dir, 0o711); err != nil {
		return err
	}
	stores, err := startStores(ctx, st.Dir, filepath.Join(s.Example, "..", "..", "tests", "dynalite"), out)
	defer func() { err = errors.Join(err, stores.close()) }()
	if err != nil {
		return err
	}
	st.Env = append(st.Env, stores.environment()...)
	if err := st.Start(ctx); err != nil {
		return err
	}
	out.Note("ready after %.1f s", time.Since(began).Seconds())

	p := &play{stage: st, out: out}
	return p.Play(ctx, s, out, began, p.table, p.whole, p.receipts)
}

// play is what the steps share: the stage, and how the checks went.
type play struct {
	stage.Checks

	stage *stage.Stage
	out   *stage.Printer

	allowed, denied int
}
