// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Demo runs the refund example from its start to its end and checks all that
// it shows: a refund whose chain holds, refunds whose chains do not, and what
// is found in a chain that somebody changed afterwards.
//
//	go run ./examples/refund/demo
//
// It works in a temporary folder with a Custody home of its own, and leaves
// neither files nor processes behind, also when it is interrupted; after a
// SIGKILL the folder stays. It ends with code 0 if everything was as expected,
// else with code 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dapr-custody/custody/examples/stage"
)

const timeout = 2 * time.Minute

func main() { stage.Main("examples/refund", timeout, run) }

// run plays the steps in order and takes everything down again.
func run(ctx context.Context, s stage.Settings, out *stage.Printer) (err error) {
	began := time.Now()
	st, err := stage.New(stage.Options{
		Source: s.Example, Take: []string{"dapr.yaml", "config", "resources", "policies"}, Bin: s.Bin, Verbose: s.Verbose,
		Programs: []string{"custody", "custody-components", "daprd", "controlplane", "refund"},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	out.Title("A refund over three apps and a person; payments demands the chain of custody")
	if err := st.Start(ctx); err != nil {
		return err
	}
	out.Note("ready after %.1f s", time.Since(began).Seconds())

	p := &play{stage: st, out: out}
	return p.Play(ctx, s, out, began, p.good, p.attacks, p.rollback, p.offline, p.tampering)
}

// play is what the steps share: the stage, and how the checks went.
type play struct {
	stage.Checks

	stage *stage.Stage
	out   *stage.Printer

	export  string // the file with the chain of the good refund
	earlier string // a copy of intake's store, made while the good refund waited
}

// attempt is one way to get money out, or to hide that it went.
type attempt struct {
	name, good string
	// try returns whether it was refused or found, and what told so. An error
	// means that the way could not even be tried.
	try func(context.Context) (met bool, back string, err error)
}

func (p *play) attempts(ctx context.Context, all ...attempt) error {
	for _, a := range all {
		met, back, err := a.try(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		p.Check(met, "%s: want it %s, got %s", a.name, a.good, stage.OneLine(back))
		p.out.Result(met, a.name, a.good, back)
	}
	return nil
}

func (p *play) file(name string) string { return filepath.Join(p.stage.Dir, name) }
