// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	guardCount   = 8
	guardHosts   = 2 // processes
	probeTool    = "probe"
	changePolicy = "change.yaml"

	// changePause is between two changes: they are the edits of people and programs,
	// and not one save in several steps.
	changePause = 20 * time.Millisecond
	// mostChange is when a change counts as lost.
	mostChange = 10 * time.Second

	aimChangeMedian = 10 * time.Millisecond
	aimChangeP99    = 50 * time.Millisecond
)

// Change is how soon a changed policy is in force at the last of the guards: from
// the moment that the save or the command is finished until a call that the new
// Set decides is answered. Every guard is called again and again from then on.
type Change struct {
	Saved   string  `json:"saved"`
	Load    string  `json:"load"`
	Changes int     `json:"changes"`
	Median  float64 `json:"medianMillis"`
	P90     float64 `json:"p90Millis"`
	P99     float64 `json:"p99Millis"`
	Max     float64 `json:"maxMillis"`
	// Command is the median time that the command itself took; 0 for a save.
	Command float64 `json:"commandMillis,omitempty"`
	// Late counts calls after the end of a command that the old Set decided.
	Late int    `json:"late"`
	Aim  string `json:"aim"`
}

// saver changes the policy so that the probed tool is allowed or not, and says how
// long it took.
type saver struct {
	name string
	save func(ctx context.Context, allowed bool) (time.Duration, error)
}

// guards are those whose policy is changed.
type guards struct {
	folder    string
	processes []*serverProcess
	addresses []string
}

func startGuards(s settings, progress io.Writer) (_ *guards, err error) {
	g := &guards{}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.stop())
		}
	}()
	if g.folder, err = s.makeFolder(); err != nil {
		return nil, err
	}
	if err = os.Mkdir(g.policies(), 0o700); err != nil {
		return nil, err
	}
	if err = g.write("bench.yaml", guardPolicy); err != nil {
		return nil, err
	}
	// A file that is left without a rule is removed, and one that is away is waited for.
	if err = g.write("commands.yaml", strings.NewReplacer("{name: bench}", "{name: commands}", "caller-echoes", "stays").Replace(guardPolicy)); err != nil {
		return nil, err
	}
	for host := range guardHosts {
		from, to := host*guardCount/guardHosts, (host+1)*guardCount/guardHosts
		process, err := startSelf(progress, guardsArgument, g.policies(), g.folder, fmt.Sprint(from), fmt.Sprint(to))
		if err != nil {
			return nil, err
		}
		g.processes = append(g.processes, process)
		g.addresses = append(g.addresses, strings.Fields(process.address)...)
	}
	return g, nil
}

func (g *guards) stop() error {
	var errs []error
	for _, process := range g.processes {
		errs = append(errs, process.stop())
	}
	if g.folder != "" {
		errs = append(errs, os.RemoveAll(g.folder))
	}
	return errors.Join(errs...)
}

func (g *guards) policies() string { return filepath.Join(g.folder, "policies") }

func (g *guards) write(name, text string) error {
	return os.WriteFile(filepath.Join(g.policies(), name), []byte(text), 0o600)
}

// savers are a plain write and the command.
func (g *guards) savers(bin string) []saver {
	write := func(_ context.Context, allowed bool) (time.Duration, error) {
		tool := "other"
		if allowed {
			tool = probeTool
		}
		return 0, g.write(changePolicy, "apiVersion: custody.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: change}\nspec:\n  rules:\n"+
			"  - {name: change, effect: allow, from: [caller], to: {server: bench, tools: ["+tool+"]}}\n")
	}
	command := func(ctx context.Context, allowed bool) (time.Duration, error) {
		if allowed {
			return g.command(ctx, bin, "allow", "--caller", callerApp, "--server", "bench", "--tools", probeTool, "--name", probeTool)
		}
		return g.command(ctx, bin, "revoke-rule", "commands/"+probeTool)
	}
	return []saver{{"a plain write", write}, {"custody policy --wait", command}}
}

// command runs custody policy and waits for the guards.
func (g *guards) command(ctx context.Context, bin string, args ...string) (time.Duration, error) {
	args = append([]string{"policy"}, append(args, "--dir", g.policies(), "--wait")...)
	for n := range guardCount {
		args = append(args, "--journal", filepath.Join(g.folder, fmt.Sprintf("guard-%d", n)))
	}
	began := time.Now()
	out, err := exec.CommandContext(ctx, filepath.Join(bin, "custody"), args...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("custody %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return time.Since(began), nil
}

// measureChanges fills in the section on changes of the policy.
func (r *Report) measureChanges(ctx context.Context, s settings, progress io.Writer) (err error) {
	fmt.Fprintf(progress, "starting %d guards in %d processes\n", guardCount, guardHosts)
	g, err := startGuards(s, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	for _, l := range changeLoads() {
		for _, saved := range g.savers(s.bin) {
			measured, err := g.underLoad(ctx, l, func() (Change, error) { return g.change(ctx, saved, s.changes) })
			if err != nil {
				return fmt.Errorf("policy change by %s: %w", saved.name, err)
			}
			measured.Load = l.name
			r.Changes = append(r.Changes, measured)
			fmt.Fprintf(progress, "policy change by %s, load: %s: median %.1f ms  p99 %.1f ms\n", saved.name, measured.Load, measured.Median, measured.P99)
		}
	}
	return nil
}

// changeLoad is what goes on beside a change.
type changeLoad struct {
	name    string
	callers int
	pause   time.Duration // of a caller between two calls
}

func changeLoads() []changeLoad {
	return []changeLoad{
		{name: "none"},
		{name: "16 callers, 5 ms between calls", callers: 16, pause: 5 * time.Millisecond},
		{name: "16 callers without a pause", callers: 16},
	}
}

// underLoad measures while callers keep all guards busy.
func (g *guards) underLoad(ctx context.Context, l changeLoad, measure func() (Change, error)) (Change, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failures := make([]error, l.callers)
	var callers sync.WaitGroup
	for i := range l.callers {
		callers.Go(func() {
			address := g.addresses[i%len(g.addresses)]
			failures[i] = repeat(ctx, address, l.pause)
			stop()
		})
	}
	measured, err := measure()
	stop()
	callers.Wait()
	return measured, errors.Join(append(failures, err)...)
}

// repeat calls the allowed tool on one connection until ctx ends. It fails at an
// answer that is none.
func repeat(ctx context.Context, address string, pause time.Duration) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	call := request(address, "/mcp", allowedTool)
	for ; ctx.Err() == nil; time.Sleep(pause) {
		status, body, err := c.call(call)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("a call under load: status %d: %.200s", status, body)
		}
	}
	return nil
}

// change changes the policy again and again.
func (g *guards) change(ctx context.Context, saved saver, changes int) (Change, error) {
	result := Change{Saved: saved.name, Changes: changes}
	probes := make([]*connection, len(g.addresses))
	for i, address := range g.addresses {
		c, err := dial(ctx, address)
		if err != nil {
			return result, err
		}
		defer c.Close()
		probes[i] = c
	}
	var times, commands []time.Duration
	// The first change is not counted: it makes the file.
	for n := range changes + 1 {
		allowed := n%2 == 0
		time.Sleep(changePause)
		took, err := saved.save(ctx, allowed)
		if err != nil {
			return result, err
		}
		force, late, err := g.inForce(ctx, probes, allowed)
		if err != nil {
			return result, err
		}
		if n == 0 {
			continue
		}
		times, commands = append(times, force), append(commands, took)
		if took > 0 {
			result.Late += late
		}
	}
	result.summarise(times, commands)
	if changes%2 == 0 { // leave the tool denied
		_, err := saved.save(ctx, false)
		return result, err
	}
	return result, nil
}

// inForce calls every guard until it decides as it should now, and gives the time
// until the last one did, with the number of answers of before.
func (g *guards) inForce(ctx context.Context, probes []*connection, allowed bool) (time.Duration, int, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, mostChange, fmt.Errorf("the change is not in force after %s", mostChange))
	defer cancel()
	want := http.StatusForbidden
	if allowed {
		want = http.StatusOK
	}
	failures, late := make([]error, len(probes)), make([]int, len(probes))
	var all sync.WaitGroup
	for i, c := range probes {
		all.Go(func() {
			call := request(g.addresses[i], "/mcp", probeTool)
			for ctx.Err() == nil {
				status, body, err := c.call(call)
				switch {
				case err != nil:
					failures[i] = err
					return
				case status == want:
					return
				case status != http.StatusOK && status != http.StatusForbidden:
					failures[i] = fmt.Errorf("a call during a change: status %d: %.200s", status, body)
					return
				}
				late[i]++
			}
			failures[i] = context.Cause(ctx)
		})
	}
	all.Wait()
	took, total := time.Since(began), 0
	for _, n := range late {
		total += n
	}
	return took, total, errors.Join(failures...)
}

func (c *Change) summarise(times, commands []time.Duration) {
	times = sorted(times)
	median, p99 := percentile(times, 50), percentile(times, 99)
	c.Median, c.P90, c.P99, c.Max = millis(median), millis(percentile(times, 90)), millis(p99), millis(percentile(times, 100))
	c.Command = millis(percentile(sorted(commands), 50))
	aim := verdict(median < aimChangeMedian && p99 < aimChangeP99)
	c.Aim = fmt.Sprintf("median below %d ms, p99 below %d ms: %s", aimChangeMedian.Milliseconds(), aimChangeP99.Milliseconds(), aim)
}
