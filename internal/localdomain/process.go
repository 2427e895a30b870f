// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainTime is how long the output of an ended process is waited for when a
// process that it left behind still holds the pipe.
const drainTime = time.Second

// ProcessID names a process for good: a pid alone is used again by the kernel.
type ProcessID struct {
	PID int `json:"pid"`
	// StartTime is in clock ticks since boot, as /proc tells it.
	StartTime uint64 `json:"startTime"`
}

// The stages in which processes are started; they are stopped in reverse.
const (
	stageSentry = iota
	stageControlPlane
	stageComponents
	stageDaprd
	stageApp
)

const (
	sigTerm = syscall.SIGTERM
	sigKill = syscall.SIGKILL
)

// processSpec says how to start a process.
type processSpec struct {
	part    string // for messages
	stage   int
	program string
	args    []string
	dir     string
	env     environment
	logFile string
	prefix  string // before each line on the console; "" keeps it off
}

// process is a started child, leader of a process group of its own.
type process struct {
	part  string
	stage int
	id    ProcessID
	log   string
	out   *output

	mu     sync.Mutex // guards reaped
	reaped bool       // from then on the group's number may belong to others

	done chan struct{} // closed when it ended and its output was read
	// state and outputErr are set before done is closed.
	state     *os.ProcessState
	outputErr error
}

// spawner starts children from one thread. Linux kills a child whose parent
// death signal is set when the thread that started it ends, so this thread must
// live as long as the children should.
type spawner struct {
	work chan func()
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.work {
			f()
		}
	}()
	return s
}

// close ends the thread; what it started must have ended before.
func (s *spawner) close() { close(s.work) }

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.work <- func() { result <- cmd.Start() }
	return <-result
}

// startProcess runs the program. What it got is the caller's to stop.
func (s *spawner) startProcess(spec processSpec, console *console) (*process, error) {
	file, err := os.OpenFile(spec.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.part, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.part, err), file.Close())
	}
	cmd := exec.Command(spec.program, spec.args...) //nolint:gosec // what to run is the user's own choice
	cmd.Dir = spec.dir
	cmd.Env = spec.env.list()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err = s.start(cmd)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.part, err), r.Close(), file.Close())
	}
	p := &process{
		part:  spec.part,
		stage: spec.stage,
		id:    ProcessID{PID: cmd.Process.Pid},
		log:   spec.logFile,
		out:   &output{file: file, console: console, prefix: spec.prefix},
		done:  make(chan struct{}),
	}
	// Nobody but us reaps the child, so its entry is there.
	stat, err := readStat(p.id.PID)
	if err != nil {
		err = fmt.Errorf("start %s: %w", spec.part, err)
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait(), r.Close(), file.Close())
	}
	p.id.StartTime = stat.startTime
	go p.await(cmd, r)
	return p, nil
}

// await waits for the end of the process, kills what is left of its group and
// closes done.
func (p *process) await(cmd *exec.Cmd, r *os.File) {
	defer close(p.done)
	copied := make(chan error, 1)
	go func() { copied <- p.out.copyFrom(r) }()

	// While the leader is not reaped no other group can get its number.
	waitErr := waitNoReap(p.id.PID)
	killErr := p.signal(sigKill)
	var exit *exec.ExitError
	p.mu.Lock()
	reapErr := cmd.Wait()
	p.reaped = true
	p.mu.Unlock()
	if errors.As(reapErr, &exit) {
		reapErr = nil // told by state
	}
	p.state = cmd.ProcessState
	deadlineErr := r.SetReadDeadline(time.Now().Add(drainTime))
	p.outputErr = errors.Join(waitErr, killErr, reapErr, deadlineErr, <-copied, r.Close(), p.out.file.Close())
}

func waitNoReap(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// signal reaches the whole group. A group that is gone is no error.
func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil
	}
	err := syscall.Kill(-p.id.PID, sig)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ok says whether an ended process exited with status 0.
func (p *process) ok() bool { return p.state != nil && p.state.Success() }

// outcome describes how an ended process ended.
func (p *process) outcome() string {
	if p.state == nil {
		return "was lost"
	}
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Sprintf("was killed by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("exited with status %d", p.state.ExitCode())
}

func (p *process) failure(reason string) *PartError {
	return &PartError{Part: p.part, Reason: reason, Log: p.out.lastLines()}
}
