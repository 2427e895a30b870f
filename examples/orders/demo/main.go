// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Demo runs the orders example from its start to its end and checks all that
// it shows: a blanket deny, the granular policy, attacks, and the receipts.
//
//	go run ./examples/orders/demo
//
// It works in a temporary folder with a Custody home of its own, and leaves
// neither files nor processes behind, also when it is interrupted; after a
// SIGKILL the folder stays. It ends with code 0 if everything was as expected,
// else with code 1.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/dapr-custody/custody/examples/stage"
)

const timeout = 2 * time.Minute

func main() { stage.Main("examples/orders", timeout, run) }

// run plays the steps in order and takes everything down again.
func run(ctx context.Context, s stage.Settings, out *stage.Printer) (err error) {
	began := time.Now()
	st, err := newPlace(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	out.Title("Three agents, one MCP server with four tools on PostgreSQL, real Dapr sidecars")
	if err := st.Start(ctx); err != nil {
		return err
	}
	out.Note("ready after %.1f s", time.Since(began).Seconds())

	p := &play{stage: st, out: out, seen: map[string]refusal{}}
	return p.Play(ctx, s, out, began, p.denyAll, p.granular, p.attacks, p.receipts, p.tampering)
}

// play is what the steps share: the stage, and how the checks went.
type play struct {
	stage.Checks

	stage *place
	out   *stage.Printer

	seen     map[string]refusal // by reference
	answered int                // tool calls that came through
}

// refusal is one request that the guard refused, as its caller saw it. tool is
// empty for a body that holds no call that could be read.
type refusal struct {
	agent, tool string
}
