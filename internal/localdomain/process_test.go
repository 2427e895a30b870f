// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package localdomain

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// shell starts a script; its lines go to the buffer, too.
func shell(t *testing.T, s *spawner, script string, env environment) (*process, *bytes.Buffer) {
	t.Helper()
	var shown bytes.Buffer
	p, err := s.startProcess(processSpec{
		part: "script", program: "/bin/sh", args: []string{"-c", script}, dir: t.TempDir(), env: env,
		logFile: filepath.Join(t.TempDir(), "log"), prefix: "== script == ",
	}, &console{out: &shown})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, p.signal(sigKill))
		<-p.done
	})
	return p, &shown
}

func TestProcessOutputAndOutcome(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	for _, tc := range []struct {
		script, outcome string
		ok              bool
	}{
		{"exit 0", "exited with status 0", true},
		{"exit 3", "exited with status 3", false},
		{"kill -9 $$", "was killed by signal 9 (killed)", false},
	} {
		p, shown := shell(t, s, "echo out; echo err >&2; printf 'no newline'; "+tc.script, nil)
		<-p.done
		require.NoError(t, p.outputErr)
		require.Equal(t, tc.ok, p.ok())
		require.Equal(t, tc.outcome, p.outcome())
		require.True(t, p.ended())
		require.Equal(t, "== script == out\n== script == err\n== script == no newline\n", shown.String())
		text, err := os.ReadFile(p.log)
		require.NoError(t, err)
		require.Equal(t, "out\nerr\nno newline\n", string(text))
		require.Equal(t, &PartError{Part: "script", Reason: "why", Log: []string{"out", "err", "no newline"}}, p.failure("why"))
		require.NoError(t, p.signal(sigKill), "a signal to what has ended is harmless")
	}
}

func TestFailureQuotesTheLastLines(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	p, _ := shell(t, s, "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; done; head -c 200000 /dev/zero | tr '\\0' x", nil)
	<-p.done
	lines := p.failure("x").Log
	require.Len(t, lines, tailLines)
	for _, line := range lines {
		require.LessOrEqual(t, len(line), maxTailLine)
	}
	info, err := os.Stat(p.log)
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(200000), "the file holds all")
}

// Why a service fails stands before all that it says on its way out.
func TestFailureQuotesWarningsAndErrors(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	steps := "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo \"time=x level=info msg=\\\"step $i, no level=error\\\"\"; done; "
	for _, tc := range []struct {
		name, script string
		want         []string
	}{
		{
			"logfmt", "echo 'time=\"1\" level=warning msg=\"not YAML\"'; " + steps + "echo 'time=\"2\" level=fatal msg=gone'",
			[]string{`time="1" level=warning msg="not YAML"`, `time="2" level=fatal msg=gone`},
		},
		{
			"JSON, and a stack", `echo '{"level":"panic","error":"no space left on device"}'; ` + steps + `echo 'panic: failed'; echo main.go:7`,
			[]string{`{"level":"panic","error":"no space left on device"}`, "panic: failed", "main.go:7"},
		},
		{"slog", "echo level=ERROR msg=a; " + steps, []string{"level=ERROR msg=a"}},
		{"nothing but steps", "echo level=info msg=a; echo b", []string{"level=info msg=a", "b"}},
		{"no levels", "echo a; echo b", []string{"a", "b"}},
		{"nothing", ":", nil},
	} {
		p, _ := shell(t, s, tc.script, nil)
		<-p.done
		require.Equal(t, tc.want, p.failure("x").Log, tc.name)
	}
	p, _ := shell(t, s, "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo level=error msg=$i; done; "+steps, nil)
	<-p.done
	lines := p.failure("x").Log
	require.Len(t, lines, loudLines)
	require.Equal(t, "level=error msg=40", lines[loudLines-1])
}

// A sidecar that gets no component fails with what the component server says of it; nothing else does.
func TestFailureOfASidecarQuotesTheComponentServer(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	server, _ := shell(t, s, "echo level=info msg=serves; echo 'level=warning msg=\"no route to the database\"'; echo level=info msg=more", nil)
	<-server.done
	server.part = serverPart
	d := &Domain{processes: []*process{server}}
	said := func(d *Domain, part string) []string {
		err := d.heard(fmt.Errorf("wrapped: %w", &PartError{Part: part, Log: []string{"level=fatal"}}))
		var failed *PartError
		require.ErrorAs(t, err, &failed)
		return failed.Log
	}
	require.Equal(t, []string{"level=fatal", `component server: level=warning msg="no route to the database"`}, said(d, "daprd of shop"))
	require.Equal(t, []string{"level=fatal"}, said(d, "app shop"))
	require.Equal(t, []string{"level=fatal"}, said(&Domain{}, "daprd of shop"))
	require.ErrorIs(t, d.heard(errStopped), errStopped)
}

func TestMissingProgram(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	_, err := s.startProcess(processSpec{part: "ghost", program: "/none", logFile: filepath.Join(t.TempDir(), "log")}, nil)
	require.ErrorContains(t, err, "start ghost: ")
}

// grandchildren gives a script that leaves three behind and tells their pids:
// one in its group that ignores SIGTERM, one deaf as well, one with an own
// session.
const grandchildren = `
(trap '' TERM; while :; do sleep 100; done) & echo $!
sleep 100 & echo $!
setsid sleep 100 & echo $!
`

func pids(t *testing.T, p *process, n int) []ProcessID {
	t.Helper()
	var lines []string
	require.Eventually(t, func() bool { lines = p.out.lastLines(); return len(lines) == n }, 10*time.Second, time.Millisecond)
	var found []ProcessID
	for _, line := range lines {
		pid, err := strconv.Atoi(line)
		require.NoError(t, err)
		stat, err := readStat(pid)
		require.NoError(t, err)
		found = append(found, ProcessID{PID: pid, StartTime: stat.startTime})
	}
	return found
}

func TestEndOfTheLeaderEndsItsGroup(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	mark := "test-" + strconv.Itoa(os.Getpid()) + "-group"
	p, _ := shell(t, s, grandchildren+"wait", environment{runVariable: mark, "PATH": os.Getenv("PATH")})
	left := pids(t, p, 3)
	require.Eventually(t, func() bool {
		stat, err := readStat(left[2].PID)
		return err == nil && stat.group == left[2].PID
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, p.id.signal(sigKill))
	<-p.done
	require.Eventually(t, func() bool { return !left[0].alive() && !left[1].alive() }, 10*time.Second, time.Millisecond)

	// What has a session of its own is found by its mark.
	require.True(t, left[2].alive())
	found, err := marked(mark)
	require.NoError(t, err)
	require.Contains(t, found, left[2])
	require.NoError(t, killLeftovers(t.Context(), mark, nil))
	require.False(t, left[2].alive())
}

// onThread runs f on a thread that ends with it and gives the thread's number.
func onThread(f func()) int {
	number := make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() { // the first thread never ends; it is taken now, so the next is another
			number <- onThread(f)
			return
		}
		f()
		number <- unix.Gettid()
	}()
	return <-number
}

func TestChildrenOutliveTheThreadThatAskedForThem(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	var p *process
	thread := onThread(func() {
		p, _ = shell(t, s, "sleep 100", environment{"PATH": os.Getenv("PATH")})
	})
	require.Eventually(t, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
		return errors.Is(err, os.ErrNotExist)
	}, 10*time.Second, time.Millisecond)
	require.True(t, p.id.alive())
}

func TestKillLeftoversSparesAStrangerWithTheSameNumber(t *testing.T) {
	t.Parallel()
	s := newSpawner()
	defer s.close()
	p, _ := shell(t, s, "echo $$; sleep 100", environment{"PATH": os.Getenv("PATH")})
	pids(t, p, 1)
	reused := ProcessID{PID: p.id.PID, StartTime: p.id.StartTime - 1} // as if an older process had had the number
	require.False(t, reused.alive())
	require.NoError(t, killLeftovers(t.Context(), "no-such-run", []ProcessID{reused}))
	require.True(t, p.id.alive())

	require.NoError(t, killLeftovers(t.Context(), "no-such-run", []ProcessID{p.id}))
	<-p.done
	require.False(t, p.id.alive())
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	tail := " S 1 42 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 987654 1 1"
	for _, name := range []string{"(sh)", "(a b)", "(a) S 1 7 (x)", "()"} {
		stat, err := parseStat("77 " + name + tail)
		require.NoError(t, err)
		require.Equal(t, procStat{state: 'S', group: 42, startTime: 987654}, stat)
	}
	for _, bad := range []string{"", "77 sh S 1", "77 (sh)", "77 (sh) S 1 x 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 987654 1", "77 (sh)" + strings.Replace(tail, "987654", "-1", 1)} {
		_, err := parseStat(bad)
		require.Error(t, err, bad)
	}
	own, err := readStat(os.Getpid())
	require.NoError(t, err)
	require.True(t, ProcessID{PID: os.Getpid(), StartTime: own.startTime}.alive())
	require.False(t, ProcessID{PID: 0, StartTime: 0}.alive())
	require.False(t, ProcessID{PID: -1}.alive())
}

func FuzzParseStat(f *testing.F) {
	f.Add("77 (sh) S 1 42 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 987654 1 1")
	f.Add(")")
	f.Fuzz(func(t *testing.T, text string) {
		if stat, err := parseStat(text); err == nil {
			require.NotZero(t, stat.state)
		}
	})
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	none, err := Runs(home)
	require.NoError(t, err)
	require.Empty(t, none)

	own, err := readStat(os.Getpid())
	require.NoError(t, err)
	me := ProcessID{PID: os.Getpid(), StartTime: own.startTime}
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, run := range []Run{
		{Custody: me, Ready: true, File: "/a/dapr.yaml"},
		{Custody: me, File: "/a/dapr.yaml"},
		{Custody: ProcessID{PID: me.PID, StartTime: me.StartTime + 1}, Ready: true, File: "/b/dapr.yaml"},
		{Custody: me, Ended: &began},
	} {
		var err error
		run.ID, run.Dir, err = newRunDir(home, fmt.Sprintf("my run/%d", i))
		require.NoError(t, err)
		require.Regexp(t, `^myrun\d-[0-9a-f]{8}$`, run.ID)
		run.Started = began.Add(time.Duration(i) * time.Hour)
		require.NoError(t, run.save())
	}
	runs, err := Runs(home)
	require.NoError(t, err)
	var states []string
	for _, run := range runs {
		states = append(states, run.Status())
	}
	require.Equal(t, []string{"running", "starting", "left", "kept"}, states)

	found, err := FindRuns(runs, "", "/a/dapr.yaml")
	require.NoError(t, err)
	require.Len(t, found, 2)
	found, err = FindRuns(runs, runs[2].ID, "")
	require.NoError(t, err)
	require.Equal(t, runs[2:3], found)
	_, err = FindRuns(runs, "", "")
	require.ErrorContains(t, err, "there are 4 runs")
	_, err = FindRuns(runs, "", "/c/dapr.yaml")
	require.ErrorIs(t, err, ErrNoRun)

	// A run that was left behind by a process whose number another has now.
	require.NoError(t, Down(t.Context(), runs[2]))
	require.NoDirExists(t, runs[2].Dir)
}

func TestDamagedRegistry(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":      "{",
		"other folder": `{"id": "x", "dir": "/etc"}`,
	} {
		home := t.TempDir()
		_, dir, err := newRunDir(home, name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "run.json"), []byte(text), 0o600))
		_, err = Runs(home)
		require.ErrorContains(t, err, dir)
	}
	for _, below := range []string{"", "runs"} {
		home := t.TempDir()
		open := filepath.Join(home, below)
		require.NoError(t, os.MkdirAll(filepath.Join(home, "runs"), 0o700))
		require.NoError(t, os.Chmod(open, 0o707))
		_, _, err := newRunDir(home, "x")
		require.ErrorContains(t, err, open+" may be written to by everybody (mode 0707)")
		_, err = Runs(home)
		require.ErrorContains(t, err, open+" may be written to by everybody (mode 0707)")
		require.NoError(t, os.Chmod(open, 0o775))
		_, _, err = newRunDir(home, "x")
		require.NoError(t, err)
	}
	_, _, err := newRunDir(filepath.Join(t.TempDir(), "a$b"), "x")
	require.ErrorContains(t, err, "must not contain a $")
	_, _, err = newRunDir("/dev/null", "x")
	require.ErrorContains(t, err, "mkdir /dev/null: not a directory; set CUSTODY_HOME to a folder that this user can write to")
}
