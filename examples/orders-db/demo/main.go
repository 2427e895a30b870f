// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Demo runs the orders-db example from its start to its end and checks all that
// it shows: an MCP server that reaches PostgreSQL through the binding of its
// sidecar alone, what it cannot do there even if it is taken over, who else
// cannot, and the records that are left of it.
//
//	go run ./examples/orders-db/demo
//
// It needs the programs of PostgreSQL with the extension sslinfo. It works in a
// temporary folder with a Custody home of its own, and leaves neither files nor
// processes behind, also when it is interrupted; after a SIGKILL the folder
// stays. It ends with code 0 if everything was as expected, else with code 1.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/dapr-custody/custody/examples/stage"
)

const timeout = 3 * time.Minute

func main() { stage.Main("examples/orders-db", timeout, run) }

// run plays the steps in order and takes everything down again.
func run(ctx context.Context, s stage.Settings, out *stage.Printer) (err error) {
	began := time.Now()
	at, err := newPlace(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	p := &play{place: at, out: out}
	return p.Play(ctx, s, out, began, p.setUp, p.start, p.chain, p.takenOver, p.others, p.direct, p.open, p.whoCan, p.receipts)
}

// play is what the steps share: the place, and how the checks went.
type play struct {
	stage.Checks

	place *place
	out   *stage.Printer

	answered int             // tool calls that came through
	refused  map[string]bool // references of refusals at the database's door
}
