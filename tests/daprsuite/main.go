// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Command daprsuite runs Dapr's own integration tests of workflows against our daprd, once with the stores as the cases
// name them (SQLite and in-memory), once with state.custody before them, and compares.
//
// It takes the tests from Dapr's module in the version of go.mod, and changes nothing in a case. What it changes is how
// the framework starts processes: a case that asks for no identity gets a Sentry, and its histories are signed, in both
// columns, because state.custody needs an identity and has nothing to witness where nothing is signed. A case that does
// not pass so with the store by itself is run with an identity and without signing, and else as it is; with state.custody
// it is run in the same way. Placement, Scheduler and Sentry are Dapr's own.
//
// A case that fails is run a second time, with fewer others at its side, so that a slow machine is no finding. It ends
// with 1 where a case passes with the store by itself and fails with state.custody before it.
//
//	go run ./tests/daprsuite
//	go run ./tests/daprsuite --focus '^daprd/workflow/signing/'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// settings are the flags.
type settings struct {
	focus    string
	parallel int
	bin      string
	dir      string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "daprsuite:", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, usage io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("daprsuite", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.StringVar(&s.focus, "focus", "^daprd/workflow/", "regular expression of the cases to run")
	flags.IntVar(&s.parallel, "parallel", 2, "how many cases run at once; each starts some four processes and has 45 seconds")
	flags.StringVar(&s.bin, "bin", "bin", "folder with daprd")
	flags.StringVar(&s.dir, "dir", "", "folder for Dapr's source, what is built of it and the logs (empty: a temporary one, which stays only after a failure)")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q is not understood; all settings are flags, see --help", flags.Arg(0))
	}
	if s.parallel < 1 {
		return s, fmt.Errorf("--parallel is %d; at least one is needed", s.parallel)
	}
	if _, err := regexp.Compile(s.focus); err != nil {
		return s, fmt.Errorf("--focus: %w", err)
	}
	return s, nil
}

func run(ctx context.Context, args []string, stdout, progress io.Writer) (err error) {
	s, err := parseFlags(args, progress)
	if err != nil {
		return err
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "daprsuite-"); err != nil {
			return err
		}
		fmt.Fprintln(progress, "everything lies in", s.dir)
		defer func() {
			// What failed is there to be looked at.
			if err == nil {
				err = os.RemoveAll(s.dir)
			}
		}()
	}
	daprd, err := filepath.Abs(filepath.Join(s.bin, "daprd"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(daprd); err != nil {
		return fmt.Errorf("%w: run make build first", err)
	}
	suite, err := build(ctx, s.dir, daprd, progress)
	if err != nil {
		return err
	}
	plain, err := suite.plain(ctx, s, progress)
	if err != nil {
		return err
	}
	custody, err := suite.custody(ctx, s, plain, progress)
	if err != nil {
		return err
	}
	return report(stdout, plain, custody)
}

// A suite is what was built of Dapr's source.
type suite struct {
	dir    string // of the package, where go test would run it
	binary string
	env    []string
}

// build copies Dapr's source to dir, and builds the tests and the control plane that they start.
func build(ctx context.Context, dir, daprd string, progress io.Writer) (*suite, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	source, bin := filepath.Join(dir, "daprsuite-source"), filepath.Join(dir, "daprsuite-bin")
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/dapr/dapr").Output()
	if err != nil {
		return nil, fmt.Errorf("where Dapr's module lies: %w", err)
	}
	if err := os.RemoveAll(source); err != nil {
		return nil, err
	}
	if err := copyOut(strings.TrimSpace(string(module)), source); err != nil {
		return nil, err
	}
	b := &suite{dir: filepath.Join(source, "tests/integration"), binary: filepath.Join(bin, "suite.test")}
	fmt.Fprintln(progress, "building Dapr's tests, and the Placement, Scheduler and Sentry that they start")
	for _, command := range [][]string{
		{"build", "-o", bin + "/", "./cmd/placement", "./cmd/scheduler", "./cmd/sentry"},
		{"test", "-c", "-tags", "integration", "-o", b.binary, "./tests/integration"},
	} {
		build := exec.CommandContext(ctx, "go", command...)
		build.Dir, build.Stdout, build.Stderr = source, progress, progress
		if err := build.Run(); err != nil {
			return nil, fmt.Errorf("go %s: %w", strings.Join(command, " "), err)
		}
	}
	// What no case of these suites starts is not built: a path is enough for the framework not to build it itself.
	b.env = append(os.Environ(), "DAPR_INTEGRATION_DAPRD_PATH="+daprd)
	for _, name := range []string{"placement", "scheduler", "sentry", "operator", "injector", "helmtemplate", "mcpstdioserver", "controllergen"} {
		b.env = append(b.env, fmt.Sprintf("DAPR_INTEGRATION_%s_PATH=%s", strings.ToUpper(name), filepath.Join(bin, name)))
	}
	return b, nil
}
