// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
)

// ends gives the offsets in the first segment at which a record ends, the header included.
func ends(t *testing.T, dir string) []int64 {
	t.Helper()
	records, err := read(dir)
	require.NoError(t, err)
	offsets := []int64{int64(journal.HeaderSize)}
	for _, r := range records {
		offsets = append(offsets, r.Offset+int64(journal.FrameSize+len(r.Payload)))
	}
	return offsets
}

func TestTornTailAtEveryByte(t *testing.T) {
	origin := t.TempDir()
	write(t, journal.Options{Dir: origin}, 4)
	whole, err := os.ReadFile(filepath.Join(origin, "00000001.journal"))
	require.NoError(t, err)
	boundaries := ends(t, origin)

	for size := range len(whole) + 1 {
		dir := t.TempDir()
		path := filepath.Join(dir, "00000001.journal")
		require.NoError(t, os.WriteFile(path, whole[:size], 0o600))
		if size < journal.HeaderSize { // a header is put in place whole, so this was never a crash
			var corrupt *journal.CorruptError
			_, err := journal.Open(journal.Options{Dir: dir})
			require.ErrorAs(t, err, &corrupt)
			continue
		}
		complete, _ := slices.BinarySearch(boundaries, int64(size)+1)
		complete-- // the header is no record
		end := boundaries[complete]
		torn := int64(size) - end

		info, err := journal.ReadInfo(dir, func(journal.Record) error { return nil })
		require.NoError(t, err)
		require.Equal(t, torn, info.Torn)
		require.EqualValues(t, complete, info.Head.Seq)

		w := open(t, journal.Options{Dir: dir})
		if torn == 0 {
			require.Zero(t, w.Cut())
		} else {
			require.Equal(t, journal.Cut{Segment: "00000001.journal", Offset: end, Bytes: torn}, w.Cut())
		}
		at, err := w.Append(journal.KindReceipt, []byte("after"))
		require.NoError(t, err)
		require.EqualValues(t, complete+1, at.Seq)
		require.NoError(t, w.Close())
		records, err := read(dir)
		require.NoError(t, err)
		require.Len(t, records, complete+1)
		require.Equal(t, "after", string(records[complete].Payload))
	}
}

func TestEveryFlippedByteIsNamed(t *testing.T) {
	dir := t.TempDir()
	write(t, journal.Options{Dir: dir, SegmentBytes: 100}, 6)
	records, err := read(dir)
	require.NoError(t, err)
	segments, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	require.NoError(t, err)
	require.Greater(t, len(segments), 2)

	for _, path := range segments {
		name := filepath.Base(path)
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		for i := range whole {
			for _, mask := range []byte{0x01, 0x80, 0xff} {
				changed := bytes.Clone(whole)
				changed[i] ^= mask
				require.NoError(t, os.WriteFile(path, changed, 0o600))
				var want int64 // the header, or the record that holds the byte
				for _, r := range records {
					if r.Segment == name && r.Offset <= int64(i) {
						want = r.Offset
					}
				}
				_, err := read(dir)
				var corrupt *journal.CorruptError
				require.ErrorAsf(t, err, &corrupt, "%s byte %d mask %#x", name, i, mask)
				require.Equal(t, name, corrupt.Segment)
				require.Equalf(t, want, corrupt.Offset, "byte %d", i)
				require.ErrorContains(t, err, name)
			}
		}
		require.NoError(t, os.WriteFile(path, whole, 0o600))
	}
	_, err = read(dir)
	require.NoError(t, err)
}

func TestOpenNeverCutsACompleteRecord(t *testing.T) {
	dir := t.TempDir()
	write(t, journal.Options{Dir: dir}, 3)
	path := filepath.Join(dir, "00000001.journal")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	last := int(ends(t, dir)[2])
	for i := last; i < len(whole); i++ {
		changed := bytes.Clone(whole)
		changed[i] ^= 0x40
		require.NoError(t, os.WriteFile(path, changed, 0o600))
		_, err := journal.Open(journal.Options{Dir: dir})
		var corrupt *journal.CorruptError
		require.ErrorAsf(t, err, &corrupt, "byte %d", i)
		require.Equal(t, int64(last), corrupt.Offset)
		require.EqualValues(t, 3, corrupt.Seq)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, changed, after)
	}
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	require.NoError(t, open(t, journal.Options{Dir: dir}).Close(), "the lock was let go after each error")
}

func TestRecordsMoved(t *testing.T) {
	origin := t.TempDir()
	write(t, journal.Options{Dir: origin}, 4)
	whole, err := os.ReadFile(filepath.Join(origin, "00000001.journal"))
	require.NoError(t, err)
	at := ends(t, origin)
	part := func(i int) []byte { return whole[at[i]:at[i+1]] }
	head := whole[:at[0]]
	for _, tt := range []struct {
		name string
		text []byte
		seq  uint64
	}{
		{"exchanged", slices.Concat(head, part(0), part(2), part(1), part(3)), 2},
		{"removed", slices.Concat(head, part(0), part(2), part(3)), 2},
		{"first removed", slices.Concat(head, part(1), part(2), part(3)), 1},
		{"repeated", slices.Concat(head, part(0), part(1), part(1), part(2), part(3)), 3},
		{"repeated at the end", slices.Concat(whole, part(3)), 5},
		{"torn in the middle", slices.Concat(head, part(0), part(1)[:20], part(2), part(3)), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "00000001.journal"), tt.text, 0o600))
			records, err := read(dir)
			var corrupt *journal.CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.Equal(t, tt.seq, corrupt.Seq)
			require.Len(t, records, int(tt.seq-1))
		})
	}
}

func TestSegmentsMoved(t *testing.T) {
	name := func(dir string, n string) string { return filepath.Join(dir, "0000000"+n+".journal") }
	for _, tt := range []struct {
		name    string
		change  func(dir string) error
		segment string
	}{
		{"first removed", func(dir string) error { return os.Remove(name(dir, "1")) }, "00000001.journal"},
		{"middle removed", func(dir string) error { return os.Remove(name(dir, "3")) }, "00000003.journal"},
		{"exchanged", func(dir string) error {
			return errors.Join(os.Rename(name(dir, "2"), name(dir, "x")), os.Rename(name(dir, "3"), name(dir, "2")),
				os.Rename(name(dir, "x"), name(dir, "3")))
		}, "00000002.journal"},
		{"renamed to close the gap", func(dir string) error {
			return os.Rename(name(dir, "3"), name(dir, "2"))
		}, "00000002.journal"},
		{"of another journal", func(dir string) error {
			other := t.TempDir()
			write(t, journal.Options{Dir: other, SegmentBytes: 100}, 8)
			return os.Rename(name(other, "3"), name(dir, "3"))
		}, "00000003.journal"},
		{"first of another journal", func(dir string) error {
			other := t.TempDir()
			write(t, journal.Options{Dir: other, SegmentBytes: 100}, 8)
			return os.Rename(name(other, "1"), name(dir, "1"))
		}, "00000002.journal"},
		{"cut short in the middle", func(dir string) error {
			return os.Truncate(name(dir, "2"), int64(journal.HeaderSize))
		}, "00000003.journal"},
		{"torn in the middle", func(dir string) error {
			return os.Truncate(name(dir, "2"), int64(journal.HeaderSize)+20)
		}, "00000002.journal"},
		{"emptied", func(dir string) error { return os.Truncate(name(dir, "2"), 0) }, "00000002.journal"},
		{"file with a name not ours", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "2.journal"), nil, 0o600)
		}, "2.journal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, journal.Options{Dir: dir, SegmentBytes: 100}, 8)
			require.NoError(t, tt.change(dir))
			_, err := read(dir)
			var corrupt *journal.CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.Equal(t, tt.segment, corrupt.Segment)
		})
	}
	t.Run("open counts", func(t *testing.T) {
		dir := t.TempDir()
		write(t, journal.Options{Dir: dir, SegmentBytes: 100}, 8)
		require.NoError(t, os.Remove(name(dir, "2")))
		_, err := journal.Open(journal.Options{Dir: dir})
		var corrupt *journal.CorruptError
		require.ErrorAs(t, err, &corrupt)
	})
}

func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	write(f, journal.Options{Dir: dir, Rand: bytes.NewReader(make([]byte, 16))}, 3)
	whole, err := os.ReadFile(filepath.Join(dir, "00000001.journal"))
	require.NoError(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(whole[:journal.HeaderSize])
	f.Add(append(bytes.Clone(whole), make([]byte, 40)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, segment []byte) {
		var records []journal.Record
		end, info, err := journal.ReadSegment(segment, func(r journal.Record) error {
			r.Payload = bytes.Clone(r.Payload)
			records = append(records, r)
			return nil
		})
		if err != nil {
			var corrupt *journal.CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.LessOrEqual(t, corrupt.Offset, int64(len(segment)))
			return
		}
		require.Equal(t, int64(len(segment)), end+info.Torn)
		id, err := hex.DecodeString(info.ID)
		require.NoError(t, err)
		require.Equal(t, segment[:end], journal.EncodeSegment([16]byte(id), records))
	})
}

// A segment that is a pipe would be waited for, for ever; a link to a file is read as the file.
func TestSegmentThatIsNoFile(t *testing.T) {
	read := func(dir string) error { return journal.Read(dir, func(journal.Record) error { return nil }) }
	for _, tt := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"a pipe", func(path string) error { return unix.Mkfifo(path, 0o600) }, "it is no file"},
		{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }, "it is no file"},
		{"a link to a pipe", func(path string) error {
			return errors.Join(unix.Mkfifo(path+".pipe", 0o600), os.Symlink(path+".pipe", path))
		}, "it is no file"},
		{"a link to a file", func(path string) error {
			return errors.Join(os.WriteFile(path+".file", nil, 0o600), os.Symlink(path+".file", path))
		}, "file ends within the header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, tt.make(filepath.Join(dir, "00000001.journal")))
			var corrupt *journal.CorruptError
			require.ErrorAs(t, read(dir), &corrupt)
			require.Equal(t, "00000001.journal", corrupt.Segment)
			require.Equal(t, tt.want, corrupt.Reason)
		})
	}
}
