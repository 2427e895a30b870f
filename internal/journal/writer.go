// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// syncDelay is how long the first unsynced record waits for others. It leaves the sync itself time to end within 10 ms.
const syncDelay = 8 * time.Millisecond

// Writer appends to a journal. All its methods are safe for concurrent use.
type Writer struct {
	options Options
	id      [idSize]byte
	name    string // id in hexadecimal digits
	lock    *os.File
	cut     Cut
	dirty   chan struct{} // holds one value while there may be something to sync
	stop    chan struct{}
	done    chan struct{}

	// syncing is held during a sync, and taken before mu. Callers that wait for it find, when they get it, that one sync
	// has served them all.
	syncing sync.Mutex

	mu      sync.Mutex
	file    *os.File
	segment uint32
	offset  int64    // where the next record goes
	at      Position // of the last record
	synced  uint64   // seq of the last record known to be on the disk
	failed  error    // once set, the writer takes no more records
	closed  bool
	chain   *chainer
	buffer  []byte
}

// ID names the journal: 32 hexadecimal digits, made when it was begun.
func (w *Writer) ID() string { return w.name }

// Cut says what Open took off the end.
func (w *Writer) Cut() Cut { return w.cut }

// Append writes a record and gives its position. When it returns nil the record is as safe as the durability says.
//
// A payload above MaxPayload is ErrTooLarge. If the write fails (errors.Is(err, syscall.ENOSPC) where the disk is full),
// nothing of the record stays, and the writer goes on: a later Append succeeds once there is space again. If a sync
// fails, the partial record cannot be removed, or the segment is no longer there, this and every later call is
// ErrFailed, for then nobody knows what the disk holds.
func (w *Writer) Append(kind Kind, payload []byte) (Position, error) {
	at, _, err := w.AppendPlaced(kind, payload)
	return at, err
}

// AppendPlaced is Append, and says where the record stands, for ReadAt.
func (w *Writer) AppendPlaced(kind Kind, payload []byte) (Position, Place, error) {
	if len(payload) > MaxPayload {
		return Position{}, Place{}, fmt.Errorf("journal: %w: it has %d", ErrTooLarge, len(payload))
	}
	if err := w.makeRoom(); err != nil {
		return Position{}, Place{}, err
	}
	at, place, err := w.write(kind, payload)
	if err != nil {
		return Position{}, Place{}, err
	}
	if w.options.Durability == DurabilitySync {
		return at, place, w.syncTo(at.Seq)
	}
	select {
	case w.dirty <- struct{}{}:
	default: // a sync is due already
	}
	return at, place, nil
}

// write does one write(2).
func (w *Writer) write(kind Kind, payload []byte) (Position, Place, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed != nil {
		return Position{}, Place{}, w.failed
	}
	if err := w.stillThere(); err != nil {
		w.fail(err)
		return Position{}, Place{}, w.failed
	}
	w.buffer = appendRecord(w.buffer[:0], &w.at, kind, payload)
	if _, err := w.file.WriteAt(w.buffer, w.offset); err != nil {
		if undo := w.file.Truncate(w.offset); undo != nil {
			w.fail(errors.Join(err, undo))
			return Position{}, Place{}, w.failed
		}
		return Position{}, Place{}, fmt.Errorf("journal: %w", err)
	}
	place := Place{Segment: w.segment, Offset: w.offset}
	w.offset += int64(len(w.buffer))
	w.at = w.chain.next(w.at, kind, payload)
	return w.at, place, nil
}

// stillThere finds a segment that was removed: writes to it go on to succeed, and are nowhere.
func (w *Writer) stillThere() error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(w.file.Fd()), &stat); err != nil {
		return err
	}
	if stat.Nlink == 0 {
		return fmt.Errorf("segment %s was removed", segmentName(w.segment))
	}
	return nil
}

// makeRoom begins a new segment if the present one is full.
func (w *Writer) makeRoom() error {
	w.mu.Lock()
	full := w.full()
	w.mu.Unlock()
	if !full {
		return nil
	}
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.full() { // another caller was faster
		return nil
	}
	return w.rotate()
}

func (w *Writer) full() bool { return w.failed == nil && w.offset >= w.options.SegmentBytes }

// rotate is called with both locks. The old segment is on the disk before the new one is there.
func (w *Writer) rotate() error {
	if err := w.file.Sync(); err != nil {
		w.fail(err)
		return w.failed
	}
	w.synced = w.at.Seq
	file, err := createSegment(w.options.Dir, header{segment: w.segment + 1, id: w.id, before: w.at})
	if errors.Is(err, ErrFailed) {
		w.fail(err)
		return w.failed
	} else if err != nil {
		return err
	}
	old := w.file
	w.file, w.segment, w.offset = file, w.segment+1, int64(headerSize)
	if err := old.Close(); err != nil {
		w.fail(err)
		return w.failed
	}
	return nil
}

// syncTo returns when record seq is on the disk.
func (w *Writer) syncTo(seq uint64) error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	file, target, synced, failed := w.file, w.at.Seq, w.synced, w.failed
	w.mu.Unlock()
	switch {
	case synced >= seq:
		return nil
	case failed != nil:
		return failed
	}
	// Records go on being written meanwhile; rotation waits, so that the file stays open.
	err := file.Sync()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.fail(err)
		return w.failed
	}
	w.synced = max(w.synced, target)
	return nil
}

// fail is called with mu. After a failed fsync the kernel may have dropped the pages and reports no error a second time,
// so a retry that succeeds would prove nothing.
func (w *Writer) fail(err error) {
	if w.failed == nil {
		w.failed = fmt.Errorf("journal: %w: %w", ErrFailed, err)
	}
}

// syncLoop syncs what DurabilityGroup leaves to be synced. An error of it shows in the next Append.
func (w *Writer) syncLoop() {
	defer close(w.done)
	for {
		select {
		case <-w.stop:
			return
		case <-w.dirty:
		}
		delay := time.NewTimer(syncDelay)
		select {
		case <-w.stop:
			delay.Stop()
			return
		case <-delay.C:
		}
		select {
		case <-w.dirty: // of a record that this sync takes in; a later one says so again
		default:
		}
		if err := w.syncTo(w.Head().Seq); err != nil {
			return
		}
	}
}

// Head is the position of the last record; Seq 0 with the chain value of Genesis if there is none.
func (w *Writer) Head() Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// Close syncs what was written and gives the folder free. A second call, and every Append after it, is ErrClosed.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return fmt.Errorf("journal: %w", ErrClosed)
	}
	failed := w.failed
	w.closed, w.failed = true, fmt.Errorf("journal: %w", ErrClosed)
	w.mu.Unlock()

	close(w.stop)
	<-w.done
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if failed == nil {
		if err = w.file.Sync(); err == nil {
			w.synced = w.at.Seq
		}
	}
	if err = errors.Join(err, w.release()); err != nil {
		return fmt.Errorf("journal: close: %w", err)
	}
	return nil
}

func (w *Writer) release() error {
	var err error
	if w.file != nil {
		err = w.file.Close()
	}
	// Closing the lock file lets the lock go.
	return errors.Join(err, w.lock.Close())
}
