// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Command bench measures MCP tools/call through two sidecars: p50, p99 and
// requests per second, with a guard, without one and with Dapr's own Open Policy
// Agent middleware.
//
// It guarantees: every answer that is counted was a 200 with the same bytes as
// the server's own; what is said to be on was on (a call that the rules do not
// allow is refused before anything is measured, and the journals are read back
// afterwards); ratios are of cells of one round, which follow each other within
// seconds; everything listens on loopback; and no process is left, also after
// Ctrl-C.
//
// It does not guarantee that another machine gives the same numbers. The load
// client, both sidecars and the server share the cores, so compare numbers only
// within one run. Single cells differ by 15 % for no reason: quote the ratios.
//
//	go run ./tests/bench
//	go run ./tests/bench --rounds 1 --duration 500ms --variants plain,guard
//	go run ./tests/bench --only change
//	go run ./tests/bench --only workflow
//	go run ./tests/bench --only databases
//	go run ./tests/bench --profile cmd/daprd/default.pgo
//
// It also measures how soon a changed policy is in force at the last of several
// guards. Those are made by mcpguard.Factory in processes of their own, without a
// sidecar around them: a call has to be quick to tell the time well.
//
// And it measures what a step of a workflow takes, with workflows/custody, its
// sidecar and its store, and without.
//
// And it measures what a statement and a request of state take through the component
// server, against Dapr's own components in the same sidecar.
//
// The last command measures nothing: it collects the CPU profile of both sidecars of
// guarded calls, with which `go build ./cmd/daprd` then optimises.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	rounds      int
	duration    time.Duration
	connections []int
	variants    []variant
	named       bool // the variants were chosen by the user
	output      string
	profile     string
	only        string // of the sections
	changes     int
	workflows   int
	steps       int
	bin         string
	dir         string
}

// The sections that --only may name.
const (
	onlyCalls    = "calls"
	onlyChange   = "change"
	onlyWorkflow = "workflow"
	onlyDatabase = "databases"
)

func sections() []string { return []string{onlyCalls, onlyChange, onlyWorkflow, onlyDatabase} }

// serveArgument makes this program the MCP server that is measured.
const serveArgument = "mcp-server"

func main() {
	if len(os.Args) > 1 {
		part := map[string]func(alive io.Reader, ready io.Writer, args []string) error{
			serveArgument: serve, guardsArgument: serveGuards, workerArgument: work,
		}[os.Args[1]]
		if part != nil {
			if err := part(os.Stdin, os.Stdout, os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, progress io.Writer) (err error) {
	s, err := parseFlags(args, progress)
	if err != nil {
		return err
	}
	if s.profile != "" {
		return profile(ctx, s, progress)
	}
	if s.only != "" && s.only != onlyCalls {
		s.variants, s.named = nil, true
	}
	report := &Report{Rounds: s.rounds, CellSeconds: s.duration.Seconds(), Connections: s.connections}
	if s.variants, err = report.describe(s); err != nil {
		return err
	}
	measures := map[string]func(context.Context, settings, io.Writer) error{
		onlyCalls: report.measureCalls, onlyChange: report.measureChanges, onlyWorkflow: report.measureWorkflows,
		onlyDatabase: report.measureDatabases,
	}
	for _, section := range sections() {
		if s.only != "" && s.only != section {
			continue
		}
		if err = measures[section](ctx, s, progress); err != nil {
			return err
		}
	}
	if s.output == "json" {
		return report.writeJSON(stdout)
	}
	return report.writeTable(stdout)
}

// measureCalls measures the variants in rounds.
func (r *Report) measureCalls(ctx context.Context, s settings, progress io.Writer) error {
	b, err := start(ctx, s, progress)
	if err != nil {
		return err
	}
	if err = r.measure(ctx, b, s, progress); err == nil {
		err = r.readJournals(b)
	}
	if err = errors.Join(err, b.stop()); err != nil {
		return err
	}
	r.summarise(s.variants)
	return nil
}

func parseFlags(args []string, usage io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.IntVar(&s.rounds, "rounds", 5, "how often every cell is measured")
	flags.DurationVar(&s.duration, "duration", 0, "how long a cell is measured (0: 2s, with --profile 30s)")
	connections := flags.String("connections", "1,8,32", "numbers of connections, each in turn")
	names := flags.String("variants", "", "variants, of "+strings.Join(variantNames(), ",")+" (empty: all)")
	flags.StringVar(&s.output, "o", "table", "table or json")
	flags.StringVar(&s.profile, "profile", "", "write the CPU profile of guarded calls to this file and measure nothing")
	flags.StringVar(&s.only, "only", "", strings.Join(sections(), ", ")+": measure only that (empty: all)")
	flags.IntVar(&s.changes, "changes", 300, "how often the policy is changed, in each way")
	flags.IntVar(&s.workflows, "workflows", 20, "how many workflows are run in each way")
	flags.IntVar(&s.steps, "steps", 20, "how many steps a workflow has")
	flags.StringVar(&s.bin, "bin", "bin", "folder with custody, custody-components, daprd, daprd-opa, daprd-nopgo and controlplane")
	flags.StringVar(&s.dir, "dir", "", "folder on whose disk the journals are (empty: the system's temporary folder)")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if s.duration == 0 {
		s.duration = 2 * time.Second
		if s.profile != "" {
			s.duration = 30 * time.Second
		}
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("%q is not understood; all settings are flags, see --help", flags.Arg(0))
	case s.rounds < 1:
		return s, fmt.Errorf("--rounds is %d; at least one is needed", s.rounds)
	case s.only != "" && !slices.Contains(sections(), s.only):
		return s, fmt.Errorf("--only is %q; write one of %s", s.only, strings.Join(sections(), ", "))
	case s.workflows < 1 || s.steps < 2:
		return s, fmt.Errorf("--workflows is %d and --steps %d; at least one and two are needed", s.workflows, s.steps)
	case s.changes < 1:
		return s, fmt.Errorf("--changes is %d; at least one is needed", s.changes)
	case s.duration < 0:
		return s, fmt.Errorf("--duration is %s; it must be positive", s.duration)
	case s.output != "table" && s.output != "json":
		return s, fmt.Errorf("-o is %q; write table or json", s.output)
	}
	for field := range strings.SplitSeq(*connections, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || n < 1 || n > 1024 {
			return s, fmt.Errorf("--connections has %q; write numbers from 1 to 1024, such as 1,8,32", field)
		}
		s.connections = append(s.connections, n)
	}
	var err error
	if s.bin, err = filepath.Abs(s.bin); err != nil {
		return s, err
	}
	s.named = *names != ""
	s.variants, err = chosen(*names)
	return s, err
}
