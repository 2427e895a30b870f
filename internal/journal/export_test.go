// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal

import (
	"bytes"
	"os"
)

// HeaderSize and FrameSize let tests find records in a segment.
const (
	HeaderSize = headerSize
	FrameSize  = frameSize
)

// SwapFile puts another file in the place of the present segment.
func (w *Writer) SwapFile(file *os.File) *os.File {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.file
	w.file = file
	return old
}

// Synced is the seq of the last record that is known to be on the disk.
func (w *Writer) Synced() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.synced
}

// ReadSegment reads the bytes of a first and last segment, and gives the offset after the last complete record.
func ReadSegment(segment []byte, visit func(Record) error) (end int64, info Info, err error) {
	scan := newScanner()
	err = scan.read(bytes.NewReader(segment), 1, true, visit)
	return scan.end, scan.info(), err
}

// EncodeSegment is the other way round.
func EncodeSegment(id [16]byte, records []Record) []byte {
	at, chain := Position{Chain: genesisOf(id)}, newChainer()
	segment := header{segment: 1, id: id, before: at}.append(nil)
	for _, r := range records {
		segment = appendRecord(segment, &at, r.Kind, r.Payload)
		at = chain.next(at, r.Kind, r.Payload)
	}
	return segment
}
