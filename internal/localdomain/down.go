// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

const (
	// downGrace is how long Down waits for a living run to stop by itself.
	downGrace = 15 * time.Second
	// killGrace is how long a killed process is waited for.
	killGrace    = 5 * time.Second
	downInterval = 20 * time.Millisecond
)

// Down stops a run and removes its folder. A run whose leading process lives is
// asked to stop; of one that was left behind the processes are killed. Only
// processes are touched whose pid and start time the run wrote down, the groups
// which they lead, and processes that carry the run's own mark.
func Down(ctx context.Context, run Run) error {
	if run.Ended == nil && run.Alive() {
		if err := stopLeader(ctx, run); err != nil {
			return fmt.Errorf("localdomain: stop run %s: %w", run.ID, err)
		}
	}
	if err := killLeftovers(ctx, run.ID, run.Groups); err != nil {
		return fmt.Errorf("localdomain: stop run %s: %w", run.ID, err)
	}
	if run.Sockets != "" {
		if err := os.RemoveAll(run.Sockets); err != nil {
			return fmt.Errorf("localdomain: remove run %s: %w", run.ID, err)
		}
	}
	if err := os.RemoveAll(run.Dir); err != nil {
		return fmt.Errorf("localdomain: remove run %s: %w", run.ID, err)
	}
	return nil
}

// stopLeader asks the custody process of a run to stop and, if it does not,
// kills it; its children die with it.
func stopLeader(ctx context.Context, run Run) error {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGTERM, downGrace}, {syscall.SIGKILL, killGrace}} {
		if err := run.Custody.signal(step.sig); err != nil {
			return err
		}
		if gone, err := waitGone(ctx, step.wait, func() bool { return !run.Custody.alive() }); gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("process %d does not end", run.Custody.PID)
}

// killLeftovers kills what a run started and what is still there.
func killLeftovers(ctx context.Context, runID string, leaders []ProcessID) error {
	remaining := func() ([]ProcessID, error) {
		left, err := marked(runID)
		for _, leader := range leaders {
			if leader.alive() {
				left = append(left, leader)
			}
		}
		return left, err
	}
	var failed error
	gone, err := waitGone(ctx, killGrace, func() bool {
		left, err := remaining()
		failed = err
		for _, p := range left {
			failed = errors.Join(failed, p.signal(syscall.SIGKILL))
		}
		return failed != nil || len(left) == 0
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if !gone {
		left, err := remaining()
		return errors.Join(err, fmt.Errorf("%d of its processes do not end", len(left)))
	}
	return nil
}

// signal reaches exactly the process that was meant: the handle is opened
// first, and only then it is looked at whether it is the right one. A process
// that is gone is no error.
func (p ProcessID) signal(sig syscall.Signal) error {
	handle, err := os.FindProcess(p.PID)
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	if !p.alive() {
		return handle.Release()
	}
	err = handle.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, handle.Release())
}

func waitGone(ctx context.Context, limit time.Duration, gone func() bool) (bool, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	ticker := time.NewTicker(downInterval)
	defer ticker.Stop()
	for {
		if gone() {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-deadline.C:
			return false, nil
		case <-ticker.C:
		}
	}
}

// FindRuns picks runs by what the user named: an ID, or a run file, or, with
// neither, the only run there is. It gives ErrNoRun if none fits.
func FindRuns(runs []Run, id, file string) ([]Run, error) {
	var fit []Run
	for _, run := range runs {
		if (id == "" || run.ID == id) && (file == "" || run.File == file) {
			fit = append(fit, run)
		}
	}
	switch {
	case len(fit) == 0:
		return nil, fmt.Errorf("localdomain: %w", ErrNoRun)
	case id == "" && file == "" && len(fit) > 1:
		ids := make([]string, 0, len(fit))
		for _, run := range fit {
			ids = append(ids, run.ID)
		}
		return nil, fmt.Errorf("localdomain: there are %d runs (%v); name one, or all with --all", len(fit), ids)
	}
	return fit, nil
}
