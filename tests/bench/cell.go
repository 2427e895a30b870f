// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Cell is one variant at one number of connections in one round.
type Cell struct {
	Variant     string  `json:"variant"`
	Connections int     `json:"connections"`
	Round       int     `json:"round"`
	Calls       int     `json:"calls"`
	P50         float64 `json:"p50Millis"`
	P99         float64 `json:"p99Millis"`
	PerSecond   float64 `json:"perSecond"`
	// CPU time of the sidecars per call; 0 without sidecars.
	CalleeCPU float64 `json:"calleeCPUMicros"`
	CallerCPU float64 `json:"callerCPUMicros"`
}

// warmUp is how long a cell runs before it is measured, at most a fifth of its time.
const warmUp = 200 * time.Millisecond

// cell measures one cell.
func (b *bench) cell(ctx context.Context, t *target, connections int, duration time.Duration) (Cell, error) {
	return t.cell(ctx, load{
		address: t.address, request: request(t.address, t.path, allowedTool), status: http.StatusOK, want: b.want, connections: connections,
	}, duration)
}

// cell measures a load.
func (t *target) cell(ctx context.Context, l load, duration time.Duration) (Cell, error) {
	m, cpu, err := t.loaded(ctx, l, duration)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // the connections broke because we are to end
		}
		return Cell{}, fmt.Errorf("%s, %d connections: %w", t.name, l.connections, err)
	}
	calls := len(m.latencies)
	if calls == 0 {
		return Cell{}, fmt.Errorf("%s, %d connections: no call in %s", t.name, l.connections, duration)
	}
	latencies := sorted(m.latencies)
	perCall := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(calls) }
	return Cell{
		Variant: t.name, Connections: l.connections, Calls: calls,
		P50: millis(percentile(latencies, 50)), P99: millis(percentile(latencies, 99)),
		PerSecond: float64(calls) / m.elapsed.Seconds(),
		CalleeCPU: perCall(cpu[0]), CallerCPU: perCall(cpu[1]),
	}, nil
}

// loaded runs the load and gives the CPU time of callee and caller.
func (t *target) loaded(ctx context.Context, l load, duration time.Duration) (measured, [2]time.Duration, error) {
	var cpu [2]time.Duration
	connections, closeAll, err := l.open(ctx)
	if err != nil {
		return measured{}, cpu, err
	}
	defer closeAll()
	runtime.GC() // not in the middle of the cell
	warm, err := l.run(connections, min(warmUp, duration/5))
	t.calls += len(warm.latencies)
	if err != nil {
		return measured{}, cpu, err
	}
	before, err := cpuTimes(t)
	if err != nil {
		return measured{}, cpu, err
	}
	m, err := l.run(connections, duration)
	t.calls += len(m.latencies)
	if err != nil {
		return m, cpu, err
	}
	after, err := cpuTimes(t)
	for i := range cpu {
		cpu[i] = after[i] - before[i]
	}
	return m, cpu, err
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func cpuTimes(t *target) ([2]time.Duration, error) {
	var times [2]time.Duration
	var errs []error
	for i, pid := range []int{t.callee, t.caller} {
		if pid == 0 {
			continue
		}
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err == nil {
			times[i], err = cpuTime(string(text))
		}
		errs = append(errs, err)
	}
	return times, errors.Join(errs...)
}

// tick is the unit of times in /proc: USER_HZ is 100 on every platform of Go's.
const tick = 10 * time.Millisecond

// cpuTime gives utime and stime of /proc/<pid>/stat together; see proc_pid_stat(5).
func cpuTime(stat string) (time.Duration, error) {
	// The name of the program stands in parentheses and may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("stat of a process: too few fields")
	}
	user, err := strconv.ParseUint(fields[11], 10, 62)
	if err != nil {
		return 0, fmt.Errorf("stat of a process: utime: %w", err)
	}
	system, err := strconv.ParseUint(fields[12], 10, 62)
	if err != nil {
		return 0, fmt.Errorf("stat of a process: stime: %w", err)
	}
	return time.Duration(user+system) * tick, nil //nolint:gosec // years of CPU time fit
}
