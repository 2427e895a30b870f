// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dapr-custody/custody/internal/rate"
)

// threeSlots is a file with the keys a, b and c, each used up.
func threeSlots(tb testing.TB) []byte {
	tb.Helper()
	file := newFile(tb)
	l, _ := kept(tb, file, 0)
	for _, key := range []string{"a", "b", "c"} {
		drain(tb, l, claim(tb, key, "2/hour"))
	}
	require.NoError(tb, l.Close())
	data, err := os.ReadFile(file)
	require.NoError(tb, err)
	require.Len(tb, data, 4*rate.SlotSize)
	return data
}

// set changes a slot, or the header as slot 0, and gives it its checksum again.
func set(data []byte, slot, at int, value ...byte) []byte {
	s := data[slot*rate.SlotSize : (slot+1)*rate.SlotSize]
	copy(s[at:], value)
	sum := rate.Sum((*[rate.SlotSize]byte)(s))
	binary.LittleEndian.PutUint32(s[rate.SlotSize-4:], sum)
	return data
}

func TestDamagedFileIsRefused(t *testing.T) {
	const size = rate.SlotSize
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
		offset int64
		reason string
	}{
		{"other file", func(b []byte) []byte {
			return []byte("#!/bin/sh\necho a file of someone else, longer than a header of ours\n")
		}, 0, "magic"},
		{"magic of a journal", func(b []byte) []byte { return set(b, 0, 7, 'j') }, 0, "magic"},
		{"half a header", func(b []byte) []byte { return b[:30] }, 0, "shorter than a header"},
		{"one byte", func(b []byte) []byte { return b[:1] }, 0, "shorter than a header"},
		{"header of zeros", func(b []byte) []byte { return append(make([]byte, size), b[size:]...) }, 0, "magic"},
		{"bit of the header", func(b []byte) []byte { b[13] ^= 1; return b }, 0, "checksum of the header"},
		{"later version", func(b []byte) []byte { return set(b, 0, 8, 2) }, 0, "format version 2 is not 1"},
		{"bit of a key", func(b []byte) []byte { b[size] ^= 1; return b }, size, "checksum of the slot"},
		{"bit of a time", func(b []byte) []byte { b[2*size+35] ^= 1; return b }, 2 * size, "checksum of the slot"},
		{"bit of the last", func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }, 3 * size, "checksum of the slot"},
		{"half a slot of zeros", func(b []byte) []byte { clear(b[2*size : 2*size+32]); return b }, 2 * size, "checksum of the slot"},
		{"a byte was put in", func(b []byte) []byte { return append(b[:size:size], append([]byte{0}, b[size:]...)...) }, size, "checksum of the slot"},
		{"no count", func(b []byte) []byte { return set(b, 2, 40, 0, 0, 0, 0) }, 2 * size, "limit 0/hour is not"},
		{"count too high", func(b []byte) []byte { return set(b, 1, 43, 0xff) }, size, "is not a count from 1 to 1000000"},
		{"no unit", func(b []byte) []byte { return set(b, 1, 44, 0, 0) }, size, "limit 2/0s is not"},
		{"other unit", func(b []byte) []byte { return set(b, 1, 44, 61, 0) }, size, "limit 2/1m1s is not"},
		{"time before 1970", func(b []byte) []byte { return set(b, 3, 39, 0xff) }, 3 * size, "is not after 1970"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := c.damage(threeSlots(t))
			file := fileOf(t, data)
			for range 2 {
				clock := &testClock{}
				clock.set(start)
				_, err := rate.New(rate.Options{File: file, Now: clock.Now})
				var corrupt *rate.CorruptError
				require.ErrorAs(t, err, &corrupt)
				require.Equal(t, file, corrupt.File)
				require.Equal(t, c.offset, corrupt.Offset)
				require.Contains(t, corrupt.Reason, c.reason)
				require.ErrorContains(t, err, file)
				require.ErrorContains(t, err, "remove the file")
				after, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Equal(t, data, after, "it is not touched, so that it stays refused")
			}
			require.NoError(t, os.Remove(file))
			l, _ := kept(t, file, 0)
			taken, _ := drain(t, l, claim(t, "a", "2/hour"))
			require.Equal(t, 2, taken, "removed, all begins anew")
		})
	}
}

// What a failed write or a power cut leaves behind: the rest counts.
func TestIncompleteFileIsTakenUp(t *testing.T) {
	const size = rate.SlotSize
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		want   map[string]int
	}{
		"whole":                {func(b []byte) []byte { return b }, map[string]int{"a": 0, "b": 0, "c": 0}},
		"piece of a new slot":  {func(b []byte) []byte { return append(b, b[size:size+63]...) }, map[string]int{"a": 0, "b": 0, "c": 0}},
		"one byte more":        {func(b []byte) []byte { return append(b, 7) }, map[string]int{"a": 0, "b": 0, "c": 0}},
		"piece of the last":    {func(b []byte) []byte { return b[:len(b)-1] }, map[string]int{"a": 0, "b": 0, "c": 2}},
		"zeros at the end":     {func(b []byte) []byte { return append(b, make([]byte, 10*size)...) }, map[string]int{"a": 0, "b": 0, "c": 0}},
		"zeros in between":     {func(b []byte) []byte { clear(b[size : 2*size]); return b }, map[string]int{"a": 2, "b": 0, "c": 0}},
		"nothing but a header": {func(b []byte) []byte { return b[:size] }, map[string]int{"a": 2, "b": 2, "c": 2}},
		"nothing":              {func([]byte) []byte { return nil }, map[string]int{"a": 2, "b": 2, "c": 2}},
		"others' order": {func(b []byte) []byte {
			return bytes.Join([][]byte{b[:size], b[3*size:], b[2*size : 3*size], b[size : 2*size]}, nil)
		}, map[string]int{"a": 0, "b": 0, "c": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			file := fileOf(t, c.damage(threeSlots(t)))
			l, clock := kept(t, file, 0)
			live := 0
			for key, want := range c.want {
				if want == 0 {
					live++
				}
				require.LessOrEqual(t, slots(t, file), 3)
				taken, _ := drain(t, l, claim(t, key, "2/hour"))
				require.Equal(t, want, taken, key)
			}
			require.NoError(t, l.Close())
			l = reopen(t, file, 0, clock)
			require.Equal(t, 3, l.Keys())
			require.Equal(t, 3, slots(t, file))
			require.LessOrEqual(t, live, 3)
		})
	}
}

func FuzzOpen(f *testing.F) {
	whole := threeSlots(f)
	for _, seed := range [][]byte{
		nil, whole, whole[:70], whole[:64], append(whole[:64:64], make([]byte, 200)...), set(bytes.Clone(whole), 1, 40, 9),
		append(whole[:128:128], whole[64:]...), set(bytes.Clone(whole), 2, 39, 0x7f), set(bytes.Clone(whole), 3, 36, 1),
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, sums bool) {
		if sums { // so that what is behind the checksums is reached
			data = bytes.Clone(data)
			for slot := range len(data) / rate.SlotSize {
				set(data, slot, 0)
			}
		}
		file := fileOf(t, data)
		clock := &testClock{}
		clock.set(start)
		l, err := rate.New(rate.Options{File: file, Now: clock.Now})
		if err != nil {
			var corrupt *rate.CorruptError
			require.ErrorAs(t, err, &corrupt)
			after, err := os.ReadFile(file)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, after))
			return
		}
		keys := l.Keys()
		require.Equal(t, keys, slots(t, file))
		for _, key := range []string{"a", "b", "c"} {
			taken, _ := drain(t, l, claim(t, key, "2/hour")) // which finds no more than 2
			require.LessOrEqual(t, taken, 2)
		}
		require.NoError(t, l.Close())
		l = reopen(t, file, 0, clock)
		require.GreaterOrEqual(t, l.Keys(), keys)
		for _, key := range []string{"a", "b", "c"} {
			taken, _ := drain(t, l, claim(t, key, "2/hour"))
			require.Zero(t, taken, "what was used up stays so")
		}
		require.NoError(t, l.Close())
	})
}
