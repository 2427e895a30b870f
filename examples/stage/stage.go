// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

// Package stage is what the demos of the examples share: a copy of an example
// in a temporary folder that custody runs, checks that are counted, and a
// printer for a person. It leaves neither files nor processes behind, also
// when the demo is interrupted; after a SIGKILL the folder stays.
package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// TrustDomain is that of the examples.
const TrustDomain = "custody.local"

// PollEvery is how often a demo looks whether something has come about.
const PollEvery = 50 * time.Millisecond

const stopPatience = 30 * time.Second

// Options say what is put on the stage.
type Options struct {
	// Source is the folder of the example, and Take what of it is copied: files and folders.
	Source string
	Take   []string
	// Bin is the folder of the programs, all of which have to be there.
	Bin      string
	Programs []string
	// Verbose shows the output of custody and of every process on stderr.
	Verbose bool
}

// Stage is an example in a temporary folder, and custody running it.
type Stage struct {
	// Dir is the temporary folder, and Example the copy of the example in it.
	Dir, Example string
	// Env is added to the environment of custody.
	Env []string
	// Run is what custody said when all was ready.
	Run Run

	verbose bool
	custody string // the program
	cmd     *exec.Cmd
	ended   chan struct{}
	how     error // of the end; read only after ended
	output  lockedBuffer
}

// Run is what of `custody ps -o json` is used by demos.
type Run struct {
	Ready       bool   `json:"ready"`
	TrustBundle string `json:"trustBundle"`
	Apps        []App  `json:"apps"`
}

// App is one of a run.
type App struct {
	AppID                string `json:"appID"`
	SPIFFEID             string `json:"spiffeID"`
	AppPort              int    `json:"appPort"`
	DaprHTTPPort         int    `json:"daprHTTPPort"`
	DaprInternalGRPCPort int    `json:"daprInternalGRPCPort"`
}

// New copies the example. Close takes it away.
func New(o Options) (*Stage, error) {
	bin, err := filepath.Abs(o.Bin)
	if err != nil {
		return nil, err
	}
	for _, program := range o.Programs {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return nil, fmt.Errorf("no %s in %s: run make build first", program, bin)
		}
	}
	source, err := filepath.Abs(o.Source)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "custody-demo-")
	if err != nil {
		return nil, err
	}
	s := &Stage{
		Dir: dir, Example: filepath.Join(dir, "examples", filepath.Base(source)), verbose: o.Verbose,
		custody: filepath.Join(bin, "custody"), ended: make(chan struct{}),
	}
	if err := s.furnish(bin, source, o.Take); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func (s *Stage) furnish(bin, source string, take []string) error {
	// The run file names its programs as ../../bin/...
	if err := os.Symlink(bin, filepath.Join(s.Dir, "bin")); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Example, 0o755); err != nil {
		return err
	}
	for _, name := range take {
		from, to := filepath.Join(source, name), filepath.Join(s.Example, name)
		info, err := os.Stat(from)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			err = os.CopyFS(to, os.DirFS(from))
		default:
			err = CopyFile(from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Start runs custody and waits until all apps are ready. It may be called again after Stop.
func (s *Stage) Start(ctx context.Context) error {
	arguments := []string{"up", "-f", filepath.Join(s.Example, "dapr.yaml")}
	if s.verbose {
		arguments = append(arguments, "--verbose")
	}
	s.cmd, s.ended, s.how = exec.Command(s.custody, arguments...), make(chan struct{}), nil
	s.cmd.Env = s.environment()
	s.cmd.SysProcAttr = childAttributes()
	var sink io.Writer = &s.output
	if s.verbose {
		sink = os.Stderr
	}
	s.cmd.Stdout, s.cmd.Stderr = sink, sink
	err := startLocked(s.cmd, func(how error) {
		s.how = how
		close(s.ended)
	})
	if err != nil {
		return fmt.Errorf("start custody: %w", err)
	}
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return fmt.Errorf("custody up ended early: %w\n%s", cmp.Or(s.how, errors.New("without an error")), s.output.String())
		case <-tick.C:
		}
		ready, err := s.look(ctx)
		if err != nil || ready {
			return err
		}
	}
}

// App is the app of that ID, and the zero App if there is none.
func (s *Stage) App(id string) App {
	if i := slices.IndexFunc(s.Run.Apps, func(a App) bool { return a.AppID == id }); i >= 0 {
		return s.Run.Apps[i]
	}
	return App{}
}

// Bundle is the file that Stop leaves the roots of the run in.
func (s *Stage) Bundle() string { return filepath.Join(s.Dir, "trust-bundle.pem") }

// Stop keeps the roots of the run, which go with it, and ends it as Ctrl-C would. It gives the error that custody ended
// with.
func (s *Stage) Stop() error {
	if err := CopyFile(s.Run.TrustBundle, s.Bundle()); err != nil {
		return err
	}
	if err := s.end(); err != nil {
		return err
	}
	return s.how
}

// Close ends what runs and removes the folder.
func (s *Stage) Close() error { return errors.Join(s.end(), os.RemoveAll(s.Dir)) }
