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
)

const timeout = 2 * time.Minute

type settings struct {
	bin       string
	example   string
	keepGoing bool
	verbose   bool
}

// errDiffered says that something was not as expected; what, was printed.
var errDiffered = errors.New("not everything was as expected")

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
	err := run(ctx, s, newPrinter(os.Stdout))
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
func run(ctx context.Context, s settings, out *printer) (err error) {
	began := time.Now()
	st, err := newStage(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	out.title("Three agents, one MCP server with four tools on PostgreSQL, real Dapr sidecars")
	if err := st.start(ctx); err != nil {
		return err
	}
	out.note("ready after %.1f s", time.Since(began).Seconds())

	p := &play{stage: st, out: out, seen: map[string]refusal{}}
	for _, step := range []func(context.Context) error{p.denyAll, p.granular, p.attacks, p.receipts, p.tampering} {
		if err := step(ctx); err != nil {
			return err
		}
		if len(p.differed) > 0 && !s.keepGoing {
			break
		}
	}
	return p.sum(time.Since(began))
}

// play is what the steps share: the stage, and how the checks went.
type play struct {
	stage *stage
	out   *printer

	checks   int
	differed []string
	seen     map[string]refusal // by reference
	answered int                // tool calls that came through
}

// refusal is one request that the guard refused, as its caller saw it. tool is
// empty for a body that holds no call that could be read.
type refusal struct {
	agent, tool string
}

// check counts one expectation and remembers it if it was not met.
func (p *play) check(met bool, format string, arguments ...any) {
	p.checks++
	if !met {
		p.differed = append(p.differed, fmt.Sprintf(format, arguments...))
	}
}

func (p *play) sum(took time.Duration) error {
	if len(p.differed) == 0 {
		p.out.good("\ndemo: %d checks as expected (%.1f s)", p.checks, took.Seconds())
		return nil
	}
	p.out.bad("\ndemo: %d of %d checks not as expected:", len(p.differed), p.checks)
	for _, what := range p.differed {
		p.out.bad("  - %s", what)
	}
	return errDiffered
}
