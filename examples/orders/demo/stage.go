// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	serverApp    = "orders-mcp"
	trustDomain  = "custody.local"
	pollEvery    = 50 * time.Millisecond
	stopPatience = 30 * time.Second
)

// stage is the example in a temporary folder, and custody running it.
type stage struct {
	settings settings
	dir      string // removed at the end
	example  string // the copy of the example
	custody  string // the program

	cmd    *exec.Cmd
	ended  chan struct{}
	how    error // of the end; read only after ended
	output lockedBuffer
	run    runInfo
}

// runInfo is what of `custody ps -o json` is used here.
type runInfo struct {
	Ready       bool      `json:"ready"`
	TrustBundle string    `json:"trustBundle"`
	Apps        []appInfo `json:"apps"`
}

type appInfo struct {
	AppID                string `json:"appID"`
	SPIFFEID             string `json:"spiffeID"`
	AppPort              int    `json:"appPort"`
	DaprHTTPPort         int    `json:"daprHTTPPort"`
	DaprInternalGRPCPort int    `json:"daprInternalGRPCPort"`
}

// newStage copies the example, with the blanket deny in place of its policy.
func newStage(s settings) (*stage, error) {
	bin, err := filepath.Abs(s.bin)
	if err != nil {
		return nil, err
	}
	for _, program := range []string{"custody", "daprd", "controlplane", "orders-server", "orders-agent"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return nil, fmt.Errorf("no %s in %s: run make build first", program, bin)
		}
	}
	dir, err := os.MkdirTemp("", "custody-demo-")
	if err != nil {
		return nil, err
	}
	st := &stage{
		settings: s, dir: dir, custody: filepath.Join(bin, "custody"),
		example: filepath.Join(dir, "examples", "orders"), ended: make(chan struct{}),
	}
	if err := st.furnish(bin); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return st, nil
}

func (st *stage) furnish(bin string) error {
	// PostgreSQL may run as another user, who has to pass through.
	if err := errors.Join(os.Chmod(st.dir, 0o711), os.Mkdir(st.dataDir(), 0o711)); err != nil {
		return err
	}
	// The run file names its programs as ../../bin/...
	if err := os.Symlink(bin, filepath.Join(st.dir, "bin")); err != nil {
		return err
	}
	for _, folder := range []string{"config", "resources"} {
		from := os.DirFS(filepath.Join(st.settings.example, folder))
		if err := os.CopyFS(filepath.Join(st.example, folder), from); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(st.example, "policies"), 0o755); err != nil {
		return err
	}
	return errors.Join(
		copyFile(filepath.Join(st.settings.example, "dapr.yaml"), filepath.Join(st.example, "dapr.yaml")),
		st.installPolicy("policies-deny-all"),
	)
}

func (st *stage) dataDir() string { return filepath.Join(st.dir, "data") }

func (st *stage) journal() string { return filepath.Join(st.example, "journal") }

// installPolicy puts the policy of a folder of the example in force, in one
// step, so that the guard never reads half of it.
func (st *stage) installPolicy(folder string) error {
	next := filepath.Join(st.dir, "next-policy.yaml")
	if err := copyFile(filepath.Join(st.settings.example, folder, "orders.yaml"), next); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(st.example, "policies", "orders.yaml"))
}

// start runs custody and waits until all apps are ready.
func (st *stage) start(ctx context.Context) error {
	arguments := []string{"up", "-f", filepath.Join(st.example, "dapr.yaml")}
	if st.settings.verbose {
		arguments = append(arguments, "--verbose")
	}
	st.cmd = exec.Command(st.custody, arguments...)
	st.cmd.Env = st.environment()
	st.cmd.SysProcAttr = childAttributes()
	var sink io.Writer = &st.output
	if st.settings.verbose {
		sink = os.Stderr
	}
	st.cmd.Stdout, st.cmd.Stderr = sink, sink
	err := startLocked(st.cmd, func(how error) {
		st.how = how
		close(st.ended)
	})
	if err != nil {
		return fmt.Errorf("start custody: %w", err)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-st.ended:
			return fmt.Errorf("custody up ended early: %w\n%s", cmp.Or(st.how, errors.New("without an error")), st.output.String())
		case <-tick.C:
		}
		ready, err := st.look(ctx)
		if err != nil || ready {
			return err
		}
	}
}

// look reads how the run is from custody ps.
func (st *stage) look(ctx context.Context) (ready bool, err error) {
	output, err := st.command(ctx, "ps", "-o", "json")
	if err != nil {
		return false, err
	}
	var runs []runInfo
	if err := json.Unmarshal([]byte(output), &runs); err != nil {
		return false, fmt.Errorf("custody ps: %w", err)
	}
	if len(runs) != 1 || !runs[0].Ready {
		return false, nil
	}
	st.run = runs[0]
	return true, nil
}

// command runs a custody command to its end and returns what it printed.
func (st *stage) command(ctx context.Context, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, st.custody, arguments...)
	cmd.Env = st.environment()
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return string(output), fmt.Errorf("custody %s: %w: %s", strings.Join(arguments[:min(2, len(arguments))], " "),
			err, strings.TrimSpace(problems.String()))
	}
	return string(output), nil
}

func (st *stage) environment() []string {
	return append(os.Environ(), "CUSTODY_HOME="+filepath.Join(st.dir, "home"), "ORDERS_DATA_DIR="+st.dataDir())
}

func (st *stage) app(id string) appInfo {
	if i := slices.IndexFunc(st.run.Apps, func(a appInfo) bool { return a.AppID == id }); i >= 0 {
		return st.run.Apps[i]
	}
	return appInfo{}
}

// stop ends the run as Ctrl-C would.
func (st *stage) stop() error {
	if st.cmd == nil || st.cmd.Process == nil {
		return nil
	}
	select {
	case <-st.ended:
		return nil
	default:
	}
	if err := st.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop custody: %w", err)
	}
	timer := time.NewTimer(stopPatience)
	defer timer.Stop()
	select {
	case <-st.ended:
		return nil
	case <-timer.C:
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	_, err := st.command(ctx, "down")
	return errors.Join(errors.New("custody up did not stop in time"), err)
}

func (st *stage) close() error { return errors.Join(st.stop(), os.RemoveAll(st.dir)) }

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// lockedBuffer gathers the output of custody for an error message.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
