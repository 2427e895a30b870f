// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/internal/rate"
)

func child(role, file string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], file)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	return cmd
}

// Limits of the child process. The pipe that it writes to holds some thousand lines, so that it does not come to the
// first.
var (
	sharedLimit = rate.Limit{Count: 60_000, Per: time.Hour}
	ownLimit    = rate.Limit{Count: 10, Per: time.Hour}
)

// takeUntilKilled runs in a child process: every line is a call that was allowed.
func takeUntilKilled(file string) error {
	clock := &testClock{}
	clock.set(start)
	l, err := rate.New(rate.Options{File: file, Now: clock.Now})
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	for n := range 16 {
		group.Go(func() {
			for i := 0; ; i++ {
				own := fmt.Sprintf("%d-%d-%d", os.Getpid(), n, i/ownLimit.Count) // new keys keep coming
				ok, _, _, err := l.Take(rate.Claim{Key: "shared", Limit: sharedLimit}, rate.Claim{Key: own, Limit: ownLimit})
				if err != nil || !ok {
					panic(fmt.Sprint(ok, err))
				}
				fmt.Println(own)
			}
		})
	}
	group.Wait()
	return nil
}

func TestKillLosesNothing(t *testing.T) {
	file := newFile(t)
	told := 0
	for round := range 3 {
		cmd := child("taker", file)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		in := bufio.NewReader(stdout)
		lines, allowed := 0, map[string]int{}
		for {
			line, err := in.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break // a line that is not whole was not told to anyone
			}
			require.NoError(t, err)
			allowed[strings.TrimSuffix(line, "\n")]++
			if lines++; lines == 3000 {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.Error(t, cmd.Wait())
		require.GreaterOrEqual(t, lines, 3000)
		told += lines

		l, _ := kept(t, copyOf(t, file), 0)
		left, _ := drain(t, l, rate.Claim{Key: "shared", Limit: sharedLimit})
		require.LessOrEqual(t, left, sharedLimit.Count-told)
		require.GreaterOrEqual(t, left, sharedLimit.Count-told-16*(round+1), "each may have one more that it did not tell")
		for key, times := range allowed {
			left, _ := drain(t, l, rate.Claim{Key: key, Limit: ownLimit})
			require.LessOrEqual(t, left, ownLimit.Count-times, key)
		}
	}
}

// /dev/full takes no write.
func TestFailedWriteAllowsNothing(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 0)
	a, b := claim(t, "a", "5/minute"), claim(t, "b", "5/minute")
	for range 2 {
		ok, _, _, err := l.Take(a)
		require.NoError(t, err)
		require.True(t, ok)
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	require.NoError(t, err)
	good := l.SwapFile(full)
	for range 10 {
		ok, which, _, err := l.Take(a, b)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.False(t, ok)
		require.Equal(t, -1, which)
		require.Equal(t, 1, l.Keys())
	}
	require.NoError(t, full.Close())
	_, _, _, err = l.Take(a)
	require.ErrorIs(t, err, os.ErrClosed)

	l.SwapFile(good)
	taken, _ := drain(t, l, a)
	require.Equal(t, 3, taken, "what was refused was not charged")
	taken, _ = drain(t, l, b)
	require.Equal(t, 5, taken)
	require.NoError(t, l.Close())
	l = reopen(t, file, 0, clock)
	for _, c := range []rate.Claim{a, b} {
		taken, _ = drain(t, l, c)
		require.Zero(t, taken)
	}
}

// hitFileSizeLimit runs in a child process, whose limit is its own.
func hitFileSizeLimit(file string) error {
	signal.Ignore(unix.SIGXFSZ)
	limit := func(bytes uint64) error {
		return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY})
	}
	const whole = 9 // slots, and a piece of another
	if err := limit((1+whole)*rate.SlotSize + 20); err != nil {
		return err
	}
	clock := &testClock{}
	clock.set(start)
	options := rate.Options{File: file, Now: clock.Now}
	l, err := rate.New(options)
	if err != nil {
		return err
	}
	take := func(key string) error {
		ok, _, _, err := l.Take(rate.Claim{Key: key, Limit: ownLimit})
		if ok != (err == nil) {
			return fmt.Errorf("allowed: %t, error: %w", ok, err)
		}
		return err
	}
	for n := range whole {
		if err := take(fmt.Sprint(n)); err != nil {
			return err
		}
	}
	for n := range 5 {
		if err := take(fmt.Sprint("over ", n)); !errors.Is(err, syscall.EFBIG) {
			return fmt.Errorf("over the limit the error is %w", err)
		}
		if err := take(fmt.Sprint(n)); err != nil {
			return fmt.Errorf("a key that has its slot: %w", err)
		}
	}
	if err := l.Close(); err != nil {
		return err
	}
	for range 2 { // with a piece of a slot at the end, and without
		if l, err = rate.New(options); err != nil {
			return err
		}
		if err := errors.Join(take("0"), limit(unix.RLIM_INFINITY), take("over 0"), l.Close()); err != nil {
			return err
		}
	}
	info, err := os.Stat(file)
	if err == nil && info.Size() != (2+whole)*rate.SlotSize {
		err = fmt.Errorf("the file has %d bytes", info.Size())
	}
	return err
}

func TestFileSizeLimit(t *testing.T) {
	out, err := child("limited", newFile(t)).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}

// A file that cannot be begun leaves no piece of a header behind.
func TestNoRoomForTheHeader(t *testing.T) {
	file := newFile(t)
	out, err := child("headerless", file).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	l, _ := kept(t, file, 0)
	require.Zero(t, l.Keys())
}

func failToBegin(file string) error {
	signal.Ignore(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 20, Max: 20}); err != nil {
		return err
	}
	if _, err := rate.New(rate.Options{File: file, Now: time.Now}); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("the error is %w", err)
	}
	return nil
}

func TestTogetherWithFile(t *testing.T) {
	file := newFile(t)
	l, clock := kept(t, file, 0)
	a, b := claim(t, "a", "600/minute"), claim(t, "b", "500/hour")
	require.EqualValues(t, 500, together(t, l, 20, a, b))
	require.NoError(t, l.Close())
	l = reopen(t, file, 0, clock)
	taken, _ := drain(t, l, a)
	require.Equal(t, 100, taken)
	taken, _ = drain(t, l, b)
	require.Zero(t, taken)
}
