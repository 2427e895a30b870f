// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dapr-custody/custody/internal/journal"
)

// fillAndRecover appends until the write fails for want of room, has room made, and appends again.
func fillAndRecover(dir string, segmentBytes int64, want error, makeRoom func() error) error {
	w, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: segmentBytes})
	if err != nil {
		return err
	}
	acknowledged := 0
	payload := bytes.Repeat([]byte("p"), 3001) // no divisor of a page, so that a write fails half way
	for ; acknowledged < 10_000; acknowledged++ {
		if _, err = w.Append(journal.KindIntent, payload); err != nil {
			break
		}
	}
	if !errors.Is(err, want) {
		return fmt.Errorf("after %d records the error is %w, not %w", acknowledged, err, want)
	}
	for range 3 { // it stays so, and the earlier records stay whole
		if _, err := w.Append(journal.KindIntent, payload); !errors.Is(err, want) {
			return fmt.Errorf("a further append gives %w", err)
		}
		info, err := journal.ReadInfo(dir, func(journal.Record) error { return nil })
		if err != nil {
			return err
		}
		if info.Head.Seq != uint64(acknowledged) || info.Torn != 0 {
			return fmt.Errorf("%d records and %d bytes are there, %d were acknowledged",
				info.Head.Seq, info.Torn, acknowledged)
		}
	}
	if err := makeRoom(); err != nil {
		return err
	}
	at, err := w.Append(journal.KindReceipt, payload)
	if err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if at.Seq != uint64(acknowledged+1) {
		return fmt.Errorf("the record after the failure has seq %d, not %d", at.Seq, acknowledged+1)
	}
	if err := w.Close(); err != nil {
		return err
	}
	return journal.Read(dir, func(journal.Record) error { return nil })
}

func TestFullDisk(t *testing.T) {
	for name, segmentBytes := range map[string]int64{"in a segment": 0, "between segments": 20_000} {
		mount := t.TempDir()
		if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=256k"); errors.Is(err, unix.EPERM) {
			continue // TestFileSizeLimit does the same without privileges
		} else {
			require.NoError(t, err)
		}
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { require.NoError(t, unix.Unmount(mount, 0)) })
			ballast := filepath.Join(mount, "ballast")
			require.NoError(t, os.WriteFile(ballast, make([]byte, 64<<10), 0o600))
			require.NoError(t, fillAndRecover(filepath.Join(mount, "journal"), segmentBytes, syscall.ENOSPC,
				func() error { return os.Remove(ballast) }))
		})
	}
}

// hitFileSizeLimit runs in a child process, whose limit is its own.
func hitFileSizeLimit(dir string) error {
	signal.Ignore(unix.SIGXFSZ)
	limit := func(bytes uint64) error {
		return unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY})
	}
	if err := limit(100_000); err != nil {
		return err
	}
	return fillAndRecover(dir, 0, syscall.EFBIG, func() error { return limit(unix.RLIM_INFINITY) })
}

func child(role, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	return cmd
}

func TestFileSizeLimit(t *testing.T) {
	out, err := child("limited", t.TempDir()).CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
}

// writeUntilKilled runs in a child process: every line is an acknowledged record.
func writeUntilKilled(dir string) error {
	w, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: 64 << 10})
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	for n := range 16 {
		group.Go(func() {
			for i := 0; ; i++ {
				payload := fmt.Sprintf("writer %d record %d %s", n, i, strings.Repeat("x", i%500))
				at, err := w.Append(journal.KindIntent, []byte(payload))
				if err != nil {
					panic(err)
				}
				fmt.Printf("%d %s\n", at.Seq, payload)
			}
		})
	}
	group.Wait()
	return nil
}

func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		cmd := child("writer", dir)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		in := bufio.NewReader(stdout)
		acknowledged := map[uint64]string{}
		for killed := false; ; {
			line, err := in.ReadString('\n')
			if errors.Is(err, io.EOF) {
				break // a line that is not whole was not acknowledged to anyone
			}
			require.NoError(t, err)
			var seq uint64
			_, err = fmt.Sscanf(line, "%d ", &seq)
			require.NoError(t, err)
			_, payload, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			acknowledged[seq] = payload
			if len(acknowledged) == 3000 && !killed {
				require.NoError(t, cmd.Process.Kill())
				killed = true
			}
		}
		require.Error(t, cmd.Wait())
		require.GreaterOrEqual(t, len(acknowledged), 3000)

		w := open(t, journal.Options{Dir: dir, SegmentBytes: 64 << 10})
		require.NoError(t, w.Close())
		records, err := read(dir)
		require.NoError(t, err)
		for seq, payload := range acknowledged {
			require.LessOrEqual(t, seq, uint64(len(records)), "round %d", round)
			require.Equal(t, payload, string(records[seq-1].Payload))
		}
	}
}

// /dev/zero takes writes and refuses fsync.
func TestFailedSyncEndsTheWriter(t *testing.T) {
	for _, durability := range []journal.Durability{journal.DurabilityGroup, journal.DurabilitySync} {
		t.Run(string(durability), func(t *testing.T) {
			w := open(t, journal.Options{Dir: t.TempDir(), Durability: durability})
			zero, err := os.OpenFile("/dev/zero", os.O_RDWR, 0)
			require.NoError(t, err)
			good := w.SwapFile(zero)
			for err == nil { // group: the sync is in the background, and a later append shows it
				_, err = w.Append(journal.KindIntent, []byte("x"))
			}
			require.ErrorIs(t, err, journal.ErrFailed)
			require.ErrorIs(t, err, syscall.EINVAL)

			require.NoError(t, w.SwapFile(good).Close())
			_, err = w.Append(journal.KindIntent, []byte("x"))
			require.ErrorIs(t, err, journal.ErrFailed, "a file that works again proves nothing")
			require.NoError(t, w.Close())
		})
	}
}

// A pipe takes neither a write at an offset nor a truncation.
func TestFailedUndoEndsTheWriter(t *testing.T) {
	w := open(t, journal.Options{Dir: t.TempDir()})
	out, in, err := os.Pipe()
	require.NoError(t, err)
	good := w.SwapFile(in)
	_, err = w.Append(journal.KindIntent, []byte("x"))
	require.ErrorIs(t, err, journal.ErrFailed)
	w.SwapFile(good)
	require.NoError(t, errors.Join(in.Close(), out.Close()))
	_, err = w.Append(journal.KindIntent, []byte("x"))
	require.ErrorIs(t, err, journal.ErrFailed)
	require.NoError(t, w.Close())
}
