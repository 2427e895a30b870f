// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const keptOutput = 4 << 10

// process is a child that does not outlive us.
type process struct {
	cmd    *exec.Cmd
	output tail
	done   chan struct{}
	err    error // of Wait; read only after done
}

// startProcess starts cmd from a thread that lives as long as the child: the
// parent-death signal is sent when the starting thread ends, not the process.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	// A grandchild may hold the pipe open for a moment longer.
	cmd.WaitDelay = time.Second
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here with the goroutine
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return p, nil
}

// wait returns when the child has ended, with an error unless its code was 0.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.stop(stopPatience))
	}
	if p.err != nil {
		return p.exited()
	}
	return nil
}

func (p *process) exited() error {
	return &exitedError{program: filepath.Base(p.cmd.Path), cause: p.err, output: p.output.String()}
}

// stop ends the child: SIGQUIT, which for PostgreSQL means at once and without
// a checkpoint, then SIGKILL once patience is over. It returns when the child
// is gone.
func (p *process) stop(patience time.Duration) error {
	if err := p.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

func (p *process) signal(signal syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// tail keeps the last output of a program for an error message.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if excess := len(t.text) - keptOutput; excess > 0 {
		t.text = append(t.text[:0], t.text[excess:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.text)), " ")
}
