// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const segmentSuffix = ".journal"

// Record is one record as it was read. Payload is valid only until the visit returns.
type Record struct {
	Position
	Kind    Kind
	Payload []byte
	Journal string // ID of the journal
	Segment string // name of the file
	Offset  int64  // of the record in it
}

// Info is what a complete reading found.
type Info struct {
	ID   string   // of the journal, 32 hexadecimal digits
	Head Position // of the last record; Seq 0 if there is none
	// Torn is the number of bytes after the last complete record. It is not 0 while a writer is at work, or where one was
	// stopped within a write.
	Torn int64
}

// Read gives every record of the journal in dir to visit, in order, and verifies each byte before it is given. It may
// run while a writer writes; a record that is not completely there yet is the end. The first flaw is a *CorruptError;
// what visit got before it is whole. An error of visit ends the reading and is returned as it is. ErrNoJournal if the
// folder has no segment.
func Read(dir string, visit func(Record) error) error {
	_, err := ReadInfo(dir, visit)
	return err
}

// ReadInfo is Read, and says what was read. On an error the Info is that of the part before it.
func ReadInfo(dir string, visit func(Record) error) (Info, error) {
	segments, err := listSegments(dir)
	if err != nil {
		return Info{}, err
	}
	scan, newest := newScanner(), segments[len(segments)-1]
	for n := uint32(1); n <= newest; n++ {
		// Not the listing says whether a segment is missing: that of a folder that grows may leave one out and have the
		// next. But segments appear in order, so that all up to the newest are there.
		if err := scan.segment(dir, n, n == newest, visit); err != nil {
			return scan.info(), err
		}
	}
	return scan.info(), nil
}

// ReadTail is Read of the newest segments only, that many at most: a start that needs what is recent reads no more of a
// long journal. What they hold is verified as Read does; that they continue the ones before them is not.
func ReadTail(dir string, most int, visit func(Record) error) error {
	segments, err := listSegments(dir)
	if err != nil {
		return err
	}
	scan, newest := newScanner(), segments[len(segments)-1]
	for n := newest - min(newest, uint32(max(most, 1))) + 1; n <= newest; n++ {
		if err := scan.segment(dir, n, n == newest, visit); err != nil {
			return err
		}
	}
	return nil
}

// listSegments gives the numbers of the segments in dir, in order.
func listSegments(dir string) ([]uint32, error) {
	entries, err := os.ReadDir(dir) // sorted by name, and the names have a fixed width
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	var segments []uint32
	for _, entry := range entries {
		digits, ok := strings.CutSuffix(entry.Name(), segmentSuffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n == 0 || segmentName(uint32(n)) != entry.Name() {
			return nil, &CorruptError{Segment: entry.Name(), Reason: "file is not named like a segment"}
		}
		if !entry.Type().IsRegular() { // a pipe would be waited for
			info, err := os.Stat(filepath.Join(dir, entry.Name()))
			if err != nil {
				return nil, fmt.Errorf("journal: %w", err)
			}
			if !info.Mode().IsRegular() {
				return nil, &CorruptError{Segment: entry.Name(), Reason: "it is no file"}
			}
		}
		segments = append(segments, uint32(n))
	}
	if len(segments) == 0 {
		return nil, fmt.Errorf("journal: %s: %w", dir, ErrNoJournal)
	}
	return segments, nil
}

// scanner verifies segments one after the other.
type scanner struct {
	begun   bool
	id      [idSize]byte
	name    string   // id in hexadecimal digits
	at      Position // of the last good record
	end     int64    // offset after it in its segment
	torn    int64
	chain   *chainer
	payload []byte
}

func newScanner() *scanner { return &scanner{chain: newChainer()} }

func (s *scanner) info() Info {
	if !s.begun {
		return Info{}
	}
	return Info{ID: s.name, Head: s.at, Torn: s.torn}
}

// segment reads one segment. Only the last may end within a record.
func (s *scanner) segment(dir string, n uint32, last bool, visit func(Record) error) error {
	file, err := os.Open(filepath.Join(dir, segmentName(n)))
	if errors.Is(err, fs.ErrNotExist) {
		return &CorruptError{
			Segment: segmentName(n), Seq: s.at.Seq + 1, Reason: "segment is missing, but there are later ones",
		}
	} else if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer file.Close()
	return s.read(file, n, last, visit)
}

func (s *scanner) read(file io.Reader, n uint32, last bool, visit func(Record) error) error {
	name := segmentName(n)
	in := bufio.NewReaderSize(file, 64<<10)
	if err := s.header(in, n); err != nil {
		return err
	}
	for {
		kind, size, err := s.record(in)
		var flaw *flawError
		switch {
		case errors.As(err, &flaw):
			if flaw.torn == 0 || !last {
				return &CorruptError{Segment: name, Offset: s.end, Seq: s.at.Seq + 1, Reason: flaw.reason}
			}
			s.torn = flaw.torn
			return nil
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("journal: segment %s: %w", name, err)
		}
		offset := s.end
		s.at = s.chain.next(s.at, kind, s.payload)
		s.end += size
		record := Record{Position: s.at, Kind: kind, Payload: s.payload, Journal: s.name, Segment: name, Offset: offset}
		if err := visit(record); err != nil {
			return err
		}
	}
}

func (s *scanner) header(in io.Reader, n uint32) error {
	corrupt := func(reason string) error {
		return &CorruptError{Segment: segmentName(n), Seq: s.at.Seq + 1, Reason: reason}
	}
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(in, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt("file ends within the header")
	} else if err != nil {
		return fmt.Errorf("journal: segment %s: %w", segmentName(n), err)
	}
	h, reason := parseHeader(b)
	switch {
	case reason != "":
		return corrupt(reason)
	case h.segment != n:
		return corrupt(fmt.Sprintf("file holds segment %d", h.segment))
	case !s.begun && n == 1 && h.before != (Position{Chain: genesisOf(h.id)}):
		return corrupt("first segment does not begin with the first record")
	case s.begun && h.id != s.id:
		return corrupt("segment is from another journal")
	case s.begun && h.before != s.at:
		return corrupt(fmt.Sprintf("segment does not continue the one before, which ends at record %d; it begins at %d",
			s.at.Seq, h.before.Seq+1))
	}
	s.begun, s.id, s.at, s.end = true, h.id, h.before, int64(headerSize)
	s.name = hex.EncodeToString(h.id[:])
	return nil
}

// flawError is a record that is not whole. torn counts the bytes of one that the file ends in.
type flawError struct {
	reason string
	torn   int64
}

func (e *flawError) Error() string { return e.reason }

// record reads one record into s.payload and gives the bytes that it takes. io.EOF is the end between two records.
func (s *scanner) record(in io.Reader) (Kind, int64, error) {
	var head [frameSize]byte
	n, err := io.ReadFull(in, head[:])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, 0, &flawError{reason: "file ends within a frame", torn: int64(n)}
	} else if err != nil {
		return 0, 0, err
	}
	f, reason := parseFrame(&s.at, head[:])
	if reason != "" {
		return 0, 0, &flawError{reason: reason}
	}
	if cap(s.payload) < int(f.size) {
		s.payload = make([]byte, f.size)
	}
	s.payload = s.payload[:f.size]
	n, err = io.ReadFull(in, s.payload)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return 0, 0, &flawError{reason: "file ends within a record", torn: int64(frameSize + n)}
	} else if err != nil {
		return 0, 0, err
	}
	if checksum(s.payload) != f.sum {
		return 0, 0, &flawError{reason: "checksum of the payload does not match"}
	}
	return f.kind, int64(frameSize) + int64(f.size), nil
}
