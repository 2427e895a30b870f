// SPDX-License-Identifier: Apache-2.0
// Copyright The Custody Authors

package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
)

const (
	magic      = "custodyj"
	version    = 1
	idSize     = 16
	headerSize = len(magic) + 2 + 4 + idSize + 8 + sha256.Size + 4
	frameSize  = 4 + 1 + 4 + 4
	genesis    = "custody journal v1"

	// MaxPayload is the largest payload of a record, in bytes.
	MaxPayload = 1 << 20
)

// Kind says what the payload of a record is. The journal itself does not look into payloads.
type Kind uint8

// The kinds of records.
const (
	KindIntent       Kind = 1
	KindReceipt      Kind = 2
	KindCertificates Kind = 3
)

// String gives the name of the kind.
func (k Kind) String() string {
	switch k {
	case KindIntent:
		return "intent"
	case KindReceipt:
		return "receipt"
	case KindCertificates:
		return "certificates"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Position names a record and everything before it. Seq counts from 1. Chain is the chain value of the record.
type Position struct {
	Seq   uint64
	Chain [sha256.Size]byte
}

// Genesis gives the chain value before the first record of the journal with this ID, which is 32 hexadecimal digits.
func Genesis(id string) ([sha256.Size]byte, error) {
	var raw [idSize]byte
	if len(id) != 2*idSize {
		return [sha256.Size]byte{}, fmt.Errorf("journal: %q is not the ID of a journal", id)
	}
	if _, err := hex.Decode(raw[:], []byte(id)); err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("journal: %q is not the ID of a journal: %w", id, err)
	}
	return genesisOf(raw), nil
}

func genesisOf(id [idSize]byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(genesis), id[:]...))
}

// header opens a segment. before is the position of the last record of the segment before.
type header struct {
	segment uint32
	id      [idSize]byte
	before  Position
}

func (h header) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint16(dst, version)
	dst = binary.LittleEndian.AppendUint32(dst, h.segment)
	dst = append(dst, h.id[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, h.before.Seq+1)
	dst = append(dst, h.before.Chain[:]...)
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// parseHeader reads a header of headerSize bytes, and gives the reason if it is not one.
func parseHeader(b []byte) (h header, reason string) {
	sum := len(b) - 4
	switch {
	case string(b[:len(magic)]) != magic:
		return h, "header does not begin with the magic of a journal"
	case binary.LittleEndian.Uint32(b[sum:]) != checksum(b[:sum]):
		return h, "checksum of the header does not match"
	}
	b = b[len(magic):]
	if v := binary.LittleEndian.Uint16(b); v != version {
		return h, fmt.Sprintf("format version %d is not %d", v, version)
	}
	h.segment = binary.LittleEndian.Uint32(b[2:])
	b = b[2+4+copy(h.id[:], b[6:]):]
	first := binary.LittleEndian.Uint64(b)
	if first == 0 {
		return h, "header gives 0 as the first sequence number"
	}
	h.before.Seq = first - 1
	copy(h.before.Chain[:], b[8:])
	return h, ""
}

type frame struct {
	size uint32
	kind Kind
	sum  uint32
}

// frameOf reads a frame without its own checksum.
func frameOf(b []byte) frame {
	return frame{size: binary.LittleEndian.Uint32(b), kind: Kind(b[4]), sum: binary.LittleEndian.Uint32(b[5:])}
}

// appendRecord takes before by reference because a copy of it would have to be allocated for its checksum.
func appendRecord(dst []byte, before *Position, kind Kind, payload []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, byte(kind))
	dst = binary.LittleEndian.AppendUint32(dst, checksum(payload))
	dst = binary.LittleEndian.AppendUint32(dst, frameChecksum(before, dst[start:]))
	return append(dst, payload...)
}

// parseFrame reads a frame of frameSize bytes. Its checksum tells a changed length from a torn record, and a record in its
// place from one that was moved.
func parseFrame(before *Position, b []byte) (f frame, reason string) {
	if binary.LittleEndian.Uint32(b[9:]) != frameChecksum(before, b[:9]) {
		return f, "checksum of the frame does not match: it was changed, or this record does not belong here"
	}
	f = frameOf(b)
	if f.size > MaxPayload {
		return f, fmt.Sprintf("length %d is more than %d", f.size, MaxPayload)
	}
	return f, ""
}

// chainer computes chain values without allocating. It is not safe for concurrent use.
type chainer struct {
	hash hash.Hash
	head [sha256.Size + 5]byte
}

func newChainer() *chainer { return &chainer{hash: sha256.New()} }

func (c *chainer) next(before Position, kind Kind, payload []byte) Position {
	n := copy(c.head[:], before.Chain[:])
	c.head[n] = byte(kind)
	binary.LittleEndian.PutUint32(c.head[n+1:], uint32(len(payload)))
	c.hash.Reset()
	c.hash.Write(c.head[:])
	c.hash.Write(payload)
	return Position{Seq: before.Seq + 1, Chain: [sha256.Size]byte(c.hash.Sum(c.head[:0]))}
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func frameChecksum(before *Position, b []byte) uint32 {
	return crc32.Update(checksum(before.Chain[:]), crc32.MakeTable(crc32.Castagnoli), b)
}

func segmentName(n uint32) string { return fmt.Sprintf("%08d%s", n, segmentSuffix) }
