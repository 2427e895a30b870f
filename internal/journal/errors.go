// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal

import (
	"errors"
	"fmt"
)

var (
	// ErrLocked: another writer has the folder. The text names its process ID.
	ErrLocked = errors.New("journal is in use by another writer")
	// ErrClosed: the writer was closed.
	ErrClosed = errors.New("journal is closed")
	// ErrFailed: a sync failed, a failed write could not be undone, or the segment was removed, so that what is on the
	// disk is not known. The writer takes no more records; opening the journal again checks what is there.
	ErrFailed = errors.New("journal has failed and takes no more records")
	// ErrTooLarge: the payload has more than MaxPayload bytes.
	ErrTooLarge = fmt.Errorf("record is larger than %d bytes", MaxPayload)
	// ErrNoJournal: the folder has no segment.
	ErrNoJournal = errors.New("folder holds no journal")
)

// CorruptError says where a journal is not what was written. Everything before Offset in Segment, and all segments
// before it, are whole.
type CorruptError struct {
	Segment string // name of the file in the folder
	Offset  int64  // of the record, or 0 for the header or the whole segment
	Seq     uint64 // of the record; for a header or a segment, of its first record as far as that is known
	Reason  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal: segment %s, offset %d, record %d: %s", e.Segment, e.Offset, e.Seq, e.Reason)
}
