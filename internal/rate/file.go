// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package rate

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	magic    = "custodyr"
	version  = 1
	slotSize = 64 // of the header too
	sumAt    = slotSize - 4
)

type slot = [slotSize]byte

func encodeHeader(s *slot, pid int) {
	*s = slot{}
	copy(s[:], magic)
	binary.LittleEndian.PutUint16(s[8:], version)
	binary.LittleEndian.PutUint32(s[12:], uint32(pid))
	binary.LittleEndian.PutUint32(s[sumAt:], checksum(s))
}

// decodeHeader gives the reason if it is not one.
func decodeHeader(s *slot) (pid uint32, reason string) {
	switch {
	case string(s[:len(magic)]) != magic:
		return 0, "does not begin with the magic of a file of rate limits"
	case binary.LittleEndian.Uint32(s[sumAt:]) != checksum(s):
		return 0, "checksum of the header does not match"
	}
	if v := binary.LittleEndian.Uint16(s[8:]); v != version {
		return 0, fmt.Sprintf("format version %d is not %d", v, version)
	}
	return binary.LittleEndian.Uint32(s[12:]), ""
}

func encodeSlot(s *slot, b *bucket) {
	*s = slot{}
	copy(s[:], b.key[:])
	binary.LittleEndian.PutUint64(s[32:], uint64(b.full))
	binary.LittleEndian.PutUint32(s[40:], uint32(b.limit.Count))
	binary.LittleEndian.PutUint32(s[44:], uint32(b.limit.Per/time.Second))
	binary.LittleEndian.PutUint32(s[sumAt:], checksum(s))
}

// decodeSlot gives an unused bucket for a slot that was never written, and the reason if it is not a slot.
func decodeSlot(s *slot) (b bucket, reason string) {
	if *s == (slot{}) {
		return b, ""
	}
	if binary.LittleEndian.Uint32(s[sumAt:]) != checksum(s) {
		return b, "checksum of the slot does not match"
	}
	copy(b.key[:], s[:])
	b.full = int64(binary.LittleEndian.Uint64(s[32:]))
	b.limit.Count = int(binary.LittleEndian.Uint32(s[40:]))
	b.limit.Per = time.Duration(binary.LittleEndian.Uint32(s[44:])) * time.Second
	switch err := b.limit.validate(); {
	case err != nil:
		return bucket{}, err.Error()
	case b.full <= 0:
		return bucket{}, fmt.Sprintf("time %d of the slot is not after 1970", b.full)
	}
	return b, ""
}

func checksum(s *slot) uint32 { return crc32.Checksum(s[:sumAt], crc32.MakeTable(crc32.Castagnoli)) }

func offsetOf(place int) int64 { return int64(place+1) * slotSize }

// write does one write(2) for each charge.
func (l *Limiter) write(charges []charge) error {
	if l.file == nil {
		return nil
	}
	for i := range charges {
		if err := l.writeSlot(charges[i].place); err != nil {
			return err
		}
	}
	return nil
}

func (l *Limiter) writeSlot(place int) error {
	encodeSlot(&l.slot, &l.buckets[place])
	if _, err := l.file.WriteAt(l.slot[:], offsetOf(place)); err != nil {
		return fmt.Errorf("rate: %w", err)
	}
	return nil
}

func (l *Limiter) open(path string) error {
	now, err := readClock(l.now)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("rate: %w", err)
	}
	l.file = file
	err = l.takeLock(path)
	if err == nil {
		err = l.load(path, now)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return nil
}

// takeLock uses flock, which the kernel lets go when the process ends, however it ends.
func (l *Limiter) takeLock(path string) error {
	switch err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		holder := "unknown"
		if _, err := l.file.ReadAt(l.slot[:], 0); err == nil {
			if pid, reason := decodeHeader(&l.slot); reason == "" {
				holder = fmt.Sprint(pid)
			}
		}
		return fmt.Errorf("rate: %s: %w (process %s)", path, ErrLocked, holder)
	case err != nil:
		return fmt.Errorf("rate: lock %s: %w", path, err)
	}
	return nil
}

// load reads and checks the file before it changes anything in it.
func (l *Limiter) load(path string, now int64) error {
	info, err := l.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("rate: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("rate: %s is not a regular file", path)
	case info.Size() > 0:
		if err := l.read(path, now); err != nil {
			return err
		}
		if err := l.compact(); err != nil {
			return fmt.Errorf("rate: compact %s: %w", path, err)
		}
	}
	return l.begin(path, info.Size() == 0)
}

// begin writes the header, which names the process for those who find the file locked.
func (l *Limiter) begin(path string, fresh bool) error {
	encodeHeader(&l.slot, os.Getpid())
	_, err := l.file.WriteAt(l.slot[:], 0)
	if fresh && err == nil {
		err = l.file.Sync()
	}
	if fresh && err != nil { // a piece of a header would be taken for damage
		err = errors.Join(err, l.file.Truncate(0))
	}
	if err != nil {
		return fmt.Errorf("rate: begin %s: %w", path, err)
	}
	return nil
}

// read takes up the slots, each in its place.
func (l *Limiter) read(path string, now int64) error {
	in := bufio.NewReaderSize(io.NewSectionReader(l.file, 0, 1<<62), 64<<10)
	if _, err := io.ReadFull(in, l.slot[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return &CorruptError{File: path, Reason: "is shorter than a header"}
	} else if err != nil {
		return fmt.Errorf("rate: %w", err)
	}
	if _, reason := decodeHeader(&l.slot); reason != "" {
		return &CorruptError{File: path, Reason: reason}
	}
	for place := 0; ; place++ {
		switch _, err := io.ReadFull(in, l.slot[:]); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // a piece of a slot was never allowed
			return nil
		case err != nil:
			return fmt.Errorf("rate: %w", err)
		}
		b, reason := decodeSlot(&l.slot)
		if reason != "" {
			return &CorruptError{File: path, Offset: offsetOf(place), Reason: reason}
		}
		l.takeUp(b, place, now)
	}
}

// takeUp gives a bucket of the file its place. A slot that is left from before its key got another says less than the
// new one, so the one that is full later counts.
func (l *Limiter) takeUp(b bucket, place int, now int64) {
	l.buckets = append(l.buckets, bucket{})
	if b.full <= now {
		l.free = append(l.free, place)
		return
	}
	b.full = min(b.full, now+b.limit.window()) // more only if the clock was set back
	other, twice := l.places[b.key]
	if twice && l.buckets[other].full >= b.full {
		l.free = append(l.free, place)
		return
	}
	if twice {
		l.remove(other)
	}
	l.buckets[place] = b
	l.places[b.key] = place
}

// compact moves the last buckets into the places that are free, and cuts the file. What is moved is on the disk in its
// new place before the old one goes; a bucket that is found in both is one.
func (l *Limiter) compact() error {
	end := len(l.places)
	for place, last := 0, len(l.buckets)-1; place < end; place++ {
		if l.buckets[place].limit != (Limit{}) {
			continue
		}
		for l.buckets[last].limit == (Limit{}) {
			last--
		}
		l.buckets[place] = l.buckets[last]
		l.places[l.buckets[place].key] = place
		if err := l.writeSlot(place); err != nil {
			return err
		}
		last--
	}
	l.buckets, l.free = l.buckets[:end], nil
	if err := l.file.Sync(); err != nil {
		return err
	}
	return l.file.Truncate(offsetOf(end))
}
