// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// procStat is what /proc/<pid>/stat says of a process.
type procStat struct {
	state     byte // 'Z' is a zombie
	group     int
	startTime uint64 // in clock ticks since boot; with the pid it is unique
}

// readStat reads /proc/<pid>/stat; see proc_pid_stat(5).
func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return parseStat(string(text))
}

func parseStat(text string) (procStat, error) {
	// The name of the program stands in parentheses and may hold anything.
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return procStat{}, errors.New("stat of a process: no program name")
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return procStat{}, errors.New("stat of a process: too few fields")
	}
	group, err := strconv.Atoi(fields[2])
	if err != nil {
		return procStat{}, fmt.Errorf("stat of a process: group: %w", err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("stat of a process: start time: %w", err)
	}
	return procStat{state: fields[0][0], group: group, startTime: start}, nil
}

// alive says whether the very process that was started then still runs.
func (p ProcessID) alive() bool {
	if p.PID <= 0 {
		return false
	}
	stat, err := readStat(p.PID)
	return err == nil && stat.startTime == p.StartTime && stat.state != 'Z'
}

// marked lists the processes whose environment carries the mark of the run:
// also those which left their process group. A process of another user, or one
// that hides its environment, is not seen.
func marked(runID string) ([]ProcessID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	mark := []byte(runVariable + "=" + runID)
	var found []ProcessID
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := readStat(pid)
		if err != nil || stat.state == 'Z' {
			continue // it ended meanwhile
		}
		env, err := os.ReadFile("/proc/" + entry.Name() + "/environ")
		if err != nil {
			continue // not ours, or it ended meanwhile
		}
		for pair := range bytes.SplitSeq(env, []byte{0}) {
			if bytes.Equal(pair, mark) {
				found = append(found, ProcessID{PID: pid, StartTime: stat.startTime})
				break
			}
		}
	}
	return found, nil
}
