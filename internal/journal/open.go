// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Durability says what Append waits for.
type Durability string

const (
	// DurabilityGroup: Append returns when the operating system has the record; a sync follows within 10 ms.
	DurabilityGroup Durability = "group"
	// DurabilitySync: Append returns when the disk has the record. Records of that moment share one sync.
	DurabilitySync Durability = "sync"
)

const (
	defaultSegmentBytes = 64 << 20
	lockName            = "lock"
	partialSuffix       = ".partial"
)

// Check refuses what is none of these.
func (d Durability) Check() error {
	if d != DurabilityGroup && d != DurabilitySync {
		return fmt.Errorf("%q is neither %q nor %q", string(d), DurabilityGroup, DurabilitySync)
	}
	return nil
}

// Options say where and how to write.
type Options struct {
	// Dir is the folder. It is made, readable by its owner only, if it is not there. Required.
	Dir string
	// Durability is DurabilityGroup if empty.
	Durability Durability
	// SegmentBytes is the size after which a new segment begins. 0 is 64 MiB.
	SegmentBytes int64
	// Rand gives the ID of a new journal. If nil, it is crypto/rand.
	Rand io.Reader
}

func (o *Options) validate() error {
	switch {
	case o.Dir == "":
		return errors.New("journal: no folder was given")
	case o.SegmentBytes < 0:
		return fmt.Errorf("journal: segment size %d is negative", o.SegmentBytes)
	}
	o.Durability = cmp.Or(o.Durability, DurabilityGroup)
	if err := o.Durability.Check(); err != nil {
		return fmt.Errorf("journal: durability %w", err)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return nil
}

// Cut says what Open took off the end: the bytes of a record that was not completely written, and so never acknowledged.
// Bytes is 0 if there was none.
type Cut struct {
	Segment string
	Offset  int64
	Bytes   int64
}

// Open opens the journal in a folder for writing, or begins one. It takes the folder for itself (ErrLocked if another
// writer has it), verifies the last segment, and cuts off a last record that was not completely written; Writer.Cut
// tells. A complete record that is not what was written is never cut off: that is a *CorruptError. Earlier segments are
// counted, and verified by Read.
func Open(options Options) (*Writer, error) {
	if err := options.validate(); err != nil {
		return nil, err
	}
	if err := makeFolder(options.Dir); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	lock, err := takeLock(options.Dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		options: options, lock: lock, chain: newChainer(), dirty: make(chan struct{}, 1), stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	if err := w.recover(); err != nil {
		return nil, errors.Join(err, w.release())
	}
	w.name = hex.EncodeToString(w.id[:])
	go w.syncLoop()
	return w, nil
}

func makeFolder(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

// takeLock uses flock, which the kernel lets go when the process ends, however it ends.
func takeLock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		holder, readErr := io.ReadAll(io.LimitReader(file, 32))
		return nil, errors.Join(fmt.Errorf("journal: %s: %w (process %s)", dir, ErrLocked,
			strings.TrimSpace(string(holder))), readErr, file.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("journal: lock %s: %w", dir, err), file.Close())
	}
	// Writing over what is there needs no new block, so that a journal on a full disk still opens.
	if _, err := file.WriteAt(fmt.Appendf(nil, "%-10s\n", strconv.Itoa(os.Getpid())), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: lock %s: %w", dir, err), file.Close())
	}
	return file, nil
}

// recover finds the end of the journal, or begins one.
func (w *Writer) recover() error {
	segments, err := listSegments(w.options.Dir)
	if errors.Is(err, ErrNoJournal) {
		return w.begin()
	} else if err != nil {
		return err
	}
	scan, n := newScanner(), segments[len(segments)-1]
	if int(n) != len(segments) {
		return &CorruptError{Segment: segmentName(n), Reason: fmt.Sprintf("a segment before it is missing: there are %d",
			len(segments))}
	}
	if err := scan.segment(w.options.Dir, n, true, func(Record) error { return nil }); err != nil {
		return err
	}
	path := filepath.Join(w.options.Dir, segmentName(n))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	w.file, w.segment, w.id, w.offset, w.at = file, n, scan.id, scan.end, scan.at
	w.synced = w.at.Seq
	if scan.torn > 0 {
		w.cut = Cut{Segment: segmentName(n), Offset: scan.end, Bytes: scan.torn}
		if err := file.Truncate(scan.end); err != nil {
			return fmt.Errorf("journal: cut off an incomplete record: %w", err)
		}
	}
	// What a process before us wrote may not be on the disk yet, and receipts will stand on it.
	if err := file.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (w *Writer) begin() error {
	if _, err := io.ReadFull(w.options.Rand, w.id[:]); err != nil {
		return fmt.Errorf("journal: make an ID: %w", err)
	}
	w.at = Position{Chain: genesisOf(w.id)}
	file, err := createSegment(w.options.Dir, header{segment: 1, id: w.id, before: w.at})
	if err != nil {
		return err
	}
	w.file, w.segment, w.offset = file, 1, int64(headerSize)
	return nil
}

// createSegment makes a segment under another name first, so that one with half a header is never seen.
func createSegment(dir string, h header) (*os.File, error) {
	final := filepath.Join(dir, segmentName(h.segment))
	partial := final + partialSuffix
	file, err := os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	_, err = file.Write(h.append(nil))
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(partial, final)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("journal: begin segment %s: %w", segmentName(h.segment), err), file.Close(),
			os.Remove(partial))
	}
	if err := syncFolder(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("journal: %w: begin segment %s: %w", ErrFailed, segmentName(h.segment), err),
			file.Close())
	}
	return file, nil
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
