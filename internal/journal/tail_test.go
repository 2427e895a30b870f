// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/journal"
)

// segmented is a journal of 40 records with an intent and a receipt in turn, about ten in a segment.
func segmented(t *testing.T) (dir string, places []journal.Place) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "journal")
	w, err := journal.Open(journal.Options{Dir: dir, SegmentBytes: 1200})
	require.NoError(t, err)
	for i := range 40 {
		at, place, err := w.AppendPlaced(kindOf(i), payloadOf(i))
		require.NoError(t, err)
		require.EqualValues(t, i+1, at.Seq)
		places = append(places, place)
	}
	require.NoError(t, w.Close())
	return dir, places
}

func kindOf(i int) journal.Kind { return journal.Kind(1 + i%2) }

func payloadOf(i int) []byte { return []byte(fmt.Sprintf("%d %s", i, strings.Repeat("x", 100))) }

func TestReadTail(t *testing.T) {
	dir, places := segmented(t)
	last := places[39].Segment
	require.Greater(t, last, uint32(3))
	for _, tt := range []struct {
		segments int
		first    uint32
	}{{1, last}, {2, last - 1}, {int(last), 1}, {100, 1}} {
		var read []journal.Place
		require.NoError(t, journal.ReadTail(dir, tt.segments, func(r journal.Record) error {
			require.Equal(t, payloadOf(int(r.Seq-1)), r.Payload)
			read = append(read, r.Place())
			return nil
		}))
		require.Equal(t, tt.first, read[0].Segment)
		require.Equal(t, places[40-len(read):], read)
	}
	none := filepath.Join(t.TempDir(), "none")
	require.NoError(t, os.Mkdir(none, 0o700))
	require.ErrorIs(t, journal.ReadTail(none, 1, func(journal.Record) error { return nil }), journal.ErrNoJournal)
	require.True(t, (&journal.Record{}).Place().IsZero())
}

func TestReadTailFindsWhatWasChanged(t *testing.T) {
	dir, places := segmented(t)
	change(t, dir, places[38], 30)
	var corrupt *journal.CorruptError
	require.ErrorAs(t, journal.ReadTail(dir, 2, func(journal.Record) error { return nil }), &corrupt)
}

// change turns a byte of a record around.
func change(t *testing.T, dir string, at journal.Place, by int64) {
	t.Helper()
	file, err := os.OpenFile(segmentFile(dir, at), os.O_RDWR, 0)
	require.NoError(t, err)
	defer file.Close()
	var b [1]byte
	_, err = file.ReadAt(b[:], at.Offset+by)
	require.NoError(t, err)
	b[0] ^= 1
	_, err = file.WriteAt(b[:], at.Offset+by)
	require.NoError(t, err)
}

func segmentFile(dir string, at journal.Place) string {
	return filepath.Join(dir, fmt.Sprintf("%08d.journal", at.Segment))
}

func TestReadAt(t *testing.T) {
	dir, places := segmented(t)
	for i, place := range places {
		require.False(t, place.IsZero())
		kind, payload, err := journal.ReadAt(dir, place)
		require.NoError(t, err)
		require.Equal(t, kindOf(i), kind)
		require.Equal(t, payloadOf(i), payload)
	}
	change(t, dir, places[7], 30)
	var corrupt *journal.CorruptError
	for name, at := range map[string]journal.Place{
		"changed": places[7], "behind the end": {Segment: places[39].Segment, Offset: 1 << 20},
		"between records": {Segment: 1, Offset: places[0].Offset + 9},
	} {
		_, _, err := journal.ReadAt(dir, at)
		require.ErrorAs(t, err, &corrupt, name)
	}
	_, _, err := journal.ReadAt(dir, journal.Place{Segment: 99})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFind(t *testing.T) {
	dir, places := segmented(t)
	found := map[string]bool{}
	require.NoError(t, journal.Find(dir, 2, func(at journal.Place, payload []byte) bool {
		_, same, err := journal.ReadAt(dir, at)
		require.NoError(t, err)
		require.Equal(t, payload, same)
		require.Contains(t, places, at)
		found[string(payload)] = true
		return false
	}))
	require.Len(t, found, 20)
	require.True(t, found[string(payloadOf(1))])
	require.False(t, found[string(payloadOf(2))])
	calls := 0
	require.NoError(t, journal.Find(dir, 2, func(journal.Place, []byte) bool { calls++; return true }))
	require.Equal(t, 1, calls, "enough is enough")

	change(t, dir, places[39], 30)
	require.NoError(t, os.Truncate(segmentFile(dir, places[39]), places[39].Offset+40))
	clear(found)
	require.NoError(t, journal.Find(dir, 2, func(_ journal.Place, payload []byte) bool {
		found[string(payload)] = true
		return false
	}))
	require.Len(t, found, 19, "one that is not whole is passed over")
}
