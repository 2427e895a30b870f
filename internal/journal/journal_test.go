// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
)

func TestWhatIsAppendedIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "journal")
	id := bytes.Repeat([]byte{7}, 16)
	w := open(t, journal.Options{Dir: dir, Rand: bytes.NewReader(id)})
	require.Equal(t, hex.EncodeToString(id), w.ID())
	require.Zero(t, w.Cut())

	payloads := [][]byte{[]byte("intent"), {}, bytes.Repeat([]byte("x"), journal.MaxPayload), []byte("receipt")}
	kinds := []journal.Kind{journal.KindIntent, journal.KindCertificates, journal.KindReceipt, 200}
	chain := sha256.Sum256(append([]byte("custody journal v1"), id...))
	var want []journal.Position
	for i, p := range payloads {
		at, err := w.Append(kinds[i], p)
		require.NoError(t, err)
		in := append(chain[:], byte(kinds[i]))
		in = binary.LittleEndian.AppendUint32(in, uint32(len(p)))
		chain = sha256.Sum256(append(in, p...))
		require.Equal(t, journal.Position{Seq: uint64(i + 1), Chain: chain}, at)
		want = append(want, at)
	}
	require.NoError(t, w.Close())

	records, err := read(dir)
	require.NoError(t, err)
	require.Len(t, records, len(payloads))
	offset := int64(journal.HeaderSize)
	for i, r := range records {
		require.Equal(t, want[i], r.Position)
		require.Equal(t, kinds[i], r.Kind)
		require.True(t, bytes.Equal(payloads[i], r.Payload))
		require.Equal(t, "00000001.journal", r.Segment)
		require.Equal(t, offset, r.Offset)
		offset += int64(journal.FrameSize + len(r.Payload))
	}

	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(dir, "00000001.journal"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestReopenContinues(t *testing.T) {
	dir := t.TempDir()
	id := ""
	for i := range 20 { // the segment size makes segments end both within and at the end of a run
		w := open(t, journal.Options{Dir: dir, SegmentBytes: 200})
		if id != "" {
			require.Equal(t, id, w.ID())
		}
		id = w.ID()
		for range i % 3 {
			_, err := w.Append(journal.KindReceipt, []byte("a receipt, so to say"))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
	}
	var last journal.Record
	info, err := journal.ReadInfo(dir, func(r journal.Record) error {
		require.Equal(t, last.Seq+1, r.Seq)
		last = r
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, journal.Info{ID: id, Head: last.Position}, info)
	require.EqualValues(t, 19, last.Seq)
	require.NotEqual(t, "00000001.journal", last.Segment)
}

func Test64Writers(t *testing.T) {
	const writers, each = 64, 50
	for _, durability := range []journal.Durability{journal.DurabilityGroup, journal.DurabilitySync} {
		t.Run(string(durability), func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, journal.Options{Dir: dir, Durability: durability, SegmentBytes: 4096})
			acknowledged := make([]map[uint64]string, writers)
			failures := make([]error, writers)
			var group sync.WaitGroup
			for n := range writers {
				acknowledged[n] = map[uint64]string{}
				group.Go(func() {
					for i := range each {
						payload := fmt.Sprintf("writer %d record %d", n, i)
						at, err := w.Append(journal.KindIntent, []byte(payload))
						if err != nil {
							failures[n] = err
							return
						}
						acknowledged[n][at.Seq] = payload
					}
				})
			}
			group.Wait()
			require.NoError(t, errors.Join(failures...))
			require.NoError(t, w.Close())

			records, err := read(dir)
			require.NoError(t, err)
			require.Len(t, records, writers*each)
			for _, mine := range acknowledged {
				for seq, payload := range mine {
					require.Equal(t, payload, string(records[seq-1].Payload))
				}
			}
		})
	}
}

func TestReadWhileWriting(t *testing.T) {
	const records = 4000
	dir := t.TempDir()
	w := open(t, journal.Options{Dir: dir, SegmentBytes: 10_000})
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < records && err == nil; i++ {
			_, err = w.Append(journal.KindIntent, bytes.Repeat([]byte("x"), i%200))
		}
		written <- err
	}()
	var before uint64
	for before < records {
		info, err := journal.ReadInfo(dir, func(journal.Record) error { return nil })
		require.NoError(t, err)
		require.GreaterOrEqual(t, info.Head.Seq, before)
		before = info.Head.Seq
	}
	require.NoError(t, <-written)
	require.NoError(t, w.Close())
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	w := open(t, journal.Options{Dir: dir})
	_, err := journal.Open(journal.Options{Dir: dir})
	require.ErrorIs(t, err, journal.ErrLocked)
	require.ErrorContains(t, err, "process "+strconv.Itoa(os.Getpid())+")")
	require.NoError(t, w.Close())
	require.NoError(t, open(t, journal.Options{Dir: dir}).Close())
}

func TestClosed(t *testing.T) {
	w := open(t, journal.Options{Dir: t.TempDir()})
	require.NoError(t, w.Close())
	require.ErrorIs(t, w.Close(), journal.ErrClosed)
	_, err := w.Append(journal.KindIntent, nil)
	require.ErrorIs(t, err, journal.ErrClosed)
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, options := range map[string]journal.Options{
		"no folder":      {},
		"durability":     {Dir: t.TempDir(), Durability: "none"},
		"segment size":   {Dir: t.TempDir(), SegmentBytes: -1},
		"not a folder":   {Dir: file},
		"no randomness":  {Dir: t.TempDir(), Rand: bytes.NewReader(nil)},
		"below the file": {Dir: filepath.Join(file, "x")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := journal.Open(options)
			require.Error(t, err)
		})
	}
}

func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	w := open(t, journal.Options{Dir: dir})
	_, err := w.Append(journal.KindIntent, make([]byte, journal.MaxPayload+1))
	require.ErrorIs(t, err, journal.ErrTooLarge)
	at, err := w.Append(journal.KindIntent, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, at.Seq)
	require.NoError(t, w.Close())
}

func TestReadEndsWithTheVisit(t *testing.T) {
	dir := t.TempDir()
	write(t, journal.Options{Dir: dir}, 5)
	enough := errors.New("enough")
	var seen int
	err := journal.Read(dir, func(journal.Record) error {
		if seen++; seen == 3 {
			return enough
		}
		return nil
	})
	require.Equal(t, enough, err)
	require.Equal(t, 3, seen)
}

func TestReadNothing(t *testing.T) {
	_, err := read(t.TempDir())
	require.ErrorIs(t, err, journal.ErrNoJournal)
	_, err = read(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, os.ErrNotExist)

	dir := t.TempDir()
	write(t, journal.Options{Dir: dir}, 0)
	records, err := read(dir)
	require.NoError(t, err)
	require.Empty(t, records)
}

// A segment that was removed takes writes without an error, and they are nowhere.
func TestRemovedSegmentFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	w := open(t, journal.Options{Dir: dir})
	_, err := w.Append(journal.KindReceipt, []byte("one"))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	for range 2 {
		_, err = w.Append(journal.KindReceipt, []byte("two"))
		require.ErrorIs(t, err, journal.ErrFailed)
		require.ErrorContains(t, err, "00000001.journal was removed")
	}
}
