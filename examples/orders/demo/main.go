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
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dapr-custody/custody/examples/stage"
)

const timeout = 2 * time.Minute

type settings struct {
	bin       string
	example   string
	keepGoing bool
	verbose   bool
}

func main() {
	var s settings
	flag.StringVar(&s.bin, "bin", "bin", "folder with custody, daprd, controlplane, orders-server and orders-agent")
	flag.StringVar(&s.example, "example", "examples/orders", "folder of the example")
	flag.BoolVar(&s.keepGoing, "keep-going", false, "go on after a step in which something was not as expected")
	flag.BoolVar(&s.verbose, "verbose", false, "show the output of custody and of every process")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := run(ctx, s, stage.NewPrinter(os.Stdout))
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("stopped before the end: %w", err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

// run plays the steps in order and takes everything down again.
func run(ctx context.Context, s settings, out *stage.Printer) (err error) {
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
	for _, step := range []func(context.Context) error{p.denyAll, p.granular, p.attacks, p.receipts, p.tampering} {
		if err := step(ctx); err != nil {
			return err
		}
		if p.Differed() && !s.keepGoing {
			break
		}
	}
	return p.Sum(out, time.Since(began))
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
