// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Place says where the bytes of a record stand: the number of the segment, counted from 1, and the offset in it. The
// zero Place is none. It is no proof of anything; a Position is.
type Place struct {
	Segment uint32
	Offset  int64
}

// IsZero says whether there is no place.
func (p Place) IsZero() bool { return p == Place{} }

// Place gives where the record stands; zero for a Record that was not read from a journal.
func (r *Record) Place() Place {
	n, err := strconv.ParseUint(strings.TrimSuffix(r.Segment, segmentSuffix), 10, 32)
	if err != nil {
		return Place{}
	}
	return Place{Segment: uint32(n), Offset: r.Offset}
}

// ReadAt gives the kind and the payload of the record at a place. It checks the checksum of the payload, and not that
// the record belongs there: for that the caller needs a digest of its own.
func ReadAt(dir string, at Place) (Kind, []byte, error) {
	file, err := os.Open(filepath.Join(dir, segmentName(at.Segment)))
	if err != nil {
		return 0, nil, fmt.Errorf("journal: %w", err)
	}
	defer file.Close()
	corrupt := func(reason string) error {
		return &CorruptError{Segment: segmentName(at.Segment), Offset: at.Offset, Reason: reason}
	}
	var head [frameSize]byte
	if _, err := file.ReadAt(head[:], at.Offset); err != nil {
		return 0, nil, corrupt("no record can be read there: " + err.Error())
	}
	f := frameOf(head[:])
	if f.size > MaxPayload {
		return 0, nil, corrupt(fmt.Sprintf("length %d is more than %d", f.size, MaxPayload))
	}
	payload := make([]byte, f.size)
	if _, err := file.ReadAt(payload, at.Offset+int64(frameSize)); err != nil {
		return 0, nil, corrupt("the record can not be read: " + err.Error())
	}
	if checksum(payload) != f.sum {
		return 0, nil, corrupt("checksum of the payload does not match")
	}
	return f.kind, payload, nil
}

// Find gives the places and payloads of all records of one kind to visit, newest segment first, until visit says that it
// has enough. It reads past the others without looking at them, so that it is quick and proves nothing: what it gives must
// be checked by other means. A payload is valid only until visit returns.
func Find(dir string, kind Kind, visit func(at Place, payload []byte) (enough bool)) error {
	segments, err := listSegments(dir)
	if err != nil {
		return err
	}
	for i := len(segments) - 1; i >= 0; i-- {
		if enough, err := find(dir, segments[i], kind, visit); enough || err != nil {
			return err
		}
	}
	return nil
}

func find(dir string, segment uint32, kind Kind, visit func(Place, []byte) bool) (enough bool, err error) {
	path := filepath.Join(dir, segmentName(segment))
	file, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("journal: %w", err)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 256<<10)
	if _, err := in.Discard(headerSize); err != nil {
		return false, fmt.Errorf("journal: %s: %w", path, err)
	}
	var head [frameSize]byte
	next := Place{Segment: segment, Offset: int64(headerSize)}
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return false, endOr(err)
		}
		f, at := frameOf(head[:]), next
		next.Offset += int64(frameSize) + int64(f.size)
		if f.size > MaxPayload {
			return false, &CorruptError{Segment: filepath.Base(path), Reason: fmt.Sprintf("length %d is more than %d", f.size, MaxPayload)}
		}
		if f.kind != kind {
			if _, err := in.Discard(int(f.size)); err != nil {
				return false, endOr(err)
			}
			continue
		}
		payload := make([]byte, f.size)
		if _, err := io.ReadFull(in, payload); err != nil {
			return false, endOr(err)
		}
		if checksum(payload) == f.sum && visit(at, payload) {
			return true, nil
		}
	}
}

// endOr takes the end of a segment, also within a record, for no error.
func endOr(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("journal: %w", err)
}
