// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package stage

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Settings are what a demo is told on its command line.
type Settings struct {
	// Bin is the folder of the programs, and Example that of the example.
	Bin, Example string
	// KeepGoing goes on after a step in which something was not as expected.
	KeepGoing bool
	// Verbose shows the output of custody and of every process.
	Verbose bool
}

// Main is the main function of a demo: it reads the flags, runs the demo of the example until it ends, is interrupted or
// has used up the time, and ends the process with code 1 if it gave an error.
func Main(example string, timeout time.Duration, run func(context.Context, Settings, *Printer) error) {
	var s Settings
	flag.StringVar(&s.Bin, "bin", "bin", "folder with the programs that make build makes")
	flag.StringVar(&s.Example, "example", example, "folder of the example")
	flag.BoolVar(&s.KeepGoing, "keep-going", false, "go on after a step in which something was not as expected")
	flag.BoolVar(&s.Verbose, "verbose", false, "show the output of custody and of every process")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := run(ctx, s, NewPrinter(os.Stdout))
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
